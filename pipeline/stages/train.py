"""Stage `train`: a store and its split to a model, the network of the epoch that validates best."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from pipeline.config import TrainConf, load, load_compute
from pipeline.files import publish
from pipeline.geo.bands import select
from pipeline.learn.dataset import TrainingData
from pipeline.learn.fit import FitResult, fit
from pipeline.learn.history import write_history
from pipeline.learn.layers import plan, resolve
from pipeline.learn.table import table
from pipeline.store import PatchStore, SplitFolder

say = rank_zero_only(print)


def run(conf: Path, store: Path, split: Path, out: Path, compute: Path | None = None) -> None:
    """Train a network and write the folder `out`: weights, metadata, history and layers.

    Raises:
        LenscapeError: when an input is missing or does not fit; nothing is written then.
    """
    settings, machine = load(conf, TrainConf), load_compute(compute)
    patches = PatchStore.open(store)
    bands = select(settings.bands, patches.meta.bands, f"{conf}: key 'bands'")
    data = TrainingData.of_split(patches, SplitFolder.open(split, patches), bands)
    layers = _layers(settings, data)
    say(f"network {resolve(settings.network)[0]} on {', '.join(bands)}\n\n{layers}")
    say(f"{len(data.train):,} training patches, {len(data.validation):,} validation patches")
    with publish(out) as folder:
        result = fit(data, settings, machine)
        if not result.first_process:
            return
        folder.mkdir()
        result.classifier.save(folder)
        write_history(folder / "history.csv", result.history)
        (folder / "layers.txt").write_text(layers, encoding="utf-8")
    say(_summary(result, settings, out))


def _layers(conf: TrainConf, data: TrainingData) -> str:
    meta = data.store.meta
    _, network = resolve(conf.network)
    side = meta.geometry.patch_px
    return table(plan(network, len(data.bands), side, len(meta.classes)), meta.geometry.pixel_m)


def _summary(result: FitResult, conf: TrainConf, out: Path) -> str:
    best, last = result.best, result.history[-1].epoch
    stopped = f"stopped after {last}" if last < conf.epochs else f"of {last}"
    return (
        f"epoch {best.epoch}, {stopped}, validates best: balanced accuracy "
        f"{best.validation_balanced_accuracy:.3f}, loss {best.validation_loss:.3f}; model in {out}"
    )
