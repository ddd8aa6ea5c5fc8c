"""Makers of small stores and splits, for tests that need patches but no scene and no stage.

    store = make_store(tmp_path / "patches", classes=4, bands=("B04", "B08"))
    split = make_split(tmp_path / "split", store)  # or make_folds

Each class has its own spectrum, so that a network or a regression learns it in seconds; with
`shuffled=True` labels say nothing about pixels, and nobody may beat chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from pipeline.files import canonical_json, sha256_of
from pipeline.split_folder import Split, SplitFolder
from pipeline.store import PATCH_COLUMNS, PatchStore
from pipeline.store_meta import ClassInfo, Geometry, SceneInfo, StoreMeta

PIXEL_M = 10.0
BANDS = ("B02", "B03", "B04", "B08")
COLORS = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#666666")
DTYPES = {
    "scene": "str",
    "epsg": "int32",
    "x": "float64",
    "y": "float64",
    "label": "int16",
    "purity": "float32",
    "valid": "float32",
    "on_grid": "bool",
    "polygon": "int32",
}


def make_table(
    rows: int,
    cols: int,
    classes: int = 3,
    *,
    epsg: int = 32633,
    origin: tuple[float, float] = (330_000.0, 5_820_000.0),
    scene: str = "s1",
    cell_px: int = 8,
    stride_px: int | None = None,
    field: int = 4,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """The table of a scene of rows x cols positions from the top left corner `origin`, row-major.

    Labels come in square fields of `field` cells, each a polygon of its own; classes take turns in
    a random order. With `stride_px` positions lie closer and those between the cells are off grid.
    """
    stride_px = cell_px if stride_px is None else stride_px
    step = cell_px // stride_px
    row, col = (index.ravel() for index in np.mgrid[:rows, :cols])
    tall, wide = -(-rows // (step * field)), -(-cols // (step * field))
    of_field = np.random.default_rng(seed).permutation(np.arange(tall * wide) % classes)
    at = row // (step * field) * wide + col // (step * field)
    stride_m, cell_m = stride_px * PIXEL_M, cell_px * PIXEL_M
    columns = {
        "scene": np.full(row.size, scene),
        "epsg": np.full(row.size, epsg),
        "x": origin[0] + cell_m / 2 + col * stride_m,
        "y": origin[1] - cell_m / 2 - row * stride_m,
        "label": of_field[at],
        "purity": np.ones(row.size),
        "valid": np.ones(row.size),
        "on_grid": (row % step == 0) & (col % step == 0),
        "polygon": at,
    }
    return {name: np.asarray(columns[name]).astype(kind) for name, kind in DTYPES.items()}


def join(*tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows of several tables, one after the other: several scenes."""
    return {name: np.concatenate([table[name] for table in tables]) for name in DTYPES}


def make_store(
    folder: Path,
    table: dict[str, np.ndarray] | None = None,
    *,
    count: int = 400,
    classes: int = 3,
    bands: Sequence[str] = BANDS,
    patch_px: int = 16,
    cell_px: int = 8,
    shuffled: bool = False,
    odd: float = 0.0,
    nodata: float = 0.0,
    seed: int = 0,
) -> PatchStore:
    """Write a store whose metadata and hashes are right, and open it.

    Without a `table`, `count` patches of `classes` classes lie in a square of cells. `nodata` is the
    share of pixels without a value. `shuffled` gives every patch the pixels of a random class, `odd` a
    share of them.
    """
    if table is None:
        side = int(np.ceil(np.sqrt(count)))
        table = make_table(side, side, classes, cell_px=cell_px, seed=seed)
        table = {name: values[:count] for name, values in table.items()}
    random = np.random.default_rng(seed)
    labels = table["label"]
    seen = random.permutation(labels) if shuffled or odd else labels
    if odd:
        seen = np.where(random.random(len(labels)) < odd, seen, labels)
    pixels = _pixels(random, seen, classes, (len(bands), patch_px, patch_px))
    pixels[random.random(pixels.shape) < nodata] = 0
    folder.mkdir(parents=True)
    np.save(folder / "pixels.npy", pixels)
    write_table(folder / "patches.parquet", table, cell_px)
    hashed = sha256_of(folder / "pixels.npy")
    meta = StoreMeta(
        bands=list(bands),
        geometry=Geometry(patch_px=patch_px, cell_px=cell_px, min_valid=0.75),
        stride_px=cell_px if table["on_grid"].all() else cell_px // 2,
        min_purity=0.6,
        classes=[_class(index) for index in range(classes)],
        scenes=[_scene(table, name, hashed) for name in dict.fromkeys(table["scene"].tolist())],
        credit="Labels made up for tests",
        counts=_counts(table, classes),
        patches_sha256=sha256_of(folder / "patches.parquet"),
    )
    (folder / "meta.json").write_text(canonical_json(meta.model_dump(mode="json")))
    return PatchStore.open(folder)


