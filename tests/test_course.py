"""docs/course.md: its numbers are those of the course and of the code, its pictures are there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.learn.network.classifier import PatchClassifier
from tests.support.learners import BANDS, model_meta
from tests.support.projects import ROOT

PAGE = ROOT / "docs" / "course.md"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make", PAGE.with_suffix("") / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_numbers_of_the_page_are_those_of_the_code(make: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert make.written(page, make.numbers()) == page
    with pytest.raises(SystemExit, match="0 places for nowhere"):
        make.written(page, {"nowhere": ""})


@pytest.mark.parametrize(
    "said",
    [
        "| 400 | 1,000,000,000 |",
        "| 20 | 1,000,000 |",
        "| 9 | 9,000 |",
        "29 27\n28 30",
        " 9 16 14 11\n16 29 27 21\n18 28 30 22\n13 20 24 18",
        "101  55\n 64 108",
        "stride 1: side 3\n",
        "stride 2: side 2\n",
        "32 x 32 x 3 -> 28 x 28 x 5 -> 26 x 26 x 10 -> 25 x 25 x 40",
        "sides 28, 14, 10, 5; weights 156 + 2,416 + 48,120 + 10,164 + 850 = 61,706",
        "| 0 | 0.2500 | 1.0000 |",
    ],
)
def test_the_numbers_of_the_course_stand_in_the_page(said: str) -> None:
    assert said in PAGE.read_text(encoding="utf-8")


def test_every_picture_is_there_and_shows_something() -> None:
    named = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(named) == 5
    for name in named:
        with Image.open(PAGE.parent / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 20, name


def test_the_pictures_are_drawn_from_a_model_and_a_scene(make: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = PatchClassifier(model_meta(bands=13)).eval()
    rows, cols = np.mgrid[:96, :96]
    pixels = np.stack([1000 + 10 * band + 5 * rows + 3 * cols for band in range(len(BANDS))])
    drawn = make.pictures(classifier, pixels.astype(np.uint16))
    assert set(drawn) == {path.stem for path in PAGE.with_suffix("").glob("*.png")}
    sizes = [axes.get_title().partition("\n")[2] for axes in drawn["steps"].axes]
    assert sizes == ["94 x 94", "96 x 96", "47 x 47", "24 x 24"]
    squares = [patch.get_width() for patch in drawn["fields"].axes[0].patches]
    assert squares == [3, 5, 6, 10, 12, 16]
    make.save(drawn, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 5
