"""Stage `train`: a store and its split to a model: the network that maps, and those of the folds."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from shutil import copytree

import geopandas as gpd
import numpy as np

from pipeline import __version__
from pipeline.bands import select
from pipeline.config.compute import load_compute
from pipeline.config.reading import load
from pipeline.config.train import TrainConf, resolve
from pipeline.errors import LenscapeError, OutputError
from pipeline.files import publish, remove, sha256_of, sha256_of_value, write_json, write_text
from pipeline.geo.raster.area import region
from pipeline.geo.raster.grid import block_names
from pipeline.geo.style.geopackage import squares
from pipeline.learn.data.held_out import FILE as HELD_OUT
from pipeline.learn.data.training_data import Fold, TrainingData, folds_of
from pipeline.learn.network.classifier import FOLDS, WEIGHTS, ModelMeta
from pipeline.learn.network.history import write_history
from pipeline.learn.network.layers import plan, table
from pipeline.learn.network.lenet import first_kernels
from pipeline.learn.report import figures, provenance
from pipeline.learn.report.model_item import weights_item
from pipeline.learn.tracking.run import Part, RunRecord
from pipeline.learn.tracking.tracking_uri import checkout_state
from pipeline.learn.tracking.training_run import TrainingRun
from pipeline.learn.training.fit import FitResult, finish, fold_folder, train_networks
from pipeline.learn.training.trainer import first_process
from pipeline.outputs import owned
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore


def run(conf: Path, store: Path, split: Path, out: Path, compute: Path | None = None) -> None:
    """Train the networks of a split, open their MLflow run and write the folder `out`.

    The folder holds weights and metadata, the history by epoch, the table of layers, figures, and
    `run.json`, by which later stages find the run; with folds also the held-out predictions and a
    folder for the network of each fold. A run that is killed goes on at the epoch that it had reached;
    its state lies beside `out` until then. An MLflow store that fails does not end a training.

    Raises:
        LenscapeError: when an input is missing or does not fit; nothing is written then.
    """
    settings, machine = load(conf, TrainConf), load_compute(compute)
    patches = PatchStore.open(store)
    bands = select(settings.bands, patches.meta.bands, f"{conf}: key 'bands'")
    split_folder = SplitFolder.open(split, patches)
    data = TrainingData.of_split(patches, split_folder, bands)
    folds = folds_of(patches, split_folder, bands)
    layers = _layers(settings, data)
    unfinished = out.with_name(f".{out.name}.unfinished")
    if not first_process():  # on several devices each runs this command, and the first one writes
        train_networks(data, folds, settings, machine, unfinished)
        return
    print(f"network {resolve(settings.network)[0]} on {', '.join(bands)}\n\n{layers}")
    print(_patches(data, folds))
    record = _record(data, split_folder, settings)
    with owned(out):
        _resume(unfinished, record)
        with publish(out) as folder, TrainingRun(record, unfinished / "run_id") as training:
            try:
                train_networks(data, folds, settings, machine, unfinished, training.epoch)
            except LenscapeError as error:
                if not isinstance(error, OutputError):  # a full disk is no reason to begin anew
                    remove(unfinished)
                raise
            result = finish(data, folds, unfinished, settings.learning_curve)
            folder.mkdir()
            _write_held_out(folder, result, patches, data.block_m)
            result.classifier.meta = _with_region(result.classifier.meta, patches)
            _write(folder, result, layers)
            for fold in folds:
                copytree(fold_folder(unfinished, fold.number), folder / FOLDS / str(fold.number + 1))
            training.keep(folder, {"kept_epoch": result.kept.epoch})
        remove(unfinished)
    print(_summary(result, settings, out))


def _resume(unfinished: Path, record: RunRecord) -> None:
    """Say that a training of the same data and conf goes on; remove the state of another one.

    Another version of lenscape or of the libraries might read the state otherwise, or not at all.
    """
    versions = [__version__, *(version(name) for name in ("torch", "lightning"))]
    key = sha256_of_value([record.params, [part.digest for part in record.parts], versions])
    known = unfinished / "training"
    if known.is_file() and known.read_text() == key:
        print(f"goes on with the training that was cut off ({unfinished})")
        return
    remove(unfinished)
    write_text(known, key)


def _patches(data: TrainingData, folds: Sequence[Fold]) -> str:
    if not folds:
        return f"{len(data.train):,} training patches, {len(data.validation):,} validation patches"
    counts = [len(fold.data.train) for fold in folds]
    return (
        f"{len(data.train):,} training patches; in the {len(folds)} folds {min(counts):,} to "
        f"{max(counts):,}, each of which holds out other ground"
    )


def _write_held_out(folder: Path, result: FitResult, store: PatchStore, block_m: float) -> None:
    """The held-out predictions as a GeoParquet of cells; the metadata get its hash."""
    held_out, meta = result.held_out, result.classifier.meta
    if held_out is None:
        return
    names = [info.name for info in meta.classes]
    table = {name: store.patches[name][held_out.rows] for name in ("epsg", "x", "y", "label")}
    frame = gpd.GeoDataFrame(
        held_out.columns(names)
        | {
            "block": block_names(table["epsg"], table["x"], table["y"], block_m),
            "truth": np.array(names)[table["label"]],
        },
        geometry=squares(table["x"], table["y"], table["epsg"], meta.geometry.cell_m),
    )
    frame.to_parquet(folder / HELD_OUT, compression="zstd", index=False)
    digest = sha256_of(folder / HELD_OUT)
    result.classifier.meta = meta.model_copy(update={"held_out_sha256": digest})


def _record(data: TrainingData, split: SplitFolder, conf: TrainConf) -> RunRecord:
    parts = {"train": data.train}
    if split.split.folds is None:
        parts |= {"validation": data.validation, "test": split.rows("test")}
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
    meta = result.classifier.save(folder)
    write_json(folder / "item.json", weights_item(meta, f"./{WEIGHTS}"))
    write_history(folder / "history.csv", result.history)
    (folder / "layers.txt").write_text(layers, encoding="utf-8")
    kernels = first_kernels(result.classifier.network, len(meta.bands))
    validated = "validation" if result.held_out is None else "held-out ground, mean of the folds"
    pictures = {
        "curves": figures.curves(result.history, result.kept.epoch, validated),
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
    kept, last = result.kept, result.history[-1].epoch
    scores = (
        f"balanced accuracy {kept.validation_balanced_accuracy:.3f}, loss {kept.validation_loss:.3f}"
    )
    calibration = result.classifier.meta.calibrated_by.name
    if result.held_out is not None:
        return (
            f"held-out ground, mean of the folds: {scores}; calibration: {calibration}; model in {out}"
        )
    early = f" (training stopped after {last})" if last < conf.epochs else ""
    return (
        f"kept epoch {kept.epoch} of {conf.epochs}{early}: validation {scores}; "
        f"calibration: {calibration}; model in {out}"
    )
