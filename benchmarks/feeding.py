"""Target 5: batches from the store, without a model and with one."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import machine, network, peer
from benchmarks.bench import Bench
from benchmarks.network import NetworkFile
from benchmarks.peer import Way
from benchmarks.report import Figure, Section, with_target
from benchmarks.stores import StorePlan, cached_share, drop_from_cache, write_geotiffs
from benchmarks.timing import RUNS, Run, Side, side_by_side
from pipeline.files import remove
from pipeline.learn.data.batches import PatchDataModule
from pipeline.learn.data.training_data import TrainingData
from pipeline.learn.network.classifier import PatchClassifier

BATCH = 256
"""As in `conf/train.yaml`."""
FILES = 8192
"""Patches that are also written as GeoTIFFs, at most."""
Batch = dict[str, Tensor]


def train_section(bench: Bench) -> Section:
    """Target 5: deliveries beside torchgeo's, epochs beside tensors in memory."""
    plans = [StorePlan(bench, network.lenet_64()), StorePlan(bench, network.DEFAULT)]
    delivered, way = _deliveries(bench, plans[0])
    figures = [delivered, *(_epochs(bench, plan) for plan in plans)]
    return Section(
        "Training input",
        figures,
        [
            f"Batches of {BATCH}, shuffled, from the same patches on both sides, in the system's file "
            "cache. torchgeo: `NonGeoClassificationDataset` with `rasterio_loader` on one GeoTIFF a "
            f"patch, as its EuroSAT has them, `DataLoader`; the fastest was {way}.",
            "An epoch: the same plain loop (loss, AdamW) in float32 on both sides, once from the "
            "store, whose file cache was dropped before each run, once from tensors in memory; of an "
            f"epoch that lasts longer, the first {_limit_s(bench):.0f} s.",
        ],
    )


def _deliveries(bench: Bench, plan: StorePlan) -> tuple[Figure, Way]:
    data, folder = plan.training(FILES), bench.made.folder / "geotiffs"
    bench.say(f"{len(data.train)} GeoTIFFs")
    write_geotiffs(folder, data)
    bench.say("torchgeo's files, each way for a while")
    ways = [Way(BATCH, workers) for workers in peer.WORKERS]
    way = peer.best(lambda one: _files(folder, one), bench.trial_s, bench.say, ways)
    sides = {"store": _delivering(data), "torchgeo": _files(folder, way)}
    measured = side_by_side(sides, bench.seconds, say=bench.say)
    remove(folder)
    ours, theirs = (measured[name].rate / BATCH for name in sides)
    what = (
        f"batches of {BATCH} patches of {plan.file.patch_px} px, {len(data.train):,} patches, no model"
    )
    return (
        with_target(
            "5", what, f"{ours:.1f} batches/s", f"torchgeo: {theirs:.1f} batches/s",
            (ours / theirs, ">=", 4),
        ),
        way,
    )  # fmt: skip


def _limit_s(bench: Bench) -> float:
    return 2 * bench.seconds


def _files(folder: Path, way: Way) -> Side:
    return peer.delivering(peer.file_loader(folder, way))


def _delivering(data: TrainingData) -> Side:
    """Batches of the store, epoch after epoch; its units are patches."""
    batches = _endless(_loader(data))

    def side(seconds: float) -> Run:
        patches, start = 0, time.perf_counter()
        for batch in batches:
            patches += len(batch["image"])
            if (elapsed := time.perf_counter() - start) >= seconds:
                break
        return Run(patches, elapsed)

    return side


def _epochs(bench: Bench, plan: StorePlan) -> Figure:
    """An epoch from a store that is on the disk alone, beside one from memory."""
    data = plan.training()
    pixels = data.store.folder / "pixels.npy"
    size, epoch = pixels.stat().st_size, Epoch(plan.file, bench, _limit_s(bench))
    memory = torch.from_numpy(np.array(data.store.pixels))
    labels = torch.from_numpy(data.store.patches["label"].astype(np.int64))

    def from_memory() -> Iterator[Batch]:
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
        for rows in order.tensor_split(-(-len(labels) // BATCH)):
            yield {"image": memory[rows], "label": labels[rows]}

    rates: dict[str, list[float]] = {"store": [], "memory": []}
    epoch.run(from_memory(), limit_s=0.0)  # warms the loop
    for _ in range(RUNS):
        rates["memory"].append(epoch.run(from_memory()).rate)
        del data
        gc.collect()  # pages that somebody has mapped stay
        drop_from_cache(pixels)
        left = cached_share(pixels)
        data = plan.training()
        rates["store"].append(epoch.run(_loader(data)).rate)
        bench.say(f"  epoch, {plan.name}: {rates['store'][-1]:,.0f} patches a second from the store, "
                  f"{rates['memory'][-1]:,.0f} from memory")  # fmt: skip
    store_s, memory_s = (len(labels) / statistics.median(rates[name]) for name in ("store", "memory"))
    name = "lenet_64" if plan.file.patch_px == 64 else "modern"
    store = f"{len(labels):,} patches of {plan.file.patch_px} px, {size / 1e9:.2f} GB"
    return with_target(
        "5", f"an epoch, network {name}, {store}",
        f"{store_s:.1f} s from the store, of which {100 * left:.0f} % was in the file cache",
        f"{memory_s:.1f} s from tensors in memory",
        (store_s / memory_s, "<=", 1.1),
    )  # fmt: skip


@dataclass(frozen=True)
class Epoch:
    """A plain training loop."""

    file: NetworkFile
    bench: Bench
    limit_s: float
    """After which it is broken off."""

    def run(self, batches: Iterable[Batch], limit_s: float | None = None) -> Run:
        """One epoch of a fresh network; its units are patches."""
        torch.set_num_threads(machine.cores())
        classifier = self._fresh().train()
        step, patches, start = _step(classifier), 0, time.perf_counter()
        for batch in batches:
            step(batch)
            patches += len(batch["label"])
            if time.perf_counter() - start >= (self.limit_s if limit_s is None else limit_s):
                break
        return Run(patches, time.perf_counter() - start)

    def _fresh(self) -> PatchClassifier:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return network.random_model(self.file, self.bench.made.scene).to(device)


def _step(classifier: PatchClassifier) -> Callable[[Batch], None]:
    optimiser = torch.optim.AdamW(classifier.parameters())
    criterion, device = nn.CrossEntropyLoss(), classifier.mean.device

    def step(batch: Batch) -> None:
        loss = criterion(classifier(batch["image"].to(device)), batch["label"].to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def _loader(data: TrainingData) -> Iterable[Batch]:
    """Training batches of a store, as `train` takes them."""
    return PatchDataModule(data, BATCH, seed=0).train_dataloader()


def _endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        yield from loader
