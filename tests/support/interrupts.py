"""Programs that Ctrl-C ends: what a shell begins in the background would pass it on as ignored."""

from __future__ import annotations

import sys


def interruptible(call: str) -> list[str]:
    """The command of a Python program that imports and calls a function: `pipeline.cli:main`."""
    module, _, function = call.partition(":")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"import sys; from {module} import {function}; sys.exit({function}())"
    )
    return [sys.executable, "-c", code]
