"""What DVC notices of the files that it watches, and what it does not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def unwatched(path: Path, sources: Sequence[Path]) -> str | None:
    """Why DVC, which watches `sources`, would not notice a change of a file, or of one in a folder.

    It follows linked files in a source, but no linked folders. None where it would notice, or where
    there are no sources.
    """
    if not sources:
        return None
    folder = path if path.is_dir() else path.parent
    lexical = Path(os.path.normpath(folder.absolute()))
    if not any(lexical.is_relative_to(os.path.normpath(source.absolute())) for source in sources):
        folders = " or ".join(str(source) for source in sources)
        return (
            f"lies outside of {folders}, where DVC would not notice that it changes; put or link it "
            f"under {sources[-1]}"
        )
    if not any(lexical.resolve().is_relative_to(source.resolve()) for source in sources):
        return (
            "goes through a linked folder, where DVC would not notice that it changes; make it a real "
            "folder with links to the files"
        )
    return None


def open_edits(path: Path) -> str | None:
    """A warning where another program has a database open and keeps edits beside it; None if none has.

    QGIS writes the edits of a GeoPackage into `<file>-wal` and moves them into the file when it closes
    it. They are read, but the file is unchanged: DVC does not notice them.
    """
    log = path.resolve()  # SQLite follows links
    log = log.with_name(f"{log.name}-wal")
    if not log.is_file() or not log.stat().st_size:
        return None
    return (
        f"{path} is open in another program, which keeps edits in {log.name}, where DVC does not "
        "notice them; save them, close it there (in QGIS: remove the layer or close the project) "
        "and run `dvc repro` again."
    )
