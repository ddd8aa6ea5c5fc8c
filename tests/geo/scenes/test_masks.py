"""The mask that lenscape makes of what a source says: values, widening, strips and shares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.config.sources import MASK_CLASSES, MaskClass, Masking
from pipeline.errors import SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes import masks
from pipeline.geo.scenes.mask_sources import VALUES
from pipeline.geo.scenes.masks import MARGIN, NAMES, make_mask, widened
from pipeline.geo.scenes.scene_files import SCENE_CLASSIFICATION, MaskLayer, PolygonMask
from tests.support.examples import examples
from tests.support.labelled import px_box
from tests.support.worlds import GRID, native_grid, write_raster

COARSE = native_grid(GRID, "B05")


def classification(folder: Path, codes: np.ndarray, grid: PixelGrid = COARSE) -> MaskLayer:
    path = write_raster(folder / "scl.tif", codes.astype(np.uint8), grid)
    return MaskLayer(Layer(str(path)), SCENE_CLASSIFICATION)


def made(
    folder: Path, sources: Sequence[MaskLayer | PolygonMask], *classes: MaskClass, grow_m: float = 0
) -> tuple[MaskLayer, dict[str, float], np.ndarray, PixelGrid]:
    masking = Masking(classes, grow_m) if classes else Masking(grow_m=grow_m)
    mask = make_mask(sources, GRID, masking, folder / "out" / "mask.tif")
    assert mask is not None
    with rasterio.open(folder / "out" / "mask.tif") as file:
        grid = PixelGrid(
            file.crs.to_epsg(), file.transform.c, file.transform.f, file.height, file.width, file.res[0]
        )
        return *mask, file.read(1), grid


@examples(60)
@given(
    arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14))),
    st.sampled_from([0.0, 0.4, 1.0, 1.5, 2.0, 2.3, 5.0, 20.0]),
)
def test_widened_as_by_a_round_disk(marked: np.ndarray, radius: float) -> None:
    expected = marked.copy()
    for row, col in np.ndindex(marked.shape):
        rows, cols = np.nonzero(marked)
        near = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2 + 1e-9
        expected[row, col] = bool(near.any())
    np.testing.assert_array_equal(widened(marked, radius), expected)


def test_codes_become_the_vocabulary(tmp_path: Path) -> None:
    codes = np.full((66, 60), 4)
    codes[0, :12] = range(12)
    mask, shares, values, grid = made(tmp_path, [classification(tmp_path, codes)])
    assert grid == COARSE
    names = [NAMES[value] for value in values[0, :12]]
    assert names == [
        "no_data", "saturated", "clear", "cloud_shadow", "clear", "clear", "clear", "clear",
        "cloud_medium", "cloud_high", "cirrus", "clear",
    ]  # fmt: skip
    assert (values[1:] == 0).all()
    assert shares["cloud_high"] == pytest.approx(1 / 3_960, abs=1e-6)
    assert "snow" not in shares
    assert set(mask.classes) == {VALUES[name] for name in shares}


def test_only_cloud_and_shadow_are_widened(tmp_path: Path) -> None:
    codes = np.full((66, 60), 4)
    codes[10, 10], codes[30, 30], codes[50, 50] = 9, 1, 11
    *_, values, _ = made(tmp_path, [classification(tmp_path, codes)], *MASK_CLASSES, grow_m=60)
    rows, cols = np.indices(values.shape)
    disk = (rows - 10) ** 2 + (cols - 10) ** 2 <= 9
    expected = np.where(disk, MARGIN, 0)
    expected[10, 10], expected[30, 30] = VALUES["cloud_high"], VALUES["saturated"]
    expected[50, 50] = VALUES["snow"]
    np.testing.assert_array_equal(values, expected)


def test_a_margin_never_hides_a_class(tmp_path: Path) -> None:
    codes = np.full((66, 60), 4)
    codes[10, 10], codes[10, 11] = 9, 11
    *_, values, _ = made(tmp_path, [classification(tmp_path, codes)], "cloud_high", "snow", grow_m=100)
    assert values[10, 11] == VALUES["snow"]
    assert values[10, 12] == MARGIN


def test_strips_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((66, 60)) < 0.01, rng.choice([3, 8, 9, 10, 11], (66, 60)), 4)
    source = classification(tmp_path, codes)
    _, whole, values, _ = made(tmp_path, [source], *MASK_CLASSES, grow_m=130)
    monkeypatch.setattr(masks, "_STRIP_PX", 16)
    _, other, striped, _ = made(tmp_path, [source], *MASK_CLASSES, grow_m=130)
    np.testing.assert_array_equal(values, striped)
    assert whole == other


def test_polygons_and_layers_come_to_the_finest_grid(tmp_path: Path) -> None:
    cloud = PolygonMask("c.gml", np.array([px_box(GRID, 3, 5, 4, 6)]), GRID.epsg, "cloud_opaque")
    codes = np.full((66, 60), 4)
    codes[0, 0] = 10
    *_, values, grid = made(tmp_path, [classification(tmp_path, codes), cloud])
    assert grid == GRID
    expected = np.zeros((132, 120))
    expected[:2, :2], expected[3:7, 5:11] = VALUES["cirrus"], VALUES["cloud_opaque"]
    np.testing.assert_array_equal(values, expected)


def test_where_several_meet_the_first_class_counts(tmp_path: Path) -> None:
    box = np.array([px_box(GRID, 0, 0, 9, 9)])
    sources = [
        PolygonMask("c.gml", box, GRID.epsg, kind) for kind in ("snow", "cirrus", "cloud_opaque")
    ]
    *_, values, _ = made(tmp_path, sources, *MASK_CLASSES)
    assert set(np.unique(values)) == {0, VALUES["cloud_opaque"]}


def test_a_part_of_a_larger_mask(tmp_path: Path) -> None:
    """The scene is a window of a tile; clouds outside do not reach in."""
    large = PixelGrid(GRID.epsg, GRID.x0 - 400, GRID.y0 + 400, 200, 200, 20)
    codes = np.full((200, 200), 4)
    codes[20:, 19], codes[25, 30] = 9, 9
    *_, values, grid = made(tmp_path, [classification(tmp_path, codes, large)], grow_m=40)
    assert grid == COARSE
    assert (values[5, 10], values[5, 0]) == (VALUES["cloud_high"], 0)
    assert (values == MARGIN).sum() == 12


def test_what_is_not_wanted_needs_no_file(tmp_path: Path) -> None:
    gone = MaskLayer(Layer(str(tmp_path / "gone.tif")), {1: "snow"})
    assert make_mask([gone], GRID, Masking(), tmp_path / "mask.tif") is None
    assert make_mask([], GRID, Masking(), tmp_path / "mask.tif") is None
    with pytest.raises(SceneError, match=r"gone\.tif does not exist"):
        make_mask([gone], GRID, Masking(("snow",)), tmp_path / "mask.tif")


def test_the_same_mask_has_the_same_bytes(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 12, (66, 60))
    for name in ("a", "b"):
        made(tmp_path / name, [classification(tmp_path / name, codes)], grow_m=100)
    first, second = ((tmp_path / name / "out" / "mask.tif").read_bytes() for name in ("a", "b"))
    assert first == second
