"""What of a scene training never saw: its level, its satellite, its time of the year."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from pipeline.store import SceneInfo

SEASON_DAYS = 45
"""A scene that lies further than this from every training scene is of another season."""
_YEAR_DAYS = 365


def novelty(scene: SceneInfo, trained: Sequence[SceneInfo]) -> str:
    """What the reader of a map should know of its scene, empty where training saw such scenes.

    What is not known of the scene, or of every training scene, is not compared.
    """
    said = [
        _unseen("level", scene.level, [info.level for info in trained]),
        _unseen("satellite", _lower(scene.platform), [_lower(info.platform) for info in trained]),
        _season(scene, trained),
    ]
    return "; ".join(part for part in said if part)


def days_apart(first: date, second: date) -> int:
    """Days between two days of the year, whatever their years, the shorter way round the year.

    29 February counts as 1 March.
    """
    days = abs(_day(first) - _day(second))
    return min(days, _YEAR_DAYS - days)


def _day(day: date) -> int:
    if (day.month, day.day) == (2, 29):
        day = day.replace(month=3, day=1)
    return day.replace(year=2001).timetuple().tm_yday  # of a year of 365 days


def _unseen(what: str, found: str | None, trained: Iterable[str | None]) -> str:
    known = sorted({value for value in trained if value is not None})
    if found is None or not known or found in known:
        return ""
    return f"{what} {found}, but the model was trained on {', '.join(known)}"


def _season(scene: SceneInfo, trained: Sequence[SceneInfo]) -> str:
    days_known = [info.datetime[:10] for info in trained if "/" not in info.datetime]
    if not days_known:
        return ""
    own = date.fromisoformat(scene.datetime[:10])
    others = sorted({date.fromisoformat(day) for day in days_known})
    nearest = min(others, key=lambda day: days_apart(own, day))
    days = days_apart(own, nearest)
    if days <= SEASON_DAYS:
        return ""
    return f"{own} is {days} days of the year from {nearest}, the nearest that the model was trained on"


def _lower(platform: str | None) -> str | None:
    return None if platform is None else platform.lower()
