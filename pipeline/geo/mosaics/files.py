"""The folder of a mosaic: class map, confidence, styles, areas, preview, Item, as of a scene."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
from shapely.geometry.base import BaseGeometry

from pipeline.files import publish, require_space
from pipeline.geo.maps import class_map, preview
from pipeline.geo.maps.areas import Tally, areas_csv
from pipeline.geo.maps.catalog import MapFolder, grid_properties, is_kept, publish_item
from pipeline.geo.maps.class_map import MapRecord, Provenance
from pipeline.geo.maps.cog import read_small
from pipeline.geo.maps.item import map_assets, map_item
from pipeline.geo.maps.raster_writer import Cells, RasterWriter, temporary_raster
from pipeline.geo.maps.sidecars import write_sidecars
from pipeline.geo.mosaics.mosaic import Mosaic, joined
from pipeline.geo.scenes.stac import footprint
from pipeline.geo.style.colors import PER_CENT_RAMP, rgb
from pipeline.store_meta import ClassInfo

_SIDE = 1024
"""Side of the squares of pixels that are in memory at a time."""
_PREVIEW_PX = 1024


def shades(per_cent: Cells) -> npt.NDArray[np.uint8]:
    """The colours (h, w, 3) of a map in per cent (h, w), where above 100 is nodata, as its style's."""
    stops = np.asarray([rgb(color) for color in PER_CENT_RAMP.values()])
    palette = np.full((256, 3), preview.VOID, dtype=np.uint8)
    for channel in range(3):
        ramp = np.interp(np.arange(101), list(PER_CENT_RAMP), stops[:, channel])
        palette[:101, channel] = np.rint(ramp)
    colored: npt.NDArray[np.uint8] = palette[per_cent]
    return colored


def write_mosaic(mosaic: Mosaic, classes: Sequence[ClassInfo], out: Path) -> MapFolder:
    """Join the maps of a mosaic in the folder `out/<mosaic>`, which appears when it is whole.

    One that is there of the same maps is kept.

    Raises:
        SceneError: when a map cannot be read.
        OutputError: when the disk is full or cannot be written.
    """
    folder_of = out / mosaic.id
    origin = Provenance.of_mosaic([member.scene.origin for member in mosaic.members])
    if is_kept(MapFolder(folder_of, mosaic.id), origin.fingerprint):
        return MapFolder(folder_of, mosaic.id)
    # both maps uncompressed, with overviews, then as COGs, and a picture
    require_space(folder_of, 5 * mosaic.grid.height * mosaic.grid.width + 8_000_000, "The mosaic")
    with publish(folder_of) as folder:
        folder.mkdir()
        files = MapFolder(folder, mosaic.id)
        with (
            temporary_raster(folder / "classes.partial", mosaic.grid, class_map.NODATA) as raster,
            temporary_raster(
                folder / "confidence.partial", mosaic.grid, class_map.CONFIDENCE_NODATA
            ) as sure,
        ):
            tally = _join_maps(mosaic, raster, sure)
            kind = class_map.class_map_kind(classes)
            class_map.write_map(raster, files.class_map, kind, origin)
            class_map.write_map(sure, files.confidence, class_map.CONFIDENCE, origin)
        pixel_m = mosaic.members[0].scene.ground.scene.pixel_m
        files.areas.write_text(areas_csv(tally, classes, pixel_m, "the scenes"), encoding="utf-8")
        record = MapRecord(origin, mosaic.grid, classes, tally)
        write_sidecars(files.class_map, f"Mosaic {mosaic.id}", record)
        _draw(files, record)
        outline, placed = footprint(mosaic.grid.epsg, mosaic.grid.bounds), grid_properties(mosaic.grid)
        item = mosaic_item(mosaic.id, outline, placed, origin, origin.ids)
        publish_item(item, map_assets(files, record), files.item)
    return MapFolder(folder_of, mosaic.id)


def _join_maps(mosaic: Mosaic, classes: RasterWriter, confidence: RasterWriter) -> Tally:
    tally = Tally.empty()
    for square in joined(mosaic, _SIDE):
        classes.write(square.row, square.col, square.classes)
        confidence.write(square.row, square.col, square.confidence)
        tally = tally.plus(square.classes, square.ground_px)
    return tally


def _draw(files: MapFolder, record: MapRecord) -> None:
    per_cent, bounds = read_small(files.confidence, _PREVIEW_PX)
    title = "Confidence, from dark (0 %) to bright (100 %)"
    confidence = preview.Panel(title, shades(per_cent), bounds)
    facts = (
        f"{len(record.origin.scenes)} scenes",
        " to ".join(dict.fromkeys(time[:10] for time in record.origin.times)),
        f"EPSG:{record.grid.epsg}",
        f"pixels of {record.grid.pixel_m:g} m",
    )
    preview.draw_map(files, record, confidence, facts, _PREVIEW_PX)


def mosaic_item(
    name: str,
    outline: BaseGeometry,
    properties: dict[str, Any],
    origin: Provenance,
    maps: Iterable[str],
) -> pystac.Item:
    """The Item of a mosaic, without its assets.

    The outline is in longitude and latitude, `properties` say where its pixels lie, and `maps` are the
    names of the maps of the same folder that it is made of.
    """
    first, last = origin.times
    stated = {
        "title": f"Mosaic of the class maps of {len(origin.scenes)} scenes",
        "start_datetime": first,
        "end_datetime": last,
        **properties,
    }
    item = map_item(name, outline, origin, stated)
    for other in maps:
        href = f"../{other}/{other}.json"
        item.add_link(pystac.Link("derived_from", href, pystac.MediaType.GEOJSON, f"The map {other}"))
    return item
