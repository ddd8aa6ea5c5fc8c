"""The forms that an entry of `conf/fetch.yaml` may have: a record a kind of source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.area import AreaConf
from pipeline.config.record import Conf, Moment, Name, Positive

# What makes pixels unusable, in one vocabulary whatever a product calls it.
type MaskClass = Literal[
    "no_data",
    "saturated",
    "cloud_opaque",
    "cloud_high",
    "cloud_medium",
    "cirrus",
    "cloud_shadow",
    "snow",
]
"""`saturated` is also defective; `cloud_high` and `cloud_medium` are probabilities, as the scene
classification of L2A has them; `cloud_opaque` is what the masks of L1C tell from cirrus."""
MASK_CLASSES: tuple[MaskClass, ...] = get_args(MaskClass.__value__)
"""All of them; of several at one place the first one counts."""
USUAL: tuple[MaskClass, ...] = MASK_CLASSES[:-1]
"""Those that are masked where the conf does not say otherwise: all but snow."""
GROWN: frozenset[MaskClass] = frozenset(
    ("cloud_opaque", "cloud_high", "cloud_medium", "cirrus", "cloud_shadow")
)
"""Those whose edges are not sharp."""

Metres = Annotated[float, Field(ge=0, le=1000)]


class ScenesConf(Conf):
    """The keys of all sources of scenes, in place of what `fetch.yaml` says for all of them."""

    area: AreaConf | None = None
    """The ground that becomes the scene; all of its files' where absent."""
    mask_classes: list[MaskClass] | None = None
    """The classes to leave out; an empty list leaves out none."""
    mask_grow_m: Metres | None = None
    """Cloud, shadow and cirrus are widened by so many metres."""


@dataclass(frozen=True)
class Masking:
    """What becomes of the masks that a source has."""

    classes: tuple[MaskClass, ...] = USUAL
    """The classes to leave out."""
    grow_m: float = 100.0
    """By how much those of `GROWN` among them are widened."""
    own: bool = False
    """Whether the entry itself names the classes, which are then to be found in its masks."""


class MaskConf(Conf):
    """A raster that says which pixels of a scene are not to be used."""

    path: str
    """Path of the raster, of one band, in the scene's CRS; any resolution."""
    invalid: Annotated[list[int], Field(min_length=1)] = [1]
    """The values that mark a pixel as invalid."""


def _of_one_mask[C: StatedConf | SafeConf](conf: C) -> C:
    """An entry that says how to use the masks of its source, or what to use in their place."""
    for key, value in (("mask_classes", conf.mask_classes), ("mask_grow_m", conf.mask_grow_m)):
        if value and conf.mask is not None:
            raise ValueError(
                f"{key} is of the masks of the source itself, in whose place `mask` is used; drop one "
                "of the two"
            )
    return conf


class StatedConf(ScenesConf):
    """One scene: what its files do not say."""

    id: Name
    """Name of the scene, of its folder and of its class map."""
    datetime: Moment
    """Time of acquisition, with its zone, in quotes (`"2017-02-16T10:21:01Z"`)."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Reflectance per DN (0.0001 for a quantification of 10,000); reflectance = DN * scale + offset.
    That of the files where absent, which must not be another one."""
    offset: float | None = None
    """Reflectance at DN 0 (-0.1 for baseline 04.00 and later, 0 before); as `scale`."""
    values: Literal["dn", "reflectance"] = "dn"
    """What the files hold: whole digital numbers, which may be floats, or reflectance in floats, where
    scale is 1 and offset 0 unless stated."""
    nodata: float | None = None
    """The value that stands for none beside DN 0 and NaN; that of the files where absent."""
    platform: str | None = None
    """Satellite, such as `sentinel-2a`."""
    level: Literal["L1C", "L2A"] | None = None
    """Processing level: top of atmosphere (L1C) or surface reflectance (L2A)."""
    baseline: Annotated[str, Field(pattern=r"^\d\d\.\d\d$")] | None = None
    """Processing baseline of the product, such as `05.09`; it is recorded, never used to guess."""
    mask: MaskConf | None = None
    """Pixels to leave out (cloud, shadow), whatever the files themselves say."""

    _mask = model_validator(mode="after")(_of_one_mask)


