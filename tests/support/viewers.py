"""Real QGIS for tests: what it shows of rasters and layers, and what it leaves behind beside them."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PROBE = Path(__file__).with_name("qgis_probe.py")
VECTOR_PROBE = Path(__file__).with_name("qgis_vector_probe.py")
PROJECT_PROBE = Path(__file__).with_name("qgis_project_probe.py")
FORM_PROBE = Path(__file__).with_name("qgis_form_probe.py")
PYTHON = "/usr/bin/python3"


@cache
def qgis_is_here() -> bool:
    """Whether the system's Python knows QGIS."""
    if shutil.which(PYTHON) is None:
        return False
    answer = subprocess.run([PYTHON, "-c", "import qgis.core"], check=False, capture_output=True)
    return answer.returncode == 0


def open_in_qgis(rasters: list[Path], pictures: Path) -> dict[str, Any]:
    """What QGIS shows of each raster, by its path; a picture of each goes to a folder.

    Statistics and histograms are asked for, so that whatever viewers write is there afterwards.
    """
    return _probed(PROBE, rasters, pictures)


def open_layers_in_qgis(packages: list[Path], pictures: Path) -> dict[str, Any]:
    """What QGIS shows of the layer of each GeoPackage, by its path; pictures go to a folder."""
    return _probed(VECTOR_PROBE, packages, pictures)


def _probed(probe: Path, files: list[Path], pictures: Path) -> dict[str, Any]:
    if not qgis_is_here():
        pytest.skip(f"QGIS is absent: {PYTHON} has no qgis.core (Debian: python3-qgis)")
    command = [PYTHON, str(probe), str(pictures), *map(str, files)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    seen: dict[str, Any] = json.loads(answer.stdout)
    return seen


def open_project_in_qgis(project: Path, pictures: Path) -> dict[str, Any]:
    """What QGIS shows of a project: its groups, layers, legends; pictures go to a folder."""
    return _probed(PROJECT_PROBE, [project], pictures)


def label_in_qgis(sheet: Path, labels: dict[str, dict[int, str]]) -> dict[str, Any]:
    """Label a reference sample in real QGIS; what its form offers."""
    told = sheet.with_name("labels.json")
    told.write_text(json.dumps(labels), encoding="utf-8")
    return _probed(FORM_PROBE, [told], sheet)
