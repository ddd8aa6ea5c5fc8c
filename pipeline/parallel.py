"""Independent work: pieces on threads, whole scenes in processes, either on a Dask scheduler."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, LenscapeError, WorkerError
from pipeline.files import code_sha256, sha256_of_value

if TYPE_CHECKING:
    from pipeline.config.compute import ComputeConf

AHEAD = 2
"""Pieces in flight per worker: one in work and one waiting."""
_TIMEOUT_S = 10
"""How long to wait for a scheduler to answer."""
_LOOK_S = 2
"""How often to look whether there still are workers, while a piece is waited for."""
_connected: dict[str, _Dask] = {}
"""The schedulers that this process is connected to, by address."""


def worker_count(compute: ComputeConf) -> int:
    """Pieces of work at a time: as the conf says, or one a core that this process may use."""
    return compute.workers or core_count()


def core_count() -> int:
    """The cores that this process may use; macOS cannot restrict a process to some of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_pieces[P, R](
    function: Callable[[P], R],
    pieces: Iterable[P],
    workers: int,
    compute: ComputeConf | None = None,
) -> Generator[R]:
    """The results of a function for each piece, in the order of the pieces.

    A few pieces a worker are in flight at a time, however many there are, so that memory is bounded
    by the size of a piece. The workers are threads here or, where `compute` names one, those of a
    Dask scheduler; then function, pieces and results must be picklable.

    Raises:
        ConfigError: when the scheduler cannot be reached, or Dask is not installed.
        WorkerError: when scheduler or workers are gone, or run another lenscape.
    """
    if compute is None or compute.scheduler is None:
        with ThreadPoolExecutor(workers) as pool:

            def submit(piece: P) -> Any:
                return pool.submit(function, piece)

            yield from _in_order(submit, pieces, lambda: workers, lambda future: future.result())
        return
    with connected(compute) as dask:
        assert dask is not None
        yield from _in_order(partial(dask.submit, function), pieces, dask.threads, dask.result)


def _in_order[P, R](
    submit: Callable[[P], Any],
    pieces: Iterable[P],
    workers: Callable[[], int],
    result: Callable[[Any], R],
) -> Iterator[R]:
    remaining = iter(pieces)
    in_flight: deque[Any] = deque()
    try:
        while True:
            free = max(0, AHEAD * workers() - len(in_flight))
            in_flight.extend(submit(piece) for piece in islice(remaining, free))
            if not in_flight:
                return
            yield result(in_flight.popleft())
    finally:
        for future in in_flight:
            future.cancel()


@contextmanager
def connected(compute: ComputeConf) -> Iterator[_Dask | None]:
    """One connection to the Dask scheduler of the conf for all that runs inside; None without one.

    Raises:
        ConfigError: when it cannot be reached, or Dask is not installed.
        WorkerError: when it has no worker for as long as the conf waits, or one with other code.
    """
    address = compute.scheduler
    if address is None or address in _connected:
        yield None if address is None else _connected[address]
        return
    dask = _connected[address] = _Dask(address, compute.wait_s)
    try:
        dask.require_workers()
        dask.require_same_code()
        yield dask
    finally:
        del _connected[address]
        dask.close()


