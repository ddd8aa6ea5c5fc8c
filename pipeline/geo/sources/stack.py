"""One raster file that holds all bands, each a layer."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.bands import BANDS
from pipeline.config.sources import StackConf
from pipeline.errors import ConfigError, SceneError
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.sources.band_names import band_of
from pipeline.geo.sources.stated import CLASSIFICATION, band_metadata, stated_scene

_KNOWN = (*BANDS, CLASSIFICATION)


def scene_files(conf: StackConf) -> SceneFiles:
    """The layers of a file that the conf describes.

    Raises:
        ConfigError: when `bands` of the conf does not fit the file.
        SceneError: when the file cannot be read, or it is unknown which band a layer is.
        RadiometryError: when scale or offset is unknown, or conf and file contradict each other.
    """
    metadata = band_metadata(conf.stack)
    names = _band_names(conf, [one.description for one in metadata])
    layers = {
        name: (Layer(conf.stack, names.index(name) + 1), metadata[names.index(name)])
        for name in _KNOWN
        if name in names
    }
    if not layers.keys() & BANDS.keys():
        raise SceneError(f"{conf.stack} has no layer of a Sentinel-2 band; give a file of bands.")
    return stated_scene(conf, conf.stack, layers)


def _band_names(conf: StackConf, descriptions: Sequence[str | None]) -> list[str | None]:
    """The band of each layer, as the conf lists it or as the file names it, which must agree."""
    count, listed = len(descriptions), conf.bands
    if listed is not None and len(listed) != count:
        raise ConfigError(
            f"scene {conf.id}: its key 'bands' lists {len(listed)} layers, but {conf.stack} has "
            f"{count}; list one band a layer, null for one to pass over."
        )
    names: list[str | None] = []
    for number, description in enumerate(descriptions, start=1):
        text = (description or "").strip()
        in_file = CLASSIFICATION if text.upper() == CLASSIFICATION else band_of(text)
        name = in_file if listed is None else listed[number - 1]
        if name is None and listed is None:
            problem = "has no name" if description is None else f"is named {description!r}"
            raise SceneError(
                f"{conf.stack}: layer {number} {problem}, which does not tell its band; list the band "
                f"of each of its layers ({count}) in the conf (bands: [B02, ...], null for one to pass "
                "over)."
            )
        if name is not None and name not in _KNOWN:
            raise ConfigError(
                f"scene {conf.id}: its key 'bands' has {name!r}, which is no Sentinel-2 band; choose "
                f"from {', '.join(_KNOWN)}."
            )
        if name is not None and in_file not in (None, name):
            raise SceneError(
                f"{conf.stack} says that its layer {number} is {in_file}, but scene {conf.id} in the "
                f"conf says {name}; correct the one that is wrong."
            )
        if name is not None and name in names:
            raise SceneError(
                f"{conf.stack}: its layers {names.index(name) + 1} and {number} are both {name}; list "
                "the bands of all layers in the conf (bands: [B02, ...], null for one to pass over)."
            )
        names.append(name)
    return names