def make_split(folder: Path, store: PatchStore, parts: Sequence[str] | None = None) -> SplitFolder:
    """Write a split of a store and open it; without `parts`, rows take turns, three in five train.

    The turns leak ground on purpose: this is for tests of learning, not of splitting.
    """
    if parts is None:
        turns = ("train", "train", "train", "validation", "test")
        parts = [turns[row % 5] for row in range(len(store))]
    return _write_split(folder, store, {"part": list(parts)}, None)


def make_folds(folder: Path, store: PatchStore, count: int = 3) -> SplitFolder:
    """Write a split of a store into folds and open it; rows take turns.

    As in a split by blocks, one patch in ten is off the cell grid and only trains, and one in ten that
    would train is excluded by the buffer. The turns leak ground on purpose.
    """
    rows = np.arange(len(store))
    columns = {"part": ["train"] * len(store)}
    for fold in range(count):
        tested = rows % count == fold
        parts = np.where(tested, np.where(rows % 10 == 9, "unused", "test"), "train")
        parts[~tested & (rows % 10 == 2)] = "unused"
        columns[f"fold_{fold + 1}"] = parts.tolist()
    return _write_split(folder, store, columns, count)


def _write_split(
    folder: Path, store: PatchStore, columns: dict[str, list[str]], folds: int | None
) -> SplitFolder:
    parts = columns["part"]
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "parts.parquet")
    rows = np.flatnonzero(np.asarray(parts) == "train")
    counts = np.bincount(store.patches["label"][rows], minlength=len(store.meta.classes))
    split = Split(
        seed=0,
        block_m=1920.0,
        folds=folds,
        statistics=store.statistics(rows),
        class_counts=counts.tolist(),
        store_sha256=store.sha256,
        parts_sha256=sha256_of(folder / "parts.parquet"),
    )
    (folder / "split.json").write_text(canonical_json(split.model_dump(mode="json")))
    return SplitFolder.open(folder, store)


def write_table(path: Path, table: dict[str, np.ndarray], cell_px: int = 8) -> None:
    """Write a table as GeoParquet, with the outlines of the cells in OGC:CRS84."""
    half = cell_px * PIXEL_M / 2
    x, y = table["x"], table["y"]
    boxes = shapely.box(x - half, y - half, x + half, y + half)
    for epsg in np.unique(table["epsg"]):
        here = table["epsg"] == epsg
        boxes[here] = gpd.GeoSeries(boxes[here], crs=int(epsg)).to_crs("OGC:CRS84").to_numpy()
    frame = gpd.GeoDataFrame(table, geometry=boxes, crs="OGC:CRS84")
    frame[list(PATCH_COLUMNS)].to_parquet(path, index=False)


def _pixels(
    random: np.random.Generator, labels: np.ndarray, classes: int, shape: tuple[int, int, int]
) -> np.ndarray:
    """Harmonised DN: a spectrum a class, at least 8 standard deviations apart in some band."""
    levels = np.linspace(600, 4600, classes)
    spectra = np.stack([random.permutation(levels) for _ in range(shape[0])])  # (C, K)
    noise = random.normal(0, min(100.0, 4000 / classes / 8), (len(labels), *shape))
    return np.rint(spectra.T[labels][:, :, None, None] + noise).clip(1, 65534).astype(np.uint16)


def _class(index: int) -> ClassInfo:
    return ClassInfo(
        name=f"class{index + 1}", title=f"Class {index + 1}", color=COLORS[index % len(COLORS)]
    )


def _scene(table: dict[str, np.ndarray], name: str, hashed: str) -> SceneInfo:
    return SceneInfo(
        id=name,
        epsg=int(table["epsg"][table["scene"] == name][0]),
        datetime="2017-02-16T10:21:01Z",
        platform="sentinel-2a",
        level="L1C",
        baseline=None,
        checksum=hashed,
    )


def _counts(table: dict[str, np.ndarray], classes: int) -> dict[str, Any]:
    names = [_class(index).name for index in range(classes)]

    def per_class(labels: np.ndarray) -> dict[str, int]:
        return dict(zip(names, np.bincount(labels, minlength=classes).tolist(), strict=True))

    reasons = ("invalid", "unlabelled", "impure", "edge", "drawn_out")
    return {
        "kept": per_class(table["label"]),
        "kept_on_grid": per_class(table["label"][table["on_grid"]]),
        "left_out": dict.fromkeys(reasons, 0),
        "positions": len(table["label"]),
    }
