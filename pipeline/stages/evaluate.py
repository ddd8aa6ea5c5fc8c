"""Stage `evaluate`: the test part judges the model and the baselines it must clear."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipeline.config.compute import load_compute
from pipeline.config.evaluate import EvaluateConf
from pipeline.config.reading import load
from pipeline.files import publish, write_json
from pipeline.geo.grid import block_names
from pipeline.geo.vectors import categorized_qml, squares, write_layer
from pipeline.learn import figures, published, report, tracking
from pipeline.learn.accuracy import most_confident_mistakes, table
from pipeline.learn.certainty import Certainty
from pipeline.learn.judgement import NETWORK, Judged, judge
from pipeline.learn.yardsticks import learns_from

_STRETCHED = 500
"""Test patches that the brightness of the gallery is taken from, about."""
_RIGHT, _WRONG = "#2c7fb8", "#d7301f"


def run(
    conf: Path, model: Path, store: Path, split: Path, out: Path, compute: Path | None = None
) -> None:
    """Write the report of the test part to the folder `out` and add it to the model's run.

    Raises:
        LenscapeError: when an input is missing, or model, store and split do not belong together.
    """
    settings = load(conf, EvaluateConf)
    judged = judge(settings, model, store, split, load_compute(compute))
    certainty = judged.certainty(_blocks(judged))
    _write(judged, certainty, settings, out)
    print(table(judged.scores))
    print(certainty.sentence)
    print(report.trust(judged.trust))
    print(report.caveat(judged.store.meta))
    if beside := published.beside(judged.store.meta, judged.split, judged.scores[NETWORK]):
        print(beside)
    _track(judged, certainty, settings, model)


def _blocks(judged: Judged) -> npt.NDArray[np.str_]:
    """The block of each test patch."""
    epsg, x, y = (judged.store.patches[name][judged.rows] for name in ("epsg", "x", "y"))
    return block_names(epsg, x, y, judged.split.split.block_m)


def _write(judged: Judged, certainty: Certainty, conf: EvaluateConf, out: Path) -> None:
    network = judged.scores[NETWORK]
    names = [info.name for info in judged.meta.classes]
    left_out = judged.store.meta.counts["left_out"]
    write_json(
        out / "metrics.json",
        {
            "test": network.numbers | {"patches": len(judged.rows)},
            "baseline": {name: _baseline(judged, name) for name in conf.baselines},
            "classes": {n: vars(s) for n, s in zip(names, network.per_class, strict=True)},
            "mixed_positions_left_out": left_out["impure"],
            "trust": judged.trust,
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
            for when, one in judged.reliability.items()
            for confidence, accuracy, count in zip(one.confidence, one.accuracy, one.count, strict=True)
        ),
    )
    predicted = judged.probabilities.argmax(axis=1)
    pairs = zip(judged.truth, predicted, strict=True)
    _write_csv(out / "confusion.csv", ("actual", "predicted"), ((names[t], names[p]) for t, p in pairs))
    _write_errors(out / "errors.gpkg", judged)


def _baseline(judged: Judged, name: str) -> dict[str, float]:
    """The figures of a baseline, and how many of the training patches it learnt from."""
    training = learns_from(name, len(judged.split.rows("train")))
    return judged.scores[name].numbers | {"training_patches": training}


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with publish(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_errors(path: Path, judged: Judged) -> None:
    """The test patches for QGIS: right ones in blue, mistakes in red."""
    table = {name: column[judged.rows] for name, column in judged.store.patches.items()}
    titles, predicted = np.array(judged.titles), judged.probabilities.argmax(axis=1)
    split = judged.split.split
    geometry = judged.meta.geometry
    frame = gpd.GeoDataFrame(
        {
            "result": np.where(predicted == judged.truth, "right", "wrong"),
            "truth": titles[judged.truth],
            "predicted": titles[predicted],
            "confidence": np.rint(100 * judged.probabilities.max(axis=1)).astype(np.int32),
            "part": "test",
            "dissimilarity": _per_cent(judged.dissimilarity, len(judged.rows)),
            "fold": -1 if split.fold is None else split.fold,
            "block": _blocks(judged),
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


def _track(judged: Judged, certainty: Certainty, conf: EvaluateConf, model: Path) -> None:
    network = judged.scores[NETWORK]
    with tracking.resume(model) as tracker:
        tracker.metrics({f"test/{name}": value for name, value in network.numbers.items()})
        more = judged.trust | certainty.metrics
        tracker.metrics({f"test/{name}": value for name, value in more.items()})
        for info, mine in zip(judged.meta.classes, network.per_class, strict=True):
            tracker.metrics({f"test/recall/{info.name}": mine.recall, f"test/f1/{info.name}": mine.f1})
        for name in conf.baselines:
            figures_of = _baseline(judged, name)
            tracker.metrics({f"baseline/{name}/{key}": value for key, value in figures_of.items()})
        tracker.text(judged.calls(_blocks(judged)), tracking.CALLS)
        tracker.figure(figures.confusion(network, judged.titles), "figures/confusion.png")
        tracker.figure(figures.per_class(network, judged.titles), "figures/per_class.png")
        tracker.figure(figures.comparison(judged.scores), "figures/baselines.png")
        tracker.figure(figures.reliability(judged.reliability), "figures/reliability.png")
        tracker.figure(_gallery(judged, conf.gallery), "figures/mistakes.png")
        tags = tracker.known_tags()
        tracker.describe(
            report.description(judged.meta, judged.store.meta, judged.split, judged.scores, tags)
        )
        tracker.version_tags(
            {
                "balanced_accuracy": f"{network.balanced_accuracy:.4f}",
                "accuracy": f"{network.accuracy:.4f}",
            }
        )


def _gallery(judged: Judged, count: int) -> Figure:
    """The most confident mistakes in true colour, or in the first bands of a store without it."""
    bands = judged.store.meta.bands
    shown = ["B04", "B03", "B02"]
    if not set(shown) <= set(bands):
        shown = (bands * 3)[:3]
    places, titles = [bands.index(band) for band in shown], judged.titles
    some = judged.rows[:: max(1, len(judged.rows) // _STRETCHED)]
    limits = figures.stretch(judged.store.pixels[some][:, places])
    mistakes = [
        figures.Mistake(
            picture=figures.picture(judged.store.pixels[judged.rows[place]][places], limits),
            truth=titles[judged.truth[place]],
            predicted=titles[judged.probabilities[place].argmax()],
            probability=float(judged.probabilities[place].max()),
        )
        for place in most_confident_mistakes(judged.truth, judged.probabilities, count)
    ]
    geometry = judged.meta.geometry
    patch_m, cell_m = geometry.patch_px * geometry.pixel_m, geometry.cell_px * geometry.pixel_m
    return figures.gallery(mistakes, shown, patch_m, cell_m)
