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


class Seeds(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them, or `none`."""

    name = "seeds"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """The seeds that a value lists."""
        if value == "none":
            return ()
        try:
            return tuple(int(seed) for seed in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers; write 0,1,2 or none", param, ctx)


SEEDS = Seeds()
COMPUTE = click.option(
    "--compute",
    type=EXISTING,
    callback=compute_file,
    help="Where and how fast to run; conf/compute.yaml where it exists.",
)


def path(default: str, *names: str, help: str | None = None) -> Callable[[Any], Any]:
    """An option that takes a path."""
    return click.option(*names, type=EXISTING, default=default, show_default=True, help=help)


def seeds(name: str, default: str, help: str) -> Callable[[Any], Any]:
    """An option that takes seeds."""
    return click.option(name, type=SEEDS, default=default, show_default=True, help=help)
