"""docs/tour.md against the code and the embedded scene: what it names and states is so."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline.bands import harmonise
from pipeline.config.predict import PredictConf
from pipeline.store_meta import Geometry

ROOT = Path(__file__).parent.parent
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
SCENE = next((ROOT / "data" / "demo" / "scenes").iterdir())
STEPS = re.findall(r"^\d+\. `([\w/]+\.py)`: (.*)$", TOUR, re.MULTILINE)
X, Y = map(float, re.findall(r"x = (\d+), y = (\d+)", TOUR)[0])


def test_it_passes_fifteen_files_at_most() -> None:
    assert 10 <= len({file for file, _ in STEPS}) <= 15
    assert len(STEPS) == len(re.findall(r"^\d+\. ", TOUR, re.MULTILINE))


@pytest.mark.parametrize(("file", "text"), STEPS, ids=[file for file, _ in STEPS])
def test_each_step_names_a_function_of_its_file(file: str, text: str) -> None:
    module = importlib.import_module("pipeline." + file.removesuffix(".py").replace("/", "."))
    owner, _, method = re.findall(r"`([A-Za-z_.]+)`", text)[0].partition(".")
    assert getattr(module, owner).__module__ == module.__name__
    assert not method or callable(getattr(getattr(module, owner), method))


def test_the_pixel_is_where_the_tour_says() -> None:
    row, col = map(int, re.findall(r"pixel row (\d+), column (\d+) of the 10 m grid", TOUR)[0])
    for band, value in re.findall(r"(B\d\d)(?: of our centre pixel)? holds (\d+)", TOUR):
        with rasterio.open(SCENE / f"{SCENE.name}_{band}.jp2") as dataset:
            assert dataset.read(1)[dataset.index(X, Y)] == int(value)
            if dataset.res[0] == 10:
                assert dataset.index(X, Y) == (row, col)
    assert harmonise(np.uint16([928]), 0.0001, 0.0).tolist() == [928]


def test_the_map_pixel_is_where_the_tour_says() -> None:
    geometry = Geometry(patch_px=16, cell_px=8, min_valid=0.75)
    pixel_m = geometry.of_map(PredictConf().pixel_px, "pixel_px").cell_m
    bounds = re.findall(r"x from (\d+) to (\d+), y from (\d+) to (\d+)", TOUR)[0]
    left, right, bottom, top = map(int, bounds)
    assert (right - left, top - bottom) == (pixel_m, pixel_m)
    assert left % pixel_m == bottom % pixel_m == 0
    assert left <= X < right
    assert bottom < Y <= top
    with rasterio.open(SCENE / f"{SCENE.name}_B08.jp2") as dataset:
        first_x = dataset.bounds.left // pixel_m * pixel_m
        first_y = -(-dataset.bounds.top // pixel_m) * pixel_m
    row, col = map(int, re.findall(r"row (\d+), column (\d+) of `\w+_classmap.tif`", TOUR)[0])
    assert ((first_y - top) / pixel_m, (left - first_x) / pixel_m) == (row, col)
