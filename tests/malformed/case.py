"""One malformed input: how to make it, and what the command must say about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """A cause of its own, with real bytes."""

    id: str
    make: Callable[[Path], dict[str, Any]]
    """Writes the input into an empty folder; gives the content of the conf files that name it, by name
    of the file (`fetch.yaml`, and for `tile` also `tile.yaml` and `classes.yaml`), as parsed YAML."""
    says: str
    """A regular expression that the one sentence on stderr matches: file and remedy."""
    stage: str = "fetch"
    """The stage that must refuse it; the stages before must accept it."""
    unprivileged: bool = False
    """Whether only a user who is not root meets it."""
