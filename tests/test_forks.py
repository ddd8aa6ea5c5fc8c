"""Forks of tests/support/forks.py do what the programs do that they stand for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

CODE = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ["ASKED"], sys.stdin.read()]))
print("said", file=sys.stderr)
{end}
"""


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [("", 0, "said"), ("sys.exit(7)", 7, "said"), ("os.abort()", -6, "said"), ("1 / 0", 1, "Division")],
)
def test_a_fork_runs_the_code_of_its_folder(
    end: str, code: int, said: str, programs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ä b"
    (folder / "pipeline").mkdir(parents=True)
    (folder / "pipeline" / "cli.py").write_text(CODE.format(end=end), encoding="utf-8")
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "ASKED": "€ 1"}
    done = subprocess.run(
        ["python", "-m", "pipeline.cli", "a", "b  c'"], cwd=folder, env=environment, input="given",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert json.loads(done.stdout) == [["a", "b  c'"], str(folder), "€ 1", "given"]
    assert said in done.stderr


WAITING = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    child.wait()
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("kind", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_a_signal_ends_the_fork_and_what_it_started(
    kind: signal.Signals, status: int, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "cli.py").write_text(WAITING)
    with subprocess.Popen(
        [programs / "python", "-m", "pipeline.cli"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdout is not None
        child = psutil.Process(int(asking.stdout.readline()))
        fork = child.parent()
        asking.send_signal(kind)
        _, alive = psutil.wait_procs([child, fork], 20)
        assert not alive
        assert asking.wait(20) == status


def test_other_programs_of_python_are_started(programs: Path) -> None:
    code = "import sys; print('torch' in sys.modules, sys.executable)"
    told = subprocess.check_output([programs / "python", "-c", code], text=True)
    assert told.split() == ["False", sys.executable]
