"""Networks of the benchmarks: random weights of a fixed seed, saved as `train` would save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipeline.config.reading import load
from pipeline.config.record import Conf
from pipeline.config.train import NetworkConf, resolve
from pipeline.files import publish
from pipeline.geo.scenes.scene import Scene
from pipeline.geo.scenes.thumbnail import Thumbnail
from pipeline.learn.network.classifier import Hashes, ModelMeta, PatchClassifier
from pipeline.learn.tracking.model import WEIGHTS_TAG
from pipeline.learn.tracking.run import RunRecord, open_run, write_record
from pipeline.store_meta import ClassInfo, Geometry, Statistics

LENET_64 = Path(__file__).parent / "lenet_64.yaml"
_SEED = 0
_SMALL_PX = 1024
"""Side of the small picture from which statistics are taken."""


class NetworkFile(Conf):
    """A network with the patches that it sees and the classes that it tells apart."""

    patch_px: int
    cell_px: int
    classes: int
    network: Literal["modern"] | NetworkConf


DEFAULT = NetworkFile(patch_px=16, cell_px=8, classes=8, network="modern")
"""The network that lenscape trains where nothing else is asked for, on the patches of its conf."""


def lenet_64() -> NetworkFile:
    """`lenet_64.yaml`."""
    return load(LENET_64, NetworkFile)


def random_model(network: NetworkFile, scene: Scene) -> PatchClassifier:
    """A classifier of random weights, normalised for a scene, all of whose classes occur there."""
    small = Thumbnail(scene, scene.bands, _SMALL_PX).pixels()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(_SEED)
        classifier = PatchClassifier(_meta(network, scene, small)).eval()
    side = network.patch_px
    places = np.random.default_rng(_SEED).integers(0, np.array(small.shape[1:]) - side, (256, 2))
    patches = np.stack([small[:, row : row + side, col : col + side] for row, col in places])
    with torch.inference_mode():
        # random weights say one class everywhere: classes that never change would prove little
        logits = classifier(torch.from_numpy(patches))
        output = cast(nn.Linear, classifier.network[-1])
        spread = logits.std(dim=0)
        output.weight /= spread[:, None]
        output.bias.copy_((output.bias - logits.mean(dim=0)) / spread)
    return classifier


def save(classifier: PatchClassifier, folder: Path) -> None:
    """Save a model with the MLflow run that `predict` adds to."""
    classifier.save(folder)
    record = RunRecord(name="benchmark", params={}, tags={})
    with open_run(record) as tracker:
        write_record(folder, record.model_copy(update={"run_id": tracker.run_id}))
        # the mark of a whole run: `predict` has nothing to complete in it
        tracker.tags({WEIGHTS_TAG: classifier.meta.weights_sha256})


def save_for_torch(classifier: PatchClassifier, path: Path) -> None:
    """Save a network as a file that `benchmarks.model` reads where nothing but torch is installed."""
    geometry = classifier.meta.geometry
    with publish(path) as partial:
        torch.save(
            {
                "network": classifier.network,
                "mean": classifier.mean.flatten(),
                "std": classifier.std.flatten(),
                "fill": classifier.hole.flatten(),
                "patch_px": geometry.patch_px,
                "cell_px": geometry.cell_px,
            },
            partial,
        )


def _meta(network: NetworkFile, scene: Scene, small: npt.NDArray[Any]) -> ModelMeta:
    preset, layout = resolve(network.network)
    valid = [plane[plane > 0] for plane in small]
    return ModelMeta(
        preset=preset,
        network=layout,
        bands=list(scene.bands),
        geometry=Geometry(patch_px=network.patch_px, cell_px=network.cell_px, min_valid=0.75),
        resampling="nearest",
        classes=[
            ClassInfo(name=f"c{i}", title=f"Class {i}", color=f"#{i * 24:02x}a0{255 - i * 24:02x}")
            for i in range(network.classes)
        ],
        credit="none: random weights",
        statistics=Statistics(
            mean=[float(values.mean()) for values in valid],
            std=[float(values.std()) for values in valid],
        ),
        class_weights=[1.0] * network.classes,
        scenes=[scene.info],
        hashes=Hashes(store="0" * 64, split="0" * 64, conf="0" * 64),
    )
