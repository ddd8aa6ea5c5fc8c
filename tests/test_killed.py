"""Stages that are killed, or end by Ctrl-C, at random moments: `dvc repro` then ends as if nothing was.

`LENSCAPE_KILLS=50 pytest tests/test_killed.py` disturbs so many runs.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import psutil
import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tests.support.projects import OUTPUTS, Project

COUNT = int(os.environ.get("LENSCAPE_KILLS", "3"))
CHANGED = ("predict", "evaluate", "train", "fetch", "tile", "split")
"""The stages whose code changes, in turn; those after them run too where their inputs change."""
LEFT = re.compile(r"\..*\.?(partial.*|old|work|lock|unfinished)")
OF_A_RUN = {"run.json"}
"""Files of a model that name its run, of which each training has another one."""


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:mlflow", "ignore::sqlalchemy.exc.SADeprecationWarning"
)
def test_after_a_kill_the_next_run_ends_as_if_nothing_was(
    finished_project: Project, tmp_path: Path
) -> None:
    project = finished_project.copy(tmp_path)
    expected = outputs(project)
    draw = random.Random()
    for number in range(COUNT):
        stage, kind = CHANGED[number % len(CHANGED)], (signal.SIGKILL, signal.SIGINT)[number % 2]
        code = project.path / "pipeline" / "stages" / f"{stage}.py"
        code.write_text(f"{code.read_text()}# {number}\n")
        moment = disturb(project, kind, draw)
        what = f"{number}: {stage}, {kind.name} after {moment:.1f} s"
        for name in leftovers(project.path):
            assert LEFT.fullmatch(name), what
        restore_lock(project)
        project.repro()
        assert leftovers(project.path) == [], what
        assert outputs(project) == expected, what
        assert statuses(project) <= {"FINISHED", "FAILED", "KILLED"}, what
        print(what)


def disturb(project: Project, kind: signal.Signals, draw: random.Random) -> float:
    """Begin `dvc repro`, and end it and all that it started while a stage runs; when that was, in s."""
    begun = time.monotonic()
    with subprocess.Popen(
        ["dvc", "repro"], cwd=project.path, env=project.environment(), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Running stage"):
                break
        time.sleep(draw.uniform(0, 12))
        if process.poll() is None:
            at_work = list(processes_in(project.path))
            os.killpg(process.pid, kind)
            _, alive = psutil.wait_procs(at_work, timeout=60)
            assert alive == [], "DVC waits for those that it has locks of"
        moment = time.monotonic() - begun
        process.stdout.read()
    return moment


def processes_in(folder: Path) -> Iterator[psutil.Process]:
    """The processes that run in a folder."""
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(one.cwd()) == folder:
                yield one


def restore_lock(project: Project) -> None:
    """Take back a `dvc.lock` that DVC was killed over, which writes it in place (`lenscape doctor`)."""
    try:
        YAML(typ="safe").load(project.path / "dvc.lock")["stages"]["predict"]["outs"]
    except (YAMLError, KeyError, TypeError):
        subprocess.run(["git", "checkout", "-q", "dvc.lock"], cwd=project.path, check=True)


def outputs(project: Project) -> dict[str, str]:
    """The hash of each file of all outputs, but for those of the MLflow store.

    Items of maps count without their fingerprints, which are of the code, too.
    """
    hashes = {
        f"{folder}/{name}": digest
        for folder in OUTPUTS
        if not folder.startswith("ml")
        for name, digest in project.bytes_of(folder).items()
        if name not in OF_A_RUN
    }
    for item in project.path.glob("data/maps/*/*.json"):
        stated = re.sub(r'"lenscape:fingerprint": "\w+"', "", item.read_text(encoding="utf-8"))
        hashes[item.relative_to(project.path).as_posix()] = stated
    return hashes


def leftovers(folder: Path) -> list[str]:
    """Hidden files and folders beside and in outputs."""
    found = [path for top in (folder, folder / "data", folder / "reports") for path in top.glob(".*")]
    found += [*(folder / "data").rglob(".*"), *(folder / "models").rglob(".*")]
    ours = {".dvc", ".git", ".dvcignore", ".gitignore", ".gitkeep"}
    return sorted({path.name for path in found} - ours)


def statuses(project: Project) -> set[str]:
    """Of all runs in the MLflow store."""
    client = mlflow.MlflowClient(f"sqlite:///{os.path.relpath(project.path / 'mlflow.db')}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    return {run.info.status for run in client.search_runs(experiments)}
