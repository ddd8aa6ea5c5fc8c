"""`lenscape sample`: what to label of a class map in QGIS, at random or where labels teach most."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.geo.reference.active import ACTIVE, draw_active
from pipeline.geo.reference.form import key_path, write_form
from pipeline.geo.reference.sample import MapFrame
from pipeline.learn.stats.area_estimation import allocate, sample_size


def run(class_map: Path, form: Path, standard_error: float, fewest: int, seed: int) -> None:
    """Draw a reference sample: pixels of each class of a map into a labelling form, and into its key.

    `standard_error` is that of the overall accuracy; `fewest` are the pixels of a rare class.

    Raises:
        LenscapeError: when the map cannot be read, or the sample exists already.
    """
    _require_new(form)
    frame = MapFrame.open(class_map)
    counts = allocate([one.pixels for one in frame.classes], sample_size(standard_error), fewest)
    pixels = frame.draw(counts.tolist(), seed)
    write_form(form, frame, pixels)
    _print_files(form, len(pixels["value"]), "pixels")
    for one, count in zip(frame.classes, counts.tolist(), strict=True):
        print(f"{one.title:<30}{count:>6} of {one.pixels:,} pixels")


def run_active(class_map: Path, form: Path, count: int, seed: int) -> None:
    """Choose `count` cells to label as training data into a labelling form, and into its key.

    Raises:
        LenscapeError: when the map cannot be read, or the sample exists already.
    """
    _require_new(form)
    frame = MapFrame.open(class_map)
    sample = draw_active(frame, count, seed)
    write_form(form, frame, sample.cells, ACTIVE)
    _print_files(form, len(sample.cells["value"]), "cells")
    for name, (chosen, whole) in sample.means.items():
        print(f"mean {name} {chosen:.0f} %, of the whole map {whole:.0f} %")
    if "dissimilarity" not in sample.means:
        print("the map has no dissimilarity; the cells were chosen by confidence alone")
    print(
        "These cells were chosen, not drawn at random: labels to train on, no basis for accuracy or "
        "areas; for those draw a sample without `--design`."
    )


def _require_new(form: Path) -> None:
    for path in (form, key_path(form)):
        if path.exists():
            raise ConfigError(
                f"{path} exists, and may hold somebody's work; name another file, or delete it first."
            )


def _print_files(form: Path, count: int, units: str) -> None:
    print(f"{form}: {count} {units} to label in QGIS; the form offers the classes")
    print(f"{key_path(form)}: what the map says; whoever labels should not open it")
