"""docs/howto/safe.md as it stands: a product of the project's own pixels, in a zip."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.pages import HOWTO, follow
from tests.support.products import L1C, METADATA, zipped
from tests.support.projects import DEMO, Project

pytestmark = pytest.mark.slow

IMAGE = re.compile(r"<IMAGE_FILE>([^<]*_(B\d\d|B8A))</IMAGE_FILE>")


def _product(project: Project, folder: Path) -> Path:
    text = (METADATA / f"{L1C}.xml").read_text(encoding="utf-8")
    root = folder / f"{L1C}.SAFE"
    for image, band in IMAGE.findall(text):
        (source,) = (project.path / "data" / "demo" / "scenes" / "east").glob(f"*_{band}.jp2")
        target = root / f"{image}.jp2"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    (root / "MTD_MSIL1C.xml").write_text(text, encoding="utf-8")
    return zipped(root)


def test_from_a_product_to_a_map(finished_project: Project, tmp_path: Path) -> None:
    project = finished_project.copy(tmp_path, outputs=False)
    labels = DEMO / "labels" / "osm_landuse.gpkg"
    printed = follow(
        HOWTO / "safe.md",
        project,
        {"PRODUCT": str(_product(project, tmp_path)), "LABELS": str(labels)},
    )
    assert f"train: {L1C}  2021-09-08" in printed
    maps = project.path / "data" / "maps" / L1C
    assert (maps / f"{L1C}_classmap.tif").is_file()
    item = (project.path / "data" / "scenes" / "train" / L1C / f"{L1C}.json").read_text()
    assert '"../../../own/scenes/product.zip!/' in item
    assert '"s2:processing_baseline": "03.01"' in item
