"""How many examples a property test draws: all in `make test`, a quarter in `make check`."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> settings:
    """The settings of a property test: so many examples, or the share that the profile asks for.

    The default profile asks for 100, which is all of them, and `check` of `tests/conftest.py` for a
    quarter. Each run draws the same ones.
    """
    asked = max(5, count * settings().max_examples // 100)
    return settings(max_examples=min(asked, count), deadline=None, derandomize=True)
