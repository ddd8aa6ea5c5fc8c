"""`lenscape <command>`: heavy imports happen inside the commands, so that help is instant."""

from __future__ import annotations

import sys

import click

from pipeline import __version__
from pipeline.cli import commands, stages, start
from pipeline.errors import LenscapeError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lenscape")
def cli() -> None:
    """Sentinel-2 scenes in, land-cover class maps out."""


for module in (stages, commands, start):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            cli.add_command(command)


def main() -> None:
    """Run the command line; a `LenscapeError` ends in one sentence and exit code 2."""
    try:
        cli()
    except LenscapeError as error:
        print(f"lenscape: {error}", file=sys.stderr)
        sys.exit(2)
