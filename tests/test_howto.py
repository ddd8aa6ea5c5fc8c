"""The commands of docs/howto/gpu.md, as they stand there: two machines are two folders here."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from pipeline.config.compute import ComputeConf
from tests.support.projects import ROOT, Project, make_project, stages_run

PAGE = ROOT / "docs" / "howto" / "gpu.md"
BLOCK = re.compile(r"^```sh *(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("ssh ", "rsync ", "make setup", ". .venv/bin/activate", "lenscape doctor")
"""How the lines of a block without a machine begin: another host, or an environment of its own."""
COMPUTE = "accelerator: cpu\nprecision: float32\nmemory_mb: 512\n"


@dataclass(frozen=True)
class Terminal:
    """A terminal on one machine, which keeps its folder and what was exported from block to block."""

    project: Project
    state: Path

    def run(self, block: str) -> str:
        """What the commands print; each of them must succeed."""
        before = f". {shlex.quote(str(self.state))}\n" if self.state.exists() else ""
        after = f'\n{{ export -p; echo "cd $(printf %q "$PWD")"; }} >{shlex.quote(str(self.state))}\n'
        return self.project.run("bash", "-euo", "pipefail", "-c", f"{before}{block}{after}")


def _blocks() -> list[tuple[str, str]]:
    """The commands of the page: the machine, empty where they are shown only, and the lines."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


@contextmanager
def _served(terminal: Terminal, block: str, port: int) -> Iterator[None]:
    """The block that stays in the foreground of a terminal, in the background here."""
    with (terminal.state.parent / "server.log").open("w") as log:
        server = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", f"{terminal.state.read_text()}{block}"],
            stdout=log, stderr=log, env=terminal.project.environment(), start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while not _healthy(port):
                assert server.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.3)
            yield
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


def _healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return True
    except (URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _machines(folder: Path, port: int, programs: Path) -> tuple[Terminal, Terminal]:
    """A laptop with the project, and a bare machine; both know the places of the page by name."""
    project = replace(make_project(folder), programs=programs)
    project.conf("compute", COMPUTE)
    project.commit("a budget of memory")
    project.run("git", "init", "--quiet", "--bare", str(folder / "land.git"))
    other = Project(folder / "gpu", folder / "gpu_home", programs)
    other.path.mkdir()
    other.home.mkdir()
    laptop, gpu = Terminal(project, folder / "laptop.sh"), Terminal(other, folder / "gpu.sh")
    for terminal in (laptop, gpu):
        places = {"REPOSITORY": folder / "land.git", "STORE": folder / "store", "PORT": port}
        terminal.run("export " + " ".join(f"{name}={value}" for name, value in places.items()))
    return laptop, gpu


@pytest.mark.slow
def test_from_laptop_to_gpu_machine_and_back(tmp_path: Path, programs: Path) -> None:
    port = _free_port()
    laptop, gpu = _machines(tmp_path, port, programs)
    named = iter([(machine, block) for machine, block in _blocks() if machine])

    def follow(machine: str) -> str:
        expected, block = next(named)
        assert machine == expected, block
        return {"laptop": laptop, "gpu": gpu}[machine].run(block)

    assert stages_run(follow("laptop")) == {"fetch", "tile", "split"}
    machine, server = next(named)
    assert machine == "server"
    with _served(laptop, server, port):
        follow("laptop")
        follow("gpu")
        here, there = laptop.project, replace(gpu.project, path=gpu.project.path / "land")
        assert "up to date" in follow("gpu"), "another memory budget and accelerator"
        assert (there.path / "conf" / "compute.yaml").read_text() != COMPUTE
        assert stages_run(follow("gpu")) == {"train", "evaluate", "predict"}

        back = follow("laptop")
        assert "up to date" in back
        assert not stages_run(back)
        assert (here.path / "conf" / "compute.yaml").read_text() == COMPUTE
        for outputs in ("models", "reports", "data/maps"):
            assert here.bytes_of(outputs) == there.bytes_of(outputs) != {}
        run = json.loads((here.path / "models" / "run.json").read_text())["run_id"]
        assert run in follow("laptop"), "provenance asks the server that the GPU machine wrote to"
    files = {path.name for path in (here.home / "land-mlflow" / "artifacts").rglob("*")}
    assert "MLmodel" in files, "files of the run went through the server"
    assert not [*here.path.rglob("mlflow.db"), *there.path.rglob("mlflow.db")]

    follow("gpu")
    assert next(named, None) is None
    assert here.run("git", "rev-parse", "HEAD") == there.run("git", "rev-parse", "HEAD")
    assert "up to date" in there.dvc("status")
    here.conf("compute", "accelerator: gpu\ndevices: 2\nmemory_mb: 65536\nworkers: 1\n")
    assert here.repro() == set(), "another device reruns nothing, though this machine has no such"


def test_what_is_not_run_needs_another_host_or_sets_up() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = [block for machine, block in _blocks() if not machine]
    assert shown
    for block in shown:
        assert all(line.startswith(ELSEWHERE) for line in block.splitlines())
        before = text[: text.index(block)].rstrip().splitlines()[-3]
        assert "needs ssh" in before or "Set-up" in before
    assert text.count("```") == 2 * len(_blocks()), "a block that the test does not see"


def test_the_page_names_every_variable_and_every_key_of_the_compute_conf() -> None:
    text = PAGE.read_text(encoding="utf-8")
    used = {name for _, block in _blocks() for name in re.findall(r"\$\{?([A-Z_]+)", block)}
    named = set(re.findall(r"^\| `([A-Z]+)` \|", text, re.MULTILINE))
    assert used - {"HOME"} == named
    keys = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
    assert keys == set(ComputeConf.model_fields)
