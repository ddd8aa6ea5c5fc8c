"""Stage `evaluate`: the test part judges the model and the baselines it must clear."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from pipeline.config.compute import ComputeConf, load_compute
from pipeline.config.evaluate import EvaluateConf
from pipeline.config.reading import load
from pipeline.errors import MismatchError, SplitError
from pipeline.files import publish, write_json
from pipeline.geo.grid import block_of
from pipeline.geo.vectors import categorized_qml, squares, write_layer
from pipeline.learn import figures, published, report, tracking
from pipeline.learn.accuracy import Scores, most_confident_mistakes, table
from pipeline.learn.calibration import Reliability, uncalibrated
from pipeline.learn.classifier import ModelMeta, PatchClassifier
from pipeline.learn.dataset import TrainingData
from pipeline.learn.dissimilarity import patch_features
from pipeline.learn.patchwise import batched_probabilities
from pipeline.learn.yardsticks import answers, learns_from
from pipeline.store import PatchStore, SplitFolder

NETWORK = "network"
_STRETCHED = 500
"""Test patches that the brightness of the gallery is taken from, about."""
_RIGHT, _WRONG = "#2c7fb8", "#d7301f"


@dataclass(frozen=True)
class Judged:
    """The test part and what was said of it."""

    store: PatchStore
    split: SplitFolder
    meta: ModelMeta
    places: list[int]
    """The model's bands as places in the store."""
    rows: npt.NDArray[np.intp]
    """The test patches as rows of the store."""
    probabilities: npt.NDArray[np.float32]
    """(N, K), of the network, calibrated."""
    dissimilarity: npt.NDArray[np.float64]
    """How unlike the training data each test patch is, 1 at the limit; none where it is not known."""
    scores: dict[str, Scores]
    """The network's and the baselines', by name."""

    @property
    def truth(self) -> npt.NDArray[Any]:
        """0-based class of each test patch."""
        return self.store.patches["label"][self.rows]

    @property
    def reliability(self) -> dict[str, Reliability]:
        """Of the probabilities as the network gave them, and as calibration left them."""
        before = uncalibrated(self.probabilities, self.meta.temperature)
        return {
            "before": Reliability.of(self.truth, before),
            "after": Reliability.of(self.truth, self.probabilities),
        }

    @property
    def trust(self) -> dict[str, float]:
        """How far the probabilities can be believed, and how much of the part is unlike training."""
        errors = {f"ece_{when}": one.error for when, one in self.reliability.items()}
        known = {"unlike_training": float(np.mean(self.dissimilarity > 1))}
        return (
            errors | {"temperature": self.meta.temperature} | (known if len(self.dissimilarity) else {})
        )

    @property
    def titles(self) -> list[str]:
        """What people call the classes."""
        return [info.title for info in self.meta.classes]


def run(
    conf: Path, model: Path, store: Path, split: Path, out: Path, compute: Path | None = None
) -> None:
    """Write the report of the test part to the folder `out` and add it to the model's run.

    Raises:
        LenscapeError: when an input is missing, or model, store and split do not belong together.
    """
    settings = load(conf, EvaluateConf)
    judged = judge(settings, model, store, split, load_compute(compute))
    _write(judged, settings, out)
    print(table(judged.scores))
    print(report.trust(judged.trust))
    print(report.caveat(judged.store.meta))
    if beside := published.beside(judged.store.meta, judged.split, judged.scores[NETWORK]):
        print(beside)
    _track(judged, settings, model)


def judge(conf: EvaluateConf, model: Path, store: Path, split: Path, compute: ComputeConf) -> Judged:
    """Run the model and fit and run the baselines on the test part.

    Raises:
        LenscapeError: when an input is missing, or model, store and split do not belong together.
    """
    classifier, patches = PatchClassifier.load(model), PatchStore.open(store)
    parted = SplitFolder.open(split, patches)
    places = classifier.require_matches(patches.meta, str(store))
    rows = parted.rows("test")
    if not len(rows):
        raise SplitError(f"the test part of {split} is empty; give `test` more blocks and split again.")
    _require_split(classifier.meta, parted)
    labels, count = patches.patches["label"], len(classifier.meta.classes)
    chunks = (chunk[:, places] for chunk in patches.chunks(rows))
    probabilities = batched_probabilities(classifier, chunks)
    scores = {NETWORK: Scores.of(labels[rows], probabilities.argmax(axis=1), count)}
    data = TrainingData.of_split(patches, parted, tuple(classifier.meta.bands))
    weights = classifier.meta.class_weights or (1.0,) * count
    for name, said in answers(conf.baselines, data, weights, rows, compute).items():
        scores[name] = Scores.of(labels[rows], said, count)
    unlike = _dissimilarity(classifier, patches, places, rows)
    return Judged(patches, parted, classifier.meta, places, rows, probabilities, unlike, scores)


def _dissimilarity(
    classifier: PatchClassifier, store: PatchStore, places: list[int], rows: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    if classifier.familiar is None:
        return np.empty(0)
    cell_px = classifier.meta.geometry.cell_px
    chunks = (chunk[:, places] for chunk in store.chunks(rows))
    return classifier.familiar.relative(patch_features(chunks, cell_px, classifier.fill_dn))


def _require_split(meta: ModelMeta, split: SplitFolder) -> None:
    """Refuse a model of another split, whose training patches may be test patches here."""
    if meta.hashes.split != split.sha256:
        raise MismatchError(
            f"the model was trained on the split {meta.hashes.split[:12]}, but {split.folder} is "
            f"{split.sha256[:12]}, so that its test patches may have trained the model; run `train` on "
            "this split or name the one that the model was trained on."
        )


def _write(judged: Judged, conf: EvaluateConf, out: Path) -> None:
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
    block_x, block_y = block_of(table["x"], table["y"], split.block_m)
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
            "block": [f"{e}:{x}:{y}" for e, x, y in zip(table["epsg"], block_x, block_y, strict=True)],
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


def _track(judged: Judged, conf: EvaluateConf, model: Path) -> None:
    network = judged.scores[NETWORK]
    with tracking.resume(model) as tracker:
        tracker.metrics({f"test/{name}": value for name, value in network.numbers.items()})
        tracker.metrics({f"test/{name}": value for name, value in judged.trust.items()})
        for info, mine in zip(judged.meta.classes, network.per_class, strict=True):
            tracker.metrics({f"test/recall/{info.name}": mine.recall, f"test/f1/{info.name}": mine.f1})
        for name in conf.baselines:
            figures_of = _baseline(judged, name)
            tracker.metrics({f"baseline/{name}/{key}": value for key, value in figures_of.items()})
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
