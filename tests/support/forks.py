"""Programs that start at once: forks of a process that has imported the libraries of all stages.

A stage of a small project spends half of its time on imports. `forking` makes a folder of programs,
`python`, `dvc`, `lenscape` and `mlflow`, for the front of PATH. Each asks the server there to fork, and
the fork becomes what was asked for: with its arguments, environment, folder and streams, and the
project's own code, none of which the server has imported. Its exit code is that of the program. Ctrl-C
and SIGTERM reach the fork; when the process that asked is killed, the fork and what it started are too.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import multiprocessing
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory

LIBRARIES = (
    "uvicorn",  # first: MLflow looks for it
    "dvc.cli", "dvc.commands.repro", "dvc.commands.status", "dvc.repo", "geopandas", "git",
    "jinja2", "matplotlib.figure", "mlflow.cli", "mlflow.pyfunc", "mlflow.pytorch",
    "mlflow.server.fastapi_app",
    "mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.system_metrics.system_metrics_monitor", "networkx", "pyogrio",
    "pystac.extensions.raster", "rasterio.features", "rasterio.warp", "ruamel.yaml",
    "sklearn.ensemble", "sklearn.linear_model", "stac_geoparquet.arrow",
    "torch._inductor.decomposition", "torch.export", "torchgeo.tasks",
)  # fmt: skip
ONE_THREAD = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""OpenBLAS and the memory allocator of pyarrow start threads when they are imported."""
ASK = Path(__file__).with_name("ask_fork.py")
PROGRAMS = {
    "python": 'case "$1 $2" in\n'
    '"-m pipeline.cli"|"-m uvicorn") module="${{2}}"; shift 2; {ask} . "$module" "$@";;\n'
    "esac\n"
    'exec "{python}" "$@"\n',
    "lenscape": '{ask} "" pipeline.cli "$@"\n',
    "dvc": '{ask} "" dvc "$@"\n',
    "mlflow": '{ask} "" mlflow "$@"\n',
}


@contextmanager
def forking(environment: dict[str, str]) -> Iterator[Path]:
    """The folder of programs, while the server runs in an environment."""
    with TemporaryDirectory(prefix="forks") as name:  # short, as the address of a socket must be
        folder = Path(name)
        ask = f'exec "{sys.executable}" -IS "{ASK}" "{folder / "socket"}"'
        for program, text in PROGRAMS.items():
            path = folder / program
            path.write_text("#!/bin/sh\n" + text.format(ask=ask, python=sys.executable), "utf-8")
            path.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "socket"))
            listener.listen()
            # a fork has one thread, so the server may have no others: Python's warning is an error
            words = [sys.executable, "-W", "error::DeprecationWarning:__main__", __file__]
            words.append(str(listener.fileno()))
            # it ends with its standard input, so with this process
            server = subprocess.Popen(
                words, stdin=subprocess.PIPE, env=environment | ONE_THREAD, pass_fds=[listener.fileno()]
            )
        try:
            yield folder
        finally:
            server.communicate()


def _serve(listener: socket.socket) -> None:
    """Fork for each that asks, until standard input ends."""
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if listener not in ready:
            return
        connection, _ = listener.accept()
        if not os.fork():
            _answer(connection)
            os._exit(0)
        connection.close()
        with suppress(ChildProcessError):  # all have ended
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


def _answer(connection: socket.socket) -> None:
    """Run the program that is asked for, pass signals on, and tell its exit code."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(head)))
    # a process of multiprocessing ends without taking apart what it has imported, which takes seconds
    program = multiprocessing.get_context("fork").Process(
        target=_run, args=[connection, streams, request]
    )
    program.start()
    assert program.pid is not None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ProcessLookupError):  # it has ended
        os.setpgid(program.pid, program.pid)
    for handle in streams:
        os.close(handle)
    while connection in wait([program.sentinel, connection]):
        kind = connection.recv(1)
        with suppress(ProcessLookupError):
            os.killpg(program.pid, kind[0] if kind else signal.SIGKILL)
        if not kind:  # the process that asked was killed
            return
    program.join()
    assert program.exitcode is not None
    connection.sendall(program.exitcode.to_bytes(4, signed=True))


def _run(
    connection: socket.socket,
    streams: list[int],
    request: tuple[str, str, list[str], str, dict[str, str]],
) -> None:
    """Take over folder, streams, arguments and environment of the process that asks, and its work."""
    with suppress(PermissionError):
        os.setpgid(0, 0)  # what it starts gets its signals too
    connection.close()
    path, module, words, folder, environment = request
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = os.fdopen(0)  # multiprocessing has closed that of the server
    sys.path[0] = folder if path == "." else str(Path(sys.executable).parent)
    sys.argv = [module, *words]
    if module == "mlflow":  # its server is another program
        sys.executable = "python"
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    # MLflow compares a model's requirements with all that is installed, and keeps what it has read
    sys.modules["mlflow.utils.requirements_utils"].warn_dependency_requirement_mismatches(["mlflow"])
    logging.getLogger().handlers.clear()  # MLflow's imports leave one, and DVC would say all twice
    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
