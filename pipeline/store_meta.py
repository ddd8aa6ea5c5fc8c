"""What a patch store says of itself in `meta.json`: bands, geometry, classes and scenes.

Models and maps inherit these records.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from pydantic import Field, model_validator

from pipeline.config.record import Conf, Positive, Share, Times
from pipeline.errors import MismatchError

FORMAT = 2
"""Of stores and splits: raised when a field changes, or when the same scenes give other pixels."""


class ClassInfo(Conf):
    """A class as store, model and map carry it; its value in a map is its place plus 1."""

    name: str
    title: str
    color: str
    description: str = ""
    code: str | None = None
    """What another nomenclature calls it."""


class SceneInfo(Conf):
    """What a store and a model remember of a scene that they were made from."""

    id: str
    epsg: int | None
    """None for a collection of images in several CRSs."""
    datetime: Times
    """RFC 3339, UTC; a range `from/to` where nobody published more."""
    platform: str | None
    level: str | None
    baseline: str | None
    checksum: str
    """SHA-256 over the checksums of its assets and what says how their bytes are read."""


class ImagesInfo(Conf):
    """What a store remembers of a published collection of labelled images that it was made from."""

    name: str
    whole: bool
    """Whether all that was published is in the store, each image of its own class."""
    lists: list[str]
    """The lists that say which images train, validate and test: columns of `lists.parquet`."""
    published_lists: list[str]
    """Those of them that are the published ones, byte by byte."""
    lists_sha256: str | None
    """Of `lists.parquet`, where there are lists."""


class Geometry(Conf):
    """The squares that a model sees and speaks of, in pixels of `pixel_m` metres."""

    patch_px: Positive
    cell_px: Positive
    min_valid: Share
    pixel_m: Annotated[float, Field(gt=0)] = 10.0

    @model_validator(mode="after")
    def _cell_is_in_the_patch(self) -> Geometry:
        if self.cell_px > self.patch_px:
            raise ValueError("a cell is no larger than its patch")
        return self

    def of_map(self, pixel_px: Literal["auto"] | int, key: str) -> Geometry:
        """That of a map with pixels of another side: they take the place of the cells.

        `pixel_px` is in pixels of the scene, `auto` is 2, or 1 where patches have an odd side; `key` is
        what sets it, for the message.

        Raises:
            MismatchError: when a patch around a map pixel does not have it in its centre.
        """
        fitting = range(2 - self.patch_px % 2, self.patch_px + 1, 2)
        if pixel_px == "auto":
            pixel_px = fitting[0]
        if pixel_px not in fitting:
            raise MismatchError(
                f"{key}: a map pixel of {pixel_px} px is not the centre of a patch of "
                f"{self.patch_px} px; choose one of {', '.join(map(str, fitting))}."
            )
        return self.model_copy(update={"cell_px": pixel_px})

    @property
    def margin_px(self) -> int:
        """Context around a cell on each side, in pixels."""
        return (self.patch_px - self.cell_px) // 2

    @property
    def patch_m(self) -> float:
        """Side of a patch, m."""
        return self.patch_px * self.pixel_m

    @property
    def cell_m(self) -> float:
        """Side of a cell, m."""
        return self.cell_px * self.pixel_m


class Statistics(Conf):
    """Of the valid pixels of the training part, per band of the store, in DN."""

    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class PatchCounts(TypedDict):
    """Patches per class, and what was left out and why; together they are all positions."""

    kept: dict[str, int]
    kept_on_grid: dict[str, int]
    left_out: dict[str, int]
    positions: int
    labels: NotRequired[list[dict[str, Any]]]


class StoreMeta(Conf):
    """`meta.json` of a store: set once by `tile`, inherited by every later stage."""

    format: int = FORMAT
    bands: Annotated[list[str], Field(min_length=1)]
    """Names of the bands in the order of the C axis."""
    geometry: Geometry
    stride_px: Positive
    min_purity: float
    resampling: str = "nearest"
    classes: Annotated[list[ClassInfo], Field(min_length=1)]
    scenes: list[SceneInfo]
    credit: str
    """Credit of the labels."""
    counts: PatchCounts
    patches_sha256: str
    images: ImagesInfo | None = None
    """Of a store of labelled images, which is made without scenes and labels."""
