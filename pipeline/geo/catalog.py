"""From local bands to checked STAC Items in static catalogs.

Whatever a scene comes from, it becomes an Item of this form: an asset a band with `raster:scale`,
`raster:offset`, `nodata`, grid, size and checksum, and a mask asset where there is one. Items hold
no wall clock, and their hrefs are relative, so that the same pixels give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Any

import pystac
from pyproj import Transformer
from shapely.geometry import Polygon, mapping

from pipeline.config import SceneConf
from pipeline.errors import SceneError
from pipeline.files import canonical_json, relative_href, sha256_of
from pipeline.geo.bands import BANDS
from pipeline.geo.checks import (
    radiometry,
    require_band,
    require_cover,
    require_positive,
    require_same_ground,
)
from pipeline.geo.grid import SceneGrid
from pipeline.geo.raster import RasterFile, inspect
from pipeline.geo.sceneitem import CATALOG, INVALID_VALUES, MASK, BandFile, ten_metre_grid

EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
]
OPTIONAL_EXTENSIONS = {
    "grid:code": "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "processing:level": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "s2:processing_baseline": "https://stac-extensions.github.io/sentinel-2/v1.0.0/schema.json",
}
"""Named only by an Item with the property: the one of `grid` requires it."""
_SUFFIXES = {".jp2", ".tif", ".tiff"}
_MEDIA = {".jp2": pystac.MediaType.JPEG2000}
_BAND = re.compile(r"(?:^|[^A-Za-z0-9])(B\d\d|B8A)(?:_[126]0m)?$", re.IGNORECASE)
_MGRS = re.compile(r"(?:^|_)T?((?:0[1-9]|[1-5]\d|60)[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?:_|$)")


def band_files(folder: Path) -> dict[str, Path]:
    """The band files of a folder by band name, in the order of `BANDS`.

    A file belongs to the band that its name ends with, such as `T33UUU_20170216T102101_B02.jp2`,
    `B8A.tif` or `x_B05_20m.jp2`; others are passed over.

    Raises:
        SceneError: when the folder is missing, or has no band or two files of one.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SceneError(f"{folder} {what}; name a folder that holds one file per band.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _BAND.search(path.stem)
        if path.suffix.lower() not in _SUFFIXES or match is None:
            continue
        name = match[1].upper()
        if name not in BANDS:
            continue
        if name in found:
            raise SceneError(
                f"{folder} has two files of band {name}, {found[name].name} and {path.name}; "
                "leave one of them there."
            )
        found[name] = path
    if not found:
        raise SceneError(
            f"{folder} holds no file that is named after a Sentinel-2 band (..._B02.jp2, B8A.tif); "
            "name the folder with the band files."
        )
    return {name: found[name] for name in BANDS if name in found}


def scene_item(conf: SceneConf, folder: Path) -> pystac.Item:
    """The checked Item of a scene, its hrefs relative to the folder that it will lie in.

    Raises:
        SceneError: when a file is missing, damaged, or not on the ground of the others.
        RadiometryError: when scale or offset is unknown or contradicted by the pixels.
    """
    paths = band_files(Path(conf.path))
    files = {name: inspect(str(path)) for name, path in paths.items()}
    scale, offset = radiometry(conf)
    bands = {name: BandFile(file.href, file.grid, scale, offset) for name, file in files.items()}
    grid = ten_metre_grid(bands.values())
    for file in files.values():
        require_band(file)
        require_same_ground(file, grid)
        require_positive(file, scale, offset)
    item = _bare_item(conf, grid)
    for name, file in files.items():
        item.add_asset(name, _asset(file, folder, _band_fields(name, file, scale, offset)))
    if conf.mask is not None:
        mask = inspect(conf.mask.path)
        require_cover(mask, grid)
        fields = {"data_type": mask.dtype, INVALID_VALUES: conf.mask.invalid}
        item.add_asset(MASK, _asset(mask, folder, fields, role="data-mask"))
    return item


def moved_item(item: pystac.Item, folder: Path, target: Path) -> pystac.Item:
    """A copy of a scene's Item that will lie in another folder."""
    moved = item.clone()
    for asset in moved.assets.values():
        asset.href = relative_href(folder / asset.href, target)
    return moved


def write_catalog(folder: Path, items: Iterable[pystac.Item], what: str) -> None:
    """Write a static, self-contained catalog: `catalog.json` and `<id>/<id>.json`.

    Its few files are written here, because pystac takes a path for a URL and cuts it at a `#` or `?`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    catalog = pystac.Catalog(what, f"lenscape: scenes to {what}")
    catalog.add_link(pystac.Link("root", f"./{CATALOG}", pystac.MediaType.JSON))
    for item in items:
        for relation in ("root", "parent"):
            item.add_link(pystac.Link(relation, f"../{CATALOG}", pystac.MediaType.JSON))
        href = f"{item.id}/{item.id}.json"
        catalog.add_link(pystac.Link("item", f"./{href}", pystac.MediaType.GEOJSON))
        _write(folder / href, item)
    _write(folder / CATALOG, catalog)


def _write(path: Path, content: pystac.STACObject) -> None:
    path.parent.mkdir(exist_ok=True)
    fields = content.to_dict(include_self_link=False, transform_hrefs=False)
    path.write_text(canonical_json(fields), encoding="utf-8")


def _bare_item(conf: SceneConf, grid: SceneGrid) -> pystac.Item:
    left, bottom, right, top = grid.bounds
    to_degrees = Transformer.from_crs(grid.epsg, "OGC:CRS84", always_xy=True)
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    footprint = Polygon([_rounded(to_degrees.transform(x, y)) for x, y in corners])
    properties: dict[str, Any] = {
        "gsd": grid.pixel_m,
        "proj:code": f"EPSG:{grid.epsg}",
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform)[:6],
    }
    optional = {
        "platform": conf.platform,
        "instruments": ["msi"],
        "processing:level": conf.level,
        "s2:processing_baseline": conf.baseline,
        "grid:code": f"MGRS-{match[1]}" if (match := _MGRS.search(conf.id)) else None,
    }
    properties |= {key: value for key, value in optional.items() if value is not None}
    stated = sorted(properties.keys() & OPTIONAL_EXTENSIONS)
    return pystac.Item(
        conf.id,
        mapping(footprint),
        list(footprint.bounds),
        conf.datetime.astimezone(UTC),
        properties,
        stac_extensions=EXTENSIONS + [OPTIONAL_EXTENSIONS[key] for key in stated],
    )


def _rounded(point: tuple[float, float]) -> tuple[float, float]:
    # 1e-7 degrees is a centimetre; the last bits of a projection differ between versions of PROJ
    return round(point[0], 7), round(point[1], 7)


def _band_fields(name: str, file: RasterFile, scale: float, offset: float) -> dict[str, Any]:
    band = BANDS[name]
    described: dict[str, Any] = {"name": name, "eo:center_wavelength": band.center_wavelength_um}
    if band.common_name is not None:
        described["eo:common_name"] = band.common_name
    return {
        "bands": [described],
        "data_type": file.dtype,
        "nodata": 0,
        "raster:scale": scale,
        "raster:offset": offset,
    }


def _asset(file: RasterFile, folder: Path, fields: dict[str, Any], role: str = "data") -> pystac.Asset:
    path, grid = Path(file.href), file.grid
    fields |= {
        "gsd": grid.pixel_m,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform)[:6],
        # multihash: 12 is SHA-256, 20 its length in bytes, both hexadecimal
        "file:checksum": f"1220{sha256_of(path)}",
        "file:size": path.stat().st_size,
    }
    media = _MEDIA.get(path.suffix.lower(), pystac.MediaType.GEOTIFF)
    href = relative_href(path, folder)
    return pystac.Asset(href, media_type=media, roles=[role], extra_fields=fields)
