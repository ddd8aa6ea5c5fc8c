"""Pieces of work: in order, few at a time, here and on a Dask scheduler."""

import gc
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import psutil
import pytest
import rasterio
from distributed import LocalCluster
from distributed.comm import CommClosedError
from rasterio.errors import RasterioIOError

from pipeline import remote
from pipeline.config.compute import ComputeConf
from pipeline.errors import ConfigError, RadiometryError, SceneError, WorkerError
from pipeline.parallel import AHEAD, run_pieces, run_scenes, worker_count
from pipeline.remote import Remote, connected, given
from tests.support.clusters import Cluster, cluster
from tests.support.projects import ROOT


def slow_first(piece: int) -> int:
    """The earlier a piece, the longer it takes."""
    time.sleep(0.02 / (1 + piece))
    return piece * piece


def broken_at_3(piece: int) -> int:
    if piece == 3:
        raise SceneError("piece 3 is broken")
    return piece


@pytest.fixture(scope="module")
def machine() -> Iterator[ComputeConf]:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0",
        protocol="tcp://", host="127.0.0.1",
    ) as here:  # fmt: skip
        yield ComputeConf(scheduler=here.scheduler_address)


def test_results_come_in_the_order_of_the_pieces() -> None:
    assert list(run_pieces(slow_first, range(20), 4)) == [n * n for n in range(20)]
    assert list(run_pieces(slow_first, [], 4)) == []


def test_a_scheduler_gives_the_same_results(machine: ComputeConf) -> None:
    assert list(run_pieces(slow_first, range(20), 1, machine)) == [n * n for n in range(20)]


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
def test_the_error_of_a_piece_comes_as_it_is(remote: bool, machine: ComputeConf) -> None:
    results = run_pieces(broken_at_3, range(100), 2, machine if remote else None)
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
    monkeypatch.setattr(remote, "_TIMEOUT_S", 0.2)
    for address in ("tcp://127.0.0.1:1", "somewhere"):
        with pytest.raises(ConfigError, match=f"'{address}' cannot be reached .* `scheduler`"):
            list(run_pieces(slow_first, range(3), 1, ComputeConf(scheduler=address)))


def test_one_connection_for_all_that_runs_inside(
    machine: ComputeConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    client = remote._client
    monkeypatch.setattr(remote, "_client", lambda address: made.append(address) or client(address))
    with connected(machine):
        for _ in range(3):
            assert list(run_pieces(slow_first, range(3), 1, machine)) == [0, 1, 4]
    assert len(made) == 1
    assert list(run_pieces(slow_first, range(3), 1, machine)) == [0, 1, 4]
    assert len(made) == 2


def test_errors_of_other_libraries_stay_what_they_are(machine: ComputeConf) -> None:
    """A full disk of a worker is no lost scheduler, nor a piece of work that took too long."""
    for kind in (OSError, TimeoutError, ValueError):
        with pytest.raises(kind, match="of the piece"):
            list(run_pieces(raised, [kind("of the piece")], 1, machine))


def test_a_connection_that_ends_while_a_result_is_fetched(machine: ComputeConf) -> None:
    """Dask then gives an error of the operating system, as a piece of work may."""
    with pytest.raises(WorkerError, match=r"connection to scheduler 'tcp://.*' is lost"):
        list(run_pieces(raised, [CommClosedError("Stream is closed")], 1, machine))


def raised(error: Exception) -> None:
    raise error


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path) as started:
        yield started


def unreadable(path: str) -> None:
    try:
        rasterio.open(path)
    except RasterioIOError as error:
        raise RadiometryError(f"{path} is broken") from error


@pytest.mark.slow
def test_the_error_of_a_piece_keeps_its_kind_on_its_way(loopback: Cluster) -> None:
    """Its cause, of another library, might not be one that can be pickled."""
    loopback.worker()
    with pytest.raises(RadiometryError, match=r"nowhere\.tif is broken$") as caught:
        list(run_pieces(unreadable, ["nowhere.tif"], 1, ComputeConf(scheduler=loopback.address)))
    assert type(caught.value) is RadiometryError


