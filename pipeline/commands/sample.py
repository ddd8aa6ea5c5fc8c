"""`lenscape sample`: cells of a class map, drawn at random, as a reference sample to label in QGIS."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.geo.maps.postprocessing import UNCLASSIFIED
from pipeline.geo.reference.form import key_path, write_form
from pipeline.geo.reference.sample import MapFrame
from pipeline.learn.stats.area_estimation import allocate, sample_size


def run(class_map: Path, form: Path, standard_error: float, fewest: int, seed: int) -> None:
    """Draw cells of each class of a class map into a labelling form, and their classes into its key.

    `standard_error` is that of the overall accuracy; `fewest` are the cells of a rare class.

    Raises:
        LenscapeError: when the map cannot be read, or the reference sample exists already.
    """
    for path in (form, key_path(form)):
        if path.exists():
            raise ConfigError(
                f"{path} exists, and may hold somebody's work; name another file, or delete it first."
            )
    frame = MapFrame.open(class_map)
    counts = allocate([one.cells for one in frame.classes], sample_size(standard_error), fewest)
    cells = frame.draw(counts.tolist(), seed)
    choices = [one for one in frame.classes if one.name != UNCLASSIFIED]
    write_form(form, cells, frame.classes, *frame.epsg_and_cell_m(), choices)
    print(f"{form}: {len(cells['value'])} cells to label in QGIS; the form offers the classes")
    print(f"{key_path(form)}: what the map says; whoever labels should not open it")
    for one, count in zip(frame.classes, counts.tolist(), strict=True):
        print(f"{one.title:<30}{count:>6} of {one.cells:,} cells")
