"""One map over all zones: a GDAL virtual raster (VRT) that reprojects other maps while it is read.

GDAL warps one file at a time, so each map has a VRT of its own in `parts/`, all on one grid of
pixels, and the VRT for people puts those side by side. Values are taken over by nearest neighbour.
Paths are relative: the folder of maps may move as a whole. Where maps overlap, the later one lies on
top.

GDAL would write the statistics that a viewer asks for into the VRT, and into those of its parts: to
DVC the maps would have changed. It does not where a VRT has a group of arrays, be it empty, and where
values of the parts pass a table, be it one that changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.geo.maps.cog import MapKind
from pipeline.geo.maps.raster_writer import MapGrid
from pipeline.geo.mosaics.files import Origins
from pipeline.geo.mosaics.target_grid import Layout
from pipeline.geo.style.xml import render


@dataclass(frozen=True)
class Part:
    """A zone or a scene, whose class map and confidence are reprojected."""

    name: str
    grid: MapGrid
    """Its own."""
    origins: Origins


def write_vrt(
    path: Path,
    raster: str,
    parts: Sequence[Part],
    placed: Layout,
    content: tuple[MapKind, Mapping[str, str]],
) -> list[Path]:
    """Write a VRT at `path` over some maps, and those of the parts beside it in `parts/`.

    Args:
        path: Of the whole, in a folder beside those of the maps.
        raster: Which raster of the maps, `classmap` or `confidence`.
        parts: The maps; later ones lie on top.
        placed: Where the whole and the parts lie.
        content: What the values mean, and the tags of the whole.

    Returns:
        The files of the parts.
    """
    kind, tags = content
    folder = path.parent / "parts"
    folder.mkdir(exist_ok=True)
    files = [folder / f"{part.name}_{raster}.vrt" for part in parts]
    sources = []
    for file, part, grid in zip(files, parts, placed.parts, strict=True):
        source = f"../../{part.name}/{file.stem}.tif"
        text = render(
            "warped.vrt.j2", source=source, source_grid=part.grid, grid=grid, nodata=kind.nodata
        )
        file.write_text(text, encoding="utf-8")
        col, row = ~placed.grid.transform @ (grid.transform.c, grid.transform.f)
        sources.append((file, grid, round(col), round(row)))
    text = render("mosaic.vrt.j2", grid=placed.grid, kind=kind, tags=tags, sources=sources)
    path.write_text(text, encoding="utf-8")
    return files
