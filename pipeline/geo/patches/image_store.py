"""The PatchStore of a collection of labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.bands import BANDS, select
from pipeline.config.compute import ComputeConf
from pipeline.config.tile import TileConf
from pipeline.errors import ConfigError
from pipeline.files import sha256_of
from pipeline.geo.images.collection import ImageSet, open_images
from pipeline.geo.labels.cell_classes import UNLABELLED
from pipeline.geo.patches.image_patches import classes_of, read_patches
from pipeline.geo.patches.positions import drawn, ground_ranks
from pipeline.geo.patches.store_writer import StoreContent, TileInputs
from pipeline.store import LISTS, ImagesInfo, SceneInfo


def image_content(inputs: TileInputs, folder: Path, compute: ComputeConf) -> StoreContent:
    """The images of the collection in a folder that become patches, as the conf wants them.

    Raises:
        ConfigError: when a key does not go with images.
        SceneError: when the collection is broken.
        LabelError: when an image shows what is no class.
    """
    images, tile = open_images(folder), inputs.tile
    _require_fit(tile, images, inputs.file)
    available = [name for name in BANDS if name in images.bands]
    bands = select(tile.bands, available, f"{inputs.file}: key 'bands'")
    label = classes_of(images, inputs.classes, str(inputs.classes_file))
    labelled = images.table.append_column("label", pa.array(label)).filter(label != UNLABELLED)
    x, y, epsg, label = (labelled[name].to_numpy() for name in ("x", "y", "epsg", "label"))
    order = np.argsort(ground_ranks(x, y, epsg, tile.seed), kind="stable")
    chosen = labelled.filter(drawn(order, (label, tile.max_per_class)))
    left_out = {"edge": 0, "unlabelled": len(images.table) - len(labelled), "impure": 0}
    return StoreContent(
        bands=bands,
        count=len(chosen),
        patches=read_patches(chosen, images, bands, tile, compute),
        left_out=left_out | {"drawn_out": len(labelled) - len(chosen)},
        labels=[{"file": images.id, "images": len(images.table)}],
        meta=partial(_meta, images, inputs.classes.credit),
        summary=f"{len(images.table):,} images of {images.id}, bands {', '.join(bands)}",
        unit="image",
        remedy=f"lower min_valid ({tile.min_valid:g}) in {inputs.file}, or give the images a class in "
        f"{inputs.classes_file}",
    )


def _meta(images: ImageSet, credit: str, folder: Path, kept: Mapping[str, int]) -> dict[str, Any]:
    """Fields of `StoreMeta`; `lists.parquet` is written to the folder of the store."""
    own_classes = len(kept) == len(images.table["class"].unique()) and all(kept.values())
    lists = _write_lists(folder, images)
    info = ImagesInfo(
        name=images.id,
        whole=images.whole and sum(kept.values()) == len(images.table) and own_classes,
        lists=lists,
        published_lists=images.published,
        lists_sha256=sha256_of(folder / LISTS) if lists else None,
    )
    scene = SceneInfo(
        id=images.id,
        epsg=None,
        datetime=images.datetime,
        platform=None,
        level=images.level,
        baseline=None,
        checksum=images.checksum,
    )
    fixed = {"min_purity": 1.0, "resampling": "as published"}
    return {**fixed, "scenes": [scene], "credit": credit, "images": info}


def _require_fit(tile: TileConf, images: ImageSet, conf: Path) -> None:
    if tile.labels:
        raise ConfigError(
            f"{conf}: key 'labels' names {tile.labels[0].file}, but the images of {images.id} carry "
            "their class; write `labels: []`."
        )
    if tile.patch_px > images.side_px or (images.side_px - tile.patch_px) % 2:
        raise ConfigError(
            f"{conf}: key 'patch_px' is {tile.patch_px}, but a patch is the centre of an image of "
            f"{images.side_px} pixels; make it {images.side_px}, or less by an even number."
        )


def _write_lists(folder: Path, images: ImageSet) -> list[str]:
    """The part of each patch in each list of the collection, in their order; the names of the lists."""
    names: list[str] = images.parts.column_names
    if names:
        kept = pq.read_table(folder / "patches.parquet", columns=["scene"])["scene"]
        rows = pc.index_in(kept, images.table["scene"])
        pq.write_table(images.parts.take(rows), folder / LISTS, compression="zstd")
    return names
