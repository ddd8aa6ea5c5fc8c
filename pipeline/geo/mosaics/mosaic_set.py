"""All mosaics of a folder of maps: which are due, that they can be made, and one map over all zones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pystac
from pyproj import Transformer
from shapely.geometry import box

from pipeline.config.predict import MosaicConf
from pipeline.errors import ConfigError
from pipeline.files import publish
from pipeline.geo.maps import class_map
from pipeline.geo.maps.catalog import asset, grid_properties, publish_item
from pipeline.geo.maps.folder import MapFolder
from pipeline.geo.maps.item import class_list
from pipeline.geo.maps.raster_writer import MapGrid
from pipeline.geo.mosaics.files import write_mosaic
from pipeline.geo.mosaics.item import Origins, link_maps, mosaic_item
from pipeline.geo.mosaics.mosaic import GridKey, MappedScene, grid_key, mosaic_id, mosaics
from pipeline.geo.mosaics.target_grid import Layout, layout, require_crs
from pipeline.geo.mosaics.vrt import Legend, Part, write_vrt
from pipeline.geo.raster.grid import PatchGrid
from pipeline.geo.style import qml
from pipeline.store import ClassInfo

WHOLE = "mosaic"
"""Name of the map over all zones and of its folder."""
_VRT = "application/x-gdal-vrt"
_QML = "application/xml"


@dataclass(frozen=True)
class Plan:
    """What the conf asks for, of the cells of all scenes."""

    conf: MosaicConf
    where: str
    """The conf file, for messages."""
    cells: Mapping[str, PatchGrid]
    """By scene."""

    def require_possible(self) -> None:
        """Refuse before any work what could not be written after it.

        Raises:
            ConfigError: when the CRS is none or cannot hold the maps, or a scene has the name of a
                mosaic.
        """
        due = [mosaic_id(key) for key, scenes in self._grids().items() if self._due(scenes)]
        if self.whole_crs is not None:
            due.append(WHOLE)
            where = f"{self.where}: key 'mosaic.crs'"
            require_crs(self.whole_crs, where)
            layout(self.whole_crs, [map_grid(cells) for cells in self.cells.values()], where)
        if taken := sorted(set(due) & set(self.cells)):
            raise ConfigError(
                f"scene {taken[0]} has the name of a mosaic; give it another id in the conf of "
                f"`fetch`, or write `mosaic: none` into {self.where}."
            )

    @property
    def whole_crs(self) -> str | None:
        """The CRS of the map over all zones, where it is due."""
        return self.conf.crs if len(self.cells) >= self.conf.min_scenes else None

    @property
    def notes(self) -> list[str]:
        """A sentence for each zone whose maps do not all fall on each other."""
        zones = defaultdict(list)
        for key, scenes in sorted(self._grids().items()):
            zones[key[0]].append(scenes)
        return [
            f"the scenes of EPSG:{epsg} lie on {len(grids)} grids of pixels, which only resampling "
            f"could join: {' | '.join(', '.join(scenes) for scenes in grids)}"
            for epsg, grids in zones.items()
            if len(grids) > 1
        ]

    def _grids(self) -> dict[GridKey, list[str]]:
        grids = defaultdict(list)
        for scene, cells in self.cells.items():
            grids[grid_key(cells)].append(scene)
        return grids

    def _due(self, scenes: Sequence[str]) -> bool:
        return len(scenes) >= self.conf.min_scenes


def write_mosaics(
    plan: Plan, scenes: Sequence[MappedScene], classes: Sequence[ClassInfo], out: Path
) -> list[MapFolder]:
    """Write all mosaics that are due into folders of `out`, where the maps of the scenes are.

    Returns:
        The folders of the mosaics of zones, then that of the map over all zones, as far as due.

    Raises:
        SceneError: when a map cannot be read.
        OutputError: when the disk is full or cannot be written.
    """
    due = mosaics(scenes, plan.conf.min_scenes)
    folders = [write_mosaic(mosaic, classes, out) for mosaic in due]
    if plan.whole_crs is None:
        return folders
    joined = {member.scene.files.scene for mosaic in due for member in mosaic.members}
    maps = [
        _Map(mosaic.id, mosaic.grid, Origins([member.scene.origin for member in mosaic.members]))
        for mosaic in due
    ]
    maps += [
        _Map(scene.files.scene, map_grid(scene.cells), Origins([scene.origin]))
        for scene in scenes
        if scene.files.scene not in joined
    ]
    return [*folders, _write_whole(plan.whole_crs, plan.where, maps, classes, out)]


def map_grid(cells: PatchGrid) -> MapGrid:
    """Where the map of a scene lies."""
    return MapGrid(cells.scene.epsg, cells.transform, cells.rows, cells.cols)


@dataclass(frozen=True)
class _Map:
    """A class map and a confidence, of a zone or of a scene, that the map over all zones shows."""

    name: str
    grid: MapGrid
    origins: Origins

    def part(self, what: str) -> Part:
        """One of the two, `classmap` or `confidence`."""
        file = f"{self.name}_{what}"
        return Part(file, f"../../{self.name}/{file}.tif", self.grid)


def _write_whole(
    crs: str, where: str, maps: Iterable[_Map], classes: Sequence[ClassInfo], out: Path
) -> MapFolder:
    """Write the folder of the map over all zones, in which the newest maps lie on top."""
    ordered = sorted(maps, key=lambda m: (datetime.fromisoformat(m.origins.times[1]), m.name))
    placed = layout(crs, [part.grid for part in ordered], where)
    origins = Origins([origin for part in ordered for origin in part.origins.scenes])
    with publish(out / WHOLE) as folder:
        folder.mkdir()
        assets: dict[str, pystac.Asset] = {}
        for look in _looks(classes, origins.tags()):
            path = folder / f"{WHOLE}_{look.what}.vrt"
            parts = write_vrt(path, [part.part(look.what) for part in ordered], placed, look.legend)
            path.with_suffix(".qml").write_text(look.style, encoding="utf-8")
            assets |= _assets(look, path, parts)
        publish_item(_whole_item(placed, ordered, origins), assets, folder / f"{WHOLE}.json")
    return MapFolder(out / WHOLE, WHOLE)


@dataclass(frozen=True)
class _Look:
    """What the map over all zones shows of its maps, and how."""

    what: str
    """`classmap` or `confidence`."""
    legend: Legend
    style: str
    """For QGIS."""
    fields: dict[str, Any]
    """Of its asset."""


def _looks(classes: Sequence[ClassInfo], tags: Mapping[str, str]) -> list[_Look]:
    names = [class_map.NODATA_NAME, *(qml.readable(info.title) for info in classes)]
    of_classes = {"nodata": class_map.NODATA, "classification:classes": class_list(classes)}
    of_confidence = {"nodata": class_map.CONFIDENCE_NODATA, "unit": "%"}
    kind = class_map.class_map_kind(classes)
    return [
        _Look("classmap", Legend(kind, names, tags), qml.class_map_qml(classes), of_classes),
        _Look("confidence", Legend(class_map.CONFIDENCE, tags=tags), qml.per_cent_qml(), of_confidence),
    ]


def _assets(look: _Look, path: Path, parts: Sequence[Path]) -> dict[str, pystac.Asset]:
    fields = {"data_type": "uint8"} | look.fields
    title = f"The {look.what} of all zones, nearest neighbour of the maps it comes from"
    assets = {
        look.what: asset(path, _VRT, "data", title, fields),
        f"{look.what}_style": asset(path.with_suffix(".qml"), _QML, "style", "QGIS style"),
    }
    for file in parts:
        assets[file.stem] = asset(file, _VRT, "metadata", f"One map, for the {look.what}")
        assets[file.stem].href = f"./{file.relative_to(path.parent).as_posix()}"
    return assets


def _whole_item(placed: Layout, maps: Sequence[_Map], origins: Origins) -> pystac.Item:
    grid = placed.grid
    cell_m = min(part.grid.transform.a for part in maps)
    to_degrees = Transformer.from_crs(grid.epsg, "OGC:CRS84", always_xy=True)
    bounds = to_degrees.transform_bounds(*grid.bounds, densify_pts=21)
    # 1e-7 degrees is a centimetre, as in the outlines of maps
    outline = box(*(round(edge, 7) for edge in bounds))
    # a pixel of the grid may be in degrees
    item = mosaic_item(WHOLE, outline, grid_properties(grid) | {"gsd": cell_m}, origins)
    link_maps(item, (part.name for part in maps))
    return item
