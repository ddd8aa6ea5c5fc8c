"""The report among a run's artifacts: one HTML page, into which the maps of the run are filled.

The figures of maps are added to the text of the finished page, and not by the template of the report:
`predict` adds maps long after `evaluate` made the page, and has nothing that the template takes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from markupsafe import Markup

from pipeline.learn.tracking.tracker import Tracker

MAPS = "maps"
"""Folder of a run's artifacts with a folder for each map."""
REPORT = "report.html"
_PREVIEW = "preview.png"
MOST_MAPS = 6
"""Shown in a report."""
_SECTION = re.compile("(<!--maps-->).*?(<!--/maps-->)", re.DOTALL)
"""Where the report has a place for maps, filled or not."""
_PICTURE = Markup(
    '<figure><img alt="Map of {name}" src="data:image/png;base64,{data}">'
    "<figcaption>{name}</figcaption></figure>\n"
)
_MORE = Markup("<p>and {count} more, in the folder maps of the run.</p>")


def log_page(tracker: Tracker, html: str) -> None:
    """Add the report to a run, with the maps that the run has so far."""
    maps = _artifacts(tracker, MAPS)
    previews = _previews(tracker, maps)
    tracker.text(with_maps(html, previews, len(maps)) if previews else html, REPORT)


def refresh_page(tracker: Tracker) -> None:
    """Fill maps that were added since into the report, if the run has one."""
    if REPORT in _artifacts(tracker):
        log_page(tracker, _read(tracker, REPORT).decode("utf-8"))


def with_maps(html: str, previews: Mapping[str, bytes], count: int) -> str:
    """A report with pictures of maps (PNG by name), out of so many, in place of those that it shows."""
    pictures = [
        _PICTURE.format(name=name, data=b64encode(png).decode()) for name, png in previews.items()
    ]
    more = [_MORE.format(count=count - len(previews))] if len(previews) == MOST_MAPS < count else []
    return _SECTION.sub(lambda match: match[1] + "".join([*pictures, *more]) + match[2], html)


def _previews(tracker: Tracker, maps: Sequence[str]) -> dict[str, bytes]:
    """The pictures of the first maps that have one, by name; no more are asked for."""
    paths = (f"{folder}/{_PREVIEW}" for folder in maps)
    there = (path for path in paths if path in _artifacts(tracker, str(Path(path).parent)))
    return {Path(path).parent.name: _read(tracker, path) for path in islice(there, MOST_MAPS)}


def _artifacts(tracker: Tracker, folder: str | None = None) -> list[str]:
    return [item.path for item in tracker.client.list_artifacts(tracker.run_id, folder)]


def _read(tracker: Tracker, path: str) -> bytes:
    with TemporaryDirectory() as folder:
        downloaded = tracker.client.download_artifacts(tracker.run_id, path, folder)
        return Path(downloaded).read_bytes()
