"""`lenscape <command>`: heavy imports happen inside the commands, so that help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipeline import __version__
from pipeline.errors import LenscapeError

EXISTING = click.Path(path_type=Path)
POSITIVE = click.IntRange(min=1)


def _compute(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """The file that was named, or the usual one where there is one."""
    del context, parameter
    usual = Path("conf/compute.yaml")
    return usual if value is None and usual.exists() else value


class _Seeds(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them, or `none`."""

    name = "seeds"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Click's way to read a value."""
        if value == "none":
            return ()
        try:
            return tuple(int(seed) for seed in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers; write 0,1,2 or none", param, ctx)


SEEDS = _Seeds()
COMPUTE = click.option(
    "--compute",
    type=EXISTING,
    callback=_compute,
    help="Where and how fast to run; conf/compute.yaml where it exists.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lenscape")
def cli() -> None:
    """Sentinel-2 scenes in, land-cover class maps out."""


@cli.command()
def doctor() -> None:
    """Say what this installation can do, and what to install for the rest."""
    from pipeline.commands.doctor import run

    run(Path())


@cli.command()
@click.option("--conf", type=EXISTING, default="conf/fetch.yaml", show_default=True)
@click.option("--train", type=EXISTING, default="data/scenes/train", show_default=True)
@click.option("--map", "to_map", type=EXISTING, default="data/scenes/map", show_default=True)
@click.option("--sources", type=EXISTING, multiple=True, help="Folders that scenes must lie in.")
@click.option(
    "--downloads",
    type=EXISTING,
    default="data/downloads",
    show_default=True,
    help="What was fetched from the web, for the next run.",
)
def fetch(**arguments: Any) -> None:
    """Check scenes and describe them as STAC Items."""
    from pipeline.stages.fetch import run

    run(**arguments)


@cli.command()
@click.option("--conf", type=EXISTING, default="conf/tile.yaml", show_default=True)
@click.option("--classes", type=EXISTING, default="conf/classes.yaml", show_default=True)
@click.option("--scenes", type=EXISTING, default="data/scenes/train", show_default=True)
@click.option("--out", type=EXISTING, default="data/patches", show_default=True)
@click.option("--sources", type=EXISTING, multiple=True, help="Folders that labels must lie in.")
@COMPUTE
def tile(**arguments: Any) -> None:
    """Cut scenes into labelled patches."""
    from pipeline.stages.tile import run

    run(**arguments)


@cli.command()
@click.option("--conf", type=EXISTING, default="conf/split.yaml", show_default=True)
@click.option("--store", type=EXISTING, default="data/patches", show_default=True)
@click.option("--out", type=EXISTING, default="data/split", show_default=True)
@click.option("--audit", type=EXISTING, default="reports/audit.json", show_default=True)
def split(conf: Path, store: Path, out: Path, audit: Path) -> None:
    """Part patches by ground: which train, which choose and which test."""
    from pipeline.stages.split import run

    run(conf, store, out, audit)


@cli.command()
@click.option("--conf", type=EXISTING, default="conf/train.yaml", show_default=True)
@click.option("--store", type=EXISTING, default="data/patches", show_default=True)
@click.option("--split", type=EXISTING, default="data/split", show_default=True)
@click.option("--out", type=EXISTING, default="models", show_default=True)
@COMPUTE
def train(conf: Path, store: Path, split: Path, out: Path, compute: Path | None) -> None:
    """Train a network of the LeNet family on the patches of a store."""
    from pipeline.stages.train import run

    run(conf, store, split, out, compute)


@cli.command()
@click.option("--conf", type=EXISTING, default="conf/evaluate.yaml", show_default=True)
@click.option("--model", type=EXISTING, default="models", show_default=True)
@click.option("--store", type=EXISTING, default="data/patches", show_default=True)
@click.option("--split", type=EXISTING, default="data/split", show_default=True)
@click.option("--out", type=EXISTING, default="reports", show_default=True)
@COMPUTE
def evaluate(**arguments: Any) -> None:
    """Judge a model by the test part, beside its baselines."""
    from pipeline.stages.evaluate import run

    run(**arguments)


@cli.command()
@click.option("--conf", type=EXISTING, default="conf/predict.yaml", show_default=True)
@click.option("--model", type=EXISTING, default="models", show_default=True)
@click.option("--scenes", type=EXISTING, default="data/scenes/map", show_default=True)
@click.option("--out", type=EXISTING, default="data/maps", show_default=True)
@COMPUTE
def predict(conf: Path, model: Path, scenes: Path, out: Path, compute: Path | None) -> None:
    """Map scenes: class map, confidence, areas and preview of each."""
    from pipeline.stages.predict import run

    run(conf, model, scenes, out, compute)


@cli.command()
@click.option("--conf", type=EXISTING, default="conf/train.yaml", show_default=True)
@click.option("--network", help="Another network than the conf's: modern, lenet5 or mlp.")
@click.option("--store", type=EXISTING, help="A store; data/patches where it exists.")
@click.option("--bands", type=POSITIVE, help="Number of input bands, whatever conf and store say.")
@click.option("--patch", type=POSITIVE, help="Side of a patch in pixels.")
@click.option("--classes", type=POSITIVE, help="Number of classes.")
def describe(conf: Path, network: str | None, store: Path | None, **numbers: int | None) -> None:
    """Print the layers of a network: sizes, weights, work and what each of them sees."""
    from pipeline.commands.describe import run

    if store is None and Path("data/patches/meta.json").exists():
        store = Path("data/patches")
    run(conf, network, store, numbers)


@cli.command()
@click.option("--scene", type=EXISTING, required=True, help="A folder of one file per band.")
@click.option("--labels", type=EXISTING, required=True, help="A vector file with polygons.")
@click.option("--attribute", required=True, help="The attribute that holds the class.")
@click.option("--layer", help="The layer of the labels, where the file has several.")
@click.option("--scale", type=float, help="Reflectance per DN, such as 0.0001.")
@click.option("--offset", type=float, help="Reflectance at DN 0: -0.1 from baseline 04.00 on, or 0.")
@click.option("--datetime", help="Time of acquisition; from the names of the files where absent.")
@click.option("--level", type=click.Choice(["L1C", "L2A"]), help="Processing level.")
@click.option("--platform", help="Satellite, such as sentinel-2a.")
@click.option("--id", help="Name of the scene; that of its folder where absent.")
@click.option("--credit", help="Whom to thank for the labels; written into every map.")
@click.option("--copy", is_flag=True, help="Copy the files to data/own/ instead of linking them.")
def start(**options: Any) -> None:
    """Set up a scene and labels of your own: check them, then write the conf."""
    from pipeline.commands.start import Details, run

    inputs = (options.pop("scene"), options.pop("labels"), options.pop("attribute"))
    details = Details(
        layer=options.pop("layer"),
        credit=options.pop("credit"),
        copy=options.pop("copy"),
        scene={key: value for key, value in options.items() if value is not None},
    )
    run(*inputs, details)


@cli.command()
@click.option("--train", type=EXISTING, default="conf/train.yaml", show_default=True)
@click.option(
    "--lenet5",
    type=EXISTING,
    default="conf/networks/lenet5.yaml",
    show_default=True,
    help="A second conf of train, in the table as lenet5.",
)
@click.option("--split", type=EXISTING, default="conf/split.yaml", show_default=True)
@click.option("--store", type=EXISTING, default="data/patches", show_default=True)
@click.option("--out", type=EXISTING, default="reports", show_default=True)
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option(
    "--seeds", default="0,1,2", show_default=True, type=SEEDS, help="Seeds of the spatial split."
)
@click.option(
    "--random-seeds",
    default="0",
    show_default=True,
    type=SEEDS,
    help="Seeds for which patches are parted at random, too, to show how much that flatters.",
)
@COMPUTE
def folds(train: Path, lenet5: Path, folds: int, **others: Any) -> None:
    """Cross-validate the network, LeNet-5 and the baselines on spatial folds, and on random ones."""
    from pipeline.commands.folds import run
    from pipeline.crossvalidation.fitting import Plan

    seeds = others.pop("seeds"), others.pop("random_seeds")
    plan = Plan(folds, *seeds)
    run([("lenet", train), ("lenet5", lenet5)], plan, **others)


@cli.command()
@click.option(
    "--bands",
    multiple=True,
    default=["all", "10m", "rgb"],
    show_default=True,
    help="all, 10m, rgb or a list as B04,B08; the first is what the others are compared with.",
)
@click.option("--train", type=EXISTING, default="conf/train.yaml", show_default=True)
@click.option("--split", type=EXISTING, default="conf/split.yaml", show_default=True)
@click.option("--store", type=EXISTING, default="data/patches", show_default=True)
@click.option("--out", type=EXISTING, default="reports", show_default=True)
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True)
@click.option("--seeds", default="0", show_default=True, type=SEEDS, help="Seeds of the spatial split.")
@COMPUTE
def ablation(bands: tuple[str, ...], train: Path, folds: int, **others: Any) -> None:
    """Cross-validate the network on fewer bands, to see what they are worth."""
    from pipeline.commands.ablation import choices, run
    from pipeline.crossvalidation.fitting import Plan

    plan = Plan(folds, others.pop("seeds"))
    run(choices(bands, train), plan, **others)


