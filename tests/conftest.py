"""Rules for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

MAY_SKIP_IN_CI = ("needs a GPU", "needs ../shared")

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
