"""Another process that writes to an output."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.outputs import owned


@contextmanager
def held(path: Path, *, inside: bool = False) -> Iterator[int]:
    """The id of a process that owns `path` until the end of the block, when it is killed."""
    readable, writable = os.pipe()
    process = os.fork()
    if not process:
        with owned(path, inside=inside):
            os.write(writable, b"x")
            signal.pause()
        os._exit(1)
    try:
        os.close(writable)
        assert os.read(readable, 1), "it does not hold it"
        yield process
    finally:
        os.close(readable)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
