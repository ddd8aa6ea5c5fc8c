"""`lenscape <command>`: heavy imports happen inside the commands, so that help is instant."""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, override

import click

from pipeline import __version__
from pipeline.cli import commands, stages, start
from pipeline.errors import LenscapeError


class _OneSentence(click.Group):
    """Commands of which a `LenscapeError` ends in one sentence and exit code 2, and Ctrl-C in 130."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except LenscapeError as error:
            print(f"lenscape: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print(
                "\nlenscape: interrupted; nothing half-written is left. To go on, run it again.",
                file=sys.stderr,
            )
            sys.exit(128 + signal.SIGINT)


@click.group(cls=_OneSentence, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lenscape")
def cli() -> None:
    """Sentinel-2 scenes in, land-cover class maps out."""


for module in (stages, commands, start):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            cli.add_command(command)


_OF_AN_INSTALLATION = ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA")
"""Where PROJ and GDAL look for their data, such as the EPSG codes."""


def main() -> None:
    """Run the command line."""
    _forget_other_installations()
    cli()


def _forget_other_installations() -> None:
    """Unset what leads to the data of another PROJ or GDAL; the packages here bring their own."""
    rasterio = find_spec("rasterio")  # does not import it
    if rasterio and rasterio.origin and Path(rasterio.origin).with_name("proj_data").is_dir():
        for name in _OF_AN_INSTALLATION:
            os.environ.pop(name, None)
