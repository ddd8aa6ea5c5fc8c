"""Rasters that are no bands, stacks or masks of a scene."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

from pipeline.geo.raster.grid import PixelGrid
from tests.malformed.case import Case
from tests.support.worlds import GRID, native_grid, position_bands, positions, write_raster

_PLACE = {"crs": CRS.from_epsg(GRID.epsg), "transform": GRID.transform}
_SCENE = {"id": "s1", "datetime": "2021-05-06T10:21:01Z", "scale": 0.0001, "offset": 0.0}


def _conf(form: str, path: Path, **keys: Any) -> dict[str, Any]:
    return {"fetch.yaml": {"train": [_SCENE | {form: str(path)} | keys], "map": "train"}}


def _band(folder: Path, pixels: np.ndarray | None = None, **options: Any) -> dict[str, Any]:
    """A scene of one band that is a raster of some kind."""
    values = positions(GRID) if pixels is None else pixels
    write_raster(folder / "bands" / "B02.tif", values, None, **(_PLACE | options))
    return _conf("path", folder / "bands")


def _stack(folder: Path, names: list[str], layers: np.ndarray, **keys: Any) -> dict[str, Any]:
    path = folder / "stack.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(layers), dtype=layers.dtype, height=GRID.height,
        width=GRID.width, **_PLACE,
    ) as file:  # fmt: skip
        file.write(layers)
        file.descriptions = names
    return _conf("stack", path, **keys)


def _dn(count: int) -> np.ndarray:
    return np.stack([positions(GRID)] * count)


def _no_crs(folder: Path) -> dict[str, Any]:
    return _band(folder, crs=None)


def _nowhere(folder: Path) -> dict[str, Any]:
    return _band(folder, transform=Affine.identity())


def _degrees(folder: Path) -> dict[str, Any]:
    return _band(folder, crs=CRS.from_epsg(4326), transform=Affine(1e-4, 0, 12, 0, -1e-4, 52))


def _rotated(folder: Path) -> dict[str, Any]:
    return _band(folder, transform=GRID.transform @ Affine.rotation(20))


def _south_up(folder: Path) -> dict[str, Any]:
    return _band(folder, transform=Affine(10, 0, GRID.x0, 0, 10, GRID.y0 - 1_320))


def _oblong(folder: Path) -> dict[str, Any]:
    return _band(folder, transform=Affine(10, 0, GRID.x0, 0, -20, GRID.y0))


def _unknown_name(folder: Path) -> dict[str, Any]:
    return _stack(folder, ["B02", "NDVI"], _dn(2))


def _no_name(folder: Path) -> dict[str, Any]:
    return _stack(folder, ["", ""], _dn(2))


def _doubled_name(folder: Path) -> dict[str, Any]:
    return _stack(folder, ["B02", "B03", "blue"], _dn(3))


def _listed_too_few(folder: Path) -> dict[str, Any]:
    return _stack(folder, ["", "", ""], _dn(3), bands=["B02", "B03"])


def _listed_otherwise(folder: Path) -> dict[str, Any]:
    return _stack(folder, ["B02", "B03"], _dn(2), bands=["B03", "B02"])


def _doubled_file(folder: Path) -> dict[str, Any]:
    conf = _band(folder)
    shutil.copyfile(folder / "bands" / "B02.tif", folder / "bands" / "x_b02.TIF")
    return conf


def _floats_as_dn(folder: Path) -> dict[str, Any]:
    values = np.full((1, GRID.height, GRID.width), 0.2, dtype=np.float32)
    values[0, :40], values[0, 40:80] = np.nan, np.inf
    return _stack(folder, ["B02"], values)


def _floats_of_nothing(folder: Path) -> dict[str, Any]:
    values = np.full((1, GRID.height, GRID.width), np.nan, dtype=np.float32)
    values[0, :40], values[0, 40:80] = np.inf, -np.inf
    return _stack(folder, ["B02"], values, values="reflectance", scale=None, offset=None)


def _dn_as_floats(folder: Path) -> dict[str, Any]:
    return _stack(folder, ["B02"], _dn(1), values="reflectance", scale=None, offset=None)


def _complex(folder: Path) -> dict[str, Any]:
    return _band(folder, positions(GRID).astype(np.complex64), dtype="complex64")


def _all_nodata(folder: Path) -> dict[str, Any]:
    return _band(folder, 0 * positions(GRID))


def _all_saturated(folder: Path) -> dict[str, Any]:
    return _band(folder, np.full((GRID.height, GRID.width), 65_535, dtype=np.uint16))


def _other_nodata(folder: Path) -> dict[str, Any]:
    conf = _band(folder)
    conf["fetch.yaml"]["train"][0]["nodata"] = -9999
    return conf


def _all_alike(folder: Path) -> dict[str, Any]:
    return _band(folder, 0 * positions(GRID) + 1_234)


def _reflectance_as_percent(folder: Path) -> dict[str, Any]:
    values = (positions(GRID) / 200).astype(np.float32)[None]
    return _stack(folder, ["B02"], values, values="reflectance", scale=None, offset=None)


def _web_mercator(folder: Path) -> dict[str, Any]:
    return _band(folder, crs=CRS.from_epsg(3857), transform=Affine(10, 0, 1_400_000, 0, -10, 6_880_000))


def _png(folder: Path) -> dict[str, Any]:
    conf = _band(folder)
    Image.fromarray(np.full((9, 9), 7, dtype=np.uint8)).save(folder / "bands" / "x.png")
    (folder / "bands" / "x.png").replace(folder / "bands" / "B03.tif")
    return conf


def _folder_as_file(folder: Path) -> dict[str, Any]:
    conf = _band(folder)
    (folder / "bands" / "B03.tif").mkdir()
    return conf


def _file_as_folder(folder: Path) -> dict[str, Any]:
    path = write_raster(folder / "B02.tif", positions(GRID), GRID)
    return _conf("path", path)


def _nothing_there(folder: Path) -> dict[str, Any]:
    return _conf("path", folder / "bands")


def _no_permission(folder: Path) -> dict[str, Any]:
    conf = _band(folder)
    (folder / "bands" / "B02.tif").chmod(0)
    return conf


def _no_permission_to_list(folder: Path) -> dict[str, Any]:
    conf = _band(folder)
    (folder / "bands").chmod(0)
    return conf


def _no_permission_for_a_mask(folder: Path) -> dict[str, Any]:
    conf = _masked(folder, GRID)
    (folder / "mask.tif").chmod(0)
    return conf


def _cut(folder: Path) -> dict[str, Any]:
    conf = _band(folder)
    path = folder / "bands" / "B02.tif"
    os.truncate(path, path.stat().st_size // 2)
    return conf


def _many_layers(folder: Path) -> dict[str, Any]:
    _stack(folder, ["B02", "B03"], _dn(2))
    (folder / "bands").mkdir()
    shutil.move(folder / "stack.tif", folder / "bands" / "B02.tif")
    return _conf("path", folder / "bands")


def _other_ground(folder: Path) -> dict[str, Any]:
    position_bands(folder / "bands")
    moved = PixelGrid(GRID.epsg, GRID.x0 + 5_000, GRID.y0, 12, 12)
    write_raster(folder / "bands" / "x_B03.tif", positions(moved), moved)
    return _conf("path", folder / "bands")


def _other_zone(folder: Path) -> dict[str, Any]:
    position_bands(folder / "bands")
    other = PixelGrid(32632, GRID.x0, GRID.y0, GRID.height, GRID.width)
    write_raster(folder / "bands" / "x_B03.tif", positions(other), other)
    return _conf("path", folder / "bands")


def _no_sentinel_pixels(folder: Path) -> dict[str, Any]:
    grid = PixelGrid(GRID.epsg, GRID.x0, GRID.y0, 40, 40, 30)
    write_raster(folder / "bands" / "B02.tif", positions(grid), grid)
    return _conf("path", folder / "bands")


def _offset_twice(folder: Path) -> dict[str, Any]:
    conf = _band(folder, positions(GRID) // 100 + np.uint16(500))
    conf["fetch.yaml"]["train"][0]["offset"] = -0.1
    return conf


def _masked(folder: Path, grid: PixelGrid) -> dict[str, Any]:
    conf = _band(folder)
    mask = write_raster(folder / "mask.tif", np.ones((grid.height, grid.width), np.uint8), grid)
    conf["fetch.yaml"]["train"][0]["mask"] = {"path": str(mask)}
    return conf


def _mask_elsewhere(folder: Path) -> dict[str, Any]:
    return _masked(folder, native_grid(GRID, "B05", east_m=400))


def _mask_of_another_zone(folder: Path) -> dict[str, Any]:
    return _masked(folder, PixelGrid(32632, GRID.x0, GRID.y0, GRID.height, GRID.width))


def _mask_without_crs(folder: Path) -> dict[str, Any]:
    conf = _masked(folder, GRID)
    write_raster(folder / "mask.tif", np.ones((9, 9), np.uint8), None, transform=GRID.transform)
    return conf


def _second_of_two(folder: Path) -> dict[str, Any]:
    """When it is met, the mask of the first one has been made."""
    first = _band(folder / "first")
    codes = np.full((GRID.height, GRID.width), 9, dtype=np.uint8)
    write_raster(folder / "first" / "bands" / "x_SCL.tif", codes, GRID)
    (scene,) = _all_nodata(folder / "second")["fetch.yaml"]["train"]
    return {"fetch.yaml": {"train": first["fetch.yaml"]["train"], "map": [scene]}}


CASES = [
    Case("no CRS", _no_crs, r"B02\.tif has no CRS; assign one"),
    Case("no place", _nowhere, r"B02\.tif does not say where it lies; assign bounds"),
    Case("degrees", _degrees, r"B02\.tif has the CRS EPSG:4326, which is not in metres; reproject"),
    Case("rotated", _rotated, r"B02\.tif is rotated; warp it"),
    Case("south-up", _south_up, r"B02\.tif is south-up; warp it"),
    Case("oblong pixels", _oblong, r"B02\.tif has pixels of 10 x 20 m; warp it"),
    Case(
        "unknown band name", _unknown_name, r"stack\.tif: layer 2 is named 'NDVI', which .*; list the"
    ),
    Case(
        "no band names", _no_name, r"stack\.tif: layer 1 has no name, which .*; list the band of each"
    ),
    Case("doubled band name", _doubled_name, r"layers 1 and 3 are both B02; list the bands"),
    Case("too few bands listed", _listed_too_few, r"lists 2 layers, but .*stack\.tif has 3; list one"),
    Case(
        "other bands listed", _listed_otherwise, r"stack\.tif says that its layer 1 is B02, .*; correct"
    ),
    Case(
        "two files of a band", _doubled_file, r"two files of band B02, B02\.tif and x_b02\.TIF; leave"
    ),
    Case(
        "NaN and infinity as DN",
        _floats_as_dn,
        r"stack\.tif holds float32 values that .*add `values: r",
    ),
    Case(
        "nothing but NaN and infinity", _floats_of_nothing, r"stack\.tif has no valid pixel: .*; give"
    ),
    Case("DN as reflectance", _dn_as_floats, r"stack\.tif holds uint16 values, but .*; drop that"),
    Case("complex", _complex, r"B02\.tif holds complex64 values; give digital numbers"),
    Case("all nodata", _all_nodata, r"B02\.tif has no valid pixel: all are 0, .*; give the scene of"),
    Case(
        "the second of two scenes",
        _second_of_two,
        r"second/bands/B02\.tif has no valid pixel: .*; give",
    ),
    Case("all saturated", _all_saturated, r"B02\.tif has no valid pixel: all are 65535, .*; give the"),
    Case(
        "another nodata", _other_nodata, r"B02\.tif holds uint16 .* can be -9999, .*; correct it there"
    ),
    Case("one value everywhere", _all_alike, r"B02\.tif: all of its valid pixels are 1234, .*; export"),
    Case("per cent", _reflectance_as_percent, r"stack\.tif: with scale 1 .*; `scale: 0\.01` and `off"),
    Case(
        "web mercator",
        _web_mercator,
        r"B02\.tif has EPSG:3857, in .* 1\.6\d m .*; warp it to EPSG:32633",
    ),
    Case("PNG named .tif", _png, r"B03\.tif is a PNG file whatever its name says; give a GeoTIFF"),
    Case("folder in place of a file", _folder_as_file, r"B03\.tif is a folder; name a raster file"),
    Case("file in place of a folder", _file_as_folder, r"B02\.tif is a file; name a folder"),
    Case("nothing there", _nothing_there, r"bands does not exist; name a folder"),
    Case("no permission", _no_permission, r"B02\.tif cannot be read \(Perm.*; give", unprivileged=True),
    Case(
        "no permission to list",
        _no_permission_to_list,
        r"/bands cannot be read \(Perm.*; give",
        unprivileged=True,
    ),
    Case(
        "no permission for a mask",
        _no_permission_for_a_mask,
        r"mask\.tif cannot be read \(Perm.*; give",
        unprivileged=True,
    ),
    Case("cut off", _cut, r"B02\.tif cannot be read .*; it is damaged or no raster: fetch"),
    Case("several layers in a band file", _many_layers, r"B02\.tif has 2 layers; give a file of one"),
    Case("bands of different ground", _other_ground, r"covers other ground than .*; give bands of one"),
    Case(
        "bands of different zones", _other_zone, r"B03\.tif has EPSG:32632, the finest .*; give bands"
    ),
    Case(
        "pixels of another sensor", _no_sentinel_pixels, r"B02\.tif has pixels of 30 m; give Sentinel"
    ),
    Case(
        "offset applied already",
        _offset_twice,
        r"B02\.tif: with scale .* below -0.03; `scale: 0.0001` and",
    ),
    Case(
        "mask on another grid", _mask_elsewhere, r"mask\.tif does not cover its scene .*; give a mask"
    ),
    Case("mask of another zone", _mask_of_another_zone, r"mask\.tif does not cover its scene .*; give"),
    Case("mask without CRS", _mask_without_crs, r"mask\.tif has no CRS; assign one"),
]
"""Each is a cause of its own."""
