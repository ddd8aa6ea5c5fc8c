"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

EXISTING = click.Path(path_type=Path)
POSITIVE = click.IntRange(min=1)


def compute_file(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """The file that was given, else `conf/compute.yaml` where it exists."""
    del context, option
    default = Path("conf/compute.yaml")
    return default if value is None and default.exists() else value


COMPUTE = click.option(
    "--compute",
    type=EXISTING,
    callback=compute_file,
    help="Where and how fast to run; conf/compute.yaml where it exists.",
)


def path(default: str, *names: str, help: str | None = None) -> Callable[[Any], Any]:
    """An option that takes a path."""
    return click.option(*names, type=EXISTING, default=default, show_default=True, help=help)
