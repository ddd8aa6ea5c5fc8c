"""A real MLflow server on loopback, to be killed and started again, and one before it that fails."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.support.projects import empty_store


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class MlflowServer:
    """A server with its store in a folder."""

    folder: Path
    programs: Path
    """Of tests/support/forks.py."""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = ("server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1")
        store = ("--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}")
        files = ("--artifacts-destination", str(self.folder / "artifacts"))
        own = {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
        }
        others = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        database = self.folder / "server.db"
        if not database.exists():
            database.write_bytes(empty_store())
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [self.programs / "mlflow", *words, *store, *files], cwd=self.folder,
                stdout=log, stderr=log, env=others | own, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None
            while self._answers():
                time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.uri}/health", timeout=2):
                return True
        except (URLError, OSError):
            return False


@contextmanager
def mlflow_server(folder: Path, programs: Path) -> Iterator[MlflowServer]:
    """A server that runs."""
    folder.mkdir(parents=True, exist_ok=True)
    server = MlflowServer(folder, programs)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass
class Faults:
    """Which requests a server before MLflow's answers by itself."""

    path: str = "$^"
    """Pattern of the paths."""
    status: int = 503
    times: int = 1_000_000
    uri: str = ""


@contextmanager
def faulty(server: MlflowServer) -> Iterator[Faults]:
    """A server that hands requests on, but for those that it is told to fail."""
    faults = Faults()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if re.search(faults.path, self.path) and faults.times:
                faults.times -= 1
                self.answer(faults.status, b"<html>no</html>")
                return
            headers = {
                key: value
                for key, value in self.headers.items()
                if key not in ("Host", "Accept-Encoding")
            }
            request = Request(server.uri + self.path, body or None, headers, method=self.command)
            try:
                with urlopen(request, timeout=60) as answer:
                    self.answer(answer.status, answer.read())
            except HTTPError as error:
                self.answer(error.code, error.read())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    faults.uri = f"http://127.0.0.1:{proxy.server_address[1]}"
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