@pytest.mark.slow
def test_a_scheduler_without_workers_is_waited_for_and_given_up(
    loopback: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    compute = ComputeConf(scheduler=loopback.address, wait_s=1)
    with pytest.raises(WorkerError, match=r"has had no worker for 1 s; start one \(dask worker tcp://"):
        list(run_pieces(abs, range(3), 1, compute))
    assert "has no worker; waiting up to 1 s for one" in capsys.readouterr().err


@pytest.mark.slow
def test_lost_workers_are_replaced_by_others(
    loopback: Cluster,
) -> None:
    """The pieces of a worker that is killed are done by another; without one, by one that comes."""
    first, second = loopback.worker(), loopback.worker()
    compute = ComputeConf(scheduler=loopback.address, wait_s=60)
    results = run_pieces(slow, range(40), 1, compute)
    assert next(results) == 0
    first.kill()
    assert [next(results) for _ in range(10)] == list(range(1, 11))
    second.kill()
    loopback.worker()
    assert list(results) == list(range(11, 40))


def slow(piece: int) -> int:
    time.sleep(0.1)
    return piece


@pytest.mark.slow
def test_a_lost_scheduler_is_told(loopback: Cluster) -> None:
    loopback.worker()
    results = run_pieces(slow, range(1000), 1, ComputeConf(scheduler=loopback.address))
    assert next(results) == 0
    loopback.scheduler.kill()
    with pytest.raises(WorkerError, match=r"connection to scheduler 'tcp://.*' is lost"):
        list(results)


@pytest.mark.slow
def test_a_worker_of_another_lenscape_is_refused(loopback: Cluster, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pipeline", tmp_path / "other" / "pipeline")
    (tmp_path / "other" / "pipeline" / "bands.py").write_text("BANDS = {}\n")
    other = loopback.worker(tmp_path / "other")
    compute = ComputeConf(scheduler=loopback.address, wait_s=60)
    with pytest.raises(WorkerError, match=r"^worker tcp://.* has another lenscape than this process"):
        list(run_pieces(abs, range(3), 1, compute))
    other.kill()
    loopback.worker()
    with connected(compute):
        loopback.worker(tmp_path / "other")  # one that comes later
        with pytest.raises(WorkerError, match=r"^a worker of the scheduler has another lenscape"):
            list(run_pieces(time.sleep, repeat(0.1, 600), 1, compute))


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


def test_one_piece_needs_no_thread() -> None:
    here = threading.get_ident()
    assert list(run_pieces(lambda _: threading.get_ident(), iter([0]), 2)) == [here]
    assert here not in run_pieces(lambda _: threading.get_ident(), iter([0, 1, 2]), 2)
    assert list(run_pieces(str, iter([]), 2)) == []


def told(scene: int, compute: ComputeConf) -> tuple[int, int, int | None, int]:
    """What a scene may use, and the process that has it."""
    if scene == 1000:
        raise SceneError("scene 1000 is broken")
    time.sleep(0.03)  # else the first process has done all before the second one is there
    return scene, os.getpid(), compute.workers, compute.memory_mb


MANY = ComputeConf(workers=2, memory_mb=512)


def test_few_scenes_have_all_of_this_process() -> None:
    assert list(run_scenes(told, range(3), MANY)) == [(n, os.getpid(), 2, 512) for n in range(3)]


@pytest.mark.slow
def test_many_scenes_have_processes_with_a_share_of_the_memory() -> None:
    results = list(run_scenes(told, range(40), MANY))
    assert [scene for scene, *_ in results] == list(range(40))
    processes = {process for _, process, *_ in results}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {(threads, memory_mb) for _, _, threads, memory_mb in results} == {(1, 256)}
    with pytest.raises(SceneError, match=r"^scene 1000 is broken$"):
        list(run_scenes(told, [*range(40), 1000], MANY))


def uncollected(_: int, __: ComputeConf) -> int:
    return gc.get_freeze_count()


@pytest.mark.slow
def test_processes_share_what_was_imported_for_all_of_them() -> None:
    """The garbage collector of each would copy it."""
    assert min(run_scenes(uncollected, range(40), MANY)) > 10_000


@pytest.mark.slow
def test_many_scenes_have_workers_of_a_scheduler(machine: ComputeConf) -> None:
    """A worker of two threads gives each half of the memory."""
    compute = machine.model_copy(update={"memory_mb": 512})
    assert list(run_scenes(told, range(3), compute)) == [(n, os.getpid(), None, 512) for n in range(3)]
    assert [share for *_, share in run_scenes(told, range(8), compute)] == [256] * 8
    with pytest.raises(SceneError, match=r"^scene 1000 is broken$"):
        list(run_scenes(told, [*range(8), 1000], compute))


@pytest.mark.slow
def test_processes_can_be_begun_beside_other_work() -> None:
    program = (
        "from psutil import Process\n"
        "from pipeline.parallel import start_processes\n"
        "from tests.test_parallel import MANY, told\n"
        "start_processes(told, 3, MANY)\n"
        "assert not Process().children()\n"
        "start_processes(told, 40, MANY)\n"
        "assert Process().children()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def killed_at_20(scene: int, _: ComputeConf) -> int:
    if scene == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return scene


@pytest.mark.slow
def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(WorkerError, match=r"^a process with some of the scenes has been ended"):
        list(run_scenes(killed_at_20, range(40), MANY))


def asleep(scene: int, _: ComputeConf) -> int:
    time.sleep(60)
    return scene


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from tests import test_parallel as t\n"
        "if __name__ == '__main__': list(t.run_scenes(t.asleep, range(40), t.MANY))"
    )
    (tmp_path / "program.py").write_text(program)
    with subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        children = psutil.Process(process.pid).children
        deadline = time.monotonic() + 60
        while len(children(recursive=True)) < 4:  # a server, a tracker, two workers
            assert time.monotonic() < deadline
            time.sleep(0.1)
        started = children(recursive=True)
        process.kill()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


def test_a_worker_without_the_folder_is_told(tmp_path: Path) -> None:
    """Paths of confs and arguments are relative to the folder of the command."""
    elsewhere = Remote(pickle.dumps(abs), folder=tmp_path / "gone")
    outcome = elsewhere(-3)
    with pytest.raises(WorkerError, match=r"has no folder .*gone; inputs and outputs must lie"):
        given(outcome)
