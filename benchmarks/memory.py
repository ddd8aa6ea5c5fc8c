"""Memory of a command: the largest sum over its process tree, mapped files shown apart."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.errors import BenchmarkError

INTERVAL_S = 0.1
_OWN = ("Pss_Anon", "Pss_Shmem")
_MAPPED = ("Pss_File",)


@dataclass(frozen=True)
class Memory:
    """Of a process tree; a page that several processes share counts once."""

    own_mb: float
    """Anonymous and shared memory."""
    mapped_mb: float
    """Pages of mapped files, which the system takes back when it needs them."""

    def most(self, other: Memory) -> Memory:
        """The larger of each."""
        return Memory(max(self.own_mb, other.own_mb), max(self.mapped_mb, other.mapped_mb))


@dataclass(frozen=True)
class Watched:
    """What a command took."""

    peak: Memory
    seconds: float
    samples: int


def of_tree(pid: int) -> Memory:
    """What a process and all below it have in memory now; nothing where it has ended."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return Memory(0.0, 0.0)
    kilobytes = [_rollup(process.pid) for process in tree]
    own = sum(found.get(key, 0) for found in kilobytes for key in _OWN)
    mapped = sum(found.get(key, 0) for found in kilobytes for key in _MAPPED)
    return Memory(own * 1024 / 1e6, mapped * 1024 / 1e6)


def watch(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Watched:
    """Run a command and look at its process tree every `INTERVAL_S`.

    Args:
        command: The command.
        environment: Its environment.
        folder: Where it runs.

    Raises:
        BenchmarkError: when it fails; the message ends with what it said last.
    """
    start, peak, samples = time.perf_counter(), Memory(0.0, 0.0), 0
    with subprocess.Popen(
        command, env=dict(environment), cwd=folder, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        while process.poll() is None:
            peak, samples = peak.most(of_tree(process.pid)), samples + 1
            try:
                process.wait(INTERVAL_S)
            except subprocess.TimeoutExpired:
                continue
        said = process.stderr.read() if process.stderr else ""
    if process.returncode:
        last = said.strip().splitlines()[-1:] or ["nothing"]
        raise BenchmarkError(f"{' '.join(command)} ended with {process.returncode}: {last[0]}")
    return Watched(peak, time.perf_counter() - start, samples)


def _rollup(pid: int) -> dict[str, int]:
    """`/proc/<pid>/smaps_rollup` in kB; nothing of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    fields = (line.split() for line in lines)
    return {key.rstrip(":"): int(value) for key, value, *_ in fields}
