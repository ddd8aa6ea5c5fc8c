"""Stage `evaluate`: scores of the model and its baselines on held-out ground, and the report."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt

from pipeline.config.compute import load_compute
from pipeline.config.evaluate import EvaluateConf
from pipeline.config.reading import load
from pipeline.errors import LenscapeError
from pipeline.files import publish_files, write_csv, write_json, write_text
from pipeline.geo.raster.grid import block_names
from pipeline.geo.style.geopackage import categorized_qml, squares, write_layer
from pipeline.geo.style.label_issues import write_label_issues
from pipeline.learn.evaluation.predictions import NETWORK, Evaluation, evaluate_model
from pipeline.learn.report.evaluation_figures import Figures, evaluation_figures, png
from pipeline.learn.report.rendering import (
    MODEL_CARD,
    Champion,
    html_report,
    model_card,
    run_description,
    sentences,
)
from pipeline.learn.report.summary import RunSummary
from pipeline.learn.stats.accuracy import table
from pipeline.learn.tracking.pages import REPORT
from pipeline.learn.tracking.promotion import changes, decide
from pipeline.learn.tracking.registry import (
    PREDICTIONS,
    champion_version,
    run_data,
    version_of_run,
)
from pipeline.learn.tracking.run import add
from pipeline.learn.tracking.tracker import Additions, Tracker

_RIGHT, _WRONG = "#2c7fb8", "#d7301f"
_NOT_COMPARED = Champion("The MLflow store did not answer, so that this model was not compared.")


def run(
    conf: Path, model: Path, store: Path, split: Path, out: Path, compute: Path | None = None
) -> None:
    """Write the report on held-out ground to the folder `out` and add it to the model's run.

    All of its files appear at the end, or none.

    Raises:
        LenscapeError: when an input is missing, or model, store and split do not belong together.
    """
    settings, machine = load(conf, EvaluateConf), load_compute(compute).on_one_device()
    with publish_files(out) as folder:
        evaluation = evaluate_model(settings, model, store, split, machine)
        blocks = _blocks(evaluation)
        summary = RunSummary.of(evaluation, blocks, settings.card)
        figures = evaluation_figures(evaluation, summary, settings.gallery)
        pictures = {caption: png(figure) for caption, figure in figures.values()}
        write_tables(evaluation, summary, blocks, folder)
        write_text(folder / REPORT, html_report(summary, pictures))
        write_text(folder / MODEL_CARD, model_card(summary))
    print(table(summary.scores))
    print(summary.intervals.sentence)
    texts = sentences(summary)
    print(f"labels that held-out predictions contradict: {len(evaluation.label_issues)}")
    print("\n".join(filter(None, (texts[name] for name in ("calibration", "scope", "published")))))
    predictions = evaluation.table(blocks)
    add(model, "evaluate", partial(_track, predictions, summary, figures, pictures))


def _blocks(evaluation: Evaluation) -> npt.NDArray[np.str_]:
    """The block of each held-out patch."""
    table = evaluation.store.patches
    epsg, x, y = (table[name][evaluation.rows] for name in ("epsg", "x", "y"))
    return block_names(epsg, x, y, evaluation.split.split.block_m)


def write_tables(
    evaluation: Evaluation, summary: RunSummary, blocks: npt.NDArray[np.str_], out: Path
) -> None:
    """Write the figures as files for programs, error map and doubtful labels for QGIS."""
    write_json(out / "metrics.json", summary.record)
    write_csv(
        out / "per_class.csv",
        ("class", "precision", "recall", "f1", "support"),
        (
            (info.name, f"{s.precision:.4f}", f"{s.recall:.4f}", f"{s.f1:.4f}", s.support)
            for info, s in summary.classes
        ),
    )
    write_csv(
        out / "reliability.csv",
        ("probabilities", "confidence", "accuracy", "patches"),
        (
            (when, f"{confidence:.4f}", f"{accuracy:.4f}", int(count))
            for when, one in evaluation.reliability.items()
            for confidence, accuracy, count in zip(one.confidence, one.accuracy, one.count, strict=True)
        ),
    )
    names = [info.name for info in summary.meta.classes]
    pairs = zip(evaluation.truth, evaluation.predicted[NETWORK], strict=True)
    write_csv(out / "confusion.csv", ("actual", "predicted"), ((names[t], names[p]) for t, p in pairs))
    write_csv(
        out / "bands.csv",
        ("band", "balanced_accuracy_lost", "spread"),
        ((one.band, f"{one.loss:.4f}", f"{one.spread:.4f}") for one in summary.bands),
    )
    _write_errors(out / "errors.gpkg", evaluation, blocks)
    issues = evaluation.label_issues
    labelled = evaluation.store, evaluation.rows
    write_label_issues(out / "label_issues.gpkg", *labelled, issues.rank, issues.columns)


def _write_errors(path: Path, evaluation: Evaluation, blocks: npt.NDArray[np.str_]) -> None:
    """The held-out patches for QGIS: right ones in blue, mistakes in red."""
    table = {name: column[evaluation.rows] for name, column in evaluation.store.patches.items()}
    titles, predicted = np.array(evaluation.titles), evaluation.predicted[NETWORK]
    geometry = evaluation.meta.geometry
    frame = gpd.GeoDataFrame(
        {
            "result": np.where(predicted == evaluation.truth, "right", "wrong"),
            "truth": titles[evaluation.truth],
            "predicted": titles[predicted],
            "confidence": np.rint(100 * evaluation.probabilities.max(axis=1)).astype(np.int32),
            "dissimilarity": _per_cent(evaluation.dissimilarity, len(evaluation.rows)),
            "fold": 0 if evaluation.fold is None else evaluation.fold + 1,
            "block": blocks,
            "scene": table["scene"],
            "purity": table["purity"].astype(np.float64),
        },
        geometry=squares(table["x"], table["y"], table["epsg"], geometry.cell_px * geometry.pixel_m),
    )
    legend = [("right", "right", _RIGHT), ("wrong", "wrong", _WRONG)]
    write_layer(path, "errors", frame, categorized_qml("result", legend))


def _per_cent(dissimilarity: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int32]:
    """Per cent of the threshold, rounded up as in the map; -1 where it is not known."""
    if not len(dissimilarity):
        return np.full(count, -1, dtype=np.int32)
    return np.ceil(100 * dissimilarity).astype(np.int32)


def _track(
    predictions: str, summary: RunSummary, figures: Figures, pictures: dict[str, bytes], run: Additions
) -> None:
    """Add predictions, figures, descriptions and the report to the model's run."""
    run.text(predictions, PREDICTIONS)
    run.metrics(summary.metrics)
    for name, (caption, _) in figures.items():
        run.picture(pictures[caption], f"figures/{name}.png")
    tags, card = run.current_tags(), model_card(summary)
    run.describe(run_description(summary, tags))
    run.text(card, MODEL_CARD)
    scores = summary.network.numbers
    shown = {name: f"{scores[name]:.4f}" for name in ("balanced_accuracy", "accuracy")}
    run.describe_version(card, shown)
    champion = _compare_with_champion(run) if isinstance(run, Tracker) else _NOT_COMPARED
    run.text(html_report(summary, pictures, tags, champion), REPORT)


def _compare_with_champion(tracker: Tracker) -> Champion:
    """How a model compares with the champion, for the copy of the report in its run."""
    own, champion = version_of_run(tracker.run_id), champion_version()
    if own is None or champion is None:
        return Champion("No model is the champion yet.")
    if own.uri == champion.uri:
        return Champion(f"This model, {own.uri}, is the champion.")
    try:
        decision = decide(own, champion)
    except LenscapeError as error:
        sentence = str(error)
    else:
        sentence = f"{own.uri} {decision.reason}; the champion stays {champion.uri}."
        if decision.promoted:
            sentence = (
                f"{own.uri} is significantly better than {champion.uri}, the champion: "
                f"{decision.reason}. `lenscape promote` makes it the champion."
            )
    differing = changes(tracker.data.params, run_data(champion).params)
    return Champion(sentence, champion.uri, differing)
