"""`conf/predict.yaml`: which model maps, and what is made of the maps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.area import AreaConf
from pipeline.config.record import Conf, EpsgCode, Positive


class RegisteredModelConf(Conf):
    """A version of the model registry, pinned by the hash of its weights (`lenscape pin`)."""

    uri: Annotated[str, Field(pattern=r"^models:/[^/@]+/\d+$")]
    """`models:/<name>/<version>`; an alias can move without DVC seeing it, so pin it."""
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MosaicConf(Conf):
    """Maps of several scenes, put together."""

    min_scenes: Positive = 2
    """A UTM zone has a mosaic where at least so many of its scenes are mapped."""
    crs: EpsgCode | None = "EPSG:3857"
    """CRS of the virtual raster over all zones; none is written where it is null."""


class SmoothingConf(Conf):
    """A majority filter on the class map."""

    window_pixels: Literal[3, 5, 7, 9] = 3
    """Side of the square around a pixel whose most frequent class it takes."""


class PolygonsConf(Conf):
    """The class map as polygons."""

    min_area_m2: Annotated[float, Field(ge=0)] = 0
    """Minimum mapping unit: smaller patches go to the largest one beside them."""


class PredictConf(Conf):
    """`conf/predict.yaml`: which model maps, and what is made of the maps."""

    model: Literal["trained"] | RegisteredModelConf = "trained"
    """The model that `train` has just made, or a registered one."""
    pixel_px: Literal["auto"] | Positive = "auto"
    """Side of a map pixel, in pixels of the scene; patch and map pixel have a common centre. `auto` is
    2, or 1 where patches have an odd side."""
    area: AreaConf | None = None
    """The ground to map, all of the scenes where absent; a pixel with its centre outside is nodata."""
    probabilities: bool = False
    """Whether to write the probabilities of all classes too, a band each."""
    dissimilarity: bool = True
    """Whether to write the dissimilarity of each pixel to the training data."""
    min_confidence: Annotated[int, Field(ge=0, le=100)] = 0
    """Per cent; pixels of less confidence are of the class `unclassified`. 0 is off."""
    smoothing: Literal["none"] | SmoothingConf = "none"
    """Whether each pixel takes the most frequent class around it."""
    polygons: Literal["none"] | PolygonsConf = "none"
    """Whether to write the class map of each scene as polygons too."""
    mosaic: Literal["none"] | MosaicConf = MosaicConf()
    """Maps of several scenes, put together."""
