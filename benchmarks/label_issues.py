"""How many of the labels that were made wrong on purpose stand first in the list of suspicious labels.

    python -m benchmarks.label_issues [--store data/patches] [--seeds 8] [--share 0.05] [--network]

Of the polygons and points that label cells of the cell grid, a share gets another class, drawn at
random. Nobody knows which of the others are wrong as well, so that precision is a lower bound, to be
read beside the base rate, that of a list in random order. Held-out predictions are those of a logistic
regression on band statistics, which takes seconds, or with `--network` those of the network of
conf/train.yaml; both on five spatial folds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.folds import Folds, held_out_predictions
from pipeline.bands import select
from pipeline.config.compute import ComputeConf
from pipeline.config.reading import load
from pipeline.config.split import SplitConf
from pipeline.config.train import TrainConf
from pipeline.files import canonical_json, sha256_of
from pipeline.learn.data.training_data import Fold
from pipeline.learn.evaluation.baselines import band_statistics, logistic_regression
from pipeline.learn.stats.calibration import Calibration, calibrate, cross_calibrated
from pipeline.learn.stats.label_issues import label_issues
from pipeline.store import PatchStore

FIRST = (10, 30, 50)
"""Lengths of the list."""

Rows = npt.NDArray[np.intp]
type HeldOut = Callable[[PatchStore], tuple[Rows, npt.NDArray[np.float32]]]
"""From a store to cells, as its rows, and held-out probabilities (N, K) of their classes."""


@dataclass(frozen=True)
class Trial:
    """What came of one drawing."""

    flipped: int
    """Labels that were given another class."""
    labels: int
    """All that label cells of the cell grid."""
    listed: int
    """Labels in the list."""
    found: tuple[int, ...]
    """Flipped ones among the first of the list, for each of `FIRST`."""


def flip(store: PatchStore, share: float, seed: int, folder: Path) -> tuple[PatchStore, Rows]:
    """A copy of a store in a new folder in which some labels have another class; their numbers."""
    random = np.random.default_rng(seed)
    patches, classes = store.patches, len(store.meta.classes)
    known = np.unique(patches["polygon"][patches["on_grid"] & (patches["polygon"] >= 0)])
    chosen = random.choice(known, round(share * len(known)), replace=False)
    step = np.zeros(int(known.max()) + 1, dtype=np.int16)
    step[chosen] = random.integers(1, classes, len(chosen))
    hit = np.isin(patches["polygon"], chosen)
    label = patches["label"].copy()
    label[hit] = (label[hit] + step[patches["polygon"][hit]]) % classes
    folder.mkdir(parents=True)
    table = pq.read_table(store.folder / "patches.parquet")
    at = table.schema.get_field_index("label")
    pq.write_table(table.set_column(at, "label", pa.array(label)), folder / "patches.parquet")
    (folder / "pixels.npy").symlink_to((store.folder / "pixels.npy").resolve())
    meta = store.meta.model_copy(update={"patches_sha256": sha256_of(folder / "patches.parquet")})
    (folder / "meta.json").write_text(canonical_json(meta.model_dump(mode="json")))
    return PatchStore.open(folder), chosen.astype(np.intp)


def by_logistic_regression(store: PatchStore) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Held-out predictions of the baseline, each cell by a fit that saw no pixel of its block."""
    features = band_statistics(store.chunks(np.arange(len(store))), range(len(store.meta.bands)))
    probabilities = np.zeros((len(store), len(store.meta.classes)), dtype=np.float32)
    for fold in _folds(store, tuple(store.meta.bands)):
        train, weights = fold.data.train, fold.data.class_weights(0.5)
        model = logistic_regression(features[train], store.patches["label"][train], weights)
        probabilities[fold.tested] = model.predict_proba(features[fold.tested])
    rows = np.flatnonzero(store.patches["on_grid"])
    return rows, probabilities[rows]


def by_network(store: PatchStore) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Held-out predictions as `train` and `evaluate` make them."""
    conf = load(Path("conf/train.yaml"), TrainConf)
    bands = select(conf.bands, store.meta.bands, "conf/train.yaml: key 'bands'")
    held_out = held_out_predictions(store, _folds(store, bands), conf, ComputeConf(devices=1))
    truth = store.patches["label"][held_out.rows]
    calibrated = cross_calibrated(truth, held_out.logits, held_out.fold, calibrate)
    return held_out.rows, Calibration().probabilities(calibrated)


def _folds(store: PatchStore, bands: tuple[str, ...]) -> list[Fold]:
    conf = SplitConf()
    return Folds.by_blocks(store, conf, conf.seed).data(store, bands, conf.block_m)


def trial(
    store: PatchStore, seed: int, share: float = 0.05, held_out: HeldOut = by_logistic_regression
) -> Trial:
    """Flip a share of the labels of a store, predict, and look for them in the list."""
    with TemporaryDirectory() as folder:
        changed, chosen = flip(store, share, seed, Path(folder) / "patches")
        rows, probabilities = held_out(changed)
        numbers = changed.patches["polygon"][rows]
        issues = label_issues(changed.patches["label"][rows], probabilities, numbers)
    wrong = np.isin(numbers[issues.example], chosen)
    found = tuple(int(wrong[:count].sum()) for count in FIRST)
    return Trial(len(chosen), len(np.unique(numbers[numbers >= 0])), len(issues), found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", type=Path, default=Path("data/patches"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--network", action="store_true", help="Train it; minutes a seed.")
    args = parser.parse_args()
    held_out = by_network if args.network else by_logistic_regression
    store, trials = PatchStore.open(args.store), []
    print("seed   flipped  listed" + "".join(f"{f'first {count}':>10}" for count in FIRST))
    for seed in range(args.seeds):
        trials.append(trial(store, seed, args.share, held_out))
        one = trials[-1]
        print(f"{seed:<7}{one.flipped:>7}{one.listed:>8}" + "".join(f"{n:>10}" for n in one.found))
    means = np.mean([one.found for one in trials], axis=0) / FIRST
    print("precision, mean       " + "".join(f"{mean:>10.2f}" for mean in means))
    print(f"base rate {np.mean([one.flipped / one.labels for one in trials]):.3f}")


if __name__ == "__main__":
    main()
