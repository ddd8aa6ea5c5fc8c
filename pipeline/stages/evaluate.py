"""Stage `evaluate`: the test part judges the model and the baselines it must clear."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt

from pipeline.config.compute import load_compute
from pipeline.config.evaluate import EvaluateConf
from pipeline.config.reading import load
from pipeline.errors import LenscapeError
from pipeline.files import publish, write_json
from pipeline.geo.raster.grid import block_names
from pipeline.geo.style.geopackage import categorized_qml, squares, write_layer
from pipeline.learn import tracking
from pipeline.learn.evaluation import published_scores
from pipeline.learn.evaluation.band_importance import band_importance
from pipeline.learn.evaluation.baselines import training_patches
from pipeline.learn.evaluation.predictions import NETWORK, Evaluation, evaluate_test_part
from pipeline.learn.evaluation.promotion import changes, verdict
from pipeline.learn.report import summary
from pipeline.learn.report.evaluation_figures import Figures, evaluation_figures, png
from pipeline.learn.report.model_card import card
from pipeline.learn.report.page import Page
from pipeline.learn.report.sections import REPORT, champion_section, fill
from pipeline.learn.stats.accuracy import table
from pipeline.learn.stats.intervals import Certainty

_CARD = "model_card.md"
_RIGHT, _WRONG = "#2c7fb8", "#d7301f"


def run(
    conf: Path, model: Path, store: Path, split: Path, out: Path, compute: Path | None = None
) -> None:
    """Write the report of the test part to the folder `out` and add it to the model's run.

    Raises:
        LenscapeError: when an input is missing, or model, store and split do not belong together.
    """
    settings = load(conf, EvaluateConf)
    evaluation = evaluate_test_part(settings, model, store, split, load_compute(compute))
    certainty = evaluation.certainty(_blocks(evaluation))
    bands = band_importance(evaluation)
    pictures = evaluation_figures(evaluation, bands, settings.gallery)
    shown = {caption: png(figure) for caption, figure in pictures.values()}
    page = Page(evaluation, certainty, settings.card, shown, bands, {})
    _write(evaluation, certainty, settings, out)
    _write_for_people(page, out)
    print(table(evaluation.scores))
    print(certainty.sentence)
    print(summary.trust(evaluation.trust))
    print(summary.caveat(evaluation.store.meta))
    if beside := published_scores.beside(
        evaluation.store.meta, evaluation.split, evaluation.scores[NETWORK]
    ):
        print(beside)
    _track(page, settings, pictures, model)


def _blocks(evaluation: Evaluation) -> npt.NDArray[np.str_]:
    """The block of each test patch."""
    epsg, x, y = (evaluation.store.patches[name][evaluation.rows] for name in ("epsg", "x", "y"))
    return block_names(epsg, x, y, evaluation.split.split.block_m)


def _write(evaluation: Evaluation, certainty: Certainty, conf: EvaluateConf, out: Path) -> None:
    network = evaluation.scores[NETWORK]
    names = [info.name for info in evaluation.meta.classes]
    left_out = evaluation.store.meta.counts["left_out"]
    write_json(
        out / "metrics.json",
        {
            "test": network.numbers | {"patches": len(evaluation.rows)},
            "baseline": {name: _baseline(evaluation, name) for name in conf.baselines},
            "classes": {n: vars(s) for n, s in zip(names, network.per_class, strict=True)},
            "mixed_positions_left_out": left_out["impure"],
            "trust": evaluation.trust,
            "intervals": certainty.record,
        },
    )
    header = ("class", "precision", "recall", "f1", "support")
    rows = zip(names, network.per_class, strict=True)
    _write_csv(
        out / "per_class.csv",
        header,
        ((n, f"{s.precision:.4f}", f"{s.recall:.4f}", f"{s.f1:.4f}", s.support) for n, s in rows),
    )
    _write_csv(
        out / "reliability.csv",
        ("probabilities", "confidence", "accuracy", "patches"),
        (
            (when, f"{confidence:.4f}", f"{accuracy:.4f}", int(count))
            for when, one in evaluation.reliability.items()
            for confidence, accuracy, count in zip(one.confidence, one.accuracy, one.count, strict=True)
        ),
    )
    predicted = evaluation.probabilities.argmax(axis=1)
    pairs = zip(evaluation.truth, predicted, strict=True)
    _write_csv(out / "confusion.csv", ("actual", "predicted"), ((names[t], names[p]) for t, p in pairs))
    _write_errors(out / "errors.gpkg", evaluation)


def _write_for_people(page: Page, out: Path) -> None:
    """The report, the model card and the table of bands."""
    for name, text in (
        (REPORT, page.html()),
        (_CARD, card(page.evaluation, page.certainty, page.said)),
    ):
        with publish(out / name) as partial:
            partial.write_text(text, encoding="utf-8")
    _write_csv(
        out / "bands.csv",
        ("band", "balanced_accuracy_lost", "spread"),
        ((one.band, f"{one.loss:.4f}", f"{one.spread:.4f}") for one in page.bands),
    )


def _baseline(evaluation: Evaluation, name: str) -> dict[str, float]:
    """The figures of a baseline, and how many of the training patches it learnt from."""
    training = training_patches(name, len(evaluation.split.rows("train")))
    return evaluation.scores[name].numbers | {"training_patches": training}


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with publish(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_errors(path: Path, evaluation: Evaluation) -> None:
    """The test patches for QGIS: right ones in blue, mistakes in red."""
    table = {name: column[evaluation.rows] for name, column in evaluation.store.patches.items()}
    titles, predicted = np.array(evaluation.titles), evaluation.probabilities.argmax(axis=1)
    split = evaluation.split.split
    geometry = evaluation.meta.geometry
    frame = gpd.GeoDataFrame(
        {
            "result": np.where(predicted == evaluation.truth, "right", "wrong"),
            "truth": titles[evaluation.truth],
            "predicted": titles[predicted],
            "confidence": np.rint(100 * evaluation.probabilities.max(axis=1)).astype(np.int32),
            "part": "test",
            "dissimilarity": _per_cent(evaluation.dissimilarity, len(evaluation.rows)),
            "fold": -1 if split.fold is None else split.fold,
            "block": _blocks(evaluation),
            "scene": table["scene"],
            "purity": table["purity"].astype(np.float64),
        },
        geometry=squares(table["x"], table["y"], table["epsg"], geometry.cell_px * geometry.pixel_m),
    )
    legend = [("right", "right", _RIGHT), ("wrong", "wrong", _WRONG)]
    write_layer(path, "errors", frame, categorized_qml("result", legend))


def _per_cent(dissimilarity: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int32]:
    """Of the limit, upward, as the map has it; -1 where it is not known."""
    if not len(dissimilarity):
        return np.full(count, -1, dtype=np.int32)
    return np.ceil(100 * dissimilarity).astype(np.int32)


def _track(page: Page, conf: EvaluateConf, pictures: Figures, model: Path) -> None:
    evaluation, certainty = page.evaluation, page.certainty
    network = evaluation.scores[NETWORK]
    with tracking.resume(model) as tracker:
        tracker.metrics({f"test/{name}": value for name, value in network.numbers.items()})
        more = evaluation.trust | certainty.metrics
        tracker.metrics({f"test/{name}": value for name, value in more.items()})
        for info, mine in zip(evaluation.meta.classes, network.per_class, strict=True):
            tracker.metrics({f"test/recall/{info.name}": mine.recall, f"test/f1/{info.name}": mine.f1})
        for name in conf.baselines:
            figures_of = _baseline(evaluation, name)
            tracker.metrics({f"baseline/{name}/{key}": value for key, value in figures_of.items()})
        tracker.metrics({f"band/{one.band}": one.loss for one in page.bands})
        tracker.text(evaluation.calls(_blocks(evaluation)), tracking.CALLS)
        for shown, (_, figure) in pictures.items():
            tracker.figure(figure, f"figures/{shown}.png")
        tags = tracker.known_tags()
        tracker.describe(
            summary.description(
                evaluation.meta, evaluation.store.meta, evaluation.split, evaluation.scores, tags
            )
        )
        told = card(evaluation, certainty, page.said)
        tracker.text(told, _CARD)
        tracker.version_description(told)
        tracker.version_tags(
            {
                "balanced_accuracy": f"{network.balanced_accuracy:.4f}",
                "accuracy": f"{network.accuracy:.4f}",
            }
        )
        html = replace(page, tags=tags).html()
        tracking.log_page(tracker, fill(html, "champion", _beside_champion(tracker, certainty)))


def _beside_champion(tracker: tracking.Tracker, certainty: Certainty) -> str:
    """What parts a model from the champion, as a section of its page."""
    own, champion = tracking.version_of_run(tracker.run_id), tracking.champion_version()
    if own is None or champion is None:
        return champion_section("No model is the champion yet.")
    if own.uri == champion.uri:
        return champion_section(f"This model, {own.uri}, is the champion.")
    theirs = tracking.params_of(champion)
    differing = changes(tracker.known_params(), theirs)
    if own.split != champion.split:
        said = (
            f"{champion.uri}, the champion, was judged by other test patches (store or split differ), "
            "so the figures cannot be compared."
        )
        return champion_section(said, champion.uri, differing)
    over = 0.0 if certainty.gain is None else certainty.gain.value
    try:
        calls, champion_calls = (tracking.judgement_of(one)[0] for one in (own, champion))
        found = verdict(calls, champion_calls, over, champion.uri)
    except LenscapeError as error:
        return champion_section(str(error), champion.uri, differing)
    said = (
        f"{own.uri} is surely better than {champion.uri}, the champion: {found.reason}. "
        "`lenscape promote` would put it in its place."
        if found.holds
        else f"{own.uri} {found.reason}; the champion stays {champion.uri}."
    )
    return champion_section(said, champion.uri, differing)
