"""Rules for all tests: none skips in CI, those that start programs are marked and come first."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.projects import Project

# Or the first import of MLflow gives the root logger one of its own, with the stream that a test
# captures at that moment and closes.
logging.getLogger().addHandler(logging.NullHandler())
# Until all tests are imported: a sixth of that time went into garbage that is none.
gc.disable()
if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anything loads NumPy or torch: the workers share the cores, so each computes in one thread.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# `make check` draws a quarter of the examples of a property test, `make test` and CI draw all
settings.register_profile("check", max_examples=25)
MAY_SKIP_IN_CI = ("needs a GPU", "needs ../shared")
LONGEST = (
    "tests/test_howto.py",
    "tests/test_end_to_end.py",
    "tests/howto/test_labels.py",
    "tests/howto/test_review.py",
    "tests/howto/test_mosaic.py",
)
LONGEST_WITHOUT_PROGRAMS = (
    "tests/stages/test_predict.py",
    "tests/commands/test_start.py",
    "tests/stages/test_evaluate.py",
    "tests/geo/raster/test_remote.py",
    "tests/geo/sources/test_download.py",
)
PROGRAMS = ("python", "dvc", "mlflow", "chrom")
"""How the names of programs begin that only tests marked `slow` start."""

type Report = pytest.TestReport | pytest.CollectReport


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Report, Report]:
    """A test that skipped, or was marked to be skipped."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Report, Report]:
    """A module that skipped as a whole."""
    return _judged((yield))


def _judged(report: Report) -> Report:
    """Where everything is there to run all tests (`CI=true`), one that skips is a failure.

    A GPU and the data beside the repository are not for `.ci/run` to install.
    """
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        assert isinstance(report.longrepr, tuple)
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(MAY_SKIP_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI: {reason}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: workers take one at a time, and end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def turn(item: pytest.Item) -> tuple[int, bool, int]:
        name = item.nodeid.partition("::")[0]
        return place(name, LONGEST), item.path not in slow, place(name, LONGEST_WITHOUT_PROGRAMS)

    def place(name: str, names: tuple[str, ...]) -> int:
        return names.index(name) if name in names else len(names)

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """What all tests import stays until the end, so that no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for PATH, of `python`, `dvc` and `lenscape` that start at once."""
    from tests.support import forks, projects  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("programs")
    with forks.forking(projects.Project(folder, folder).environment()) as made:
        yield made


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Project:
    """The one project that has run, for all tests and workers; read it, or work in a `copy` of it."""
    from tests.support import projects  # noqa: PLC0415

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    return replace(projects.finished_project(shared / "one_project"), programs=programs)


_running: list[pytest.Item] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Remember which test runs, with the fixtures that are made for it.

    It may compute on all cores, the next one does not: with more threads than one, a training starts
    processes that import everything anew.
    """
    _running[:] = [item]
    torch = sys.modules.get("torch")
    threads = torch and torch.get_num_threads()
    try:
        return (yield)
    finally:
        _running.clear()
        if torch:
            torch.set_num_threads(threads)


def _refuse_programs(event: str, arguments: tuple[object, ...]) -> None:
    """`make check` leaves out what is marked `slow`, so a test that starts a program needs the mark."""
    if event == "subprocess.Popen" and _running and not _running[0].get_closest_marker("slow"):
        program = Path(os.fsdecode(arguments[0])).name  # type: ignore[arg-type]
        if program.startswith(PROGRAMS):
            pytest.fail(f"{_running[0].nodeid} starts {program}: mark it with `pytest.mark.slow`")


sys.addaudithook(_refuse_programs)
