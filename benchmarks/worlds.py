"""Whether the figures of a cross-validation hold on ground that nobody labelled.

    python -m benchmarks.worlds [--worlds 100]

A world is 24 x 24 blocks of 6 x 6 cells. Classes are where a smooth Gaussian field lies between levels;
the reflectance of a cell is that of its class, shifted by smooth fields (soil, moisture, haze) and by
noise, so that errors of neighbours are alike. Forty blocks drawn at random are labelled: folds are
trained and calibrated on them by `train_networks` and `finish`. The final network then predicts all
other blocks, and what it reaches there is compared with the interval and the calibration error that the
folds report.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.stats import norm

from benchmarks.coverage import smooth_field
from benchmarks.folds import Folds
from pipeline.config.compute import ComputeConf
from pipeline.config.split import SplitConf
from pipeline.config.train import ConvolutionConf, DenseConf, NetworkConf, TrainConf
from pipeline.files import sha256_of, write_json
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.inference.predictor import batched_probabilities
from pipeline.learn.stats.accuracy import Scores
from pipeline.learn.stats.calibration import Calibration, Reliability, calibrate, cross_calibrated
from pipeline.learn.stats.intervals import Hits, Interval, accuracy, balanced_accuracy
from pipeline.learn.training.fit import finish, train_networks
from pipeline.store import PatchStore
from pipeline.store_meta import ClassInfo, Geometry, StoreMeta

CELLS, BLOCKS, CLASSES, LABELLED = 6, 24, 3, 40
BANDS = ("B02", "B03", "B04", "B08")
PATCH_PX = 4
BLOCK_M = CELLS * PATCH_PX * 10.0
DRAWS = 1000
NETWORK = NetworkConf(convolutions=[ConvolutionConf(filters=8)], dense=[DenseConf(units=16)])
CONF = TrainConf(network=NETWORK, epochs=8, batch_size=64, lr=0.01, ema=0.9)


class Outcome(NamedTuple):
    """Of one world."""

    accuracy: Interval
    """As the folds report it."""
    balanced: Interval
    true_accuracy: float
    """Of the final network on all ground without labels."""
    true_balanced: float
    ece: float
    """As the folds report it, each calibrated by the others."""
    true_ece: float


def write_world(folder: Path, seed: int) -> tuple[PatchStore, npt.NDArray[np.intp]]:
    """The store of all cells, and the block of each, numbered by rows."""
    random, side = np.random.default_rng(seed), CELLS * BLOCKS
    length = CELLS / 2
    levels = norm.ppf(np.arange(1, CLASSES) / CLASSES)
    label = np.digitize(smooth_field(random, side, 2 * length), levels)
    spectra = random.uniform(600, 1600, (len(BANDS), CLASSES))
    shift = np.stack([smooth_field(random, side, length) for _ in BANDS])
    cells = spectra[:, label] + 600 * shift
    cells = cells.transpose(1, 2, 0).reshape(-1, len(BANDS), 1, 1)
    pixels = cells + random.normal(0, 150, (side**2, len(BANDS), PATCH_PX, PATCH_PX))
    np.save(folder / "pixels.npy", np.clip(np.rint(pixels), 1, 10_000).astype(np.uint16))
    row, col = (index.ravel() for index in np.indices((side, side)))
    step_m = PATCH_PX * 10.0
    ones = np.ones(side**2, dtype=np.float32)
    pq.write_table(
        pa.table(
            {
                "scene": ["world"] * side**2, "epsg": np.full(side**2, 32633, dtype=np.int32),
                "x": step_m * (col + 0.5), "y": step_m * (row + 0.5),
                "label": label.ravel().astype(np.int16), "purity": ones, "valid": ones,
                "on_grid": ones.astype(bool), "polygon": np.zeros(side**2, dtype=np.int32),
            }
        ),
        folder / "patches.parquet",
    )  # fmt: skip
    meta = StoreMeta(
        bands=list(BANDS),
        geometry=Geometry(patch_px=PATCH_PX, cell_px=PATCH_PX, min_valid=1.0),
        stride_px=PATCH_PX,
        min_purity=1.0,
        classes=[ClassInfo(name=f"c{k}", title=f"c{k}", color="#808080") for k in range(CLASSES)],
        scenes=[],
        credit="none: made of numbers",
        counts={"kept": {}, "kept_on_grid": {}, "left_out": {}, "positions": side**2},
        patches_sha256=sha256_of(folder / "patches.parquet"),
    )
    write_json(folder / "meta.json", meta.model_dump(mode="json"))
    return PatchStore.open(folder), row // CELLS * BLOCKS + col // CELLS


def trial(seed: int) -> Outcome:
    """Train and calibrate on the labelled blocks of a world and look at all others."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as name:
        store, block = write_world(Path(name), seed)
        drawn = np.random.default_rng((seed, 1)).choice(BLOCKS**2, LABELLED, replace=False)
        labelled = np.isin(block, drawn)
        return _outcome(
            store, np.flatnonzero(labelled), np.flatnonzero(~labelled), block, seed, Path(name)
        )


