"""From local bands to checked STAC Items in static catalogs.

Scenes of all sources become Items of one form: an asset a band with `raster:scale`, `raster:offset`,
`nodata`, grid, size and checksum, and an asset for the mask if there is one. Items hold no wall-clock
time and their hrefs are relative, so that the same pixels give the same bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import pystac
import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from pipeline.bands import BANDS
from pipeline.errors import SceneError
from pipeline.files import canonical_json, linked
from pipeline.geo.raster.archive import checksum_of, size_of
from pipeline.geo.raster.area_of_interest import AreaOfInterest, in_whole_squares
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.raster.raster_file import FLOATS, RasterFile, inspect
from pipeline.geo.raster.remote import is_remote, look_up
from pipeline.geo.scenes.checks import (
    require_band,
    require_cover,
    require_no_band,
    require_same_ground,
    require_size,
    require_true_scale,
    with_nodata,
)
from pipeline.geo.scenes.item import (
    ETAG,
    INVALID_VALUES,
    LAYER,
    MASK,
    NAN,
    OUTLINE,
    VALUES,
    ten_metre_grid,
)
from pipeline.geo.scenes.radiometry import dark_shares, require_plausible, zeros_apart
from pipeline.geo.scenes.samples import sampled
from pipeline.geo.scenes.scene_files import BandLayer, MaskLayer, SceneFiles
from pipeline.geo.scenes.stac import (
    catalog_links,
    extensions,
    file_fields,
    footprint,
    footprint_of,
    grid_fields,
    href_of,
    placed,
    write_catalog_file,
)

EXTENSIONS = extensions("eo/v2.0.0", "file/v2.1.0", "projection/v2.0.0", "raster/v2.0.0")
DARK_SHARE = "lenscape:dark_share"
"""Property of an Item: about which share of a band has a reflectance of 0 or less, by band."""
OPTIONAL_EXTENSIONS = {
    "grid:code": "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "processing:level": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "s2:processing_baseline": "https://stac-extensions.github.io/sentinel-2/v1.0.0/schema.json",
}
"""Named only by an Item with the property: the one of `grid` requires it."""
_MEDIA = {".jp2": pystac.MediaType.JPEG2000}
_MGRS = re.compile(r"(?:^|_)T?((?:0[1-9]|[1-5]\d|60)[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?:_|$)")


def _unheard(_: str) -> None:
    """What takes a warning that nobody wants."""


def scene_item(files: SceneFiles, warn: Callable[[str], object] = _unheard) -> pystac.Item:
    """The checked Item of a scene, with absolute hrefs; `write_catalog` makes them relative.

    `warn` is told what of the scene is doubtful, a sentence at a time.

    Raises:
        SceneError: when a file is missing, damaged, or not on the ground of the others.
        RadiometryError: when scale or offset is contradicted by the pixels.
    """
    layers = {
        name: inspect(*band.layer, "reflectance" if band.reflectance else "dn")
        for name, band in files.bands.items()
    }
    bands = {name: with_nodata(band, layers[name]) for name, band in files.bands.items()}
    grid = ten_metre_grid(file.grid for file in layers.values())
    require_true_scale(grid, next(iter(layers.values())).href)
    part, shape = (grid, None) if files.area is None else _part(grid, files.area, files.id)
    item = _bare_item(files, part, shape)
    samples = {}
    for name, file in layers.items():
        require_band(file)
        require_size(file, files.sizes)
        require_same_ground(file, grid)
        samples[name] = sampled(file, bands[name], part)
    for doubt in require_plausible(samples) + zeros_apart(samples):
        warn(doubt)
    if dark := dark_shares(samples):
        item.properties[DARK_SHARE] = dark
    # all layers of a stack are of one file, which is read through for its checksum
    identities = {href: _identity(href) for href in {file.href for file in layers.values()}}
    for name, file in layers.items():
        fields = _band_fields(name, file, bands[name]) | identities[file.href]
        item.add_asset(name, _asset(file, fields))
    if files.mask is not None:
        require_no_band(files.mask, layers)
        add_mask(item, files.mask, part)
    return item


def _part(grid: PixelGrid, area: AreaOfInterest, name: str) -> tuple[PixelGrid, BaseGeometry | None]:
    """The pixels of a scene around an area, and its polygons unless those hold all of the pixels.

    Raises:
        SceneError: when the area has no pixel of the scene.
    """
    shape = area.on(grid)
    if shape.is_empty:
        raise SceneError(
            f"scene {name} has no pixel in the area {area.name}; correct the area, or leave the scene "
            "out."
        )
    part = grid.part(in_whole_squares(grid, shape.bounds))
    return part, None if shapely.covers(shape, shapely.box(*part.bounds)) else shape


def add_mask(item: pystac.Item, mask: MaskLayer, grid: PixelGrid, key: str = MASK) -> None:
    """Add the asset of a mask to the Item of a scene.

    Raises:
        SceneError: when its file is missing or damaged, or leaves out a part of the scene.
    """
    file = inspect(*mask.layer)
    require_cover(file, grid)
    fields = {"data_type": file.dtype, INVALID_VALUES: list(mask.classes)} | _identity(file.href)
    item.add_asset(key, _asset(file, fields, role="data-mask"))


def write_catalog(
    folder: Path,
    items: Iterable[pystac.Item],
    purpose: str,
    copied: Sequence[Path] = (),
) -> None:
    """Write a static, self-contained catalog: `catalog.json` and `<id>/<id>.json`.

    Args:
        folder: The folder to write to, or one beside it that will be renamed to it.
        items: Scenes, as `scene_item` makes them.
        purpose: What the scenes are for, in a word.
        copied: Folders whose files are put beside their Item, so that the catalog keeps them.
    """
    ids = []
    for item in items:
        add_scene(folder, item, copied)
        ids.append(item.id)
    list_scenes(folder, ids, purpose)


def add_scene(folder: Path, scene: pystac.Item, copied: Sequence[Path] = ()) -> None:
    """Write the Item of a scene into the folder of a catalog, as `write_catalog` does."""
    own = tuple(f"{kept.absolute()}{os.sep}" for kept in copied)
    item_folder = folder / scene.id
    item_folder.mkdir(parents=True, exist_ok=True)
    item = scene.to_dict(include_self_link=False, transform_hrefs=False)
    item["links"] += [link.to_dict(transform_href=False) for link in catalog_links()]
    for key, asset in item["assets"].items():
        path = Path(asset["href"])
        if is_remote(asset["href"]):
            continue
        if asset["href"].startswith(own):
            asset["href"] = f"{key}{path.suffix}"
            linked(path, item_folder / asset["href"])
        else:
            asset["href"] = href_of(path, item_folder)
    # the folder takes its place when it is whole
    (item_folder / f"{scene.id}.json").write_text(canonical_json(item), encoding="utf-8", newline="\n")


def list_scenes(folder: Path, ids: Iterable[str], purpose: str) -> None:
    """Write the catalog of the scenes of a folder, whose Items are there."""
    folder.mkdir(parents=True, exist_ok=True)
    links = [pystac.Link("item", f"./{i}/{i}.json", pystac.MediaType.GEOJSON) for i in ids]
    write_catalog_file(folder, purpose, f"lenscape: scenes to {purpose}", links)


def _bare_item(scene: SceneFiles, grid: PixelGrid, shape: BaseGeometry | None = None) -> pystac.Item:
    properties: dict[str, Any] = {"proj:code": f"EPSG:{grid.epsg}"} | grid_fields(grid)
    if shape is not None:
        properties[OUTLINE] = mapping(shape)
    outline = footprint(grid.epsg, grid.bounds) if shape is None else footprint_of(grid.epsg, shape)
    optional = {
        "platform": scene.platform,
        "instruments": ["msi"],
        "processing:level": scene.level,
        "s2:processing_baseline": scene.baseline,
        "grid:code": f"MGRS-{match[1]}" if (match := _MGRS.search(scene.id)) else None,
    }
    properties |= {key: value for key, value in optional.items() if value is not None}
    stated = sorted(properties.keys() & OPTIONAL_EXTENSIONS)
    return pystac.Item(
        scene.id,
        **placed(outline),
        datetime=scene.datetime.astimezone(UTC),
        properties=properties,
        stac_extensions=EXTENSIONS + [OPTIONAL_EXTENSIONS[key] for key in stated],
    )


def _band_fields(name: str, file: RasterFile, source: BandLayer) -> dict[str, Any]:
    band = BANDS[name]
    usual = NAN if source.reflectance else 0
    described: dict[str, Any] = {"name": name, "eo:center_wavelength": band.center_wavelength_um}
    if band.common_name is not None:
        described["eo:common_name"] = band.common_name
    fields = {
        "bands": [described],
        "data_type": file.dtype,
        "nodata": usual if source.nodata is None else source.nodata,
        "raster:scale": source.scale,
        "raster:offset": source.offset,
    }
    return fields | {VALUES: "dn"} if file.dtype in FLOATS and not source.reflectance else fields


def _asset(file: RasterFile, fields: dict[str, Any], role: str = "data") -> pystac.Asset:
    path = Path(file.href)
    fields |= grid_fields(file.grid)
    if file.layer.number is not None:
        fields[LAYER] = file.layer.number
    media = _MEDIA.get(path.suffix.lower(), pystac.MediaType.GEOTIFF)
    href = file.href if is_remote(file.href) else str(path.absolute())
    return pystac.Asset(href, media_type=media, roles=[role], extra_fields=fields)


def _identity(href: str) -> dict[str, Any]:
    """Fields that change when a file does: checksum and size, or of a remote file ETag and size."""
    if is_remote(href):
        remote = look_up(href)
        return {ETAG: remote.etag, "file:size": remote.size}
    return file_fields(checksum_of(href), size_of(href))
