"""docs/howto/stack.md as it stands: the project's own scene as one file of reflectance in floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from tests.support.pages import HOWTO, follow
from tests.support.projects import DEMO, Project

pytestmark = pytest.mark.slow

BANDS = ("B02", "B03", "B04", "B08", "B11")
NAMES = ("B2", "Band 3 - Green", "red", "B08 (842 nm)", "B11_20m")


def _stack(project: Project, path: Path) -> Path:
    """The bands at 10 m, as a program would export them."""
    layers = []
    for band in BANDS:
        (source,) = (project.path / "data" / "demo" / "scenes" / "east").glob(f"*_{band}.jp2")
        with rasterio.open(source) as dataset:
            if band == "B02":
                profile = dataset.profile
            shape = profile["height"], profile["width"]
            layers.append(dataset.read(1, out_shape=shape, resampling=Resampling.nearest))
    pixels = np.stack(layers) / np.float32(10_000)
    options = {"driver": "GTiff", "count": len(BANDS), "dtype": "float32", "compress": "deflate"}
    place = {key: profile[key] for key in ("crs", "transform", "height", "width")}
    with rasterio.open(path, "w", **place, **options) as file:
        file.write(pixels.astype(np.float32))
        file.descriptions = NAMES
    return path


def test_from_a_stack_to_a_map(finished_project: Project, tmp_path: Path) -> None:
    project = finished_project.copy(tmp_path, outputs=False)
    labels = DEMO / "labels" / "osm_landuse.gpkg"
    stack = _stack(project, tmp_path / "export.tif")
    printed = follow(HOWTO / "stack.md", project, {"STACK": str(stack), "LABELS": str(labels)})
    assert f"train: havel  2017-02-16  {', '.join(BANDS)}" in printed
    assert (project.path / "data" / "maps" / "havel" / "havel_classmap.tif").is_file()
