"""A list of independent pieces of work: on threads of this process, or on a Dask scheduler."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config.compute import ComputeConf

AHEAD = 2
"""Pieces in flight per worker: one in work and one waiting."""
_TIMEOUT_S = 10
"""How long to wait for a scheduler to answer."""


def worker_count(compute: ComputeConf) -> int:
    """Pieces of work at a time: as the conf says, or one a core that this process may use."""
    return compute.workers or core_count()


def core_count() -> int:
    """The cores that this process may use; macOS cannot restrict a process to some of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_pieces[P, R](
    function: Callable[[P], R], pieces: Iterable[P], workers: int, scheduler: str | None = None
) -> Generator[R]:
    """The results of a function for each piece, in the order of the pieces.

    A few pieces a worker are in flight at a time, however many there are, so that memory is bounded
    by the size of a piece. The workers are threads here, or those of a Dask scheduler
    (`tcp://host:8786`); then function, pieces and results must be picklable.

    Raises:
        ConfigError: when the scheduler cannot be reached, or Dask is not installed.
    """
    if scheduler is None:
        with ThreadPoolExecutor(workers) as pool:
            yield from _in_order(pool, function, pieces, workers)
        return
    with _client(scheduler) as client:
        count = len(client.scheduler_info(n_workers=-1)["workers"])
        yield from _in_order(client, function, pieces, max(count, 1))


def _in_order[P, R](
    pool: Executor, function: Callable[[P], R], pieces: Iterable[P], workers: int
) -> Iterator[R]:
    remaining = iter(pieces)
    in_flight = deque(pool.submit(function, piece) for piece in islice(remaining, AHEAD * workers))
    try:
        while in_flight:
            result = in_flight.popleft().result()
            in_flight.extend(pool.submit(function, piece) for piece in islice(remaining, 1))
            yield result
    finally:
        for future in in_flight:
            future.cancel()


def _client(scheduler: str) -> Any:
    try:
        dask: Any = import_module("distributed")  # an extra, and slow to import
    except ImportError as error:
        raise ConfigError(
            f"scheduler {scheduler!r} needs Dask: install it (pip install lenscape[scale]) or leave "
            "`scheduler` out of the compute conf."
        ) from error

    async def connect() -> None:
        comm = await dask.comm.connect(scheduler, timeout=_TIMEOUT_S)
        await comm.close()

    try:
        # a client without a scheduler would try for half a minute more to close its connection
        asyncio.run(connect())
        return dask.Client(scheduler, timeout=f"{_TIMEOUT_S}s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"scheduler {scheduler!r} cannot be reached ({error}); start it (dask scheduler) or leave "
            "`scheduler` out of the compute conf."
        ) from error
