"""docs/sources.md: the tests and pages that it names are there, and none is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import HOWTO
from tests.support.projects import ROOT

TABLE = ROOT / "docs" / "sources.md"


def test_it_names_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/[^`]*)`", TABLE.read_text(encoding="utf-8"))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_it_leads_to_the_page_of_every_form() -> None:
    linked = set(re.findall(r"\]\(howto/([\w-]+)\.md\)", TABLE.read_text(encoding="utf-8")))
    # a machine or a program is no form of scenes or labels
    assert linked == {page.stem for page in HOWTO.glob("*.md")} - {
        "cluster",
        "gpu",
        "onnx",
        "qgis",
        "accuracy",
        "active",
        "review",
    }


@pytest.mark.parametrize("page", sorted(HOWTO.glob("*.md")), ids=lambda page: page.stem)
def test_a_test_follows_every_page(page: Path) -> None:
    tests = [ROOT / "tests" / "test_howto.py", *(ROOT / "tests" / "howto").glob("test_*.py")]
    name = re.compile(rf'"{page.stem}(\.md)?"')
    assert any(name.search(test.read_text(encoding="utf-8")) for test in tests)
