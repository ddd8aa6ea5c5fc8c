"""The machine and the versions that figures were measured with."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import rasterio
import torch

import pipeline
from pipeline.parallel import core_count

ROOT = Path(__file__).parent.parent
CACHE_BYTES = 512_000_000
"""GDAL's block cache. torchgeo's patches come row by row, and a row of them needs two rows of blocks,
300 MB at full size: with less, blocks would be decoded again and again. Lenscape takes less itself."""


def cores() -> int:
    """Cores that this process may use."""
    return core_count()


def facts() -> dict[str, str]:
    """What a reader needs to compare figures with those of another machine."""
    numbers = {name: version(name) for name in ("torch", "torchgeo", "rasterio", "numpy")}
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": _processor(),
        "cores": str(cores()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "graphics card": device_name() or "no CUDA device at hand",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "lenscape": f"{pipeline.__version__}, {_commit()}",
        "versions": ", ".join(f"{name} {number}" for name, number in numbers.items())
        + f", GDAL {rasterio.__gdal_version__}",
        "torch's kernels": torch.backends.cpu.get_cpu_capability(),
    }


def device_name() -> str | None:
    """The CUDA device, where there is one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    model = f"family {found.get('cpu family', '?')}, model {found.get('model', '?')}"
    return f"{found.get('model name', platform.processor())} ({model})"


def _commit() -> str:
    """The commit of this checkout, and whether files differ from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "not in git"
    return f"commit {commit}" + (" with changes" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
