"""`python -m benchmarks`: measures, prints and writes RESULTS.md; exit code 1 where sides disagree."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from benchmarks import computing, feeding, machine, mapping, report, tiling
from benchmarks.bench import FULL_PX, Bench
from benchmarks.errors import BenchmarkError
from benchmarks.report import Section
from benchmarks.scene import require_size
from pipeline.errors import LenscapeError
from pipeline.geo.sources.folder import band_files

DEFAULT_PX = 2196
"""A fifth of the side of a tile."""
RUN_S = 30.0
"""Of a run of a whole tile, at least."""
DEMO = machine.ROOT / "data" / "demo" / "scenes"
FOLDER = click.Path(path_type=Path, file_okay=False)


PARTS: Mapping[str, Callable[[Bench], Section]] = {
    "predict": mapping.predict_section,
    "compute": computing.compute_section,
    "tile": tiling.tile_section,
    "train": feeding.train_section,
    "growth": mapping.growth_section,
    "default": mapping.default_section,
}
"""What can be measured, in the order of the report."""


@click.command()
@click.option("--full", is_flag=True, help=f"A whole tile, {FULL_PX} px, and runs of {RUN_S:g} s.")
@click.option("--size", type=int, help=f"Side of the scene in px; {DEFAULT_PX} by default.")
@click.option("--scene", type=FOLDER, help="A folder of one file per band; the demo by default.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(PARTS)), help="Some parts; all by default."
)
@click.option("--work", type=FOLDER, default=Path(__file__).parent / "work",
              help="Where scenes, stores and maps are kept (20 GB with --full).")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0),
              help=f"Of each of three runs of each side; 5, with --full {RUN_S:g}.")  # fmt: skip
@click.option("--pixel-px", type=click.IntRange(min=1), default=8, show_default=True,
              help="Side of a map pixel, in pixels of the scene.")  # fmt: skip
@click.option("--write/--no-write", default=True, help="Whether to write benchmarks/RESULTS.md.")
def main(full: bool, only: tuple[str, ...], write: bool, **options: object) -> None:
    """Measure lenscape beside torchgeo, rasterio and the hardware, in one run."""
    warnings.simplefilter("ignore")  # libraries about each other
    try:
        bench = _bench(full, options)
    except LenscapeError as error:
        raise click.ClickException(str(error)) from error
    sections, failure = measure(bench, only or tuple(PARTS))
    text = report.render(sections, machine.facts(), _how(bench, only), failure)
    print(text)
    if write:
        report.write(text)
    if failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        sys.exit(1)


def measure(bench: Bench, names: tuple[str, ...]) -> tuple[list[Section], str]:
    """The sections of some parts, and what broke the run off, if anything did."""
    sections: list[Section] = []
    try:
        for name, part in PARTS.items():
            if name in names:
                bench.say(f"== {name}")
                sections.append(part(bench))
    except LenscapeError as error:
        return sections, str(error)
    return sections, ""


def _bench(full: bool, options: Mapping[str, object]) -> Bench:
    size, scene, work, seconds = (options[name] for name in ("size", "scene", "work", "seconds"))
    if full and size is not None:
        raise click.UsageError("--full states the size; leave --size out.")
    work = Path(str(work)).absolute()
    work.mkdir(parents=True, exist_ok=True)
    # what predict tells MLflow stays here
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{work / 'mlflow.db'}"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    source = Path(str(scene)).absolute() if scene else demo()
    side = FULL_PX if full else int(str(size or DEFAULT_PX))
    require_size(side)
    band_files(source)  # a wrong folder is better known now
    runs_s = float(str(seconds)) if seconds is not None else (RUN_S if full else 5.0)
    return Bench(source, work, side, runs_s, int(str(options["pixel_px"])))


def demo() -> Path:
    scenes = sorted(path for path in DEMO.glob("*") if path.is_dir())
    if not scenes:
        raise BenchmarkError(f"{DEMO} holds no scene; name a folder of one file per band by --scene.")
    return scenes[0]


def _how(bench: Bench, only: tuple[str, ...]) -> list[str]:
    command = "python -m benchmarks" + (" --full" if bench.full else f" --size {bench.size_px}")
    command += "" if bench.pixel_px == 8 else f" --pixel-px {bench.pixel_px}"
    command += "".join(f" --only {name}" for name in only)
    proper = bench.full and bench.seconds >= RUN_S
    targets = "" if proper else f" The targets are meant for `--full` and runs of {RUN_S:g} s."
    return [
        f"`{command}`: a scene of {bench.size_px} x {bench.size_px} px, 13 bands at native "
        "resolutions (COG, DEFLATE, predictor 2, blocks of 512 px, no overviews), "
        f"{bench.source.name} mirrored. Both sides were warmed once and then run in turns, three times "
        f"for {bench.seconds:g} s or more; the median counts. The network is "
        "`benchmarks/lenet_64.yaml` with random weights, float32; both sides have "
        f"{machine.cores()} cores and {machine.CACHE_BYTES / 1e6:.0f} MB for GDAL's blocks.{targets}",
    ]


if __name__ == "__main__":
    main()
