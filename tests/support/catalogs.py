"""Public catalogs on loopback: their real Items, pixels of our own, a real STAC API server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from rasterio.warp import transform, transform_bounds
from shapely.geometry import shape

from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.sources.stac_names import band_assets, classification
from tests.support.projects import ROOT
from tests.support.worlds import Pixels, native_grid, positions, write_raster

ITEMS = ROOT / "tests" / "data" / "stac"
SIDE = 240
"""Height and width of the scenes here in pixels of 10 m."""
DARK = 300
"""DN of a reflectance that no pixel is below, without an offset."""


def published(name: str) -> dict[str, Any]:
    """An Item as its catalog published it."""
    item: dict[str, Any] = json.loads((ITEMS / f"{name}.json").read_text(encoding="utf-8"))
    return item


def corner(item: dict[str, Any], side: int = SIDE) -> PixelGrid:
    """A 10 m grid inside of the footprint of an Item, on the 60 m grid of its tile."""
    asset = next(iter(band_assets(item, ["B02"]).values()))
    fields = item["properties"]
    epsg = fields.get("proj:epsg") or int(asset["proj:code"].removeprefix("EPSG:"))
    x0, y0 = asset["proj:transform"][2], asset["proj:transform"][5]
    inside = shape(item["geometry"]).representative_point()
    (x,), (y,) = transform("OGC:CRS84", f"EPSG:{epsg}", [inside.x], [inside.y])
    half = side * 5
    east, south = (round((distance - half) / 60) * 60 for distance in (x - x0, y0 - y))
    return PixelGrid(epsg, x0 + east, y0 - south, side, side)


def ground(grid: PixelGrid, band: str, added: int) -> Pixels:
    """DN of a band that know where they are, as bright as ground, and what a product adds to them."""
    native = native_grid(grid, band)
    return (positions(native) % 12_007 + np.int64(DARK + added)).astype(np.uint16)


def with_pixels(
    item: dict[str, Any], folder: Path, url: str, added: int, bands: Sequence[str] | None = None
) -> dict[str, Any]:
    """The Item with the addresses of files of our own, small COGs in the middle of its tile."""
    grid = corner(item)
    for band, asset in band_assets(item, bands).items():
        name = f"{item['id']}/{band}.tif"
        native = native_grid(grid, band)
        write_cog(folder / name, ground(grid, band, added), native)
        asset["href"] = f"{url}{name}"
    asset = classification(item)
    if asset is not None:
        name = f"{item['id']}/SCL.tif"
        native = native_grid(grid, "B05")
        write_cog(folder / name, scl(native), native)
        asset["href"] = f"{url}{name}"
    return item


def scl(grid: PixelGrid) -> Pixels:
    """Vegetation, with a cloud of high probability over a tenth of the rows in the middle."""
    values = np.full((grid.height, grid.width), 4, dtype=np.uint8)
    values[grid.height // 2 : grid.height * 6 // 10] = 9
    return values


def write_cog(path: Path, pixels: Pixels, grid: PixelGrid, block: int = 128) -> Path:
    """A COG as public catalogs hold them."""
    options = {"driver": "COG", "BLOCKSIZE": block, "COMPRESS": "DEFLATE", "PREDICTOR": "YES"}
    return write_raster(path, pixels, grid, nodata=0, **options)


def degrees(grid: PixelGrid, inset_px: int = 0) -> list[float]:
    """The area in a grid, some pixels inside of its edges: west, south, east, north."""
    left, bottom, right, top = grid.bounds
    inset = inset_px * grid.pixel_m
    inner = (left + inset, bottom + inset, right - inset, top - inset)
    return list(transform_bounds(f"EPSG:{grid.epsg}", "OGC:CRS84", *inner))


@contextmanager
def serving_api(items: Sequence[dict[str, Any]], folder: Path) -> Iterator[str]:
    """The address of a STAC API that finds some Items."""
    program = shutil.which("rustac", path=str(Path(sys.executable).parent))
    assert program, "rustac is a dependency of the tests"
    path = folder / "items.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "api.log").open("w") as log:
        words = [program, "serve", str(path), "--addr", address, "--create-collections"]
        server = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            _await(f"http://{address}/", server, Path(log.name))
            yield f"http://{address}/"
        finally:
            server.kill()  # asked to end, it would wait for connections that a client keeps
            server.wait(30)


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "the server does not answer"
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.05)
