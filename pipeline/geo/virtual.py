"""One map over all zones: a GDAL virtual raster (VRT) that reprojects other maps while it is read.

GDAL warps one file at a time, so each map has a VRT of its own in `parts/`, all on one lattice of
pixels, and the VRT for people puts those side by side. Values are taken over by nearest neighbour.
Paths are relative: the folder of maps may move as a whole. Where maps overlap, the later one lies on
top.

GDAL would write the statistics that a viewer asks for into the VRT, and into those of its parts: to
DVC the maps would have changed. It does not where a VRT has a group of arrays, be it empty, and where
values of the parts pass a table, be it one that changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from pipeline.errors import ConfigError
from pipeline.geo.canvas import MapGrid
from pipeline.geo.cog import MapKind, palette_xml

_LARGEST = 100
"""By so many times may a map grow in number of pixels before its CRS is said not to hold it."""


@dataclass(frozen=True)
class Lattice:
    """Pixels of a CRS, anchored at multiples of their side."""

    crs: str
    """`EPSG:<code>`."""
    side: float
    """Of a pixel, in units of the CRS."""

    def around(self, bounds: tuple[float, float, float, float]) -> MapGrid:
        """The whole pixels that cover left, bottom, right, top."""
        # float noise must not add a row
        west, south, east, north = (round(edge / self.side, 6) for edge in bounds)
        left, bottom, right, top = (
            math.floor(west), math.floor(south), math.ceil(east), math.ceil(north),
        )  # fmt: skip
        transform = Affine(self.side, 0.0, left * self.side, 0.0, -self.side, top * self.side)
        return MapGrid(int(self.crs.removeprefix("EPSG:")), transform, top - bottom, right - left)


@dataclass(frozen=True)
class Part:
    """A map that is reprojected."""

    name: str
    """Of its VRT in `parts/`, without the ending."""
    source: str
    """Its file, relative to `parts/`."""
    grid: MapGrid
    """Its own."""


@dataclass(frozen=True)
class Layout:
    """Where parts come to lie in another CRS."""

    grid: MapGrid
    """Of the whole."""
    parts: tuple[MapGrid, ...]
    """Of each part, on the same lattice of pixels."""


def require_crs(crs: str, where: str) -> None:
    """Refuse a CRS that has no plane of two axes.

    Raises:
        ConfigError: naming `where` it stands.
    """
    try:
        found = CRS.from_user_input(crs)
    except CRSError as error:
        raise ConfigError(f"{where}: {crs} is no CRS that PROJ knows; name another one.") from error
    if not (found.is_projected or found.is_geographic) or len(found.axis_info) != 2:
        raise ConfigError(
            f"{where}: {crs} ({found.name}) has no plane of two axes; name a projected CRS, such as "
            "EPSG:3857."
        )


def layout(crs: str, grids: Sequence[MapGrid], where: str) -> Layout:
    """Where maps come to lie in a CRS.

    A pixel there is about a cell: as the smallest of the maps' cells comes out in the middle of its
    map, in two digits.

    Raises:
        ConfigError: naming `where` the CRS stands, when it cannot hold a map: its area of use is
            another one, or a map crosses its edge.
    """
    lattice = Lattice(crs, float(f"{min(_cell_side(crs, grid) for grid in grids):.2g}"))
    parts = []
    for grid in grids:
        to_crs = Transformer.from_crs(grid.epsg, crs, always_xy=True)
        left, bottom, right, top = to_crs.transform_bounds(*grid.bounds, densify_pts=21)
        if not all(map(math.isfinite, (left, bottom, right, top))) or left > right:
            raise _unfit(crs, grid, where)
        parts.append(lattice.around((left, bottom, right, top)))
        if parts[-1].rows * parts[-1].cols > _LARGEST * grid.rows * grid.cols + 10_000:
            raise _unfit(crs, grid, where)
    edges = [part.bounds for part in parts]
    whole = (
        min(edge[0] for edge in edges),
        min(edge[1] for edge in edges),
        max(edge[2] for edge in edges),
        max(edge[3] for edge in edges),
    )
    return Layout(lattice.around(whole), tuple(parts))


def _cell_side(crs: str, grid: MapGrid) -> float:
    """The side of a square of the CRS as large as the cell in the middle of a map."""
    to_crs = Transformer.from_crs(grid.epsg, crs, always_xy=True)
    cell = [(0, 0), (1, 0), (1, 1), (0, 1)]
    corners = [grid.transform @ (grid.cols / 2 + col, grid.rows / 2 + row) for col, row in cell]
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (to_crs.transform(*corner) for corner in corners)
    # a quadrangle is half the product of its diagonals
    area = abs((x2 - x0) * (y3 - y1) - (x3 - x1) * (y2 - y0)) / 2
    return math.sqrt(area)


def _unfit(crs: str, grid: MapGrid, where: str) -> ConfigError:
    return ConfigError(
        f"{where}: {crs} cannot hold the maps of EPSG:{grid.epsg}, which lie outside of its area or "
        "across its edge; name a CRS of their region."
    )


@dataclass(frozen=True)
class Legend:
    """What the values of the whole mean."""

    kind: MapKind
    names: Sequence[str] = ()
    """Category names of the values 0, 1, ..., where it has any."""


def write_vrt(path: Path, parts: Sequence[Part], placed: Layout, legend: Legend) -> list[Path]:
    """Write a VRT at `path` over some maps, and those of the parts beside it in `parts/`.

    Returns:
        The files of the parts.
    """
    folder = path.parent / "parts"
    folder.mkdir(exist_ok=True)
    files = []
    for part, grid in zip(parts, placed.parts, strict=True):
        files.append(folder / f"{part.name}.vrt")
        files[-1].write_text(_warped(part, grid, legend.kind.nodata), encoding="utf-8")
    path.write_text(_whole(files, placed, legend), encoding="utf-8")
    return files


def _warped(part: Part, grid: MapGrid, nodata: int) -> str:
    """The VRT of one map in another CRS (https://gdal.org/drivers/raster/vrt.html)."""
    value = f"<SrcNoDataReal>{nodata}</SrcNoDataReal><DstNoDataReal>{nodata}</DstNoDataReal>"
    return "\n".join(
        [
            f'<VRTDataset rasterXSize="{grid.cols}" rasterYSize="{grid.rows}" '
            'subClass="VRTWarpedDataset">',
            f"  <SRS>EPSG:{grid.epsg}</SRS>",
            f"  <GeoTransform>{_numbers(grid.transform)}</GeoTransform>",
            '  <VRTRasterBand dataType="Byte" band="1" subClass="VRTWarpedRasterBand">',
            f"    <NoDataValue>{nodata}</NoDataValue>",
            "  </VRTRasterBand>",
            "  <BlockXSize>512</BlockXSize>",
            "  <BlockYSize>512</BlockYSize>",
            "  <GDALWarpOptions>",
            "    <ResampleAlg>NearestNeighbour</ResampleAlg>",
            "    <WorkingDataType>Byte</WorkingDataType>",
            '    <Option name="INIT_DEST">NO_DATA</Option>',
            '    <Option name="ERROR_OUT_IF_EMPTY_SOURCE_WINDOW">FALSE</Option>',
            f'    <SourceDataset relativeToVRT="1">{escape(part.source)}</SourceDataset>',
            "    <Transformer><ApproxTransformer><MaxError>0.125</MaxError><BaseTransformer>",
            "      <GenImgProjTransformer>",
            f"        <SrcGeoTransform>{_numbers(part.grid.transform)}</SrcGeoTransform>",
            f"        <SrcInvGeoTransform>{_numbers(~part.grid.transform)}</SrcInvGeoTransform>",
            f"        <DstGeoTransform>{_numbers(grid.transform)}</DstGeoTransform>",
            f"        <DstInvGeoTransform>{_numbers(~grid.transform)}</DstInvGeoTransform>",
            "        <ReprojectTransformer><ReprojectionTransformer>",
            f"          <SourceSRS>EPSG:{part.grid.epsg}</SourceSRS>",
            f"          <TargetSRS>EPSG:{grid.epsg}</TargetSRS>",
            "        </ReprojectionTransformer></ReprojectTransformer>",
            "      </GenImgProjTransformer>",
            "    </BaseTransformer></ApproxTransformer></Transformer>",
            f'    <BandList><BandMapping src="1" dst="1">{value}</BandMapping></BandList>',
            "  </GDALWarpOptions>",
            "</VRTDataset>",
            "",
        ]
    )


def _whole(files: Sequence[Path], placed: Layout, legend: Legend) -> str:
    grid, kind = placed.grid, legend.kind
    names = [f"      <Category>{escape(name)}</Category>" for name in legend.names]
    return "\n".join(
        [
            f'<VRTDataset rasterXSize="{grid.cols}" rasterYSize="{grid.rows}">',
            '  <Group name="/"/>',  # it is not written to
            f"  <SRS>EPSG:{grid.epsg}</SRS>",
            f"  <GeoTransform>{_numbers(grid.transform)}</GeoTransform>",
            '  <VRTRasterBand dataType="Byte" band="1">',
            f"    <Description>{escape(kind.bands[0].description)}</Description>",
            f"    <UnitType>{escape(kind.unit)}</UnitType>",
            f"    <NoDataValue>{kind.nodata}</NoDataValue>",
            f"    {palette_xml(kind)}",
            *(["    <CategoryNames>", *names, "    </CategoryNames>"] if names else []),
            *(
                _source(file, part, grid, kind.nodata)
                for file, part in zip(files, placed.parts, strict=True)
            ),
            "  </VRTRasterBand>",
            "</VRTDataset>",
            "",
        ]
    )


def _source(file: Path, part: MapGrid, whole: MapGrid, nodata: int) -> str:
    """A part where it lies in the whole; what it has no data for shows what lies below."""
    col, row = (round(offset) for offset in ~whole.transform @ (part.transform.c, part.transform.f))
    size = f'xSize="{part.cols}" ySize="{part.rows}"'
    return "\n".join(
        [
            "    <ComplexSource>",
            f'      <SourceFilename relativeToVRT="1">parts/{escape(file.name)}</SourceFilename>',
            "      <SourceBand>1</SourceBand>",
            f'      <SourceProperties RasterXSize="{part.cols}" RasterYSize="{part.rows}" '
            'DataType="Byte" BlockXSize="512" BlockYSize="512"/>',
            f'      <SrcRect xOff="0" yOff="0" {size}/>',
            f'      <DstRect xOff="{col}" yOff="{row}" {size}/>',
            f"      <NODATA>{nodata}</NODATA>",
            "      <LUT>0:0,255:255</LUT>",  # its VRT is not written to
            "    </ComplexSource>",
        ]
    )


def _numbers(transform: Affine) -> str:
    return ",".join(repr(float(value)) for value in transform.to_gdal())
