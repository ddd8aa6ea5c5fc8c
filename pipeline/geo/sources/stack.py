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
    notes = band_metadata(conf.stack)
    said = [_meant(one.description) for one in notes]
    names = _said_names(conf, notes, said) if conf.bands is None else _stated_names(conf, notes, said)
    _require_once(conf, names)
    layers = {
        name: (Layer(conf.stack, names.index(name) + 1), notes[names.index(name)])
        for name in _KNOWN
        if name in names
    }
    if not layers.keys() & BANDS.keys():
        raise SceneError(f"{conf.stack} has no layer of a Sentinel-2 band; give a file of bands.")
    return stated_scene(conf, conf.stack, layers)


def _meant(description: str | None) -> str | None:
    """The band that a layer says it is."""
    text = (description or "").strip()
    return CLASSIFICATION if text.upper() == CLASSIFICATION else band_of(text)


def _said_names(
    conf: StackConf, notes: Sequence[BandMetadata], said: Sequence[str | None]
) -> list[str | None]:
    """The band of each layer as the file says it; every layer must say one."""
    for place, (one, name) in enumerate(zip(notes, said, strict=True), start=1):
        if name is None:
            what = "has no name" if one.description is None else f"is named {one.description!r}"
            raise SceneError(
                f"{conf.stack}: layer {place} {what}, which does not tell its band; list the bands of "
                f"all {len(notes)} layers in the conf (bands: [B02, ...], null for one to pass over)."
            )
    return list(said)


def _stated_names(
    conf: StackConf, notes: Sequence[BandMetadata], said: Sequence[str | None]
) -> list[str | None]:
    """The band of each layer as the conf says it; a file that says otherwise is right or wrong."""
    stated = list(conf.bands or ())
    if len(stated) != len(notes):
        raise ConfigError(
            f"scene {conf.id}: its key 'bands' lists {len(stated)} layers, but {conf.stack} has "
            f"{len(notes)}; list one band a layer, null for one to pass over."
        )
    for place, (name, other) in enumerate(zip(stated, said, strict=True), start=1):
        if name is not None and name not in _KNOWN:
            raise ConfigError(
                f"scene {conf.id}: its key 'bands' has {name!r}, which is no Sentinel-2 band; choose "
                f"from {', '.join(_KNOWN)}."
            )
        if name is not None and other is not None and name != other:
            raise SceneError(
                f"{conf.stack} says that its layer {place} is {other}, but scene {conf.id} in the conf "
                f"says {name}; correct the one that is wrong."
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
