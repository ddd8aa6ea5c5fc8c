"""Stage `train`: a store and its split to a model, the network of the epoch that validates best."""

from __future__ import annotations

from pathlib import Path

from pipeline.bands import select
from pipeline.config.compute import load_compute
from pipeline.config.reading import load
from pipeline.config.train import TrainConf, resolve
from pipeline.files import publish, write_json
from pipeline.geo.raster.area import region
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.network.classifier import WEIGHTS, ModelMeta
from pipeline.learn.network.history import write_history
from pipeline.learn.network.layers import plan, table
from pipeline.learn.network.lenet import first_kernels
from pipeline.learn.report import figures, provenance
from pipeline.learn.report.model_item import weights_item
from pipeline.learn.tracking.run import Part, RunRecord
from pipeline.learn.tracking.tracking_uri import checkout_state
from pipeline.learn.tracking.training_run import TrainingRun
from pipeline.learn.training.fit import fit
from pipeline.learn.training.trainer import FitResult, first_process
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore


def run(conf: Path, store: Path, split: Path, out: Path, compute: Path | None = None) -> None:
    """Train a network, open its MLflow run and write the folder `out`.

    The folder holds weights and metadata, the history by epoch, the table of layers, figures, and
    `run.json`, by which later stages find the run. An MLflow store that fails does not end a training.

    Raises:
        LenscapeError: when an input is missing or does not fit; nothing is written then.
    """
    settings, machine = load(conf, TrainConf), load_compute(compute)
    patches = PatchStore.open(store)
    bands = select(settings.bands, patches.meta.bands, f"{conf}: key 'bands'")
    split_folder = SplitFolder.open(split, patches)
    data = TrainingData.of_split(patches, split_folder, bands)
    layers = _layers(settings, data)
    if not first_process():  # on several devices each runs this command, and the first one writes
        fit(data, settings, machine)
        return
    print(f"network {resolve(settings.network)[0]} on {', '.join(bands)}\n\n{layers}")
    print(f"{len(data.train):,} training patches, {len(data.validation):,} validation patches")
    if settings.calibration_folds > 1:
        print(
            f"and up to {settings.calibration_folds} calibration networks, each without a share of the "
            "training blocks"
        )
    record = _record(data, split_folder, settings)
    with publish(out) as folder, TrainingRun(record) as training:
        result = fit(data, settings, machine, training.epoch)
        result.classifier.meta = _with_region(result.classifier.meta, patches)
        _write(folder, result, layers)
        training.keep(folder, {"best_epoch": result.best.epoch})
    print(_summary(result, settings, out))


def _record(data: TrainingData, split: SplitFolder, conf: TrainConf) -> RunRecord:
    parts = {"train": data.train, "validation": data.validation, "test": split.rows("test")}
    return RunRecord(
        name=provenance.run_name(conf, data.bands, [s.id for s in data.store.meta.scenes]),
        params=provenance.parameters(data, split, conf),
        tags=provenance.tags(data, split, conf) | checkout_state(),
        parts=tuple(
            Part(
                context=provenance.CONTEXTS[part],
                digest=provenance.part_digest(data, split, part),
                patches=len(rows),
            )
            for part, rows in parts.items()
        ),
    )


def _with_region(meta: ModelMeta, store: PatchStore) -> ModelMeta:
    """The metadata with the region that the labelled ground lies in."""
    geometry, table = meta.geometry, store.patches
    side_m = geometry.patch_px * geometry.pixel_m
    box = region(table["epsg"], table["x"], table["y"], side_m)
    return meta.model_copy(update={"region": [round(degrees, 5) for degrees in box]})


def _write(folder: Path, result: FitResult, layers: str) -> None:
    folder.mkdir()
    meta = result.classifier.save(folder)
    write_json(folder / "item.json", weights_item(meta, f"./{WEIGHTS}"))
    write_history(folder / "history.csv", result.history)
    (folder / "layers.txt").write_text(layers, encoding="utf-8")
    kernels = first_kernels(result.classifier.network, len(meta.bands))
    pictures = {
        "curves": figures.curves(result.history, result.best.epoch),
        "layers": figures.text_page(layers, f"Layers of {meta.preset}"),
        "filters": figures.first_filters(kernels, meta.bands),
    }
    (folder / "figures").mkdir()
    for name, figure in pictures.items():
        figure.savefig(folder / "figures" / f"{name}.png", dpi=120, metadata={"Software": None})


def _layers(conf: TrainConf, data: TrainingData) -> str:
    meta = data.store.meta
    _, network = resolve(conf.network)
    side = meta.geometry.patch_px
    return table(plan(network, len(data.bands), side, len(meta.classes)), meta.geometry.pixel_m)


def _summary(result: FitResult, conf: TrainConf, out: Path) -> str:
    best, last = result.best, result.history[-1].epoch
    early = f" (training stopped after {last})" if last < conf.epochs else ""
    return (
        f"kept epoch {best.epoch} of {conf.epochs}{early}: validation balanced accuracy "
        f"{best.validation_balanced_accuracy:.3f}, loss {best.validation_loss:.3f}; model in {out}"
    )
