"""STAC APIs and remote files that are not what they should be."""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.malformed.case import Case
from tests.support.catalogs import corner, degrees, published, with_pixels
from tests.support.servers import FileServer, serving

_SERVERS = ExitStack()
"""Servers stay up as long as this process."""
atexit.register(_SERVERS.close)  # left to the end of the interpreter, they would wait for threads
_CONFORMS = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
_BANDS = ["B02", "B05", "B09"]

type Item = dict[str, Any]
type Answer = tuple[int, str, bytes]


def _made(
    folder: Path,
    change: Callable[[Item], Any] = lambda _: None,
    spoil: Callable[[FileServer, Path], Any] = lambda *_: None,
    added: int = 0,
) -> dict[str, Any]:
    """An API with one Item and its pixels, of which one thing is wrong; the conf that names it."""
    server = _SERVERS.enter_context(serving(folder / "files"))
    item = with_pixels(published("earth-search-v1"), folder / "files", server.url(), added, _BANDS)
    area, collection = degrees(corner(item), 60), item["collection"]
    change(item)
    found = {"type": "FeatureCollection", "features": [item], "links": []}
    landing = {
        "type": "Catalog",
        "id": "api",
        "description": "an API",
        "stac_version": "1.0.0",
        "conformsTo": _CONFORMS,
        "links": [{"rel": "search", "href": server.url("search"), "type": "application/geo+json"}],
    }
    server.answers |= {"/api": _json(landing), "/search": _json(found)}
    spoil(server, folder / "files" / item["id"])
    source = {
        "stac": server.url("api"),
        "collection": collection,
        "area": area,
        "datetime": "2023-06",
        "bands": _BANDS,
    }
    return {"fetch.yaml": {"train": [source]}}


def _json(value: Any) -> Answer:
    return 200, "application/json", json.dumps(value).encode()


def _answer(path: str, answer: Answer) -> Callable[[FileServer, Path], None]:
    def spoil(server: FileServer, _: Path) -> None:
        server.answers[path] = answer

    return spoil


def _without_asset(folder: Path) -> dict[str, Any]:
    return _made(folder, lambda item: item["assets"].pop("rededge1"))


def _without_assets(folder: Path) -> dict[str, Any]:
    return _made(folder, lambda item: item.pop("assets"))


def _without_id(folder: Path) -> dict[str, Any]:
    return _made(folder, lambda item: item.pop("id"))


def _wrong_offset(folder: Path) -> dict[str, Any]:
    return _made(folder, lambda item: item["properties"].update({_APPLIED: False}), added=-280)


def _contradiction(folder: Path) -> dict[str, Any]:
    stated = {_APPLIED: False, "s2:processing_baseline": "02.14"}
    return _made(folder, lambda item: item["properties"].update(stated))


def _no_offset(folder: Path) -> dict[str, Any]:
    def change(item: Item) -> None:
        del item["properties"]["s2:processing_baseline"], item["properties"][_APPLIED]
        for asset in item["assets"].values():
            asset.pop("raster:bands", None)

    return _made(folder, change)


def _path_as_id(folder: Path) -> dict[str, Any]:
    return _made(folder, lambda item: item.update(id="../../../over"))


def _invalid_json(folder: Path) -> dict[str, Any]:
    body = b'{"type": "FeatureCollection", "features": ['
    return _made(folder, spoil=_answer("/search", (200, "application/json", body)))


def _html(folder: Path) -> dict[str, Any]:
    page = b"<!DOCTYPE html><html><body>Please log in</body></html>"
    return _made(folder, spoil=_answer("/api", (200, "text/html", page)))


def _html_search(folder: Path) -> dict[str, Any]:
    page = b"<!DOCTYPE html><html><body>Maintenance</body></html>"
    return _made(folder, spoil=_answer("/search", (200, "text/html", page)))


def _static(folder: Path) -> dict[str, Any]:
    catalog = {"type": "Catalog", "id": "c", "description": "d", "stac_version": "1.0.0", "links": []}
    return _made(folder, spoil=_answer("/api", _json(catalog)))


def _elsewhere(folder: Path) -> dict[str, Any]:
    return _made(folder, spoil=_answer("/api", (404, "text/plain", b"not here")))


def _nothing_found(folder: Path) -> dict[str, Any]:
    empty = {"type": "FeatureCollection", "features": [], "links": []}
    return _made(folder, spoil=_answer("/search", _json(empty)))


def _file_gone(folder: Path) -> dict[str, Any]:
    return _made(folder, spoil=lambda _, files: (files / "B05.tif").unlink())


def _cut_file(folder: Path) -> dict[str, Any]:
    def cut(_: FileServer, files: Path) -> None:
        path = files / "B05.tif"
        path.write_bytes(path.read_bytes()[:-200])

    return _made(folder, spoil=cut)


def _page_for_file(folder: Path) -> dict[str, Any]:
    def spoil(server: FileServer, files: Path) -> None:
        server.answers[f"/{files.name}/B05.tif"] = (200, "text/html", b"<html>Log in</html>")

    return _made(folder, spoil=spoil)


def _area_of_nothing(folder: Path) -> dict[str, Any]:
    conf = _made(folder)
    conf["fetch.yaml"]["train"][0]["area"] = [48.0, 10.0, 47.0, 11.0]
    return conf


_APPLIED = "earthsearch:boa_offset_applied"
_ITEM = r"the Item S2A_39QTA_20230628_0_L2A"
CASES = [
    Case("Item without the asset", _without_asset, rf"{_ITEM} has no asset of band B05, its .*; name"),
    Case(
        "Item without assets", _without_assets, rf"{_ITEM} of http.* is not what a STAC API .*; check"
    ),
    Case(
        "Item with a wrong offset",
        _wrong_offset,
        r"B09.*: with scale .* below -0\.03; .*`offset: 0` fit",
    ),
    Case(
        "Item against its baseline", _contradiction, rf"{_ITEM} states an offset of -0.1, which .*; add"
    ),
    Case("Item without an offset", _no_offset, rf"{_ITEM} states neither an offset nor .*; add scale"),
    Case("Item with a path as its id", _path_as_id, r"a scene '\.\./\.\./\.\./over', .*; use another"),
    Case(
        "API with invalid JSON", _invalid_json, r"answer of http.*/api is not what a STAC API .*; check"
    ),
    Case(
        "API that answers HTML", _html, r"answer of http.*/api is not what a STAC API sends .*; check"
    ),
    Case(
        "search that answers HTML", _html_search, r"answer of http.*/api is not what a STAC .*; check"
    ),
    Case("catalog without a search", _static, r"answer of http.*/api is not what a STAC API .*; check"),
    Case("API that is elsewhere", _elsewhere, r"http.*/api cannot be searched .*; check the address"),
    Case("search that finds nothing", _nothing_found, r"there is no scene with at most .*; widen the"),
    Case("band that is not there", _file_gone, r"B05\.tif cannot be fetched: .* 404 .*; check the add"),
    Case("band that was cut", _cut_file, r"http.*B05\.tif was cut off: .*; use an"),
    Case(
        "page in place of a band", _page_for_file, r"http.*B05\.tif cannot be read .*: fetch or export"
    ),
    Case(
        "area that is none",
        _area_of_nothing,
        r"fetch\.yaml: key 'train\[0\].area': area .*; correct it",
    ),
]
"""Each is a cause of its own."""
