"""`lenscape project`: the maps and the error map of the model that made them, as one QGIS project."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SceneError
from pipeline.geo.qgis.project import write_project


def run(maps: Path, errors: Path, out: Path) -> None:
    """Write a QGIS project at `out`.

    Raises:
        SceneError: when there is no map or no error map.
        OutputError: when the place cannot be written.
    """
    if not errors.is_file():
        raise SceneError(
            f"{errors} does not exist; run `evaluate` first, or name another with --errors."
        )
    count = write_project(out, maps, errors)
    print(f"{out}: {count} {'map' if count == 1 else 'maps'} and the error map; open it in QGIS.")
