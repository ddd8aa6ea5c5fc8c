"""Every error that lenscape raises on purpose.

The message is one sentence (or two) that says what is wrong, where (file, key, value) and the
remedy. The command line prints it on stderr and exits with code 2; nothing half-written stays.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"\s*[\x00-\x1f\x7f-\x9f\u2028\u2029][\s\x00-\x1f\x7f-\x9f]*")
_LOGIN = re.compile(r"(\w://)[^\s/?#\"'<>]*@")
"""User and password, or a token, before the host of an address."""
_SECRET = re.compile(
    r"([?&;][^=&\s]*(?:sig|token|key|secret|passw|pwd|credential|auth)[^=&\s]*=)[^&\s\"'<>)]+",
    re.IGNORECASE,
)
"""A value in the query of an address whose name says that it lets somebody in."""


def masked(text: str) -> str:
    """A text in which passwords, tokens and signatures of addresses are `***`."""
    return _SECRET.sub(r"\1***", _LOGIN.sub(r"\1***@", text))


class LenscapeError(Exception):
    """An input or environment that lenscape cannot work with; the message holds the remedy."""

    def __init__(self, message: str = "") -> None:
        """Keep a message on one line and without secrets: names and values in it come from files."""
        super().__init__(masked(_CONTROL.sub(" ", message)))


class ConfigError(LenscapeError):
    """A YAML file with a wrong key, type or value."""


class SceneError(LenscapeError):
    """Pixels or an Item that are missing, broken, outside of their folder, or on no grid to be used."""


class RadiometryError(SceneError):
    """A scene whose scale and offset are unknown or contradicted by its pixels."""


class LabelError(LenscapeError):
    """Labels without the attribute, of an unknown class, of other ground, or that leave no cell."""


class StoreError(LenscapeError):
    """A PatchStore or split that is missing, broken or of another version."""


class SplitError(LenscapeError):
    """A part without patches, or a class without training patches."""


class NetworkError(LenscapeError):
    """Layers that do not fit each other or the patch."""


class MismatchError(LenscapeError):
    """A model and data that do not belong together."""


class TrackingError(LenscapeError):
    """An MLflow store, run or registered model that is missing or broken."""


class OutputError(LenscapeError):
    """An output that cannot be written: the disk is full, permission is denied."""


class WorkerError(LenscapeError):
    """A scheduler or workers that are gone, short of memory, or of another lenscape."""
