"""Workers of a Dask scheduler: one connection, errors as they are, a sentence where they are gone."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, override

from pipeline.errors import ConfigError, LenscapeError, WorkerError
from pipeline.files import code_sha256, sha256_of_value

if TYPE_CHECKING:
    from pipeline.config.compute import ComputeConf

_TIMEOUT_S = 10
"""How long to wait for a scheduler to answer."""
_LOOK_S = 2
"""How often to look whether there still are workers, while a piece is waited for."""
_connected: dict[str, Dask] = {}
"""The schedulers that this process is connected to, by address."""


@contextmanager
def connected(compute: ComputeConf) -> Iterator[Dask | None]:
    """One connection to the Dask scheduler of the conf for all that runs inside; None without one.

    Raises:
        ConfigError: when it cannot be reached, or Dask is not installed.
        WorkerError: when it has no worker for as long as the conf waits, or one with other code.
    """
    address = compute.scheduler
    if address is None or address in _connected:
        yield None if address is None else _connected[address]
        return
    dask = _connected[address] = Dask(address, compute.wait_s)
    try:
        dask.require_workers()
        dask.require_same_code()
        yield dask
    finally:
        del _connected[address]
        dask.close()


class Dask:
    """A Dask scheduler; waiting for its results ends, whatever becomes of it and its workers."""

    def __init__(self, address: str, wait_s: float) -> None:
        self._address, self._wait_s = address, wait_s
        self._client = _client(address)
        self._threads: dict[str, int] = {}
        self._looked = 0.0

    def close(self) -> None:
        """End the connection."""
        # a client that has lost its scheduler would try to reach it again
        self._client.close(timeout=1)

    def submit(self, function: Remote, piece: Any) -> Any:
        """Send a piece of work; what comes back is for `result`."""
        return self._client.submit(function, piece, pure=False)

    def threads(self) -> int:
        """The threads of all workers, which come and go."""
        if time.monotonic() > self._looked + _LOOK_S:
            self._count()
        return max(1, sum(self._threads.values()))

    def threads_a_worker(self) -> int:
        """The most that one of them has."""
        return max(self._threads.values(), default=1)

    def result(self, future: Any) -> Any:
        """The result of a piece, or its error.

        Raises:
            WorkerError: when there will be none.
        """
        # an OSError of another kind, such as a full disk, is the piece's own
        lost = CancelledError, asyncio.CancelledError, import_module("distributed.comm").CommClosedError
        try:
            outcome = self._awaited(future)
        except lost as error:
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
        return given(outcome)

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
            self._threads = self._client.nthreads()
        self._looked = time.monotonic()
        return len(self._threads)

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


@cache
def code_version() -> str:
    """The SHA-256 of the code of lenscape and of the version of Python that runs it."""
    return sha256_of_value([code_sha256(), *sys.version_info[:2]])


@dataclass(frozen=True)
class _Failure:
    """An error of ours on its way back; pickled itself, it takes its causes along, which may not be."""

    kind: type[LenscapeError]
    message: str


def given(outcome: Any) -> Any:
    """A result from elsewhere, or the error that it is."""
    if isinstance(outcome, _Failure):
        raise outcome.kind(outcome.message)
    return outcome


@dataclass(frozen=True)
class Carried:
    """A function as another process runs it."""

    function: bytes
    """Pickled: what it carries, such as a network, is unpacked once a process, not once a piece."""

    @classmethod
    def of(cls, function: Callable[[Any], Any]) -> Self:
        """A function that can be pickled."""
        return cls(pickle.dumps(function))

    def __call__(self, piece: Any) -> Any:
        """The result for a piece, or what `given` makes an error of."""
        try:
            self.require_place()
            return _unpacked(self.function)(piece)
        except LenscapeError as error:
            return _Failure(type(error), str(error))

    def require_place(self) -> None:
        """Refuse to run where the results might be others."""


@dataclass(frozen=True)
class Remote(Carried):
    """A function as a worker runs it: in the same folder, and if its lenscape is the same."""

    code: str = field(default_factory=code_version)
    folder: Path = field(default_factory=Path.cwd)

    @override
    def require_place(self) -> None:
        if self.code != code_version():
            raise _other_code("a worker of the scheduler", "another lenscape")
        # paths in conf and arguments are relative
        try:
            if Path.cwd() != self.folder:
                os.chdir(self.folder)
        except OSError as error:
            raise WorkerError(
                f"a worker on {socket.gethostname()} has no folder {self.folder}; inputs and outputs "
                "must lie on a disk that all machines see at the same path."
            ) from error


@lru_cache(maxsize=2)
def _unpacked(function: bytes) -> Callable[[Any], Any]:
    unpacked: Callable[[Any], Any] = pickle.loads(function)
    return unpacked


def _other_code(worker: str, what: str) -> WorkerError:
    return WorkerError(
        f"{worker} has {what} than this process, so that maps might differ; install the same one there "
        "and start it again."
    )


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