class _Dask:
    """A Dask scheduler; waiting for its results ends, whatever becomes of it and its workers."""

    def __init__(self, address: str, wait_s: float) -> None:
        self._address, self._wait_s = address, wait_s
        self._client = _client(address)
        self._threads, self._looked = 0, 0.0

    def close(self) -> None:
        # a client that has lost its scheduler would try to reach it again
        self._client.close(timeout=1)

    def submit(self, function: Callable[[Any], Any], piece: Any) -> Any:
        return self._client.submit(_Remote(function, code_version()), piece, pure=False)

    def threads(self) -> int:
        """The threads of all workers, which come and go."""
        if time.monotonic() > self._looked + _LOOK_S:
            self._count()
        return max(1, self._threads)

    def result(self, future: Any) -> Any:
        """The result of a piece, or its error.

        Raises:
            WorkerError: when there will be none.
        """
        try:
            outcome = self._awaited(future)
        except (CancelledError, asyncio.CancelledError) as error:
            raise self._is_lost() from error
        except import_module("distributed").KilledWorker as error:
            raise WorkerError(
                f"workers of scheduler {self._address!r} ended one after the other at the same piece "
                "of work, most likely as it takes more memory than they have; start them with more "
                "(dask worker --memory-limit), or lower memory_mb in the compute conf."
            ) from error
        except (ImportError, AttributeError):
            self.require_same_code()  # of workers that came later
            raise
        if isinstance(outcome, _Failure):
            raise outcome.kind(outcome.message)
        return outcome

    def _awaited(self, future: Any) -> Any:
        while True:
            try:
                return future.result(timeout=_LOOK_S)
            except TimeoutError:
                if future.status == "error":  # the piece's own
                    raise
                self.require_workers()

    def require_workers(self) -> None:
        """Wait for a worker, and say so, where there is none."""
        started = time.monotonic()
        while not self._count():
            waited = time.monotonic() - started
            if waited > self._wait_s:
                raise WorkerError(
                    f"scheduler {self._address!r} has had no worker for {self._wait_s:g} s; start one "
                    f"(dask worker {self._address}), raise wait_s in the compute conf, or leave "
                    "`scheduler` out of it."
                )
            if waited < _LOOK_S / 2:
                print(
                    f"scheduler {self._address!r} has no worker; waiting up to {self._wait_s:g} s for "
                    f"one (dask worker {self._address})",
                    file=sys.stderr,
                    flush=True,
                )
            time.sleep(min(_LOOK_S, self._wait_s))

    def _count(self) -> int:
        with self._losing():
            self._threads = sum(self._client.nthreads().values())
        self._looked = time.monotonic()
        return self._threads

    def require_same_code(self) -> None:
        """Refuse workers whose lenscape may give other bytes than that of this process."""
        with self._losing():
            answers = self._client.run(code_version, on_error="return")
        for worker, answer in sorted(answers.items()):
            if answer != code_version():
                what = "no lenscape" if isinstance(answer, ModuleNotFoundError) else "another lenscape"
                raise _other_code(f"worker {worker} of scheduler {self._address!r}", what)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, CancelledError, asyncio.CancelledError) as error:
            raise self._is_lost() from error

    def _is_lost(self) -> WorkerError:
        return WorkerError(
            f"the connection to scheduler {self._address!r} is lost; what is finished stays: start the "
            "scheduler and its workers, and run the command again."
        )


@dataclass(frozen=True)
class _Failure:
    """An error of ours on its way back; pickled itself, it takes its causes along, which may not be."""

    kind: type[LenscapeError]
    message: str


@dataclass(frozen=True)
class _Remote:
    """A function as a worker elsewhere runs it, if its lenscape is the one of the sender."""

    function: Callable[[Any], Any]
    code: str

    def __call__(self, piece: Any) -> Any:
        try:
            if self.code != code_version():
                raise _other_code("a worker of the scheduler", "another lenscape")
            return self.function(piece)
        except LenscapeError as error:
            return _Failure(type(error), str(error))


def _other_code(worker: str, what: str) -> WorkerError:
    return WorkerError(
        f"{worker} has {what} than this process, so that maps might differ; install the same one there "
        "and start it again."
    )


@cache
def code_version() -> str:
    """The SHA-256 of the code of lenscape and of the version of Python that runs it."""
    return sha256_of_value([code_sha256(), *sys.version_info[:2]])


def _client(scheduler: str) -> Any:
    try:
        dask: Any = import_module("distributed")  # an extra, and slow to import
    except ImportError as error:
        raise ConfigError(
            f"scheduler {scheduler!r} needs Dask: install it (pip install lenscape[scale]) or leave "
            "`scheduler` out of the compute conf."
        ) from error
    for name in logging.root.manager.loggerDict:
        if name.startswith("distributed"):  # tracebacks of what we say in a sentence
            logging.getLogger(name).setLevel(logging.CRITICAL)

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
            "`scheduler` out of the compute conf, and unset DASK_SCHEDULER_ADDRESS."
        ) from error
