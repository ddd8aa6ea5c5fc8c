"""`run.json`: what it takes to find the run of a model, and to open it again in another store."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.record import Conf
from pipeline.errors import StoreError
from pipeline.files import write_json

RUN = "run.json"
"""The file of a model's folder that names its run."""


class Part(Conf):
    """A part of the split, as a dataset of the run."""

    context: str
    """training, validation or test."""
    digest: str
    """Changes with store, split or part."""
    patches: int


class RunRecord(Conf):
    """`run.json`: what it takes to open the run of a model again."""

    run_id: str = ""
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    parts: tuple[Part, ...] = ()


def read_record(models: Path) -> RunRecord:
    """The record of the run of the model in a folder.

    Raises:
        StoreError: when it is missing or broken.
    """
    path = models / RUN
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist; run `train` first.") from None
    except ValueError as error:
        raise StoreError(f"{path} is broken ({type(error).__name__}); run `train` again.") from error


def write_record(models: Path, record: RunRecord) -> None:
    """Write the record of the run of the model in a folder."""
    write_json(models / RUN, record.model_dump(mode="json"))
