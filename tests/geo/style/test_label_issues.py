"""The list of suspicious labels as a GeoPackage: where they are, whence they come, how they look."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from pipeline.geo.style.colors import rgb
from pipeline.geo.style.label_issues import LAYER, write_label_issues
from pipeline.store import PatchStore
from tests.support.stores import join, make_store, make_table
from tests.support.viewers import open_layers_in_qgis

COLUMNS = (
    "rank", "label", "looks_like", "cells", "contradicting", "confidence", "score", "file", "feature",
    "scene",
)  # fmt: skip


def store_of(folder: Path, table: dict[str, np.ndarray], *labels: dict[str, object]) -> PatchStore:
    """A store of a table, whose labels come from files of so many features."""
    store = make_store(folder / "patches", table)
    meta = store.meta.model_copy(update={"counts": store.meta.counts | {"labels": list(labels)}})
    return PatchStore(store.folder, meta)


def written(path: Path, store: PatchStore, rank: np.ndarray) -> gpd.GeoDataFrame:
    """The layer of a list whose values say of which place they are."""
    count = rank.max(initial=-1) + 1
    at = np.arange(count)
    columns = {
        "label": at % 3,
        "looks_like": (at + 1) % 3,
        "cells": np.array([(rank == place).sum() for place in at], dtype=int),
        "contradicting": 1 - at / 10,
        "confidence": 0.9 - at / 10,
        "score": 3.0 - at,
    }
    write_label_issues(path, store, np.arange(len(store)), rank, columns)
    return gpd.read_file(path, layer=LAYER)


@pytest.fixture
def store(tmp_path: Path) -> PatchStore:
    """Four polygons of 2 x 2 cells in a row, and two cells without one."""
    table = make_table(2, 9, field=2)
    table["polygon"][table["polygon"] == 4] = -1
    return store_of(
        tmp_path,
        table,
        {"file": "a.gpkg", "features": 1, "single_parts": 2},
        {"file": "cover.tif", "pixels": 9},
        {"file": "b.gpkg", "features": 2},
    )


def rank_of(store: PatchStore, *polygons: int) -> np.ndarray:
    """The place of the label of each cell, where these polygons are the list."""
    rank = np.full(len(store), -1)
    for place, polygon in enumerate(polygons):
        rank[store.patches["polygon"] == polygon] = place
    return rank


def test_each_label_is_the_ground_of_its_cells(store, tmp_path):
    layer = written(tmp_path / "a.gpkg", store, rank_of(store, 2, 0))
    assert tuple(layer.columns[:-1]) == COLUMNS
    assert layer.crs.to_epsg() == 32633
    assert layer.geometry[0].equals(shapely.box(330_320, 5_819_840, 330_480, 5_820_000))
    assert layer.geometry[1].equals(shapely.box(330_000, 5_819_840, 330_160, 5_820_000))
    assert layer["rank"].tolist() == [1, 2]
    titles = [info.title for info in store.meta.classes]
    assert layer["label"].tolist() == titles[:2]
    assert layer["looks_like"].tolist() == titles[1:]
    assert layer["cells"].tolist() == [4, 4]
    assert layer["contradicting"].tolist() == [100, 90]
    assert layer["confidence"].tolist() == [90, 80]
    assert layer["score"].tolist() == [3, 2]
    assert layer["scene"].tolist() == ["s1", "s1"]
    assert set(layer.geometry.geom_type) == {"MultiPolygon"}


def test_a_label_is_found_in_its_file(store, tmp_path):
    rank = rank_of(store, 0, 1, 2, 3)
    rank[np.flatnonzero(store.patches["polygon"] < 0)] = [4, 5]  # cells of a raster
    layer = written(tmp_path / "a.gpkg", store, rank)
    # polygon 1 is the second part of a feature of the first file
    assert layer["file"].fillna("").tolist() == ["a.gpkg", "a.gpkg", "b.gpkg", "b.gpkg", "", ""]
    assert layer["feature"].fillna(0).tolist() == [1, 0, 1, 2, 0, 0]
    assert layer["cells"].tolist() == [4, 4, 4, 4, 1, 1]
    assert layer.geometry.area.tolist() == [25_600] * 4 + [6_400] * 2


def test_of_a_store_without_files_nothing_is_known(tmp_path):
    table = make_table(2, 2)
    table["polygon"][:] = -1
    table["scene"] = np.array(["i1", "i2", "i3", "i4"])
    images = store_of(tmp_path, table, {"file": "EuroSAT", "images": 4})
    layer = written(tmp_path / "a.gpkg", images, np.array([1, -1, 0, -1]))
    assert layer["scene"].tolist() == ["i3", "i1"]
    assert layer["file"].fillna("").tolist() == ["", ""]
    assert layer["feature"].isna().all()


def test_a_polygon_in_two_zones_is_one_label(tmp_path):
    east = make_table(2, 2, epsg=32634, scene="s2")
    store = store_of(tmp_path, join(make_table(2, 2), east), {"file": "a.gpkg", "features": 1})
    layer = written(tmp_path / "a.gpkg", store, np.zeros(8, dtype=int))
    assert layer.crs.to_epsg() == 4326
    assert layer["scene"].tolist() == ["s1, s2"]
    assert layer.geometry[0].bounds[2] - layer.geometry[0].bounds[0] > 5  # degrees
    assert layer.to_crs(32633).geometry.area[0] == pytest.approx(8 * 6400, rel=0.1)


def test_an_empty_list_is_an_empty_layer(store, tmp_path):
    layer = written(tmp_path / "a.gpkg", store, np.full(len(store), -1))
    assert len(layer) == 0
    assert tuple(layer.columns[:-1]) == COLUMNS


def test_the_same_list_gives_the_same_bytes(store, tmp_path):
    for name in ("a.gpkg", "b.gpkg"):
        written(tmp_path / name, store, rank_of(store, 3, 1))
    assert (tmp_path / "a.gpkg").read_bytes() == (tmp_path / "b.gpkg").read_bytes()


@pytest.mark.slow
def test_qgis_colours_and_names_what_a_label_looks_like(store, tmp_path):
    path = tmp_path / "list" / "label_issues.gpkg"
    written(path, store, rank_of(store, 2, 0))
    seen = open_layers_in_qgis([path], tmp_path)[str(path)]
    assert seen["crs"] == "EPSG:32633"
    assert seen["features"] == 2
    assert seen["column"] == "looks_like"
    assert seen["categories"] == [
        [info.title, f"looks like {info.title}", info.color] for info in store.meta.classes
    ]
    titles = [info.title for info in store.meta.classes]
    assert seen["texts"] == [f"1: {titles[1]}", f"2: {titles[2]}"]
    paper, *fills = (np.array(rgb(color)) for color in seen["colors"][:3])
    assert paper.tolist() == [255, 255, 255]
    for info in store.meta.classes[1:]:  # the fill lets a part of the ground through
        fill = 0.6 * np.array(rgb(info.color)) + 0.4 * paper
        assert min(np.abs(fill - one).max() for one in fills) < 3
    assert seen["files"] == seen["files_after"] == ["label_issues.gpkg"]
