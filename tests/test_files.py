"""Outputs appear whole or not at all; the same value gives the same bytes."""

import errno
import hashlib
import os
import sys
from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.files import (
    canonical_json,
    free_bytes,
    publish,
    relative_path,
    remove,
    remove_leftovers,
    require_space,
    sha256_of,
    sha256_of_value,
    write_csv,
    write_json,
)
from pipeline.outputs import owned
from tests.support.holders import held


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_folder(tmp_path: Path) -> None:
    with publish(tmp_path / "new" / "a.txt") as partial:
        partial.write_text("whole")
        assert names(tmp_path / "new") == [".a.txt.lock", partial.name]
    assert names(tmp_path / "new") == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    for name in ("old.txt", "new.txt"):
        with publish(tmp_path / "out") as partial:
            partial.mkdir()
            (partial / name).touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new.txt"]


def test_a_folder_is_exchanged_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two renames a reader, or a kill, would find nothing at its name."""
    if sys.platform != "linux":
        pytest.skip("needs renameat2")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").touch()
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("a folder is put aside"))
    with publish(tmp_path / "out") as partial:
        partial.mkdir()
        (partial / "new.txt").touch()
        assert names(tmp_path / "out") == ["old.txt"]
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new.txt"]


def test_without_an_exchange_a_folder_is_replaced_or_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other systems, and some file systems, have none."""
    monkeypatch.setattr("pipeline.files._exchange", lambda *_: False)
    out, renamed = tmp_path / "out", Path.rename

    def write(name: str) -> None:
        with publish(out) as partial:
            partial.mkdir()
            (partial / name).touch()

    write("first.txt")
    write("second.txt")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["second.txt"]

    def refuse(path: Path, target: Path) -> Path:
        if path.name == ".out.partial":
            raise OSError(errno.EACCES, "Permission denied", str(path))
        return renamed(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(OutputError, match="permission denied"):
            write("third.txt")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["second.txt"]
    # a kill between the two renames
    out.rename(tmp_path / ".out.old")
    with pytest.raises(KeyboardInterrupt), publish(out):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["out"]
    assert names(out) == ["second.txt"]


def test_what_a_kill_left_is_removed_by_the_next_run(tmp_path: Path) -> None:
    left = [f".{name}.{kind}" for name in ("out", "other.gpkg") for kind in ("partial", "old", "work")]
    for name in (*left, "out", "other.gpkg", ".outside.partial"):
        (tmp_path / name).mkdir()
    (tmp_path / ".other.gpkg.partial.gpkg-journal").touch()
    with publish(tmp_path / "out") as partial:
        partial.mkdir()
    assert {name for name in names(tmp_path) if "other" not in name} == {"out", ".outside.partial"}
    (tmp_path / ".gone.old").mkdir()
    (tmp_path / ".lost.lock").write_text("process 4711 on elsewhere")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["gone", "other.gpkg", "out"]


def test_a_lock_that_is_held_is_no_leftover(tmp_path: Path) -> None:
    with owned(tmp_path / "own"), held(tmp_path / "out") as process:
        remove_leftovers(tmp_path)
        assert names(tmp_path) == [".out.lock", ".own.lock"]
        with pytest.raises(OutputError, match=f"is being written by process {process}"):
            write_json(tmp_path / "out", 1)
    # the process was killed
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_one_of_many_outputs_does_not_look_at_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand outputs of one folder would each list a thousand names."""
    for function in (Path.glob, Path.iterdir, os.listdir, os.scandir):
        owner = Path if hasattr(Path, function.__name__) else os
        monkeypatch.setattr(owner, function.__name__, lambda *_: pytest.fail("a folder is listed"))
    with publish(tmp_path / "one") as partial:
        partial.touch()
    with publish(tmp_path / "one") as partial:
        partial.touch()


def test_a_mount_point_is_refused_before_the_work() -> None:
    with (
        pytest.raises(OutputError, match="/proc is a mount point, which cannot be replaced as a whole"),
        publish(Path("/proc")),
    ):
        pytest.fail("the work is done")


def test_read_only_outputs_are_replaced(tmp_path: Path) -> None:
    """DVC makes outputs that it links into its cache read-only."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o444)
    kept = tmp_path / "cache.txt"
    kept.hardlink_to(path)
    with publish(path) as partial:
        partial.write_text("new")
    assert (path.read_text(), kept.read_text()) == ("new", "old")


@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, failure: BaseException) -> None:
    (tmp_path / "a.txt").write_text("old")

    def fail() -> None:
        with publish(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with publish(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            Path("/dev/full").write_text("more than fits")

    with pytest.raises(
        OutputError, match=r"a\.txt cannot be written: the disk is full; free some space"
    ):
        fill()
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EDQUOT, "quota is used up"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, number: int, words: str
) -> None:
    with pytest.raises(OutputError, match=words), publish(tmp_path / "a.txt") as partial:
        raise OSError(number, os.strerror(number), str(partial))


def test_a_file_in_place_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="a file lies where a folder is needed"),
        publish(tmp_path / "file" / "a.txt"),
    ):
        pytest.fail("there is no place to write to")


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    out = tmp_path / "out" / "a.txt"
    with pytest.raises(PermissionError), publish(out):
        raise PermissionError(errno.EACCES, "Permission denied", str(secret))


def test_space_is_asked_for_first(tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet"
    require_space(place, 1, "the store")
    needed = 10 * free_bytes(place)
    with pytest.raises(
        OutputError, match=r"the store at .*yet needs .* GB but only .* GB are free; free"
    ):
        require_space(place, needed, "the store")


def test_json_is_canonical(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "Müritz"})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "a": "Müritz",\n  "b": 1\n}\n'.encode()
    assert sha256_of_value({"a": 1, "b": 2}) == sha256_of_value({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_a_table_is_quoted_where_it_must_be(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ("name", "count"), [("Wald, Forst", 2), ("Wiese", 3)])
    assert (tmp_path / "a.csv").read_bytes() == b'name,count\n"Wald, Forst",2\nWiese,3\n'


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "whole").write_bytes(content)
    assert sha256_of(tmp_path / "whole") == hashlib.sha256(content).hexdigest()


def test_paths_lead_from_a_folder_to_a_file(tmp_path: Path) -> None:
    path = relative_path(tmp_path / "data" / "demo" / "a.jp2", tmp_path / "data" / "scenes" / "train")
    assert path == "../../demo/a.jp2"


def test_paths_to_a_link_stay_within_the_repository(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.jp2").touch()
    (tmp_path / "data" / "own").mkdir(parents=True)
    link = tmp_path / "data" / "own" / "a.jp2"
    link.symlink_to(tmp_path / "elsewhere.jp2")
    assert relative_path(link, tmp_path / "data" / "scenes") == "../own/a.jp2"


def test_remove_takes_files_folders_links_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept", target_is_directory=True)
    (tmp_path / "kept").mkdir()
    for name in ("folder", "file", "link", "nothing"):
        remove(tmp_path / name)
    assert names(tmp_path) == ["kept"]