class SceneConf(StatedConf):
    """One scene: where its pixels lie and what its metadata do not say."""

    path: str
    """A folder of one file per band, each named after its band (`..._B02.jp2`, `B8A.tif`)."""


class StackConf(StatedConf):
    """One scene: the file of its pixels and what that does not say."""

    stack: str
    """Path of a GeoTIFF whose layers are bands."""
    bands: Annotated[list[str | None], Field(min_length=1)] | None = None
    """The band of each layer in order (`B02`, `SCL` for a scene classification, null for one to pass
    over); what the file says of its layers where absent."""


class SafeConf(ScenesConf):
    """A product whose own metadata say everything."""

    safe: str
    """Path of the product: a folder `...SAFE`, its `MTD_MSIL1C.xml` or `MTD_MSIL2A.xml`, or a zip,
    which is not unpacked."""
    id: Name | None = None
    """Name of the scene, of its folder and of its class map; of the product where absent."""
    mask: MaskConf | Literal["none"] | None = None
    """Pixels to leave out (cloud, shadow) instead of those of the product's masks; `none`: none."""

    _mask = model_validator(mode="after")(_of_one_mask)


_DAY = re.compile(r"\d{4}(-\d\d(-\d\d(T\S+)?)?)?")


def _searched(text: str) -> str:
    ends = [end for end in text.split("/") if end not in ("", "..")]
    exact = min((len(end[:10]) for end in ends), default=0)  # `2023-06` ends with its month
    try:
        for end in ends:
            date.fromisoformat(f"{end}-01-01"[:10])
        real = all(_DAY.fullmatch(end) for end in ends)
    except ValueError:
        real = False
    if not ends or not real or text.count("/") > 1 or ends[0][:exact] > ends[-1][:exact]:
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise ValueError(
            f"{shown!r} is no time or range of times that exist; write it as '2023-06' or "
            "'2023-06-01/2023-08-31'"
        )
    return text


class StacConf(ScenesConf):
    """A search for scenes and what becomes of their pixels."""

    id: ClassVar[None] = None
    """The scenes are named by the catalog."""
    stac: Annotated[str, Field(pattern=r"^https?://")]
    """Address of the API, such as `https://earth-search.aws.element84.com/v1`; `${NAME}` in it is taken
    from the environment, so that a password or a token does not stand here."""
    collection: str
    """Collection of Sentinel-2 scenes of one level, such as `sentinel-2-l2a`."""
    area: AreaConf
    """Where scenes are searched, and the ground that becomes a scene. Across the 180th meridian west is
    above east, as in `[179.5, -17.5, -179.5, -16.5]`."""
    datetime: Annotated[str, AfterValidator(_searched)]
    """A time or a range as STAC writes it: `2023-06-01/2023-08-31`, `2023-06`."""
    cloud_cover: Annotated[float, Field(ge=0, le=100)] = 100.0
    """Largest share of cloud that the catalog states for a scene, per cent."""
    max_scenes: Positive = 1
    """Of more scenes than that the least cloudy are taken."""
    bands: list[str] | None = None
    """Names of the bands wanted (`B02`); all that the catalog has where absent."""
    keep: Literal["download", "remote"] = "download"
    """`download`: the area's pixels are fetched; `remote`: they are read where they lie."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Reflectance per DN, in place of what the catalog states."""
    offset: float | None = None
    """Reflectance at DN 0, in place of what the catalog states."""

    @model_validator(mode="after")
    def _whole(self) -> StacConf:
        if (self.scale is None) != (self.offset is None):
            raise ValueError("of scale and offset one is missing; state both or none")
        return self


class EurosatConf(Conf):
    """The 13 bands of EuroSAT: images with a class each, to train on; none is a scene to map."""

    id: ClassVar[None] = None
    """Each image keeps its own name."""
    eurosat: Annotated[str, Field(min_length=1)]
    """`download`, or the path of `EuroSATallBands.zip` or of a folder with a folder a class."""
