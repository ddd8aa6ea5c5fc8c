"""In CI a test that skips is a failure, unless it needs what cannot be installed."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow
CONFTEST = Path(__file__).with_name("conftest.py").read_text()
TESTS = """
import pytest

def test_passes(): pass
def test_skips(): pytest.skip("QGIS is absent")
@pytest.mark.skipif(True, reason="no Chromium")
def test_is_skipped(): pass
def test_wants_a_gpu(): pytest.skip("needs a GPU")
@pytest.mark.xfail
def test_is_known(): assert False
"""


WHOLE_MODULE = """
import pytest
pytest.importorskip("a_module_that_is_nowhere")

def test_never_runs(): pass
"""


def outcomes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str) -> dict[str, int]:
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_some=TESTS, test_whole=WHOLE_MODULE)
    return pytester.runpytest_subprocess("--continue-on-collection-errors").parseoutcomes()


def test_skips_fail_in_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes(pytester, monkeypatch, "true")
    assert found == {"passed": 1, "failed": 1, "errors": 2, "skipped": 1, "xfailed": 1}


def test_skips_are_skips_elsewhere(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes(pytester, monkeypatch, "")
    assert found == {"passed": 1, "skipped": 4, "xfailed": 1}
