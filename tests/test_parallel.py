"""Pieces of work: in order, few at a time, here and on a Dask scheduler."""

import os
import threading
import time
from collections.abc import Iterator

import pytest
from distributed import LocalCluster

from pipeline import parallel
from pipeline.config.compute import ComputeConf
from pipeline.errors import ConfigError, SceneError
from pipeline.parallel import AHEAD, run_pieces, worker_count


def slow_first(piece: int) -> int:
    """The earlier a piece, the longer it takes."""
    time.sleep(0.02 / (1 + piece))
    return piece * piece


def broken_at_3(piece: int) -> int:
    if piece == 3:
        raise SceneError("piece 3 is broken")
    return piece


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None,
        protocol="tcp://", host="127.0.0.1",
    ) as cluster:  # fmt: skip
        yield cluster.scheduler_address


def test_results_come_in_the_order_of_the_pieces() -> None:
    assert list(run_pieces(slow_first, range(20), 4)) == [n * n for n in range(20)]
    assert list(run_pieces(slow_first, [], 4)) == []


def test_a_scheduler_gives_the_same_results(scheduler: str) -> None:
    assert list(run_pieces(slow_first, range(20), 1, scheduler)) == [n * n for n in range(20)]


def test_pieces_run_side_by_side() -> None:
    together = threading.Barrier(3, timeout=10)

    def meet(piece: int) -> int:
        together.wait()
        return piece

    assert list(run_pieces(meet, range(3), 3)) == [0, 1, 2]


def test_few_pieces_are_in_flight() -> None:
    """A result that nobody has taken keeps the next pieces from being asked for."""
    asked = 0

    def pieces() -> Iterator[int]:
        nonlocal asked
        for piece in range(1000):
            asked += 1
            yield piece

    for taken, _ in enumerate(run_pieces(slow_first, pieces(), 2), start=1):
        assert asked <= taken + 2 * AHEAD
        if taken == 50:
            break
    assert asked <= 50 + 2 * AHEAD


@pytest.mark.parametrize("remote", [False, True])
def test_the_error_of_a_piece_comes_as_it_is(remote: bool, scheduler: str) -> None:
    results = run_pieces(broken_at_3, range(100), 2, scheduler if remote else None)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SceneError, match="piece 3 is broken"):
        next(results)


def test_an_error_stops_the_pieces_that_wait() -> None:
    done: list[int] = []

    def work(piece: int) -> int:
        done.append(piece)
        return broken_at_3(piece)

    with pytest.raises(SceneError):
        list(run_pieces(work, range(1000), 2))
    assert len(done) < 20


def test_a_scheduler_that_nobody_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_TIMEOUT_S", 0.2)
    for address in ("tcp://127.0.0.1:1", "somewhere"):
        with pytest.raises(ConfigError, match=f"'{address}' cannot be reached .* `scheduler`"):
            list(run_pieces(slow_first, range(3), 1, address))


def test_as_many_workers_as_stated_or_as_cores() -> None:
    assert worker_count(ComputeConf(workers=7)) == 7
    assert worker_count(ComputeConf()) >= 1


def test_workers_are_the_cores_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert worker_count(ComputeConf()) == 3
    assert worker_count(ComputeConf(workers=7)) == 7
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert worker_count(ComputeConf()) == 4
