"""Sources of scenes through `fetch` and `tile`: the same ground gives the same patches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.errors import SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.stages import fetch, tile
from pipeline.store import PatchStore
from tests.support.labelled import make_labels, px_box
from tests.support.products import L1C, L2A, OLD_L2A, clear, make_product, zipped
from tests.support.worlds import GRID, native_grid, write_bands_folder, write_raster

CLASSES = {
    "credit": "made up",
    "classes": [
        {"name": "wood", "color": "#1b9e77"},
        {"name": "water", "color": "#d95f02"},
    ],
}
CLOUD = np.s_[40:60, 50:80]
"""Rows and columns of 10 m that are cloud."""


def ground(native: PixelGrid) -> np.ndarray:
    """Reflectance x 10,000 of the same ground at any resolution, never dark."""
    return (300 + np.arange(native.height * native.width) % 4_000).reshape(native.height, -1)


def cloudy(native: PixelGrid) -> np.ndarray:
    codes = clear(native)
    factor = round(native.pixel_m / 10)
    rows, cols = (slice(axis.start // factor, axis.stop // factor) for axis in CLOUD)
    codes[rows, cols] = 9
    return codes


def stored(offset: int) -> Any:
    """The values of bands that are stored with an offset, and the scene classification."""

    def values(band: str, native: PixelGrid) -> np.ndarray:
        return cloudy(native) if band == "SCL" else (ground(native) - offset).astype(np.uint16)

    return values


def patches_of(folder: Path, *sources: Mapping[str, Any], **conf: Any) -> PatchStore:
    """The patches of some entries of `fetch.yaml`, from both stages."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = [("wood", px_box(GRID, 0, 0, 132, 60)), ("water", px_box(GRID, 0, 60, 132, 60))]
    labels = make_labels(folder / "labels.gpkg", halves)
    tiled = {"labels": [{"path": labels.path, "attribute": "kind"}], "stride_px": 8} | conf
    written = {"fetch": {"train": list(sources), "map": "train"}, "tile": tiled, "classes": CLASSES}
    for name, content in written.items():
        (folder / f"{name}.yaml").write_text(json.dumps(content))
    train = folder / "scenes" / "train"
    fetch.run(folder / "fetch.yaml", train, folder / "scenes" / "map", downloads=folder / "downloads")
    tile.run(folder / "tile.yaml", folder / "classes.yaml", train, folder / "patches")
    return PatchStore.open(folder / "patches")


def require_same(one: PatchStore, other: PatchStore) -> None:
    assert one.meta.bands == other.meta.bands
    np.testing.assert_array_equal(one.pixels, other.pixels)
    for column in ("x", "y", "label", "purity", "valid"):
        np.testing.assert_array_equal(one.patches[column], other.patches[column])


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    """A product of baseline 02.12, without an offset."""
    folder = tmp_path_factory.mktemp("old")
    return patches_of(folder, {"safe": str(make_product(folder / "in", OLD_L2A, stored(0)))})


@pytest.mark.parametrize("packed", [False, True])
def test_baselines_with_and_without_offset_give_the_same_patches(
    old: PatchStore, tmp_path: Path, packed: bool
) -> None:
    root = make_product(tmp_path / "in", L2A, stored(-1_000))
    new = patches_of(tmp_path, {"safe": str(zipped(root) if packed else root)})
    assert [store.meta.scenes[0].baseline for store in (old, new)] == ["02.12", "05.09"]
    require_same(old, new)
    assert len(old) > 100
    assert len(old.meta.bands) == 12


def test_a_product_and_its_bands_in_a_folder_give_the_same_patches(
    old: PatchStore, tmp_path: Path
) -> None:
    values = {
        band: (ground(native_grid(GRID, band)) + 1_000).astype(np.uint16) for band in old.meta.bands
    }
    folder = write_bands_folder(tmp_path / "in", GRID, values, ".jp2")
    coarse = native_grid(GRID, "B05")
    write_raster(folder / "x_SCL_20m.jp2", cloudy(coarse), coarse)
    entry = {"id": "s", "path": str(folder), "datetime": "2021-05-06T10:21:01Z", "scale": 0.0001}
    require_same(old, patches_of(tmp_path, entry | {"offset": -0.1}))