@cli.command()
@click.argument("version")
@click.option("--conf", type=EXISTING, default="conf/predict.yaml", show_default=True)
def pin(version: str, conf: Path) -> None:
    """Map with a registered model: VERSION is an alias (champion), a number or models:/name/3."""
    from pipeline.commands.pin import run

    run(version, conf)


@cli.command()
@click.argument("version", default="challenger")
@click.option("--because", help="Promote whatever the figures say, for this reason, which is recorded.")
def promote(version: str, because: str | None) -> None:
    """Make VERSION the champion if it is surely better on the same test patches."""
    from pipeline.commands.promote import run

    run(version, because)


@cli.command()
@click.option("--model", type=EXISTING, default="models", show_default=True, help="Folder of `train`.")
@click.option("--out", type=EXISTING, default="model.onnx", show_default=True)
def export(model: Path, out: Path) -> None:
    """Write the model as an ONNX file that other programs can run, checked against torch."""
    from pipeline.commands.export import run

    run(model, out)


@cli.command()
@click.option("--maps", type=EXISTING, default="data/maps", show_default=True)
@click.option("--errors", type=EXISTING, default="reports/errors.gpkg", show_default=True)
@click.option("--out", type=EXISTING, default="reports/lenscape.qgs", show_default=True)
def project(maps: Path, errors: Path, out: Path) -> None:
    """Write a QGIS project of all maps with the error map of `evaluate` on top."""
    from pipeline.commands.project import run

    run(maps, errors, out)


