"""docs/howto/onnx.md as it stands: ten lines without lenscape give the class map of `predict`."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.support.pages import BLOCK, HOWTO, follow
from tests.support.projects import SCENE, Project

PAGE = HOWTO / "onnx.md"


@pytest.mark.slow
def test_the_file_maps_a_scene_as_predict_does(finished_project: Project, tmp_path: Path) -> None:
    project = finished_project.copy(tmp_path)
    scene = project.path / "data" / "demo" / "scenes" / "east" / f"{SCENE}_{{}}.jp2"
    printed = follow(PAGE, project, {"SCENE": str(scene)})
    assert "pixels have the class that torch gives them" in printed
    maps = project.path / "data" / "maps" / "east"
    with (
        rasterio.open(project.path / "map.tif") as found,
        rasterio.open(maps / "east_classmap.tif") as expected,
        rasterio.open(maps / "east_confidence.tif") as confidence,
    ):
        assert (found.crs, found.transform, found.shape) == (
            expected.crs, expected.transform, expected.shape,
        )  # fmt: skip
        values = {value: color for value, color in found.colormap(1).items() if 1 <= value <= 3}
        assert values == {value: expected.colormap(1)[value] for value in values}
        other = found.read(1) != expected.read(1)
        assert len(np.unique(expected.read(1))) > 2
        # a tie of two classes may go either way by the last bit of arithmetic
        assert other.mean() <= 0.001
        assert (confidence.read(1)[other] <= 51).all()


def test_the_script_has_ten_lines_and_nothing_of_lenscape() -> None:
    (script,) = (text for kind, _, text in BLOCK.findall(PAGE.read_text("utf-8")) if kind == "python")
    body = ast.parse(script).body
    assert len(body) <= 11
    assert "pipeline" not in script
    assert "lenscape" not in script


@pytest.mark.parametrize(
    "word", ["bands", "patch_px", "pixel_px", "cell_px", "classes", "weights_sha256"]
)
def test_the_page_names_what_the_file_says(word: str) -> None:
    assert f"`{word}`" in PAGE.read_text("utf-8")
