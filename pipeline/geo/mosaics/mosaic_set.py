"""All mosaics of a folder of maps: which are due, that they can be made, and one map over all zones.

The map over all zones is a GDAL virtual raster (VRT) that reprojects other maps while it is read.
GDAL warps one file at a time, so each map has a VRT of its own in `parts/`, all on one grid of
pixels, and the VRT for people puts those side by side. Values are taken over by nearest neighbour.
Paths are relative: the folder of maps may move as a whole. Where maps overlap, the later one lies on
top.

GDAL would write the statistics that a viewer asks for into the VRT, and into those of its parts: to
DVC the maps would have changed. It does not where a VRT has a group of arrays, be it empty, and where
values of the parts pass a table, be it one that changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pystac

from pipeline.config.predict import MosaicConf
from pipeline.errors import ConfigError
from pipeline.files import publish, sha256_of_value
from pipeline.geo.maps import class_map
from pipeline.geo.maps.catalog import MapFolder, asset, grid_properties, is_kept, publish_item
from pipeline.geo.maps.class_map import Provenance
from pipeline.geo.maps.cog import MapKind
from pipeline.geo.maps.item import QML, VRT, class_list
from pipeline.geo.mosaics.files import mosaic_item, write_mosaic
from pipeline.geo.mosaics.mosaic import (
    GridKey,
    MappedScene,
    Member,
    Mosaic,
    grid_key,
    mosaic_id,
    mosaics,
)
from pipeline.geo.mosaics.target_grid import layout
from pipeline.geo.raster.area import area_around, crs_of, enclosing, outline
from pipeline.geo.raster.grid import PatchGrid, PixelGrid
from pipeline.geo.scenes.stac import footprint
from pipeline.geo.style.xml import render
from pipeline.store_meta import ClassInfo

WHOLE = "mosaic"
"""Name of the map over all zones and of its folder."""


@dataclass(frozen=True)
class Plan:
    """What the conf asks for, of the map pixels of all scenes."""

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
        least = self.conf.min_scenes
        due = [mosaic_id(key) for key, scenes in self._grids().items() if len(scenes) >= least]
        if self.whole_crs is not None:
            due.append(WHOLE)
            where = f"{self.where}: key 'mosaic.crs'"
            crs_of(self.whole_crs, where)
            layout(self.whole_crs, [cells.map_grid for cells in self.cells.values()], where)
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
    alone = [
        Mosaic(scene.files.scene, scene.ground.grid.map_grid, (Member(scene, 0, 0),))
        for scene in scenes
        if scene.files.scene not in joined
    ]
    parts = sorted([*due, *alone], key=lambda part: (part.members[0].scene.time, part.id))
    whole, grids = layout(plan.whole_crs, [part.grid for part in parts], plan.where)
    origin = Provenance.of_mosaic([scene.origin for scene in scenes])
    # which maps lie in it follows from these and from the conf
    made_by = [origin.fingerprint, plan.conf.model_dump_json()]
    origin = replace(origin, fingerprint=sha256_of_value(made_by))
    if is_kept(MapFolder(out / WHOLE, WHOLE), origin.fingerprint):
        return [*folders, MapFolder(out / WHOLE, WHOLE)]
    return [*folders, _write_whole(whole, list(zip(parts, grids, strict=True)), origin, classes, out)]


def _write_whole(
    grid: PixelGrid,
    parts: Sequence[tuple[Mosaic, PixelGrid]],
    origin: Provenance,
    classes: Sequence[ClassInfo],
    out: Path,
) -> MapFolder:
    """Write the folder of the map over all zones, in which the last maps lie on top."""
    kinds = {"classmap": class_map.class_map_kind(classes), "confidence": class_map.CONFIDENCE}
    with publish(out / WHOLE) as folder:
        folder.mkdir()
        assets: dict[str, pystac.Asset] = {}
        for raster, kind in kinds.items():
            path = folder / f"{WHOLE}_{raster}.vrt"
            files = write_vrt(path, raster, kind, origin.tags(), grid, parts)
            path.with_suffix(".qml").write_text(kind.style, encoding="utf-8")
            values = (
                {"classification:classes": class_list(classes)} if kind.names else {"unit": kind.unit}
            )
            fields = {"data_type": "uint8", "nodata": kind.nodata} | values
            title = f"The {raster} of all zones, nearest neighbour of the maps it comes from"
            assets[raster] = asset(path, VRT, "data", title, fields)
            assets[f"{raster}_style"] = asset(path.with_suffix(".qml"), QML, "style", "QGIS style")
            for file in files:
                assets[file.stem] = asset(file, VRT, "metadata", f"One map, for the {raster}")
                assets[file.stem].href = f"./{file.relative_to(folder).as_posix()}"
        item = _whole_item(grid, [part for part, _ in parts], origin)
        publish_item(item, assets, folder / f"{WHOLE}.json")
    return MapFolder(out / WHOLE, WHOLE)


def write_vrt(
    path: Path,
    raster: str,
    kind: MapKind,
    tags: Mapping[str, str],
    grid: PixelGrid,
    parts: Sequence[tuple[Mosaic, PixelGrid]],
) -> list[Path]:
    """Write a VRT at `path` over some maps, and those of the parts beside it in `parts/`.

    Args:
        path: Of the whole, in a folder beside those of the maps.
        raster: Which raster of the maps, `classmap` or `confidence`.
        kind: What its values mean.
        tags: Of the whole.
        grid: Where the whole lies.
        parts: The maps and where they come to lie; later ones lie on top.

    Returns:
        The files of the parts.
    """
    folder = path.parent / "parts"
    folder.mkdir(exist_ok=True)
    sources = []
    for part, target in parts:
        file = folder / f"{part.id}_{raster}.vrt"
        text = render(
            "warped.vrt.j2", source=f"../../{part.id}/{file.stem}.tif", source_grid=part.grid,
            grid=target, nodata=kind.nodata,
        )  # fmt: skip
        file.write_text(text, encoding="utf-8")
        col, row = ~grid.transform @ (target.x0, target.y0)
        sources.append((file, target, round(col), round(row)))
    text = render("mosaic.vrt.j2", grid=grid, kind=kind, tags=tags, sources=sources)
    path.write_text(text, encoding="utf-8")
    return [file for file, *_ in sources]


def _whole_item(grid: PixelGrid, parts: Sequence[Mosaic], origin: Provenance) -> pystac.Item:
    # not the bounds of its own CRS, which may hold both sides of the antimeridian and all between
    area = enclosing([area_around(footprint(part.grid.epsg, part.grid.bounds)) for part in parts])
    # a pixel of the grid may be in degrees
    placed = grid_properties(grid) | {"gsd": min(part.grid.pixel_m for part in parts)}
    return mosaic_item(WHOLE, outline(area), placed, origin, [part.id for part in parts])
