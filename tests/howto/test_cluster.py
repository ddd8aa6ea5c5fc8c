"""docs/howto/cluster.md: what is of one machine as it stands; of Slurm the jobs, which nobody runs."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from dask_jobqueue import SLURMCluster

from pipeline.files import write_json
from pipeline.geo.scenes.scene import open_catalog
from pipeline.store import PatchStore
from tests.support.labelled import make_classes, make_labels, px_box
from tests.support.mlflow_servers import free_port
from tests.support.pages import BLOCK, HOWTO
from tests.support.worlds import GRID, position_bands

pytestmark = pytest.mark.slow

BLOCKS = [(what, text) for _, what, text in BLOCK.findall((HOWTO / "cluster.md").read_text("utf-8"))]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Four scenes, which are enough for two workers to have them whole, with labels."""
    path = position_bands(tmp_path / "own")
    scene = {"path": str(path), "datetime": "2021-05-06T10:21:01Z", "scale": 0.0001, "offset": 0}
    (tmp_path / "conf").mkdir()
    scenes = [scene | {"id": f"s{n}"} for n in range(4)]
    write_json(tmp_path / "conf" / "fetch.yaml", {"train": scenes})
    make_labels(
        tmp_path / "labels.gpkg",
        [("c0", px_box(GRID, 0, 0, 66, 120)), ("c1", px_box(GRID, 66, 0, 66, 120))],
    )
    labels = [{"path": "labels.gpkg", "attribute": "kind"}]
    write_json(tmp_path / "conf" / "tile.yaml", {"labels": labels})
    classes = make_classes("c0", "c1").model_dump(mode="json", exclude_defaults=True)
    write_json(tmp_path / "conf" / "classes.yaml", classes)
    for what, text in BLOCKS:
        if what.endswith(".py"):
            (tmp_path / what).write_text(text)
    return tmp_path


def run(kind: str, project: Path) -> None:
    """Run the commands of a kind."""
    commands = "".join(text for what, text in BLOCKS if what == kind)
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"trap 'kill $(jobs -p) || true' EXIT\n{commands}"],
        cwd=project, check=False, capture_output=True, text=True, timeout=180,
        env=os.environ | {"PORT": str(free_port()), "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_two_workers_on_this_machine(project: Path) -> None:
    run("run", project)
    assert [s.id for s in open_catalog(project / "data/scenes/map")] == ["s0", "s1", "s2", "s3"]


def test_a_program_that_starts_the_workers(project: Path) -> None:
    run("local", project)
    assert {*PatchStore.open(project / "data/patches").patches["scene"]} == {"s0", "s1", "s2", "s3"}


def test_the_jobs_of_workers_that_slurm_gets(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program as it stands, up to where it would ask for nodes."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(SLURMCluster, "scale", _no_nodes)
    with pytest.raises(InterruptedError):
        runpy.run_path("slurm.py", run_name="__main__")
    script = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=script, check=True, text=True)
    lines = script.splitlines()
    asked = {"--cpus-per-task=8", "--mem=15G", "-t 08:00:00", f"--chdir={project}", "-n 1"}
    assert asked <= {line.removeprefix("#SBATCH ") for line in lines}
    (worker,) = (line for line in lines if "distributed.cli.dask_worker" in line)
    assert worker.startswith(sys.executable)
    for option in ("tcp://", "--nthreads 8", "--memory-limit 14.90GiB", "--local-directory /tmp"):
        assert option in worker


def _no_nodes(*_: object, **__: object) -> None:
    raise InterruptedError


def test_the_job_of_slurm_is_a_script() -> None:
    (script,) = (text for what, text in BLOCKS if what == "slurm")
    subprocess.run(["bash", "-n"], input=script, check=True, text=True)
