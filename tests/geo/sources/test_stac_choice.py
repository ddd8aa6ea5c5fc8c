"""Which Items of a search become scenes: acquisitions that were processed twice, and parts of tiles."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.config.sources import StacConf
from pipeline.geo.sources.stac_choice import chosen
from tests.support.catalogs import published

CATALOGS = {
    "earth-search-v1": "s2:datastrip_id",
    "planetary-computer-04.00": "s2:datastrip_id",
    "data-space": "eopf:datastrip_id",
}


def conf(scenes: int = 9) -> StacConf:
    return StacConf(
        stac="http://x", collection="c", area=[0.0, 0.0, 1.0, 1.0], datetime="2023", max_scenes=scenes
    )


def changed(item: dict[str, Any], name: str, **fields: Any) -> dict[str, Any]:
    one = json.loads(json.dumps(item)) | {"id": name}
    one["properties"] |= fields
    return one


def ids(items: list[Any]) -> list[str]:
    return [item["id"] for item in items]


@pytest.mark.parametrize("name", CATALOGS)
def test_two_datastrips_of_a_tile_are_two_scenes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    key, item = CATALOGS[name], published(name)
    strip = item["properties"][key]
    begins = strip.index("_S2") + 2
    other = changed(
        item, "z-other-part", **{key: f"{strip[:begins]}19990101T000000{strip[begins + 15 :]}"}
    )
    assert ids(chosen([item, other], conf())) == [item["id"], "z-other-part"]
    assert capsys.readouterr().out == ""
    (one,) = chosen([item, other], conf(scenes=1))
    assert (
        capsys.readouterr()
        .out.strip()
        .endswith(f"maybe another part of it: {({*ids([item, other])} - {one['id']}).pop()}")
    )


def test_two_times_of_a_tile_are_two_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    item = published("earth-search-v1")
    other = changed(item, "z-later", datetime="2023-06-28T07:24:55.632000Z")
    assert ids(chosen([item, other], conf())) == [item["id"], "z-later"]
    assert capsys.readouterr().out == ""


def test_without_a_datastrip_the_ground_tells_parts_apart() -> None:
    item = published("earth-search-v0")
    item["properties"]["grid:code"] = "MGRS-33UUU"
    west, south, east, north = item["bbox"]
    middle = (west + east) / 2
    parts = [
        changed(item, "east") | {"bbox": [middle, south, east, north]},
        changed(item, "west") | {"bbox": [west, south, middle, north]},
    ]
    assert ids(chosen(parts, conf())) == ["east", "west"]
    again = changed(parts[0], "later")
    assert ids(chosen([*parts, again], conf())) == ["later", "west"]


def test_what_was_processed_again_is_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    item = published("earth-search-v1")
    strip = item["properties"]["s2:datastrip_id"]
    later = changed(
        item, "later", **{
            "s2:processing_baseline": "05.10",
            # the time of its processing is another one, that of the piece of orbit the same
            "s2:datastrip_id": strip.replace("_20230628T113955_", "_20240101T000000_"),
        },
    )  # fmt: skip
    assert ids(chosen([later, item], conf())) == ["later"]
    assert capsys.readouterr().out == (
        f"left out because the catalog has a later processing: {item['id']}\n"
    )


def test_many_that_are_left_out_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    item = published("earth-search-v1")
    chosen([changed(item, f"i{number}") for number in range(9)], conf())
    assert capsys.readouterr().out.endswith(": i0, i1, i2, i3, i4 and 3 more\n")
