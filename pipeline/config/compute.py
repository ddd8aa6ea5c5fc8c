"""`conf/compute.yaml`: where and how fast, never what; no DVC param."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.reading import load
from pipeline.config.record import Conf, Positive


class ComputeConf(Conf):
    """`conf/compute.yaml`: where and how fast, never what; no DVC param."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Positive = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of training, and on CUDA of predict; `auto` is bf16 on CUDA and float32 elsewhere."""
    workers: Positive | None = None
    """Pieces of work, or networks in training on a CPU, at a time; the number of cores where absent."""
    memory_mb: Annotated[int, Field(ge=128)] = 1024
    """Memory for pixels in flight."""
    loaders: Annotated[int, Field(ge=0)] = 2
    """Threads that read batches ahead in training, each a batch; none ahead where 0."""
    scheduler: str | None = None
    """Address of a Dask scheduler (`tcp://host:8786`); this process where absent."""


def load_compute(path: Path | None) -> ComputeConf:
    """`conf/compute.yaml`, or its defaults where no file is named; errors are those of `load`."""
    return ComputeConf() if path is None else load(path, ComputeConf)
