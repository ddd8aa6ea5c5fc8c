"""One raster file that holds all bands, each a layer."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.bands import BANDS
from pipeline.config.sources import StackConf
from pipeline.errors import ConfigError, SceneError
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.sources.band_names import band_of
from pipeline.geo.sources.stated import CLASSIFICATION, BandMetadata, band_metadata, stated_scene

_KNOWN = (*BANDS, CLASSIFICATION)


def scene_files(conf: StackConf) -> SceneFiles:
    """The layers of a file that the conf describes.

    Raises:
        ConfigError: when `bands` of the conf does not fit the file.
        SceneError: when the file cannot be read, or it is unknown which band a layer is.
        RadiometryError: when scale or offset is unknown, or conf and file contradict each other.
    """
    metadata = band_metadata(conf.stack)
    file_bands = [_band_in_file(one.description) for one in metadata]
    names = (
        _names_in_file(conf, metadata, file_bands)
        if conf.bands is None
        else _names_in_conf(conf, metadata, file_bands)
    )
    _require_once(conf, names)
    layers = {
        name: (Layer(conf.stack, names.index(name) + 1), metadata[names.index(name)])
        for name in _KNOWN
        if name in names
    }
    if not layers.keys() & BANDS.keys():
        raise SceneError(f"{conf.stack} has no layer of a Sentinel-2 band; give a file of bands.")
    return stated_scene(conf, conf.stack, layers)


def _band_in_file(description: str | None) -> str | None:
    """The band that the description of a layer names."""
    text = (description or "").strip()
    return CLASSIFICATION if text.upper() == CLASSIFICATION else band_of(text)


def _names_in_file(
    conf: StackConf, metadata: Sequence[BandMetadata], file_bands: Sequence[str | None]
) -> list[str | None]:
    """The band of each layer as the file names it; every layer must have one."""
    for number, (one, name) in enumerate(zip(metadata, file_bands, strict=True), start=1):
        if name is None:
            problem = "has no name" if one.description is None else f"is named {one.description!r}"
            raise SceneError(
                f"{conf.stack}: layer {number} {problem}, which does not tell its band; list the bands "
                f"of all {len(metadata)} layers in the conf (bands: [B02, ...], null for one to pass "
                "over)."
            )
    return list(file_bands)


def _names_in_conf(
    conf: StackConf, metadata: Sequence[BandMetadata], file_bands: Sequence[str | None]
) -> list[str | None]:
    """The band of each layer as the conf lists it, which the file must not contradict."""
    stated = list(conf.bands or ())
    if len(stated) != len(metadata):
        raise ConfigError(
            f"scene {conf.id}: its key 'bands' lists {len(stated)} layers, but {conf.stack} has "
            f"{len(metadata)}; list one band a layer, null for one to pass over."
        )
    for number, (name, other) in enumerate(zip(stated, file_bands, strict=True), start=1):
        if name is not None and name not in _KNOWN:
            raise ConfigError(
                f"scene {conf.id}: its key 'bands' has {name!r}, which is no Sentinel-2 band; choose "
                f"from {', '.join(_KNOWN)}."
            )
        if name is not None and other is not None and name != other:
            raise SceneError(
                f"{conf.stack} says that its layer {number} is {other}, but scene {conf.id} in the "
                f"conf says {name}; correct the one that is wrong."
            )
    return stated


def _require_once(conf: StackConf, names: Sequence[str | None]) -> None:
    for name in _KNOWN:
        if names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            raise SceneError(
                f"{conf.stack}: its layers {first + 1} and {second + 1} are both {name}; list the "
                "bands of all layers in the conf (bands: [B02, ...], null for one to pass over)."
            )
