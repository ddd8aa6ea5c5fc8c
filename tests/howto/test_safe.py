"""docs/howto/safe.md as it stands: a product of the project's own pixels, in a zip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pages import HOWTO, follow
from tests.support.products import L1C, product_of, zipped
from tests.support.projects import DEMO, Project

pytestmark = pytest.mark.slow


def test_from_a_product_to_a_map(finished_project: Project, tmp_path: Path) -> None:
    project = finished_project.copy(tmp_path, outputs=False)
    labels = DEMO / "labels" / "osm_landuse.gpkg"
    product = zipped(product_of(project.path / "data" / "demo" / "scenes" / "east", tmp_path))
    printed = follow(
        HOWTO / "safe.md",
        project,
        {"PRODUCT": str(product), "LABELS": str(labels)},
    )
    assert f"train: {L1C}  2021-09-08" in printed
    maps = project.path / "data" / "maps" / L1C
    assert (maps / f"{L1C}_classmap.tif").is_file()
    item = (project.path / "data" / "scenes" / "train" / L1C / f"{L1C}.json").read_text()
    assert '"../../../own/scenes/product.zip!/' in item
    assert '"s2:processing_baseline": "03.01"' in item
