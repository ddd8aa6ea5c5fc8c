"""`lenscape accuracy`: accuracy and areas of a class map from a labelled reference sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from pipeline.errors import LabelError
from pipeline.files import write_csv, write_json
from pipeline.geo.reference.form import CANNOT_TELL, Labelled, read_form
from pipeline.geo.reference.sample import MapClass, MapFrame
from pipeline.learn.stats.area_estimation import Adjusted, Estimate, adjusted


def run(form: Path, class_map: Path) -> None:
    """Write the estimates of a labelled reference sample and the class map that it was drawn from.

    They are printed, too; the files are `<sample>_accuracy.csv` and `<sample>_accuracy.json`.

    Raises:
        LenscapeError: when a file is missing or they do not go together, or a class has too few pixels.
    """
    frame = MapFrame.open(class_map)
    labelled = read_form(form, frame.classes)
    reference, agreed = _reference(labelled)
    known = reference != CANNOT_TELL
    names = [one.name for one in frame.classes]
    # (K, K), the class of the map in rows
    counts = confusion_matrix(labelled.mapped[known], reference[known], labels=names)
    try:
        estimates = adjusted(counts, [one.mapped_ha for one in frame.classes])
    except ValueError as error:
        raise LabelError(
            f"{form} cannot evaluate {class_map}: {error}; draw more of it (lenscape sample --fewest)."
        ) from error
    counted = agreed | {"cannot_tell": int((~known).sum()), "labelled": int(known.sum())}
    _write(form, frame.classes, counts, estimates, counted)
    _print(frame.classes, estimates, counted)


def _reference(labelled: Labelled) -> tuple[npt.NDArray[np.str_], dict[str, Any]]:
    """The class of each pixel: the first interpreter's, the second's where the first cannot tell.

    Also how far the two agree, where there are two.
    """
    first, second = labelled.first, labelled.second
    second_decides = (first == CANNOT_TELL) & (second != "")
    both = (first != CANNOT_TELL) & (second != CANNOT_TELL) & (second != "")
    counted = {"labelled_twice": int(both.sum()), "disagreements": int((first != second)[both].sum())}
    return np.where(second_decides, second, first), counted


def _write(
    form: Path,
    classes: Sequence[MapClass],
    counts: npt.NDArray[np.int64],
    estimates: Adjusted,
    counted: dict[str, Any],
) -> None:
    areas, users, producers = estimates.areas, estimates.users, estimates.producers
    columns: dict[str, Any] = {
        "name": [one.name for one in classes],
        "pixels_labelled": counts.sum(axis=1),
        "mapped_ha": [f"{one.mapped_ha:.2f}" for one in classes],
        "adjusted_ha": [f"{area:.2f}" for area in areas.value],
        "adjusted_low_ha": [f"{area:.2f}" for area in np.maximum(areas.value - areas.half, 0)],
        "adjusted_high_ha": [f"{area:.2f}" for area in areas.value + areas.half],
    }
    for name, figure in (("users", users), ("producers", producers)):
        for suffix, shares in (("accuracy", figure.value), ("half_width", figure.half)):
            columns[f"{name}_{suffix}"] = ["" if np.isnan(s) else f"{s:.4f}" for s in shares]
    rows = zip(*columns.values(), strict=True)
    write_csv(form.with_name(f"{form.stem}_accuracy.csv"), tuple(columns), rows)
    overall = estimates.overall
    write_json(
        form.with_name(f"{form.stem}_accuracy.json"),
        {
            "overall_accuracy": round(float(overall.value), 4),
            "overall_half_width": round(float(overall.half), 4),
            "classes": [one.name for one in classes],
            "counts_map_in_rows": counts.tolist(),
        }
        | counted,
    )


def _print(classes: Sequence[MapClass], estimates: Adjusted, counted: dict[str, Any]) -> None:
    print(
        f"overall accuracy {_within(estimates.overall)}, 95 % interval, "
        f"from {counted['labelled']} pixels"
    )
    print(
        f"{counted['cannot_tell']} pixels nobody could tell are left out, "
        "as if they were like the others"
    )
    if counted["labelled_twice"]:
        print(f"{counted['disagreements']} of {counted['labelled_twice']} pixels labelled twice differ")
    print(f"\n{'':<30}{'users':>16}{'producers':>16}{'mapped ha':>14}{'adjusted ha':>26}")
    for at, one in enumerate(classes):
        users, producers = (
            _within(Estimate(figure.value[at], figure.half[at]))
            for figure in (estimates.users, estimates.producers)
        )
        area = f"{estimates.areas.value[at]:,.1f} +- {estimates.areas.half[at]:,.1f}"
        print(f"{one.title:<30}{users:>16}{producers:>16}{one.mapped_ha:>14,.1f}{area:>26}")


def _within(figure: Estimate) -> str:
    if np.isnan(figure.value):
        return "-"
    return f"{float(figure.value):.2f} +- {float(figure.half):.2f}"
