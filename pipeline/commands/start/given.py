"""What `lenscape start` is told, and how it names things."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.record import is_name

WHERE = "lenscape start"
"""Begins the messages about what is wrong with an option."""


@dataclass(frozen=True)
class Given:
    """Scenes, labels, and what is stated about them."""

    scenes: Sequence[str]
    """Scenes to train on and to map: a folder of bands, a stack, a SAFE product, images in the form of
    EuroSAT, or the address of a STAC API."""
    labels: Sequence[Path] = ()
    """Vector files, CSV tables of points, rasters of codes; what stands first wins."""
    to_map: Sequence[str] = ()
    """Scenes that are mapped and have no labels."""
    scene_keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys of an entry of `fetch.yaml`: id, datetime, scale, offset, mask, ..."""
    label_keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys of an entry of `tile.yaml`: attribute, layer, ..."""
    credit: str | None = None
    """The credit of the labels; the names of their files where absent."""
    copy: bool = False
    """Whether to copy the files instead of linking them."""


def slug(text: str, otherwise: str) -> str:
    """A name from any text; `otherwise` where no letter or digit of ASCII is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")[:90]
    return name if is_name(name) else otherwise


def free_name(name: str, taken: Container[str]) -> str:
    """A name, or where it is taken the first of `name_2`, `name_3`, ... that is not."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def listed(names: Sequence[Any], most: int = 12) -> str:
    """Names with commas between them, of many the first ones."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
