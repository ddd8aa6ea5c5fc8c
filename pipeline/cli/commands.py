"""Commands for people, beside the stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipeline.cli.options import EXISTING, POSITIVE, path


@click.command()
def doctor() -> None:
    """Say what this installation can do, and what to install for the rest."""
    from pipeline.commands.doctor import run

    run(Path())


@click.command()
@path("conf/train.yaml", "--conf")
@click.option("--network", help="Another network than the conf's: modern, lenet5 or mlp.")
@click.option("--store", type=EXISTING, help="A store; data/patches where it exists.")
@click.option("--bands", type=POSITIVE, help="Number of input bands, whatever conf and store say.")
@click.option("--patch", type=POSITIVE, help="Side of a patch in pixels.")
@click.option("--classes", type=POSITIVE, help="Number of classes.")
def describe(conf: Path, network: str | None, store: Path | None, **numbers: int | None) -> None:
    """Print the layers of a network: sizes, weights, operations and receptive fields."""
    from pipeline.commands.describe import run

    if store is None and Path("data/patches/meta.json").exists():
        store = Path("data/patches")
    run(conf, network, store, **numbers)


@click.command()
@click.argument("version")
@path("conf/predict.yaml", "--conf")
def pin(version: str, conf: Path) -> None:
    """Map with a registered model: VERSION is an alias (champion), a number or models:/name/3."""
    from pipeline.commands.pin import run

    run(version, conf)


@click.command()
@click.argument("version", default="challenger")
@click.option(
    "--because", help="Promote regardless of the figures, for this reason, which is recorded."
)
def promote(version: str, because: str | None) -> None:
    """Make VERSION the champion if it is significantly better on the same held-out patches."""
    from pipeline.commands.promote import run

    run(version, because)


@click.command()
@path("models", "--model", help="Folder of `train`.")
def log(model: Path) -> None:
    """Record in MLflow what a store that failed has missed of a model, its report and its maps."""
    from pipeline.commands.log import run

    run(model)


@click.command()
@path("models", "--model", help="Folder of `train`.")
@path("model.onnx", "--out")
@click.option(
    "--pixel-px", type=POSITIVE, help="Side of a map pixel, in pixels of the scene; as of `predict`."
)
def export(model: Path, out: Path, pixel_px: int | None) -> None:
    """Write the model as an ONNX file that other programs can run, checked against torch."""
    from pipeline.commands.export import run

    run(model, out, pixel_px)


@click.command()
@path("data/maps", "--maps")
@path("reports/errors.gpkg", "--errors")
@path("reports/label_issues.gpkg", "--label-issues")
@path("reports/lenscape.qgs", "--out")
def project(maps: Path, errors: Path, label_issues: Path, out: Path) -> None:
    """Write a QGIS project of all maps with the error map and the label issues on top."""
    from pipeline.commands.project import run

    run(maps, errors, label_issues, out)


@click.command()
@click.argument("class_map", type=EXISTING)
@click.option(
    "--sheet", type=EXISTING, required=True, help="The labelling form to be written, a GeoPackage."
)
@click.option(
    "--design",
    type=click.Choice(["stratified", "active"]),
    default="stratified",
    show_default=True,
    help="At random within each class, for accuracy and areas; or where labels would teach most, to "
    "train on.",
)
@click.option(
    "--standard-error",
    type=click.FloatRange(min=0.001, max=0.2),
    default=0.02,
    show_default=True,
    help="Stratified: aimed at, of the overall accuracy; it decides how many pixels are drawn.",
)
@click.option(
    "--fewest",
    type=click.IntRange(min=2),
    default=50,
    show_default=True,
    help="Stratified: pixels of each class.",
)
@click.option("--count", type=POSITIVE, default=100, show_default=True, help="Active: cells in all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def sample(class_map: Path, sheet: Path, design: str, **options: Any) -> None:
    """Draw a sample of CLASS_MAP, to label in QGIS."""
    from pipeline.commands.sample import run, run_active

    count = options.pop("count")
    of_other = ("standard_error", "fewest") if design == "active" else ("count",)
    for name in of_other:
        if click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} is not for --design {design}.")
    if design == "active":
        run_active(class_map, sheet, count, options["seed"])
    else:
        run(class_map, sheet, **options)


@click.command()
@click.argument("form", type=EXISTING)
@click.option(
    "--map", "class_map", type=EXISTING, required=True, help="The class map it was drawn from."
)
def accuracy(form: Path, class_map: Path) -> None:
    """Estimate accuracy and areas of a class map from a labelled reference sample, FORM."""
    from pipeline.commands.accuracy import run

    run(form, class_map)


@click.command()
@click.argument("file", type=EXISTING)
def provenance(file: Path) -> None:
    """Print the MLflow run whose model made a class map."""
    from pipeline.commands.provenance import run

    run(file)


@click.command(hidden=True)  # for one release
@click.argument("file", type=EXISTING)
@click.pass_context
def whence(context: click.Context, file: Path) -> None:
    """The former name of `provenance`."""
    click.echo(
        "lenscape whence is now called lenscape provenance; the next release drops the old name.",
        err=True,
    )
    context.invoke(provenance, file=file)
