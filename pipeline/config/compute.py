"""`conf/compute.yaml`: where and how fast, never what; no DVC param."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from pipeline.config.reading import load
from pipeline.config.record import Conf, Positive
from pipeline.errors import ConfigError

_TASKS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "RANK")
"""Where launchers of several processes number them."""

SCHEDULER = "DASK_SCHEDULER_ADDRESS"
"""Where Dask's own clients look for the address of a scheduler."""


class ComputeConf(Conf):
    """`conf/compute.yaml`: where and how fast, never what; no DVC param."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Positive = "auto"
    """Of training; each takes its share of every batch."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of training, and on CUDA of predict; `auto` is bf16 on CUDA and float32 elsewhere."""
    workers: Positive | None = None
    """Pieces of work, or networks in training on a CPU, at a time; the number of cores where absent."""
    memory_mb: Annotated[int, Field(ge=128)] = 1024
    """Memory for pixels in flight."""
    loaders: Annotated[int, Field(ge=0)] = 2
    """Threads that read batches ahead in training, each a batch; none ahead where 0."""
    scheduler: str | None = None
    """Address of a Dask scheduler (`tcp://host:8786`); `DASK_SCHEDULER_ADDRESS` where absent, then this
    machine."""
    wait_s: Positive = 300
    """How long to wait for a worker while the scheduler has none, s."""

    def on_one_device(self) -> Self:
        """For what trains networks on the way: Lightning starts the command again for each device."""
        return self.model_copy(update={"devices": 1})


def load_compute(path: Path | None) -> ComputeConf:
    """`conf/compute.yaml`, or its defaults where no file is named; errors are those of `load`.

    Raises:
        ConfigError: when a launcher has started this command several times.
    """
    _require_first_task()
    compute = ComputeConf() if path is None else load(path, ComputeConf)
    scheduler = compute.scheduler or os.environ.get(SCHEDULER) or None
    return compute.model_copy(update={"scheduler": scheduler})


def _require_first_task() -> None:
    """Several copies of a command would write the same files; those of Lightning have a local rank."""
    for name in _TASKS:
        task = os.environ.get(name, "0")
        if task != "0" and "LOCAL_RANK" not in os.environ:
            raise ConfigError(
                f"a launcher has started this command several times ({name}={task}); start it once "
                "(srun --ntasks=1), it uses all devices that `devices` in the compute conf allows."
            )
