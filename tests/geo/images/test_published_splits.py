"""Lists of images that train, validate and test."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import SceneError
from pipeline.geo.images.published_splits import read_lists
from tests.support.eurosats import write_lists

IMAGES = {"a_1", "a_2", "a_3"}
PARTS = {"train": ["a_1", "a_9"], "val": ["a_2"], "test": ["a_3"]}


def test_lists_go_by_name_and_suffixes_do_not_count(tmp_path: Path) -> None:
    write_lists(tmp_path, PARTS)
    write_lists(tmp_path, {"train": ["a_2"], "val": [], "test": ["a_1"]}, "eurosat-spatial")
    write_lists(tmp_path, {"train": ["a_3"]}, "mine")
    (tmp_path / "notes.txt").write_text("no list")
    lists = read_lists(tmp_path, IMAGES, {})
    assert lists.parts == {
        "official": {"a_1": "train", "a_2": "validation", "a_3": "test"},
        "spatial": {"a_2": "train", "a_1": "test"},
        "mine": {"a_3": "train"},
    }
    assert lists.absent == {"official": 1, "spatial": 0, "mine": 0}
    assert lists.published == []


def test_published_is_what_has_the_published_bytes(tmp_path: Path) -> None:
    write_lists(tmp_path, PARTS)
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert read_lists(tmp_path, IMAGES, hashes).published == ["official"]
    with (tmp_path / "eurosat-val.txt").open("a") as stream:
        stream.write("a_7.jpg\n")
    assert read_lists(tmp_path, IMAGES, hashes).published == []


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (
            PARTS | {"test": ["a_1"]},
            r"eurosat-test\.txt names a_1, which the list has in the train part",
        ),
        ({"train": ["b_1"], "val": ["b_2"], "test": ["b_3"]}, "name none of the images"),
    ],
)
def test_lists_that_contradict_themselves_or_the_images_are_refused(
    tmp_path: Path, parts: dict[str, list[str]], says: str
) -> None:
    write_lists(tmp_path, parts)
    with pytest.raises(SceneError, match=says):
        read_lists(tmp_path, IMAGES, {})


def test_a_list_is_three_files_of_text(tmp_path: Path) -> None:
    write_lists(tmp_path, PARTS)
    (tmp_path / "eurosat-val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SceneError, match=r"eurosat-val\.txt is no text in UTF-8"):
        read_lists(tmp_path, IMAGES, {})
    (tmp_path / "eurosat-val.txt").unlink()
    with pytest.raises(SceneError, match=r"eurosat-val\.txt does not exist, but others of its list do"):
        read_lists(tmp_path, IMAGES, {})
