"""`lenscape project`: the maps and what `evaluate` found of the model that made them, for QGIS."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import SceneError
from pipeline.geo.qgis.project import holds_features, write_project


def run(maps: Path, errors: Path, label_issues: Path, out: Path) -> None:
    """Write a QGIS project at `out`; label issues are in it where there are any.

    Raises:
        SceneError: when there is no map or no error map.
        OutputError: when the place cannot be written.
    """
    if not errors.is_file():
        raise SceneError(
            f"{errors} does not exist; run `evaluate` first, or name another with --errors."
        )
    issues = label_issues if holds_features(label_issues) else None
    count = write_project(out, maps, errors, issues)
    print(f"{out}: {count} {'map' if count == 1 else 'maps'} and the error map; open it in QGIS.")
