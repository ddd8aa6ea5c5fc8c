"""Command `describe`: the table of layers of a network, before anything is trained."""

from __future__ import annotations

from pathlib import Path

from pipeline.bands import BANDS, select
from pipeline.config.reading import load
from pipeline.config.train import PRESETS, TrainConf, resolve
from pipeline.errors import ConfigError
from pipeline.learn.network.layers import plan, table
from pipeline.store import PatchStore

USUAL_PATCH_PX = 16
USUAL_CLASSES = 10


def run(
    conf: Path,
    network: str | None = None,
    store: Path | None = None,
    bands: int | None = None,
    patch: int | None = None,
    classes: int | None = None,
) -> None:
    """Print the layers of a network: that of a conf of `train`, or a preset.

    Bands, patches and classes are those of the numbers given, else of the store.

    Raises:
        LenscapeError: when an input is missing, or the layers do not fit.
    """
    settings = TrainConf() if network is not None and not conf.exists() else load(conf, TrainConf)
    if network is not None and network not in PRESETS:
        raise ConfigError(f"--network {network!r} is unknown; choose from {', '.join(PRESETS)}.")
    preset, layout = resolve(network or settings.network)
    meta = None if store is None else PatchStore.open(store).meta
    bands = bands or len(
        select(settings.bands, meta.bands if meta else list(BANDS), f"{conf}: key 'bands'")
    )
    patch = patch or (meta.geometry.patch_px if meta else USUAL_PATCH_PX)
    classes = classes or (len(meta.classes) if meta else USUAL_CLASSES)
    layers = plan(layout, bands, patch, classes)
    print(
        f"network {preset} on patches of {bands} x {patch} x {patch} (bands, px), {classes} classes\n"
    )
    print(table(layers, meta.geometry.pixel_m if meta else 10.0), end="")
