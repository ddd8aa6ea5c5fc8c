"""docs/howto/masks.md as it stands: the project's own scene, of which a strip is cloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.support.pages import HOWTO, follow
from tests.support.projects import DEMO, HEIGHT, WIDTH, Project
from tests.support.worlds import PixelGrid, write_raster

pytestmark = pytest.mark.slow

CLOUDY_ROWS = 96
MIN_VALID = 0.75
"""Of `conf/tile.yaml`."""


def _mask(project: Project, path: Path) -> Path:
    """Cloud in the north, at 20 m."""
    (band,) = (project.path / "data" / "demo" / "scenes" / "east").glob("*_B05.jp2")
    with rasterio.open(band) as dataset:
        epsg, transform = dataset.crs.to_epsg(), dataset.transform
    codes = np.zeros((HEIGHT // 2, WIDTH // 2), dtype=np.uint8)
    codes[: CLOUDY_ROWS // 2, ::2], codes[: CLOUDY_ROWS // 2, 1::2] = 1, 2
    return write_raster(path, codes, PixelGrid(epsg, transform.c, transform.f, *codes.shape, 20))


def test_from_a_mask_to_a_map_with_holes(finished_project: Project, tmp_path: Path) -> None:
    project = finished_project.copy(tmp_path, outputs=False)
    mask, labels = _mask(project, tmp_path / "m.tif"), DEMO / "labels" / "osm_landuse.gpkg"
    printed = follow(HOWTO / "masks.md", project, {"MASK": str(mask), "LABELS": str(labels)})
    assert f"train: east  masked {CLOUDY_ROWS / HEIGHT:.1%}: mask" in printed
    with rasterio.open(project.path / "data" / "maps" / "east" / "east_classmap.tif") as dataset:
        classes, place = dataset.read(1), dataset.transform
    with rasterio.open(mask) as dataset:
        edge = dataset.bounds.top - 10 * CLOUDY_ROWS
    tops = place.f + place.e * np.arange(len(classes))
    cloudy = np.clip((tops - edge) / -place.e, 0, 1)
    holes = cloudy > 1 - MIN_VALID
    assert 0 < holes.sum() < len(holes)
    assert not classes[holes].any()
    assert classes[~holes].all()
