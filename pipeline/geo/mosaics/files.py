"""The folder of a mosaic: class map, confidence, styles, areas, preview, Item, as of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.files import publish, require_space
from pipeline.geo.maps import class_map, preview
from pipeline.geo.maps.areas import Tally, areas_csv
from pipeline.geo.maps.cog import read_small
from pipeline.geo.maps.folder import MapFolder
from pipeline.geo.maps.raster_writer import Cells, RasterWriter, temporary_raster
from pipeline.geo.maps.sidecars import write_sidecars
from pipeline.geo.mosaics.item import MosaicRecord, Origins, write_mosaic_item
from pipeline.geo.mosaics.mosaic import Mosaic, joined
from pipeline.geo.style.qml import PER_CENT_RAMP, rgb
from pipeline.store import ClassInfo

_SIDE = 1024
"""Side of the squares of cells that are in memory at a time."""
_PREVIEW_PX = 1024


@dataclass(frozen=True)
class Shade:
    """A map in per cent to be shown in the colours of its style."""

    cells: Cells
    """Per cent (h, w); what is above 100 is nodata."""
    bounds: preview.Bounds
    title: str = "Confidence, from dark (0 %) to bright (100 %)"

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """Its colours (h, w, 3)."""
        stops = np.asarray([rgb(color) for color in PER_CENT_RAMP.values()])
        palette = np.full((256, 3), preview.VOID, dtype=np.uint8)
        for channel in range(3):
            ramp = np.interp(np.arange(101), list(PER_CENT_RAMP), stops[:, channel])
            palette[:101, channel] = np.rint(ramp)
        colored: npt.NDArray[np.uint8] = palette[self.cells]
        return colored


def write_mosaic(mosaic: Mosaic, classes: Sequence[ClassInfo], out: Path) -> MapFolder:
    """Join the maps of a mosaic in the folder `out/<mosaic>`, which appears when it is whole.

    Raises:
        SceneError: when a map cannot be read.
        OutputError: when the disk is full or cannot be written.
    """
    place = out / mosaic.id
    # both maps uncompressed, with overviews, then as COGs, and a picture
    require_space(place, 5 * mosaic.grid.rows * mosaic.grid.cols + 8_000_000, "The mosaic")
    with publish(place) as folder:
        folder.mkdir()
        files = MapFolder(folder, mosaic.id)
        origins = Origins([member.scene.origin for member in mosaic.members])
        with (
            temporary_raster(folder / "classes.partial", mosaic.grid, class_map.NODATA) as raster,
            temporary_raster(
                folder / "confidence.partial", mosaic.grid, class_map.CONFIDENCE_NODATA
            ) as sure,
        ):
            tally = _join_maps(mosaic, raster, sure)
            class_map.write_class_map(raster, files.class_map, classes, origins)
            class_map.write_confidence(sure, files.confidence, origins)
        pixel_m = mosaic.members[0].scene.cells.scene.pixel_m
        files.areas.write_text(areas_csv(tally, classes, pixel_m, "the scenes"), encoding="utf-8")
        record = MosaicRecord(origins, mosaic.grid, classes, tally)
        write_sidecars(files.class_map, f"Mosaic {mosaic.id}", record, origins)
        _draw(files, record)
        write_mosaic_item(files, record)
    return MapFolder(place, mosaic.id)


def _join_maps(mosaic: Mosaic, classes: RasterWriter, confidence: RasterWriter) -> Tally:
    tally = Tally.empty()
    for square in joined(mosaic, _SIDE):
        classes.write(square.row, square.col, square.classes)
        confidence.write(square.row, square.col, square.confidence)
        tally = tally.plus_ground(square.classes, square.ground_px)
    return tally


def _draw(files: MapFolder, record: MosaicRecord) -> None:
    cells, bounds = read_small(files.class_map, _PREVIEW_PX)
    picture = preview.MapPicture(cells, bounds, record.classes, record.tally.shares())
    days = dict.fromkeys(time[:10] for time in record.origins.times)
    facts = [
        f"{len(record.origins.scenes)} scenes",
        " to ".join(days),
        f"EPSG:{record.grid.epsg}",
        f"cells of {record.grid.transform.a:g} m",
    ]
    shade = Shade(read_small(files.confidence, _PREVIEW_PX)[0], bounds)
    caption = preview.Caption(files.scene, " · ".join(facts), record.origins.attribution)
    preview.draw(files.preview, shade, picture, caption)
