"""One process at a time writes to an output, and a kill leaves nothing to be cleaned by hand."""

import errno
import os
import platform
import re
import signal
from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.files import publish, publish_files, write_text
from pipeline.outputs import owned
from tests.support.holders import held
from tests.support.limits import file_limit


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_process_is_told_who_writes(tmp_path: Path) -> None:
    said = r"out is being written by process {} on {}; wait until that has ended, or end it\."
    with held(tmp_path / "out") as process:
        owner = said.format(process, re.escape(platform.node()))
        with pytest.raises(OutputError, match=owner), publish(tmp_path / "out"):
            pytest.fail("two write to it")
        with publish(tmp_path / "other") as partial:
            partial.touch()
    # the process was killed
    assert names(tmp_path) == [".out.lock", "other"]
    write_text(tmp_path / "out", "whole")
    assert names(tmp_path) == ["other", "out"]


@pytest.mark.parametrize("inside", [True, False])
def test_what_lies_in_a_folder_is_owned_with_it(tmp_path: Path, inside: bool) -> None:
    with owned(tmp_path / "out", inside=inside):
        write_text(tmp_path / "out" / "deep" / "a.txt", "whole")
        with owned(tmp_path / "out", inside=inside):
            assert len([*tmp_path.rglob("*.lock")]) == 1
        with publish(tmp_path / "out" / "b") as partial:
            partial.touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["b", "deep"]


def test_a_child_that_outlives_its_parent_holds_nothing(tmp_path: Path) -> None:
    """Loaders of patches are forked, and end some seconds after a killed training."""
    readable, writable = os.pipe()
    parent = os.fork()
    if not parent:
        with owned(tmp_path / "out"):
            child = os.fork() or signal.pause()
            os.write(writable, str(child).encode())
            signal.pause()
    child = int(os.read(readable, 20))
    try:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        write_text(tmp_path / "out", "whole")
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_process_that_waits_for_no_lock_never_shares_it(tmp_path: Path) -> None:
    """An owner removes its lock file, which others may have open by then."""
    processes = []
    for _ in range(4):
        process = os.fork()
        if not process:
            for _ in range(200):
                try:
                    with owned(tmp_path / "out"):
                        (tmp_path / "inside").open("x").close()
                        (tmp_path / "inside").unlink()
                except OutputError:
                    pass
                except BaseException:
                    os._exit(1)
            os._exit(0)
        processes.append(process)
    assert [os.waitpid(process, 0)[1] for process in processes] == [0] * 4
    assert names(tmp_path) == []


def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt"]
    assert "a.txt has no locks; write to it by one command at a time" in capsys.readouterr().err


def test_a_lock_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a file lies where a folder is needed"):
        owned(tmp_path / "file" / "out").__enter__()
    with file_limit(0), pytest.raises(OutputError, match=r"out cannot be written: .*raise the limit"):
        owned(tmp_path / "out").__enter__()
    assert names(tmp_path) == ["file"]


def test_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "others.txt").write_text("others")

    def write(content: str) -> None:
        with publish_files(tmp_path) as folder:
            write_text(folder / "a.txt", content)
            write_text(folder / "b.txt", content)
            if content == "half":
                raise OSError(errno.ENOSPC, "No space left on device")
            assert content == "first" or (tmp_path / "a.txt").read_text() == "first"

    write("first")
    assert names(tmp_path) == ["a.txt", "b.txt", "others.txt"]
    with pytest.raises(OutputError, match="the disk is full"):
        write("half")
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "b.txt").read_text() == "first"
    write("second")
    assert (tmp_path / "a.txt").read_text() == "second"
    assert names(tmp_path) == ["a.txt", "b.txt", "others.txt"]


def test_no_message_names_a_place_that_is_gone(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError) as raised,
        publish_files(tmp_path / "out") as folder,
        publish(folder / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(raised.value).startswith(f"{tmp_path}/out/a.txt cannot be written: the disk is full")
