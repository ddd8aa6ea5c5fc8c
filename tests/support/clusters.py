"""A Dask scheduler and workers, processes of their own on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.projects import ROOT

_START_S = 60


@dataclass(frozen=True)
class Cluster:
    """A scheduler, to which workers of one thread are added one by one."""

    address: str
    scheduler: subprocess.Popen[bytes]
    folder: Path
    stack: ExitStack

    def worker(self, code: Path = ROOT) -> subprocess.Popen[bytes]:
        """A worker that takes lenscape from a folder; it comes to the scheduler some time later."""
        command = "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"
        return self.stack.enter_context(_started(self.folder, code, *command))


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A scheduler that ends with its workers; what they say goes to files in `folder`."""
    file = folder / "scheduler.json"
    command = "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
    with (
        ExitStack() as stack,
        _started(folder, ROOT, *command, "--scheduler-file", str(file)) as scheduler,
    ):
        deadline = time.monotonic() + _START_S
        while (address := _address(file)) is None:
            assert scheduler.poll() is None, "the scheduler does not start"
            assert time.monotonic() < deadline, "the scheduler does not answer"
            time.sleep(0.1)
        with stack:
            yield Cluster(address, scheduler, folder, stack)


def _address(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):  # not there, or half of it
        return None


@contextmanager
def _started(folder: Path, code: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{command[0]}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            cwd=folder, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(code)},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
