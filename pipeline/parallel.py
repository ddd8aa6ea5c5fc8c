"""Independent work: pieces on threads, whole scenes in processes, either on a Dask scheduler."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import WorkerError
from pipeline.remote import Carried, Remote, connected, given

if TYPE_CHECKING:
    from pipeline.config.compute import ComputeConf

AHEAD = 2
"""Pieces in flight per worker: one in work and one waiting."""
_MANY, _MANY_REMOTE = 16, 2
"""Scenes a worker from which on each is the work of one: of processes that start here, of Dask."""
_LEAST_MB = 128


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
        yield from _in_threads(function, iter(pieces), workers)
        return
    with connected(compute) as dask:
        assert dask is not None
        yield from _in_order(
            partial(dask.submit, Remote.of(function)), pieces, dask.threads, dask.result
        )


def _in_threads[P, R](function: Callable[[P], R], pieces: Iterator[P], workers: int) -> Iterator[R]:
    first = list(islice(pieces, 2))
    if len(first) < 2:  # a thread for one piece takes time, and saves none
        yield from map(function, first)
        return
    with ThreadPoolExecutor(workers) as pool:

        def submit(piece: P) -> Any:
            return pool.submit(function, piece)

        every = chain(first, pieces)
        yield from _in_order(submit, every, lambda: workers, lambda future: future.result())


def run_scenes[S, R](
    function: Callable[[S, ComputeConf], R], scenes: Sequence[S], compute: ComputeConf
) -> Generator[R]:
    """The results of a function for each scene, in the order of the scenes.

    The function is told what it may use. Few scenes come one after the other, each with all that
    `compute` has. Many run side by side, each on one thread of a Dask worker or, without a scheduler,
    of a process here, with its share of the memory; then all must be picklable.

    Raises:
        ConfigError: when the scheduler cannot be reached, or Dask is not installed.
        WorkerError: when scheduler or workers are gone, or run another lenscape.
    """
    with connected(compute) as dask:
        if not are_many(len(scenes), compute):
            yield from (function(scene, compute) for scene in scenes)
        elif dask is None:
            count = worker_count(compute)
            yield from _in_processes(function, scenes, _share(compute, count), count)
        else:
            work = Remote.of(_Sharing(function, _share(compute, dask.threads_a_worker())))
            yield from _in_order(partial(dask.submit, work), scenes, dask.threads, dask.result)


def are_many(scenes: int, compute: ComputeConf) -> bool:
    """Whether `run_scenes` takes as many scenes side by side; its errors."""
    with connected(compute) as dask:
        if dask is not None:  # a first worker may be alone, others come later
            return scenes >= _MANY_REMOTE * dask.threads()
        return scenes >= _MANY * worker_count(compute) > _MANY


def _share(compute: ComputeConf, count: int) -> ComputeConf:
    """What one of several workers may use."""
    memory_mb = max(_LEAST_MB, compute.memory_mb // count)
    return compute.model_copy(update={"workers": 1, "memory_mb": memory_mb, "scheduler": None})


@dataclass(frozen=True)
class _Sharing[S, R]:
    """A function of scenes with what one of them may use."""

    function: Callable[[S, ComputeConf], R]
    share: ComputeConf

    def __call__(self, scene: S) -> R:
        return self.function(scene, self.share)


def start_processes(function: Callable[..., Any], scenes: int, compute: ComputeConf) -> None:
    """Begin, beside other work, what `run_scenes` needs here for a function of as many scenes."""
    if compute.scheduler is None and are_many(scenes, compute):
        _processes(function)
        forkserver.ensure_running()


def _processes(function: Callable[..., Any]) -> ForkServerContext:
    """Processes that know nothing of the threads and locks of this one, as those of a fork would.

    What a function of the package needs is imported once, not once a process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([getattr(function, "func", function).__module__])
    return context


def _in_processes[S, R](
    function: Callable[[S, ComputeConf], R], scenes: Iterable[S], share: ComputeConf, count: int
) -> Iterator[R]:
    context = _processes(function)
    task = partial(_interruptible, Carried.of(_Sharing(function, share)))

    def submit(scene: S) -> Any:
        return pool.submit(task, scene)

    try:
        with ProcessPoolExecutor(count, context, _begin_process, (Path.cwd(),)) as pool:
            yield from _in_order(submit, scenes, lambda: count, lambda future: given(future.result()))
    except BrokenProcessPool as error:
        raise WorkerError(
            "a process with some of the scenes has been ended, most likely as memory ran out; lower "
            "`workers` in the compute conf and run the command again: what is finished stays."
        ) from error


def _begin_process(folder: Path) -> None:
    """In a folder, since paths in conf and arguments are relative.

    An interrupt ends the work at hand and no process that waits; all end with the one above.
    """
    gc.freeze()  # else the garbage collector writes to, and so copies, what all processes share
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _interruptible[P, R](function: Callable[[P], R], piece: P) -> R:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return function(piece)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def in_worker() -> bool:
    """Whether this is a process of `run_scenes`, which shows no bar of its own."""
    return multiprocessing.parent_process() is not None


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
