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
from xml.sax.saxutils import escape, quoteattr

from affine import Affine

from pipeline.geo.maps.cog import MapKind, palette_xml
from pipeline.geo.maps.raster_writer import MapGrid
from pipeline.geo.mosaics.files import Origins
from pipeline.geo.mosaics.target_grid import Layout


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
    for file, part, grid in zip(files, parts, placed.parts, strict=True):
        source = f"../../{part.name}/{file.stem}.tif"
        file.write_text(_warped(source, part.grid, grid, kind.nodata), encoding="utf-8")
    path.write_text(_whole(files, placed, kind, tags), encoding="utf-8")
    return files


def _warped(source: str, own: MapGrid, grid: MapGrid, nodata: int) -> str:
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
            f'    <SourceDataset relativeToVRT="1">{escape(source)}</SourceDataset>',
            "    <Transformer><ApproxTransformer><MaxError>0.125</MaxError><BaseTransformer>",
            "      <GenImgProjTransformer>",
            f"        <SrcGeoTransform>{_numbers(own.transform)}</SrcGeoTransform>",
            f"        <SrcInvGeoTransform>{_numbers(~own.transform)}</SrcInvGeoTransform>",
            f"        <DstGeoTransform>{_numbers(grid.transform)}</DstGeoTransform>",
            f"        <DstInvGeoTransform>{_numbers(~grid.transform)}</DstInvGeoTransform>",
            "        <ReprojectTransformer><ReprojectionTransformer>",
            f"          <SourceSRS>EPSG:{own.epsg}</SourceSRS>",
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


def _whole(files: Sequence[Path], placed: Layout, kind: MapKind, tags: Mapping[str, str]) -> str:
    grid = placed.grid
    names = [f"      <Category>{escape(name)}</Category>" for name in kind.names]
    items = [f"    <MDI key={quoteattr(key)}>{escape(tag)}</MDI>" for key, tag in tags.items()]
    return "\n".join(
        [
            f'<VRTDataset rasterXSize="{grid.cols}" rasterYSize="{grid.rows}">',
            '  <Group name="/"/>',  # it is not written to
            f"  <SRS>EPSG:{grid.epsg}</SRS>",
            f"  <GeoTransform>{_numbers(grid.transform)}</GeoTransform>",
            "  <Metadata>",
            *items,
            "  </Metadata>",
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
