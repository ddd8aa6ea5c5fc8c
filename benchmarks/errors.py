"""What ends a benchmark."""

from __future__ import annotations

from pipeline.errors import LenscapeError


class BenchmarkError(LenscapeError):
    """A benchmark that cannot be run, or that does not hold."""


class DisagreementError(BenchmarkError):
    """Both sides computed the same patches and say different classes."""
