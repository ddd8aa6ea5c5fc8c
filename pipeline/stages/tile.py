"""Stage tile: scenes and labels, or labelled images, become the patches of a PatchStore."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.classes import ClassesConf
from pipeline.config.compute import load_compute
from pipeline.config.reading import load
from pipeline.config.tile import TileConf
from pipeline.geo.images.collection import holds_images
from pipeline.geo.patches.image_store import image_content
from pipeline.geo.patches.scene_store import scene_content
from pipeline.geo.patches.store_writer import StoreContent, TileInputs, write_store
from pipeline.remote import connected
from pipeline.store_meta import PatchCounts


def run(
    conf: Path,
    classes: Path,
    scenes: Path,
    out: Path,
    compute: Path | None = None,
    sources: Sequence[Path] = (),
) -> None:
    """Write the PatchStore of the labelled cells of scenes, or of a collection of labelled images.

    Label files must lie in one of `sources`; anywhere where there are none.

    Raises:
        LenscapeError: when conf, scenes or labels cannot be used, or the disk is too small; a store
            that was there before stays as it was.
    """
    machine = load_compute(compute)
    inputs = TileInputs(conf, load(conf, TileConf), classes, load(classes, ClassesConf))
    with connected(machine):
        if holds_images(scenes):
            content = image_content(inputs, scenes, machine)
        else:
            content = scene_content(inputs, scenes, sources, machine)
        counts = write_store(inputs, content, out)
    _report(counts, content, out)


def _report(counts: PatchCounts, content: StoreContent, out: Path) -> None:
    kept, on_grid = counts["kept"], counts["kept_on_grid"]
    width = max(12, *(len(name) for name in kept))
    print(f"{'class':<{width}}{'patches':>10}{'on cell grid':>14}")
    for name, count in kept.items():
        print(f"{name:<{width}}{count:>10}{on_grid[name]:>14}")
    print(f"{'all':<{width}}{sum(kept.values()):>10}{sum(on_grid.values()):>14}")
    print(f"left out of {counts['positions']} positions: {_listed(counts['left_out'])}")
    for label_source in counts["labels"]:
        print(f"labels {label_source['file']}: {_listed(label_source)}")
    print(f"{content.summary}: {out}")
    for reason in content.warnings:
        print(f"warning: {reason}", file=sys.stderr)
    for name in [name for name, count in kept.items() if not count]:
        print(f"warning: no cell has the class {name!r}; label some of it or drop it.", file=sys.stderr)


def _listed(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in counts.items() if kind != "file").replace("_", " ")