def _stacked(path: Path, dtype: str, nodata: float | None) -> Path:
    """Three bands at 10 m with a hole and a classification, as DN of an offset or as reflectance."""
    floats = dtype.startswith("float")
    layers = [ground(GRID) + step for step in (0, 7, 70)]
    pixels = np.stack([layer / 10_000 if floats else layer + 1_000 for layer in layers])
    pixels[:, 100:104, 20:30] = 0 if nodata is None else nodata
    pixels[:, 100:104, 30:40] = np.nan if floats else 0
    codes = cloudy(GRID).astype(dtype)
    path.parent.mkdir(parents=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=4, dtype=dtype, height=GRID.height, width=GRID.width,
        crs=f"EPSG:{GRID.epsg}", transform=GRID.transform, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(np.stack([*pixels, codes]).astype(dtype))
        file.descriptions = ("B02", "Band 3 - Green", "red", "classes")
    return path


STACK = {"id": "s", "datetime": "2021-05-06T10:21:01Z", "bands": ["B02", "B03", "B04", None]}


def test_stacks_of_dn_and_of_reflectance_give_the_same_patches(tmp_path: Path) -> None:
    whole = _stacked(tmp_path / "dn" / "stack.tif", "uint16", None)
    stated = {"stack": str(whole), "scale": 0.0001, "offset": -0.1}
    numbers = patches_of(tmp_path / "dn", STACK | stated)
    stores = [numbers]
    for kind in ("float32", "float64"):
        floats = _stacked(tmp_path / kind / "stack.tif", kind, -9_999)
        stores.append(
            patches_of(tmp_path / kind, STACK | {"stack": str(floats), "values": "reflectance"})
        )
    assert numbers.meta.bands == ["B02", "B03", "B04"]
    for store in stores[1:]:
        require_same(numbers, store)
    row = int(np.flatnonzero(numbers.patches["x"] == GRID.x0 + 360)[0])
    assert numbers.pixels[row].min() >= 300
    assert (numbers.pixels == 0).any()


def test_scale_and_offset_of_the_file_itself(tmp_path: Path) -> None:
    stated = _stacked(tmp_path / "a" / "stack.tif", "uint16", None)
    said = _stacked(tmp_path / "b" / "stack.tif", "uint16", None)
    with rasterio.open(said, "r+") as file:
        file.scales, file.offsets = (0.0001,) * 4, (-0.1,) * 4
    one = patches_of(tmp_path / "a", STACK | {"stack": str(stated), "scale": 0.0001, "offset": -0.1})
    require_same(one, patches_of(tmp_path / "b", STACK | {"stack": str(said)}))


def test_masked_ground_is_no_patch_and_is_counted(old: PatchStore, tmp_path: Path) -> None:
    """Cloud and 100 m around it."""
    source = {"safe": str(make_product(tmp_path / "in", L2A, stored(-1_000)))}
    bare = patches_of(tmp_path / "bare", source | {"mask_classes": []})
    assert len(bare) > len(old)
    assert not (bare.pixels == 0).any()
    gone = set(zip(bare.patches["x"], bare.patches["y"], strict=True)) - set(
        zip(old.patches["x"], old.patches["y"], strict=True)
    )
    top, left = GRID.y0 - 10 * CLOUD[0].start, GRID.x0 + 10 * CLOUD[1].start
    bottom, right = GRID.y0 - 10 * CLOUD[0].stop, GRID.x0 + 10 * CLOUD[1].stop
    assert (left + right) // 2 in {x for x, _ in gone} or gone
    assert all(left - 140 < x < right + 140 and bottom - 140 < y < top + 140 for x, y in gone)
    assert old.meta.counts["left_out"]["invalid"] == len(gone)
    item = json.loads(next((tmp_path / "bare" / "scenes" / "train").glob("*/*.json")).read_text())
    assert "lenscape:masked_share" not in item["properties"]


def test_levels_are_mixed_only_where_the_conf_allows_it(tmp_path: Path) -> None:
    high = {"safe": str(make_product(tmp_path / "a", L1C, stored(0)))}
    low = {"safe": str(make_product(tmp_path / "b", L2A, stored(-1_000)))}
    with pytest.raises(SceneError, match=r"mix processing levels .* allow it in .*mixed_levels: true"):
        patches_of(tmp_path, high, low)
    store = patches_of(tmp_path, high, low, mixed_levels=True)
    assert {scene.level for scene in store.meta.scenes} == {"L1C", "L2A"}
    assert "B10" not in store.meta.bands
