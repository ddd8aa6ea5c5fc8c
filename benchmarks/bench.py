"""What all parts share: what is asked for, the scene, the models, and one `predict`."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks import machine, memory, network, scene
from benchmarks.network import NetworkFile
from benchmarks.scene import Made
from pipeline.files import remove, write_json
from pipeline.geo.maps.catalog import MapFolder
from pipeline.geo.raster.grid import PatchGrid
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.stages import predict

FULL_PX = 10_980
MEMORY_MB = 1024
"""Memory budget of `conf/compute.yaml`: its default."""


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks."""

    source: Path
    """The folder of the real scene."""
    work: Path
    size_px: int
    seconds: float
    """That each of three runs of a side lasts, at least."""
    pixel_px: int = 8
    """Side of a map pixel, in pixels of the scene: the stride of the patches."""

    @property
    def full(self) -> bool:
        """Whether the scene is as large as a whole MGRS tile."""
        return self.size_px >= FULL_PX

    @property
    def store_bytes(self) -> float:
        """Size of the stores that are made, about: 4 GB at full size."""
        return 4e9 if self.full else min(1e9, 4e9 * 8 * (self.size_px / FULL_PX) ** 2)

    @property
    def trial_s(self) -> float:
        """How long each way of the peer is tried."""
        return min(self.seconds, 2.0 + self.seconds / 10)

    @cached_property
    def made(self) -> Made:
        """The scene."""
        return self.scene_of(self.size_px)

    def scene_of(self, size_px: int) -> Made:
        """The scene at some size."""
        self.say(f"scene of {size_px} x {size_px} px")
        with quiet():
            return scene.make(self.source, self.work, size_px)

    @cached_property
    def lenet_64(self) -> PatchClassifier:
        """The network of the benchmarks."""
        return network.random_model(network.lenet_64(), self.made.scene)

    @cached_property
    def compute(self) -> Path:
        """`compute.yaml`: as many workers as there are cores, float32."""
        path = self.work / "compute.yaml"
        conf = {"workers": machine.cores(), "memory_mb": MEMORY_MB, "precision": "float32"}
        write_json(path, conf)
        return path

    def grid(self, file: NetworkFile) -> PatchGrid:
        """The map pixels of the scene for a network."""
        return PatchGrid(self.made.scene.grid, file.patch_px, self.pixel_px)

    def save(self, classifier: PatchClassifier, name: str) -> None:
        """Save a model under a name, in place of an earlier one."""
        remove(self._model(name))
        with quiet():
            network.save(classifier, self._model(name))

    def predict(self, model: str, made: Made) -> None:
        """Map a scene in this process, as `lenscape predict` does, by a model that was saved."""
        out = self._maps(model, made)
        remove(out)  # or it would be kept
        with quiet():
            predict.run(self._predict_conf, self._model(model), made.catalog, out, self.compute)

    def class_map(self, made: Made, model: str) -> Path:
        """What `predict` wrote."""
        return MapFolder(self._maps(model, made) / made.scene.id, made.scene.id).class_map

    def watched_predict(self, model: str, made: Made) -> memory.Watched:
        """Map a scene by the command line, in a process of its own whose memory is watched."""
        remove(self._maps(f"{model}_watched", made))
        options = {
            "conf": self._predict_conf,
            "model": self._model(model),
            "scenes": made.catalog,
            "out": self._maps(f"{model}_watched", made),
            "compute": self.compute,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "pipeline.cli", "predict", *words]
        return memory.watch(command, os.environ, machine.ROOT)

    def _maps(self, model: str, made: Made) -> Path:
        return made.folder / "maps" / model

    def _model(self, name: str) -> Path:
        return self.work / "models" / name

    @property
    def _predict_conf(self) -> Path:
        path = self.work / "predict.yaml"
        path.write_text(f"pixel_px: {self.pixel_px}\n", encoding="utf-8")
        return path

    @staticmethod
    def say(text: str) -> None:
        """Tell whoever waits."""
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what the stages print for their users."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
