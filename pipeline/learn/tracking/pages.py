"""The report of a run as one HTML page among its artifacts, with the maps that the run has."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.learn.report.sections import REPORT, fill, maps_section
from pipeline.learn.tracking.run import Tracker

MAPS = "maps"
"""Folder of a run's artifacts with a folder for each map."""
_PREVIEW = "preview.png"


def log_page(tracker: Tracker, html: str) -> None:
    """Add the report to a run, with the maps that the run has so far."""
    previews = _previews(tracker)
    tracker.text(fill(html, "maps", maps_section(previews)) if previews else html, REPORT)


def refresh_page(tracker: Tracker) -> None:
    """Bring maps that were added since to the report, if the run has one."""
    if REPORT in _listed(tracker):
        log_page(tracker, _read(tracker, REPORT).decode("utf-8"))


def _previews(tracker: Tracker) -> dict[str, bytes]:
    """The pictures of maps by name."""
    found = {}
    for folder in _listed(tracker, MAPS):
        picture = f"{folder}/{_PREVIEW}"
        if picture in _listed(tracker, folder):
            found[folder.rpartition("/")[2]] = _read(tracker, picture)
    return found


def _listed(tracker: Tracker, folder: str | None = None) -> list[str]:
    return [item.path for item in tracker.client.list_artifacts(tracker.run_id, folder)]


def _read(tracker: Tracker, path: str) -> bytes:
    with TemporaryDirectory() as folder:
        downloaded = tracker.client.download_artifacts(tracker.run_id, path, folder)
        return Path(downloaded).read_bytes()
