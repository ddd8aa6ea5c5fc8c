from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.learn.tracking.pages import MAPS, log_page, refresh_page, with_maps
from pipeline.learn.tracking.run import open_run
from tests.support.tracked import RECORD, mlflow_store

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
PAGE = "<h1>ü</h1><!--maps-->none yet<!--/maps-->"


@pytest.fixture
def tracker(tmp_path):
    with mlflow_store(tmp_path), open_run(RECORD) as run:
        yield run


def add_map(tracker, folder: Path, name: str) -> None:
    place = folder / name
    place.mkdir()
    (place / "preview.png").write_bytes(b"\x89PNG" + name.encode())
    (place / "areas.csv").write_text("class,ha\n")
    for path in place.iterdir():
        tracker.artifact(path, f"{MAPS}/{name}")


def page_of(tracker) -> str:
    path = tracker.client.download_artifacts(tracker.run_id, "report.html")
    return Path(path).read_text(encoding="utf-8")


def test_maps_come_into_the_page_whoever_is_first(tracker, tmp_path):
    refresh_page(tracker)  # there is none yet
    add_map(tracker, tmp_path, "s1")
    log_page(tracker, PAGE)
    assert page_of(tracker).startswith("<h1>ü</h1>")
    assert page_of(tracker).count("Map of") == 1
    add_map(tracker, tmp_path, "s2")
    assert "s2" not in page_of(tracker)
    refresh_page(tracker)
    assert "Map of s1" in page_of(tracker)
    assert "Map of s2" in page_of(tracker)
    assert "none yet" not in page_of(tracker)


def test_a_page_without_maps_says_so(tracker):
    log_page(tracker, PAGE)
    assert page_of(tracker) == PAGE


def test_maps_take_the_place_of_earlier_ones():
    once = with_maps(PAGE, {"s1": b"\x89PNG"}, 1)
    assert once.startswith("<h1>ü</h1><!--maps--><figure>")
    assert once.endswith("<!--/maps-->")
    assert with_maps(once, {"s2": b"\x89PNG"}, 1) == with_maps(PAGE, {"s2": b"\x89PNG"}, 1)
    assert with_maps("<p>no place for maps</p>", {"s1": b""}, 1) == "<p>no place for maps</p>"


def test_of_many_maps_the_first_are_shown_and_the_others_counted(tracker, tmp_path, monkeypatch):
    for number in range(8):
        add_map(tracker, tmp_path, f"s{number}")
    asked = []
    listed = tracker.client.list_artifacts
    monkeypatch.setattr(
        tracker.client, "list_artifacts", lambda run, path: asked.append(path) or listed(run, path)
    )
    log_page(tracker, PAGE)
    page = page_of(tracker)
    assert page.count("data:image/png;base64,iVB") == 6
    assert "and 2 more" in page
    assert len(asked) == 1 + 6
    assert "more" not in with_maps(PAGE, {"s": b"\x89PNG"}, 1)


def test_names_of_scenes_are_escaped():
    page = with_maps(PAGE, {"<script>": b"", "\\1": b""}, 2)
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "Map of \\1" in page
