"""Active samples of small maps made by hand, and their labels on the way back into `tile`."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.commands import accuracy, sample
from pipeline.config.classes import ClassesConf
from pipeline.config.labels import VectorLabelConf
from pipeline.config.tile import TileConf
from pipeline.errors import LabelError, SceneError
from pipeline.geo.labels.sources import LabelTally, read_sources
from pipeline.geo.patches.positions import labelled_positions
from pipeline.geo.raster.grid import PatchGrid, PixelGrid
from pipeline.geo.reference import active
from pipeline.geo.reference.form import key_path
from pipeline.geo.reference.sample import MapFrame
from tests.geo.reference.test_form import CELLS, make_map
from tests.support.labelled import bare_scene, make_labels, px_box
from tests.support.worlds import write_raster

SHAPE = (20, 20)


def make_maps(folder: Path, confidence: np.ndarray, dissimilarity: np.ndarray | None = None) -> Path:
    """A class map of two classes, nodata where the confidence is, with the rasters beside it."""
    classes = np.where(confidence == 255, 0, 1 + np.arange(400).reshape(SHAPE) % 2)
    layers = {"confidence": confidence, "dissimilarity": dissimilarity}
    for name, layer in layers.items():
        if layer is not None:
            write_raster(folder / f"s_{name}.tif", layer.astype(np.uint8), CELLS, nodata=255)
    return make_map(folder, classes)


def noise(seed: int, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, SHAPE)


def drawn(class_map: Path, count: int, seed: int = 0) -> np.ndarray:
    """Row and column of each cell, (n, 2)."""
    cells = active.draw_active(MapFrame.open(class_map), count, seed).cells
    col, row = ~CELLS.transform @ (cells["x"], cells["y"])
    assert np.allclose(row % 1, 0.5), "centres of cells"
    return np.column_stack([row, col]).astype(int)


def test_of_each_square_the_cell_of_low_confidence_and_high_dissimilarity_is_chosen(
    tmp_path: Path,
) -> None:
    confidence, dissimilarity = noise(0, 60, 90), noise(1, 20, 80)
    # side 9 for 4 of 18 x 18 cells: squares begin at 0, 9 and 18
    lowest, farthest = [(4, 5), (12, 3)], [(2, 14), (15, 16)]
    for row, col in lowest:
        confidence[row, col], dissimilarity[row, col] = 10, 79
    for row, col in farthest:
        confidence[row, col], dissimilarity[row, col] = 60, 200
    chosen = drawn(make_maps(tmp_path, confidence, dissimilarity), 4)
    assert sorted(map(tuple, chosen.tolist())) == sorted(lowest + farthest)


def test_the_cells_are_spread_over_the_map_though_all_the_unsure_ones_lie_together(
    tmp_path: Path,
) -> None:
    confidence = noise(0, 80, 100)
    confidence[:6, :6] = 1
    chosen = drawn(make_maps(tmp_path, confidence), 9)
    assert len(chosen) == 9
    assert len({(row // 6, col // 6) for row, col in chosen.tolist()}) == 9


def test_neither_nodata_nor_the_edge_is_chosen_and_a_small_map_gives_all_its_cells(
    tmp_path: Path,
) -> None:
    confidence = noise(0, 40, 90)
    confidence[:, 6:] = 255
    confidence[[0, -1]] = confidence[:, 0] = 0  # the least sure, where `tile` would take no patch
    class_map = make_maps(tmp_path, confidence)
    assert len(drawn(class_map, 10)) == 10
    every = drawn(class_map, 1000)
    assert sorted(map(tuple, every.tolist())) == [
        (row, col) for row in range(1, 19) for col in range(1, 6)
    ]
    (tmp_path / "empty").mkdir()
    first_row = make_maps(tmp_path / "empty", np.where(np.arange(400).reshape(SHAPE) < 20, 50, 255))
    with pytest.raises(SceneError, match="has no pixel with data and a whole patch around it"):
        drawn(first_row, 10)


def test_of_a_finer_map_whole_cells_are_labelled_each_once(tmp_path: Path) -> None:
    # in the phase of pixels that begin 3 m off the grid
    grid = PixelGrid(32633, 300_023.0, 5_800_043.0, height=80, width=80, pixel_m=20.0)
    confidence = np.random.default_rng(0).integers(40, 90, (80, 80)).astype(np.uint8)
    confidence[30:34, 41:45] = 5  # some of one cell, some of its neighbours
    write_raster(tmp_path / "s_confidence.tif", confidence, grid, nodata=255)
    class_map = make_map(tmp_path, np.ones((80, 80)), grid)
    form = tmp_path / "next.gpkg"
    sample.run_active(class_map, form, 1000, 0)
    bounds = gpd.read_file(form, layer="sheet").bounds.to_numpy()
    assert (bounds[:, 2:] - bounds[:, :2] == 80).all()
    assert ((bounds - 3) % 80 == 0).all(), "cells of the grid"
    assert len(np.unique(bounds, axis=0)) == len(bounds) > 200
    left, bottom, right, top = grid.bounds
    inside = (bounds - [left, bottom, right, top]) * [1, 1, -1, -1]
    assert 40 <= inside.min() < 120, "the patch of each lies in the map, and no cell is left out"
    few = active.draw_active(MapFrame.open(class_map), 4, 0).cells
    assert any(abs(few["x"] - grid.x0 - 860) + abs(grid.y0 - few["y"] - 640) < 120)


def test_equal_cells_are_chosen_by_the_seed_alone(tmp_path: Path) -> None:
    class_map = make_maps(tmp_path, np.full(SHAPE, 100), np.full(SHAPE, 254))
    first, again, other = (drawn(class_map, 9, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len({(row % 6, col % 6) for row, col in first}) > 4, "not always the same corner"


def test_squares_larger_than_what_is_read_at_a_time_give_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    confidence = noise(0, 40, 90)
    confidence[7, 11] = 2
    class_map = make_maps(tmp_path, confidence)
    monkeypatch.setattr(active, "_SIDE", 4)
    assert drawn(class_map, 1).tolist() == [[7, 11]]


def test_maps_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    class_map = make_maps(tmp_path, noise(0, 40, 90))
    other = PixelGrid(32633, 300_000.0, 5_800_000.0, height=19, width=20, pixel_m=80.0)
    write_raster(tmp_path / "s_dissimilarity.tif", np.zeros((19, 20), np.uint8), other, nodata=255)
    with pytest.raises(SceneError, match=r"s_dissimilarity\.tif is missing or has other pixels than"):
        drawn(class_map, 5)
    (tmp_path / "s_dissimilarity.tif").unlink()
    (tmp_path / "s_confidence.tif").unlink()
    with pytest.raises(SceneError, match=r"s_confidence\.tif is missing .*; run `predict` again"):
        drawn(class_map, 5)


def test_the_command_says_what_the_sample_is_for(tmp_path: Path) -> None:
    class_map = make_maps(tmp_path, noise(0, 40, 90))
    form = tmp_path / "next.gpkg"
    words = ["sample", str(class_map), "--sheet", str(form), "--design", "active"]
    said = CliRunner().invoke(cli, [*words, "--count", "9"])
    assert said.exit_code == 0, said.output
    assert f"{form}: 9 cells to label in QGIS" in said.output
    assert "the map has no dissimilarity; the cells were chosen by confidence alone" in said.output
    assert "no basis for accuracy or areas" in said.output


@pytest.mark.parametrize(
    ("option", "value", "design"),
    [
        ("--fewest", "5", "active"),
        ("--standard-error", "0.1", "active"),
        ("--count", "5", "stratified"),
    ],
)
def test_what_does_not_belong_to_a_design_is_refused(option: str, value: str, design: str) -> None:
    words = ["sample", "map.tif", "--sheet", "next.gpkg", "--design", design, option, value]
    refused = CliRunner().invoke(cli, words)
    assert refused.exit_code == 2
    assert f"{option} is not for --design {design}" in refused.output


def test_an_active_sample_gives_no_accuracy_whether_it_is_labelled_or_not(tmp_path: Path) -> None:
    class_map = make_maps(tmp_path, noise(0, 40, 90))
    form = tmp_path / "next.gpkg"
    sample.run_active(class_map, form, 9, 0)
    with pytest.raises(LabelError, match=r"next\.gpkg is no probability sample.*without `--design`"):
        accuracy.run(form, class_map)
    label(form, {})
    with pytest.raises(LabelError, match="is no probability sample"):
        accuracy.run(form, class_map)
    sample.run(class_map, tmp_path / "reference.gpkg", 0.2, 2, 0)
    assert key_path(tmp_path / "reference.gpkg").read_text().startswith("id,map_class\n")


def label(form: Path, others: dict[int, str | None]) -> None:
    """Give all cells the class `water`, some another one or none."""
    frame = gpd.read_file(form, layer="sheet")
    frame["class"] = [others.get(at, "water") for at in frame["id"]]
    frame.to_file(form, layer="sheet")


def test_its_cells_come_back_as_labels_before_all_others(tmp_path: Path) -> None:
    """As the how-to page says it: `attribute: class`, `cannot tell` ignored, first in the list."""
    class_map = make_maps(tmp_path, noise(0, 40, 90))
    form = tmp_path / "next.gpkg"
    sample.run_active(class_map, form, 9, 0)
    label(form, {1: "cannot tell", 2: None, 3: "wood"})
    scene = bare_scene(PixelGrid(32633, 300_000.0, 5_800_000.0, height=160, width=160))
    others = make_labels(tmp_path / "polygons.gpkg", [("trees", px_box(scene.grid, 0, 0, 160, 160))])
    named = [
        {"name": "wood", "color": "#1b9e77", "values": ["wood", "trees"]},
        {"name": "water", "color": "#d95f02", "values": ["water", "lakes"]},
    ]
    classes = ClassesConf.model_validate({"classes": named, "ignore": ["cannot tell"], "credit": "x"})
    sources = read_sources([VectorLabelConf(path=str(form), attribute="class"), others], classes)
    labels = LabelTally(sources).labels_on(PatchGrid(scene.grid, 16, 8), scene.info)
    assert labels is not None
    conf = TileConf(labels=[], patch_px=16, cell_px=8, stride_px=8)
    found = labelled_positions(scene, labels, conf, 2)
    assert (found.purity == 1).all(), "whole cells of the cell grid"
    expected = np.zeros(SHAPE, dtype=int)
    frame = gpd.read_file(form, layer="sheet")
    for at, cell in zip(frame["id"], frame.geometry.centroid, strict=True):
        col, row = ~CELLS.transform @ (cell.x, cell.y)
        expected[int(row), int(col)] = at not in (1, 2, 3)
    assert expected.sum() == 6
    assert (found.label.reshape(SHAPE) == expected).all()
