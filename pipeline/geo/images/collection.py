"""Collections of labelled images: an Item each, all of them rows of one stac-geoparquet file.

A folder of scenes to train on that holds `collection.json` holds such a collection instead of scenes:
`catalog.json` links to it, `images.parquet` has a row an image with its class, position, checksum and
part in each published split. As many JSON files would slow down DVC, git and file systems.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field, TypeAdapter

from pipeline.config.record import Conf, Times
from pipeline.errors import SceneError
from pipeline.geo.images.image_file import ImageFile
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.checks import require_true_scale
from pipeline.geo.scenes.stac import beside, described, read_json

COLLECTION = "collection.json"
IMAGES = "images.parquet"
LABEL = "lenscape:class"
"""Property of an Item: the class of the image."""
PARTS = "lenscape:part:"
"""Begins the property that names the part of an image in a list."""
SUMMARY = "lenscape:images"
"""Field of the collection: a summary of its images."""
ASSET = "image"
PIXEL_M = 10.0
_TOLERANCE_M = 0.5


@dataclass(frozen=True)
class Image:
    """One image, checked."""

    file: ImageFile
    size: int
    """Bytes of the file."""
    sha256: str
    epsg: int
    transform: tuple[float, ...]
    """Six values: the width of a pixel and its x, ..., as in the Items of scenes."""
    shape: tuple[int, int]
    """Height and width, pixels."""


@dataclass(frozen=True)
class About:
    """Metadata that all images of a collection share."""

    id: str
    title: str
    description: str
    license: str
    interval: tuple[str, str]
    """The time within which they were taken, RFC 3339."""
    level: str
    bands: tuple[str, ...]
    """In the order of the layers of an image."""
    whole: bool
    """Whether these are all images that were published."""


class _Summary(Conf):
    count: int
    level: str
    bands: list[str]
    whole: bool
    lists: list[str]
    published_lists: list[str]


class _Collection(Conf):
    """What is read of a STAC Collection; it may hold more."""

    model_config = ConfigDict(extra="ignore")

    id: str
    title: str
    description: str
    license: str
    summary: Annotated[_Summary, Field(alias=SUMMARY)]


_TIMES = TypeAdapter(Times)


@dataclass(frozen=True)
class ImageSet(About):
    """A collection opened for reading: tables of a row an image."""

    published: list[str]
    """The published splits among the lists of `parts`."""
    table: pa.Table
    """Of each image `scene` (its name: each is an acquisition of its own), `class`, `path`, `size` in
    bytes and `checksum` of its file, `epsg`, and `x` and `y` of its centre in m."""
    parts: pa.Table
    """A column a list: the part of each image."""
    side_px: int
    checksum: str
    """SHA-256 over the checksums of the images."""

    @property
    def datetime(self) -> str:
        """The time within which they were taken, `from/to`, RFC 3339."""
        return "/".join(self.interval)


def of_file(file: ImageFile, content: bytes, dataset: Any) -> Image:
    """The record of an image that is open.

    Raises:
        SceneError: when it has no georeference, or is not on a north-up grid of 10 m
            in a CRS of true scale.
    """
    crs, transform = dataset.crs, dataset.transform
    if crs is None or transform.is_identity:
        raise SceneError(
            f"{file.path} does not say where it lies, without which nobody can keep apart the ground "
            "of training and test; give the images as published, with their georeference."
        )
    epsg = crs.to_epsg() if crs.is_projected and crs.linear_units_factor[1] == 1.0 else None
    if epsg is None:
        raise SceneError(
            f"{file.path} has the CRS {crs.to_string()}, which is none in metres with an EPSG code; "
            "reproject it to its UTM zone."
        )
    off = np.abs(np.array([transform.a, -transform.e]) - PIXEL_M)
    if (
        transform.b
        or transform.d
        or not (off <= _TOLERANCE_M).all()
        or not np.isfinite(transform).all()
    ):
        raise SceneError(
            f"{file.path} has pixels of {transform.a:g} x {-transform.e:g} m or is rotated; give "
            f"images of {PIXEL_M:g} m, north up."
        )
    shape = dataset.height, dataset.width
    require_true_scale(PixelGrid(epsg, transform.c, transform.f, *shape, PIXEL_M), file.path)
    sha256 = hashlib.sha256(content).hexdigest()
    return Image(file, len(content), sha256, epsg, tuple(transform)[:6], shape)


def holds_images(folder: Path) -> bool:
    """Whether a folder of what is trained on holds images instead of scenes."""
    return (folder / COLLECTION).is_file()


def open_images(folder: Path) -> ImageSet:
    """The collection of images in a folder.

    Raises:
        SceneError: when it is broken.
    """
    path = folder / IMAGES
    with described(folder / COLLECTION, "STAC Collection of images"):
        fields = read_json(folder / COLLECTION)
        stated = _Collection.model_validate(fields)
        start, end = fields["extent"]["temporal"]["interval"][0]
        _TIMES.validate_python(f"{start}/{end}")
    summary = stated.summary
    with described(path, "table of images"):
        table = pq.read_table(path)
        assets = table.column("assets").combine_chunks().field(ASSET)
        checksums = "".join(assets.field("file:checksum").to_pylist())
        transforms = np.array(table.column("proj:transform").to_pylist(), dtype=np.float64)
        shapes = np.array(table.column("proj:shape").to_pylist(), dtype=np.int64)
        codes = table.column("proj:code").to_pylist()
        return ImageSet(
            id=stated.id,
            title=stated.title,
            description=stated.description,
            license=stated.license,
            interval=(start, end),
            level=summary.level,
            bands=tuple(summary.bands),
            whole=summary.whole,
            published=summary.published_lists,
            table=pa.table(
                {
                    "scene": table["id"],
                    "class": table[LABEL],
                    "path": [str(beside(path, href)) for href in assets.field("href").to_pylist()],
                    "size": assets.field("file:size"),
                    "checksum": assets.field("file:checksum"),
                    "epsg": [int(code.removeprefix("EPSG:")) for code in codes],
                    "x": transforms[:, 2] + transforms[:, 0] * shapes[:, 1] / 2,
                    "y": transforms[:, 5] + transforms[:, 4] * shapes[:, 0] / 2,
                }
            ),
            parts=pa.table({name: table[f"{PARTS}{name}"] for name in summary.lists}),
            side_px=int(shapes[0, 0]),
            checksum=hashlib.sha256(checksums.encode()).hexdigest(),
        )
