"""docs/howto/qgis.md as it stands: an analyst reviews maps in real QGIS, then asks for more of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rasterio

from tests.support.pages import HOWTO, follow
from tests.support.projects import Project
from tests.support.viewers import open_project_in_qgis, qgis_is_here

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def followed(
    finished_project: Project, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, str]:
    project = finished_project.copy(tmp_path_factory.mktemp("qgis"))
    return project, follow(HOWTO / "qgis.md", project)


def _layers(seen: dict[str, Any]) -> list[dict[str, Any]]:
    return [layer for node in seen["tree"] for layer in node.get("inside", [node])]


@pytest.mark.parametrize("where", ["data/maps", "reports"])
def test_the_projects_open_in_qgis_and_leave_the_maps_to_dvc_as_they_were(
    followed: tuple[Project, str], tmp_path: Path, where: str
) -> None:
    if not qgis_is_here():
        pytest.skip("QGIS is absent")
    project, _ = followed
    seen = open_project_in_qgis(project.path / where / "lenscape.qgs", tmp_path)
    assert (seen["bad"], seen["said"]) == ([], [])
    titles = [layer["layer"] for layer in _layers(seen)]
    assert titles[-2:] == ["Class map", "The scene in colour"]
    on_top = ["Labels that", "Error map"] if where == "reports" else ["Class map as polygons"]
    for title, begins in zip(titles, on_top, strict=False):
        assert title.startswith(begins)
    legend = next(layer for layer in _layers(seen) if layer["layer"] == "Class map")["legend"]
    assert legend[-1] == "Unclassified (low confidence)"
    assert "data/maps" not in project.dvc("status", "predict")


def test_the_page_names_the_files_that_are_there(followed: tuple[Project, str]) -> None:
    project, printed = followed
    assert "reports/lenscape.qgs" in printed
    page = (HOWTO / "qgis.md").read_text(encoding="utf-8")
    (folder,) = (path.parent for path in (project.path / "data" / "maps").glob("*/*_classmap.tif"))
    for path in folder.iterdir():
        what = path.name.removeprefix(folder.name)
        if what.startswith(("_class", "_conf", "_true", "_poly")) and ".aux" not in what:
            assert what.removeprefix("_").split(".")[0] in page, path.name
    with rasterio.open(folder / f"{folder.name}_classmap.tif") as dataset:
        assert dataset.tags()["LENSCAPE_MIN_CONFIDENCE"] == "40"
