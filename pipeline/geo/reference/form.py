"""The labelling form of a sample in QGIS: outlines, an empty form, and not the map's class.

What the map says of them lies in a table beside it, `<sample>_key.csv`, joined by `id`. Of pixels
that were not drawn at random it names the design of the sample, too.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio

from pipeline.config.opening import opening
from pipeline.errors import LabelError
from pipeline.files import csv_text, publish
from pipeline.geo.maps.postprocessing import UNCLASSIFIED
from pipeline.geo.reference.sample import MapClass, MapFrame
from pipeline.geo.style.geopackage import squares, write_layer
from pipeline.geo.style.xml import render

LAYER = "sheet"
CANNOT_TELL = "cannot tell"
FIRST, SECOND, NOTE = "class", "class_second", "note"


@dataclass(frozen=True)
class Labelled:
    """A labelled reference sample: what the map says of each pixel, and what people say."""

    mapped: npt.NDArray[np.str_]
    """Name of the map's class."""
    first: npt.NDArray[np.str_]
    """Name of the class, or `CANNOT_TELL`; never empty."""
    second: npt.NDArray[np.str_]
    """Of a second interpreter, empty where there was none."""


def key_path(sample: Path) -> Path:
    """Where the table beside a reference sample lies."""
    return sample.with_name(f"{sample.stem}_key.csv")


def write_form(
    sample: Path,
    class_map: MapFrame,
    sample_units: Mapping[str, npt.NDArray[Any]],
    design: str | None = None,
) -> None:
    """Write the labelling form of a sample of a map, a GeoPackage, and its key.

    `sample_units` are the pixels of `MapFrame.draw`, or the cells of another `design`, which the key
    then states. The form offers the classes of the map.

    Raises:
        OutputError: when they cannot be written.
        SceneError: when the map cannot be read.
    """
    count, classes = len(sample_units["value"]), class_map.classes
    epsg, pixel_m = class_map.epsg_and_pixel_m()
    x, y, side_m = sample_units["x"], sample_units["y"], class_map.cell_m if design else pixel_m
    names = {one.value: one.name for one in classes}
    empty = np.full(count, None, dtype=object)
    frame = gpd.GeoDataFrame(
        {
            "id": np.arange(1, count + 1),
            FIRST: gpd.pd.Series(empty, dtype="str"),
            SECOND: gpd.pd.Series(empty, dtype="str"),
            NOTE: gpd.pd.Series(empty, dtype="str"),
        },
        geometry=squares(x, y, np.full(count, epsg), side_m),
    )
    stated = {"design": design} if design else {}
    key = (
        (at, names[value], *stated.values())
        for at, value in enumerate(sample_units["value"].tolist(), start=1)
    )
    choices = [one for one in classes if one.name != UNCLASSIFIED]
    with publish(key_path(sample)) as partial:  # it appears after the form, and not without it
        partial.write_text(csv_text(("id", "map_class", *stated), key), encoding="utf-8", newline="\n")
        write_layer(sample, LAYER, frame, _form_qml(choices))
        sample.chmod(0o644)  # unlike other layers it is there to be edited


def read_form(sample: Path, classes: Sequence[MapClass]) -> Labelled:
    """Read a labelled reference sample, a GeoPackage, and its key; `classes` are those of its map.

    Raises:
        LabelError: when a file is missing or broken, the two do not go together, the pixels were not
            drawn at random, or one has no class yet, or one that the map does not have.
    """
    with opening(
        lambda why: LabelError(
            f"{sample} and {key_path(sample)} are no reference sample of `lenscape sample` ({why}); "
            "draw one."
        )
    ):
        frame = pyogrio.read_dataframe(sample, layer=LAYER, read_geometry=False)
        labelled = {name: frame[name].fillna("").astype(str) for name in (FIRST, SECOND)}
        # one that was added by hand may have none
        ids = np.array([_whole(number) for number in frame["id"].fillna(-1).tolist()])
        with key_path(sample).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        key = {_whole(row["id"]): row["map_class"] for row in rows}
    if any(row.get("design") for row in rows):
        raise LabelError(
            f"{sample} is no probability sample: its cells were chosen, not drawn at random "
            f"({key_path(sample)}), and say nothing of accuracy or areas; draw another one without "
            "`--design`."
        )
    if sorted(ids.tolist()) != sorted(key):
        raise LabelError(
            f"{sample} has other pixels than {key_path(sample)}: pixels were added or deleted, which "
            "spoils the sample; take both files of one `lenscape sample`."
        )
    known = {one.name for one in classes}
    _require_known(sample, labelled, ids, known)
    mapped = np.array([key[at] for at in ids.tolist()])
    if strange := sorted(set(mapped.tolist()) - known):
        raise LabelError(
            f"{key_path(sample)} names the class {strange[0]!r}, which the map does not have; name the "
            "class map that the sample was drawn from."
        )
    return Labelled(mapped, *(labelled[name].to_numpy().astype(str) for name in (FIRST, SECOND)))


def _whole(number: str | float) -> int:
    """A whole number, which spreadsheets write as 1.0."""
    if not float(number).is_integer():
        raise ValueError(f"the id {number} is no whole number")
    return int(float(number))


def _require_known(
    sample: Path, labelled: Mapping[str, Any], ids: npt.NDArray[Any], known: set[str]
) -> None:
    if missing := int((labelled[FIRST] == "").sum()):
        raise LabelError(
            f"{missing} of {len(ids)} pixels of {sample} have no class yet; label them all, with "
            f"{CANNOT_TELL!r} where nobody can: left out at will they spoil the sample."
        )
    for name, values in labelled.items():
        for at, value in zip(ids.tolist(), values.tolist(), strict=True):
            if value and value != CANNOT_TELL and value not in known:
                raise LabelError(
                    f"{sample} gives pixel {at} the class {value!r} in {name!r}, which the map does "
                    f"not have ({', '.join(sorted(known))}); choose one of the form."
                )


def _form_qml(choices: Sequence[MapClass]) -> str:
    """Outlines by class, and a form with the classes to choose from."""
    named = [(one.name, one.title, one.color) for one in choices]
    cannot_tell = (CANNOT_TELL, "Cannot tell", "#ff00ff")
    return render(
        "labelling_form.qml.j2",
        column=FIRST,
        categories=[*named, cannot_tell, ("", "not labelled yet", "#ffff00")],
        alpha=0,
        choices=[*named, cannot_tell],
        choice_fields=(FIRST, SECOND),
        text_field=NOTE,
    )
