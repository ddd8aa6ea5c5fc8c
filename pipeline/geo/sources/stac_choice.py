"""Which of the Items that a search finds become scenes; what is left out is printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.config.sources import StacConf
from pipeline.geo.sources.stac_names import processing_baseline

CLOUD_COVER = "eo:cloud_cover"
_GRID = ("grid:code", "s2:mgrs_tile")
_DATASTRIP = ("s2:datastrip_id", "eopf:datastrip_id", "sentinel:datastrip_id")
_BEGINS = re.compile(r"_S(\d{8}T\d{6})(?:_|$)")
"""In the identifier of a datastrip, a piece of an orbit, the time at which it begins."""
_NAMED = 5
"""How many of the scenes that are left out are named."""

type Item = Mapping[str, Any]


def chosen(items: Iterable[Item], conf: StacConf) -> list[Item]:
    """The least cloudy Items, as many as the conf asks for, in the order of their time.

    Of an acquisition that was processed twice the later baseline counts. An MGRS tile that lies in two
    datastrips is two acquisitions, each of a part of the tile.
    """
    # an API that does not know the query passes over it
    clear = [item for item in _latest(items) if _cloud(item) <= conf.cloud_cover]
    cloudless = sorted(clear, key=lambda item: (_cloud(item), moment_of(item), item["id"]))
    found, others = cloudless[: conf.max_scenes], cloudless[conf.max_scenes :]
    days = {(_tile(item), moment_of(item).date()) for item in found if _tile(item) is not None}
    _say_left_out(
        "by `max_scenes`, of the same tile and day as another and maybe another part of it",
        [item["id"] for item in others if (_tile(item), moment_of(item).date()) in days],
    )
    return sorted(found, key=lambda item: (moment_of(item), item["id"]))


def moment_of(item: Item) -> datetime:
    """When the scene of an Item was acquired."""
    fields = item["properties"]
    moment = datetime.fromisoformat(fields.get("datetime") or fields["start_datetime"])
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _latest(items: Iterable[Item]) -> list[Item]:
    """The Items without those that a later baseline of the same acquisition and MGRS tile replaces."""
    latest: dict[Any, Item] = {}
    replaced: list[str] = []
    for item in sorted(items, key=lambda item: (processing_baseline(item) or "", item["id"])):
        acquisition = item["id"] if _tile(item) is None else _acquisition(item)
        if acquisition in latest:
            replaced.append(latest[acquisition]["id"])
        latest[acquisition] = item
    _say_left_out("because the catalog has a later processing", replaced)
    return list(latest.values())


def _acquisition(item: Item) -> tuple[Any, ...]:
    """What is the same in all Items of an acquisition of a tile, however often it was processed.

    Where an Item states no datastrip, its bounds are looked at, in hundredths of a degree.
    """
    fields = item["properties"]
    stated = (str(fields.get(key, "")) for key in _DATASTRIP)
    begins = next((match[1] for text in stated if (match := _BEGINS.search(text))), None)
    part = begins or tuple(round(edge, 2) for edge in item.get("bbox") or ())
    return _tile(item), fields.get("platform"), moment_of(item), part


def _tile(item: Item) -> Any:
    """The MGRS tile of an Item; None where it states none."""
    fields = item["properties"]
    return next((fields[key] for key in _GRID if key in fields), None)


def _cloud(item: Item) -> float:
    """The share of cloud of a scene, per cent; 100 where it is not stated."""
    stated = item["properties"].get(CLOUD_COVER)
    return 100.0 if stated is None else float(stated)


def _say_left_out(which: str, ids: Sequence[str]) -> None:
    if ids:
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        named = f"{', '.join(ids[:_NAMED])}{more}"
        print(f"left out {which}: {named}", flush=True)
