"""Every error that lenscape raises on purpose.

    LenscapeError
    |-- ConfigError      a YAML file: a wrong key, type or value
    |-- SceneError       pixels or an Item: missing, broken, without CRS, outside its folder
    |   `-- RadiometryError   scale and offset unknown, or contradicted by the pixels
    |-- LabelError       labels: missing attribute, unknown class, no overlap, nothing left
    |-- StoreError       a PatchStore or split: missing, broken, of another version
    |-- SplitError       a part without patches, a class without training patches
    |-- NetworkError     layers that do not fit each other or the patch
    |-- MismatchError    a model and data that do not belong together
    |-- TrackingError    the MLflow store or the registry
    `-- OutputError      an output that cannot be written: disk full, no permission

The message is one sentence (or two) that says what is wrong, where (file, key, value) and the
remedy. The command line prints it on stderr and exits with code 2; nothing half-written stays.
"""

from __future__ import annotations


class LenscapeError(Exception):
    """An input or environment that lenscape cannot work with; the message holds the remedy."""


class ConfigError(LenscapeError):
    """A configuration file with a wrong key, type or value."""


class SceneError(LenscapeError):
    """A scene that is missing, broken or not on a grid that lenscape can use."""


class RadiometryError(SceneError):
    """A scene whose scale and offset are unknown or contradicted by its pixels."""


class LabelError(LenscapeError):
    """Labels that cannot be read or give no cell a class."""


class StoreError(LenscapeError):
    """A PatchStore or split that is missing, broken or of another version."""


class SplitError(LenscapeError):
    """A split in which a part or a class has no patches."""


class NetworkError(LenscapeError):
    """Layers that do not fit each other or the patch."""


class MismatchError(LenscapeError):
    """A model and data that do not belong together."""


class TrackingError(LenscapeError):
    """An MLflow store, run or registered model that is missing or broken."""


class OutputError(LenscapeError):
    """An output that cannot be written."""
