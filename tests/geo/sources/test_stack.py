"""One file with all bands: which layer is which, and what conf and file say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from pipeline.config.sources import StackConf
from pipeline.errors import ConfigError, LenscapeError, RadiometryError, SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.catalog import scene_item, write_catalog
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.scenes.scene_files import MaskLayer
from pipeline.geo.sources.stack import scene_files
from tests.support.worlds import GRID, positions

NAMES = ("B04", "Band 2 - Blue", "SCL", "green")


def stack(path: Path, names: tuple[str, ...] = NAMES, grid: PixelGrid = GRID, **said: Any) -> Path:
    """A layer a name; the pixels of layer n know where they are, plus 10 n."""
    with rasterio.open(
        path, "w", driver="GTiff", count=len(names), dtype="uint16", height=grid.height,
        width=grid.width, crs=CRS.from_epsg(grid.epsg), transform=grid.transform,
    ) as file:  # fmt: skip
        file.write(np.stack([positions(grid) + 10 * n for n in range(1, len(names) + 1)]))
        file.descriptions = names
        if said:
            file.scales = (said.get("scale", 1.0),) * len(names)
            file.offsets = (said.get("offset", 0.0),) * len(names)
    return path


def conf(path: Path, **keys: Any) -> StackConf:
    stated = {"id": "s1", "datetime": "2021-05-06T10:21:01Z", "scale": 0.0001, "offset": 0.0}
    return StackConf.model_validate(stated | {"stack": str(path)} | keys)


def scene(folder: Path, stated: StackConf) -> Scene:
    write_catalog(folder, [scene_item(scene_files(stated))], "train")
    return open_catalog(folder)[0]


def test_layers_are_found_by_their_descriptions(tmp_path: Path) -> None:
    files = scene_files(conf(stack(tmp_path / "s.tif")))
    assert {name: band.layer.number for name, band in files.bands.items()} == {
        "B02": 2,
        "B03": 4,
        "B04": 1,
    }
    (mask,) = files.masks
    assert isinstance(mask, MaskLayer)
    assert mask.layer.number == 3


def test_pixels_are_those_of_their_layer(tmp_path: Path) -> None:
    found = scene(tmp_path / "c", conf(stack(tmp_path / "s.tif", ("B04", "B02"))))
    assert found.bands == ("B02", "B04")
    blue, red = found.read(GRID.window, ("B02", "B04"))
    np.testing.assert_array_equal(blue, positions(GRID) + 20)
    np.testing.assert_array_equal(red, positions(GRID) + 10)


def test_a_list_in_the_conf_names_layers_that_say_nothing(tmp_path: Path) -> None:
    path = stack(tmp_path / "s.tif", ("", "", ""))
    files = scene_files(conf(path, bands=["B8A", None, "B01"]))
    assert {name: band.layer.number for name, band in files.bands.items()} == {"B01": 3, "B8A": 1}


def test_a_stack_of_20_m(tmp_path: Path) -> None:
    coarse = PixelGrid(GRID.epsg, GRID.x0, GRID.y0, 66, 60, 20)
    found = scene(tmp_path / "c", conf(stack(tmp_path / "s.tif", ("B05", "B06"), coarse)))
    assert found.grid.pixel_m in (10.0, 20.0)
    pixels = found.read(found.grid.window, ("B05",))[0]
    factor = pixels.shape[0] // 66
    expected = (positions(coarse) + 10).repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(pixels, expected)


def test_scale_and_offset_of_the_file(tmp_path: Path) -> None:
    path = stack(tmp_path / "s.tif", scale=0.0002, offset=-0.05)
    files = scene_files(conf(path, scale=None, offset=None))
    assert {(b.scale, b.offset) for b in files.bands.values()} == {(0.0002, -0.05)}
    with pytest.raises(RadiometryError, match=r"says that its scale is 0.0002, .* 0.0001; correct the"):
        scene_files(conf(path, offset=None))


@pytest.mark.parametrize(
    ("names", "keys", "kind", "says"),
    [
        (("B02", "NDVI"), {}, SceneError, "layer 2 is named 'NDVI'"),
        (("B02", ""), {}, SceneError, "layer 2 has no name"),
        (("B02", "blue"), {}, SceneError, "layers 1 and 2 are both B02"),
        (("", ""), {"bands": ["B02"]}, ConfigError, "lists 1 layers, but .* has 2"),
        (("", ""), {"bands": ["B02", "B99"]}, ConfigError, "has 'B99', which is no Sentinel-2 band"),
        (("", ""), {"bands": ["B02", "B02"]}, SceneError, "layers 1 and 2 are both B02"),
        (("", ""), {"bands": [None, "SCL"]}, SceneError, "no layer of a Sentinel-2 band"),
        (("B02", ""), {"bands": ["B03", "B04"]}, SceneError, "says that its layer 1 is B02"),
        (("B02",), {"scale": None, "offset": None}, RadiometryError, "its radiometry is unknown"),
    ],
)
def test_what_does_not_tell_or_contradicts_is_refused(
    tmp_path: Path, names: tuple[str, ...], keys: dict[str, Any], kind: type[LenscapeError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        scene_files(conf(stack(tmp_path / "s.tif", names), **keys))
