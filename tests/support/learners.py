"""Training data and model metadata made of numbers, for tests of what learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.config.train import ConvolutionConf, NetworkConf, resolve
from pipeline.learn.data.training_data import Fold, TrainingData, folds_of
from pipeline.learn.network.classifier import Hashes, ModelMeta
from pipeline.store import PatchStore
from pipeline.store_meta import ClassInfo, Geometry, SceneInfo, Statistics
from tests.support.stores import make_folds, make_split, make_store

BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
SMALL = NetworkConf(convolutions=[ConvolutionConf(filters=4)])
"""Layers of a network that no test looks into."""


def training_data(folder: Path, bands: int = 3, patch_px: int = 8, **store: Any) -> TrainingData:
    """Training and validation part of a small store in `folder`, which anybody can learn."""
    made = _store(folder, bands, patch_px, **store)
    return TrainingData.of_split(made, make_split(folder / "split", made), tuple(BANDS[:bands]))


def folded_data(
    folder: Path, folds: int = 3, bands: int = 3, patch_px: int = 8, **store: Any
) -> tuple[TrainingData, list[Fold]]:
    """All patches of a small store in `folder`, and the folds of its split."""
    made = _store(folder, bands, patch_px, **store)
    split, names = make_folds(folder / "split", made, folds), tuple(BANDS[:bands])
    return TrainingData.of_split(made, split, names), folds_of(made, split, names)


def _store(folder: Path, bands: int, patch_px: int, **store: Any) -> PatchStore:
    shape: dict[str, Any] = {"bands": BANDS[:bands], "patch_px": patch_px, "cell_px": 4, "nodata": 0.02}
    return make_store(folder / "store", **shape | store)


def model_meta(
    network: str | NetworkConf = "modern",
    bands: int = 3,
    patch_px: int = 16,
    cell_px: int = 8,
    classes: int = 4,
) -> ModelMeta:
    """Metadata of a model that nothing was trained for."""
    preset, layout = resolve(network)
    return ModelMeta(
        preset=preset,
        network=layout,
        bands=BANDS[:bands],
        geometry=Geometry(patch_px=patch_px, cell_px=cell_px, min_valid=0.75),
        resampling="nearest",
        classes=[
            ClassInfo(name=f"c{i}", title=f"C {i}", color=f"#0000{i:02x}") for i in range(classes)
        ],
        credit="(c) nobody",
        statistics=Statistics(
            mean=[900.25 + 100 * band for band in range(bands)],
            std=[300.0 + 10 * band for band in range(bands)],
        ),
        class_weights=[1.0] * classes,
        scenes=[
            SceneInfo(
                id="s1",
                epsg=32633,
                datetime="2017-02-16T10:21:01Z",
                platform=None,
                level="L1C",
                baseline=None,
                checksum="0" * 64,
            )
        ],
        hashes=Hashes(store="1" * 64, split="2" * 64, conf="3" * 64),
    )
