"""docs/howto/cluster.md: the commands of one machine as they stand; of the Slurm job the syntax."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import write_json
from pipeline.geo.scenes.scene import open_catalog
from tests.support.mlflow_servers import free_port
from tests.support.pages import BLOCK, HOWTO
from tests.support.worlds import position_bands

pytestmark = pytest.mark.slow

BLOCKS = [(what, text) for _, what, text in BLOCK.findall((HOWTO / "cluster.md").read_text("utf-8"))]


def test_two_workers_on_this_machine(tmp_path: Path) -> None:
    """Four scenes are enough for the workers to have them whole."""
    path = position_bands(tmp_path / "own")
    scene = {"path": str(path), "datetime": "2021-05-06T10:21:01Z", "scale": 0.0001, "offset": 0}
    (tmp_path / "conf").mkdir()
    scenes = [scene | {"id": f"s{n}"} for n in range(4)]
    write_json(tmp_path / "conf" / "fetch.yaml", {"train": scenes})
    commands = "".join(text for what, text in BLOCKS if what == "run")
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"trap 'kill $(jobs -p)' EXIT\n{commands}"],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=180,
        env=os.environ | {"PORT": str(free_port()), "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [s.id for s in open_catalog(tmp_path / "data/scenes/map")] == ["s0", "s1", "s2", "s3"]


def test_the_job_of_slurm_is_a_script() -> None:
    (script,) = (text for what, text in BLOCKS if what == "slurm")
    subprocess.run(["bash", "-n"], input=script, check=True, text=True)
