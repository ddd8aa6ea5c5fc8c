"""Many small scenes through `fetch`, `tile` and `predict`, each a process of its own.

    python -m benchmarks.archive --count 300

Scenes are cut from the real one at random places of the 60 m grid. `--count` given twice compares
them: memory, and time a scene; `--one-more` then adds a scene and runs all three again.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import rasterio
from rasterio.windows import Window

from benchmarks import machine, network
from benchmarks.__main__ import FOLDER, demo
from benchmarks.memory import Watched, watch
from pipeline.files import remove, write_json
from pipeline.geo.scenes.scene import open_catalog
from pipeline.geo.sources.folder import band_files

SIDE_PX = 120
LABELS = machine.ROOT / "data" / "demo" / "labels"
STAGES = ("fetch", "tile", "predict")


@dataclass(frozen=True)
class Archive:
    """A folder with some scenes and all that is made of them."""

    folder: Path
    compute: Path

    def cut(self, source: Path, count: int) -> None:
        """Make the scenes, and the conf of `fetch` that names them; those that are there stay."""
        rng = np.random.default_rng(0)
        files = band_files(source)
        with rasterio.open(files["B01"]) as coarsest:
            steps = np.array(coarsest.shape) - SIDE_PX // 6
        places = rng.integers(0, steps + 1, (count, 2)).tolist()
        names = [f"s{number:05d}" for number in range(count)]
        for name, place in zip(names, places, strict=True):
            if not (folder := self.folder / "scenes" / name).is_dir():
                _cut(files, place, folder)
        scenes = [
            {"id": name, "path": str(self.folder / "scenes" / name), "level": "L1C", "scale": 0.0001,
             "offset": 0.0, "datetime": "2017-02-16T10:21:01Z"}
            for name in names
        ]  # fmt: skip
        write_json(self.folder / "fetch.yaml", {"train": scenes, "map": "train"})  # JSON is YAML

    def prepare(self) -> None:
        """What `tile` and `predict` need besides: labels, classes, a model of random weights."""
        conf = machine.ROOT / "conf"
        label = {"path": str(LABELS / "osm_landuse.gpkg"), "attribute": "fclass"}
        tile = {"labels": [label], "bands": "all", "patch_px": 16, "cell_px": 8, "stride_px": 8}
        write_json(self.folder / "tile.yaml", tile)
        shutil.copy(conf / "classes.yaml", self.folder)
        write_json(self.folder / "predict.yaml", {"mosaic": "none"})
        scene = open_catalog(self.folder / "map")[0]
        remove(self.folder / "model")
        network.save(network.random_model(network.DEFAULT, scene), self.folder / "model")

    def run(self, stage: str) -> Watched:
        """A stage from its first to its last byte, in a process of its own."""
        paths = {
            "fetch": ("--train", "train", "--map", "map", "--downloads", "downloads"),
            "tile": ("--classes", "classes.yaml", "--scenes", "train", "--out", "patches"),
            "predict": ("--model", "model", "--scenes", "map", "--out", "maps"),
        }[stage]
        confs = ("--conf", f"{stage}.yaml", "--compute", str(self.compute))
        command = [sys.executable, "-m", "pipeline.cli", stage, *confs, *paths]
        environment = os.environ | {"PYTHONPATH": str(machine.ROOT)}
        return watch(command, environment, self.folder)


def _cut(files: dict[str, Path], place: tuple[int, int], folder: Path) -> None:
    """A scene of `SIDE_PX` whose corner lies at (row, col) of the 60 m grid."""
    folder.mkdir(parents=True)
    for band, path in files.items():
        with rasterio.open(path) as source:
            per_step = round(60 / source.res[0])
            row, col = (step * per_step for step in place)
            side = SIDE_PX * per_step // 6
            window = Window(col, row, side, side)
            profile = {
                "driver": "GTiff", "dtype": "uint16", "count": 1, "height": side, "width": side,
                "crs": source.crs, "transform": source.window_transform(window), "compress": "deflate",
            }  # fmt: skip
            with rasterio.open(folder / f"{folder.name}_{band}.tif", "w", **profile) as target:
                target.write(source.read(1, window=window), 1)


@click.command()
@click.option("--count", type=int, multiple=True, default=(10, 300), help="Scenes; several times.")
@click.option("--one-more/--no-one-more", help="Whether to add a scene to the last and run again.")
@click.option("--work", type=FOLDER, default=Path(__file__).parent / "work" / "archive")
def main(count: tuple[int, ...], one_more: bool, work: Path) -> None:
    """Print seconds and peak memory of each stage, a count of scenes a line."""
    work = work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{work / 'mlflow.db'}"
    compute = work / "compute.yaml"
    write_json(compute, {"accelerator": "cpu", "precision": "float32"})
    for number in count:
        archive = Archive(work / str(number), compute)
        archive.cut(demo(), number)
        _measure(archive, number)
        if one_more and number == count[-1]:
            archive.cut(demo(), number + 1)
            _measure(archive, number + 1)


def _measure(archive: Archive, count: int) -> None:
    for stage in STAGES:
        if stage == "tile":
            archive.prepare()
        started, before = time.monotonic(), os.times()
        watched = archive.run(stage)
        cpu = sum(now - then for now, then in zip(os.times()[2:4], before[2:4], strict=True))
        print(
            f"{count} scenes: {stage} {time.monotonic() - started:.1f} s, {cpu:.1f} s of CPU, "
            f"{watched.peak.own_mb:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
