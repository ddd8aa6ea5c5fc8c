"""The GeoPackage of labels that are probably wrong, for people who correct them in QGIS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import shapely

from pipeline.geo.style.geopackage import categorized_qml, squares, write_layer
from pipeline.store import PatchStore
from pipeline.store_meta import StoreMeta

LAYER = "label_issues"
_TEXT = '"rank" || \': \' || "looks_like"'
"""What QGIS writes on each, as one of its expressions."""

Rows = npt.NDArray[np.intp]


def write_label_issues(
    path: Path, store: PatchStore, rows: Rows, rank: Rows, columns: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write M labels, each with the ground of its cells, coloured by the class that they look like.

    The ground of a label are the cells that it gives their class, not its own outline: a store keeps
    no outlines. `file` and `feature`, its row there from 1, tell where it comes from; `feature` is
    empty for the second and further parts of a feature, both are for a raster and a collection of
    images, whose cells are labels of their own. `scene` names the scenes of the cells, or the image.

    Args:
        path: The GeoPackage.
        store: The store of the cells.
        rows: The cells, as rows of the store, (N,).
        rank: The place of the label of each cell in the list, from 0, (N,); -1 where it is not in it.
        columns: A value for each label, (M,): `label` and `looks_like`, 0-based classes, `cells`,
            and `contradicting` and `confidence`, shares from 0 to 1, and `score`.

    Raises:
        OutputError: when the disk is full or the place cannot be written.
    """
    listed = np.flatnonzero(rank >= 0)
    listed = listed[np.argsort(rank[listed], kind="stable")]
    table = {name: store.patches[name][rows[listed]] for name in ("x", "y", "epsg", "scene", "polygon")}
    first = np.searchsorted(rank[listed], np.arange(len(columns["label"])))
    titles = np.array([info.title for info in store.meta.classes])
    frame = gpd.GeoDataFrame(
        {
            "rank": np.arange(1, len(first) + 1, dtype=np.int32),
            "label": titles[columns["label"]],
            "looks_like": titles[columns["looks_like"]],
            "cells": columns["cells"].astype(np.int32),
            "contradicting": _per_cent(columns["contradicting"]),
            "confidence": _per_cent(columns["confidence"]),
            "score": columns["score"].round(2),
            **_sources(store.meta, table["polygon"][first]),
            "scene": [", ".join(np.unique(names)) for names in _by_label(table["scene"], first)],
        },
        geometry=_ground(table, first, store.meta.geometry.cell_m),
    )
    legend = [(info.title, f"looks like {info.title}", info.color) for info in store.meta.classes]
    write_layer(path, LAYER, frame, categorized_qml("looks_like", legend, text=_TEXT))


def _by_label(values: npt.NDArray[Any], first: Rows) -> list[npt.NDArray[Any]]:
    """The values of the cells of each label, from the place of its first cell."""
    return np.split(values, first)[1:]


def _ground(table: Mapping[str, npt.NDArray[Any]], first: Rows, cell_m: float) -> gpd.GeoSeries:
    """The cells of each label joined, all as multipolygons: a layer of one type of geometry."""
    cells = squares(table["x"], table["y"], table["epsg"], cell_m)
    joined = (shapely.union_all(of_label) for of_label in _by_label(cells.to_numpy(), first))
    return gpd.GeoSeries(
        [shapely.multipolygons(shapely.get_parts(one)) for one in joined], crs=cells.crs
    )


def _sources(meta: StoreMeta, numbers: npt.NDArray[np.integer]) -> dict[str, Any]:
    """The file of each label, and its row there from 1, by the numbers that `tile` gives to features.

    Files are numbered on behind each other, and in each the further parts of features behind its rows.
    """
    files = [source for source in meta.counts.get("labels", []) if "features" in source]
    rows = [source["features"] for source in files]
    parts = [source.get("single_parts", source["features"]) for source in files]
    # what stands before the first one is of no file
    start = np.cumsum([-1, 1, *parts])[:-1]
    of_file = np.searchsorted(start[1:], numbers, side="right")
    row = numbers - start[of_file]
    feature = gpd.pd.array(row + 1, dtype="Int32")
    feature[row >= np.array([0, *rows])[of_file]] = gpd.pd.NA
    return {"file": np.array(["", *(source["file"] for source in files)])[of_file], "feature": feature}


def _per_cent(share: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    return np.rint(100 * share).astype(np.int32)