@cli.command()
@click.argument("class_map", type=EXISTING)
@click.option("--sheet", type=EXISTING, required=True, help="The GeoPackage to be written.")
@click.option(
    "--standard-error",
    type=click.FloatRange(min=0.001, max=0.2),
    default=0.02,
    show_default=True,
    help="Aimed at, of the overall accuracy; it decides how many cells are drawn.",
)
@click.option(
    "--fewest", type=click.IntRange(min=2), default=50, show_default=True, help="Of each class."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def sample(class_map: Path, sheet: Path, standard_error: float, fewest: int, seed: int) -> None:
    """Draw cells of CLASS_MAP at random, as a sheet to label in QGIS."""
    from pipeline.commands.sample import run

    run(class_map, sheet, standard_error, fewest, seed)


@cli.command()
@click.argument("sheet", type=EXISTING)
@click.option(
    "--map", "class_map", type=EXISTING, required=True, help="The class map it was drawn from."
)
def accuracy(sheet: Path, class_map: Path) -> None:
    """Say what a labelled SHEET tells of a class map: accuracy and areas with their intervals."""
    from pipeline.commands.accuracy import run

    run(sheet, class_map)


@cli.command()
@click.argument("file", type=EXISTING)
def whence(file: Path) -> None:
    """Say which MLflow run the model of a class map comes from."""
    from pipeline.commands.whence import run

    run(file)


def main() -> None:
    """Run the command line; a `LenscapeError` ends in one sentence and exit code 2."""
    try:
        cli()
    except LenscapeError as error:
        print(f"lenscape: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