def _outcome(
    store: PatchStore,
    rows: npt.NDArray[np.intp],
    others: npt.NDArray[np.intp],
    block: npt.NDArray[np.intp],
    seed: int,
    folder: Path,
) -> Outcome:
    label = store.patches["label"].astype(np.intp)
    patches = {name: values[rows] for name, values in store.patches.items()}
    conf = SplitConf(seed=seed, block_m=BLOCK_M)
    folds = Folds.of_patches(patches, conf, PATCH_PX * 10.0, store.meta.classes).within(
        rows, len(store)
    )
    bands = tuple(store.meta.bands)
    data = TrainingData(store, rows, rows[:0], None, bands, block_m=BLOCK_M, validation_chooses=False)
    machine = ComputeConf(accelerator="cpu", devices=1, workers=1, loaders=0)
    networks = folds.data(store, bands, BLOCK_M)
    train_networks(data, networks, CONF, machine, folder / "networks")
    result = finish(data, networks, folder / "networks")
    held_out = result.held_out
    assert held_out is not None
    truth, predicted = label[held_out.rows], held_out.logits.argmax(axis=1)
    hits = Hits.of(truth, predicted, block[held_out.rows], CLASSES)
    calibrated = cross_calibrated(truth, held_out.logits, held_out.fold, calibrate)
    probabilities = batched_probabilities(result.classifier, store.chunks(others))
    final = Scores.of(label[others], probabilities.argmax(axis=1), CLASSES)
    return Outcome(
        accuracy(hits, DRAWS),
        balanced_accuracy(hits, DRAWS),
        final.accuracy,
        final.balanced_accuracy,
        Reliability.of(truth, Calibration().probabilities(calibrated)).error,
        Reliability.of(label[others], probabilities).error,
    )


def main() -> None:
    """Print how often the intervals hold, and the calibration errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=100)
    worlds = parser.parse_args().worlds
    with ProcessPoolExecutor() as pool:
        outcomes = list(pool.map(partial(trial), range(worlds)))
    for name, pairs in {
        "accuracy": [(one.accuracy, one.true_accuracy) for one in outcomes],
        "balanced accuracy": [(one.balanced, one.true_balanced) for one in outcomes],
    }.items():
        holds = np.mean([interval.low <= true <= interval.high for interval, true in pairs])
        reported = np.mean([interval.value for interval, _ in pairs])
        width = np.mean([interval.high - interval.low for interval, _ in pairs])
        true = np.mean([true for _, true in pairs])
        print(
            f"{name}: reported {reported:.3f}, on ground without labels {true:.3f}; the interval, "
            f"{width:.3f} wide, holds it in {holds:.0%} of {worlds} worlds"
        )
    errors = {key: np.mean([getattr(one, key) for one in outcomes]) for key in ("ece", "true_ece")}
    print(
        f"expected calibration error: reported {errors['ece']:.3f}, on ground without labels "
        f"{errors['true_ece']:.3f}"
    )


if __name__ == "__main__":
    main()
