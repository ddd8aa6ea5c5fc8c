"""Keys of a search: a wrong value is refused, warned of, or changes no pixel."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import LenscapeError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.stages import fetch
from tests.support.catalogs import (
    corner,
    degrees,
    ground,
    published,
    serving_api,
    with_pixels,
    write_cog,
)
from tests.support.servers import serving
from tests.support.worlds import native_grid

BANDS = ["B02", "B05"]
AREA = degrees(corner(published("earth-search-v1")), 60)
FIT = r"`scale: 0\.0001` and `offset: 0` fit the pixels: state them in the conf"

type Fetch = Callable[..., Scene]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, PixelGrid]]:
    """The address of an API with one scene, DN without an offset; the folder of its files; its grid."""
    folder = tmp_path_factory.mktemp("catalog")
    item = published("earth-search-v1")
    with ExitStack() as stack:
        files = stack.enter_context(serving(folder / "files"))
        item = with_pixels(item, folder / "files", files.url(), 0, BANDS)
        api = stack.enter_context(serving_api([item], folder))
        yield api, folder / "files" / item["id"], corner(item)


@pytest.fixture
def search(
    catalog: tuple[str, Path, PixelGrid], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Fetch:
    """Fetches the scene of a search with some keys changed, or missing where they are None."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def run(**keys: Any) -> Scene:
        stated = {
            "stac": catalog[0], "collection": "sentinel-2-l2a", "area": AREA,
            "datetime": "2015-01-01/2026-01-01", "cloud_cover": 90.0, "max_scenes": 1, "bands": BANDS,
            "mask_grow_m": 0,
        }  # fmt: skip
        source = {key: value for key, value in (stated | keys).items() if value is not None}
        (tmp_path / "fetch.yaml").write_text(json.dumps({"train": [source]}))
        fetch.run(
            tmp_path / "fetch.yaml", tmp_path / "train", tmp_path / "map", (), tmp_path / "downloads"
        )
        (scene,) = open_catalog(tmp_path / "train")
        return scene

    return run


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"scale": 0.001, "offset": 0}, FIT),
        ({"scale": -0.0001, "offset": 0}, r"train\[0\]\.scale' is -0\.0001"),
        ({"scale": 0.0001}, "of scale and offset one is missing; state both or none"),
        ({"scale": 0.0001, "offset": -1}, FIT),
        ({"area": [10 * edge for edge in AREA]}, r"is no \[west, south, east, north\] in degrees"),
        ({"area": [edge / 10 for edge in AREA]}, "there is no scene"),
        ({"area": [-edge for edge in AREA]}, r"is no \[west, south, east, north\] in degrees"),
        ({"area": [-AREA[2], AREA[1], -AREA[0], AREA[3]]}, "there is no scene"),
        ({"area": [AREA[1], AREA[0], AREA[3], AREA[2]]}, "there is no scene"),
        ({"area": None}, r"train\[0\]\.area' is missing; add it"),
        ({"cloud_cover": 900}, r"train\[0\]\.cloud_cover' is 900"),
        ({"cloud_cover": -90}, r"train\[0\]\.cloud_cover' is -90"),
        ({"max_scenes": 0}, r"train\[0\]\.max_scenes' is 0"),
        ({"max_scenes": 0.1}, r"train\[0\]\.max_scenes' is 0\.1"),
        ({"max_scenes": -1}, r"train\[0\]\.max_scenes' is -1"),
        ({"datetime": "1015-01-01/1026-01-01"}, "there is no scene"),
        (
            {"datetime": "20150-01-01"},
            r"'20150-01-01' is no time or range of times that exist",
        ),
        ({"datetime": "2026-01-01/2015-01-01"}, "is no time or range of times that exist"),
        ({"datetime": "2017-02-30"}, "is no time or range of times that exist"),
        ({"datetime": "../.."}, "is no time or range of times that exist"),
        ({"datetime": None}, r"train\[0\]\.datetime' is missing; add it"),
        ({"collection": "sentinel-2-l9z"}, "sentinel-2-l9z"),
        ({"collection": None}, r"train\[0\]\.collection' is missing; add it"),
        ({"bands": ["B020"]}, "'B020' is no Sentinel-2 band; choose from"),
        ({"keep": "locally"}, r"train\[0\]\.keep' is 'locally'"),
    ],
    ids=str,
)
def test_values_that_are_refused(
    search: Fetch, tmp_path: Path, keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(LenscapeError, match=says) as caught:
        search(**keys)
    assert str(caught.value).endswith(".")
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"scale": 0.00001, "offset": 0}, FIT),
        ({"scale": 0.0001, "offset": 0.1}, FIT),
    ],
    ids=str,
)
def test_values_that_are_warned_of(
    search: Fetch, keys: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    search(**keys)
    assert re.search(f"warning: S2.*{says}", capsys.readouterr().err)


@pytest.mark.parametrize(
    "keys",
    [
        {"scale": 0.0001, "offset": 0},
        {"cloud_cover": 9.0},
        {"cloud_cover": None},
        {"max_scenes": 10},
        {"max_scenes": None},
        {"keep": "remote"},
    ],
    ids=str,
)
def test_values_that_change_no_pixel(
    search: Fetch, keys: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    right = search()
    expected = right.read(right.grid.window, BANDS)
    scene = search(**keys)
    np.testing.assert_array_equal(scene.read(scene.grid.window, BANDS), expected)
    said = capsys.readouterr()
    assert said.err == ""
    assert f"train: {right.id}  " in said.out


def test_zeros_in_a_single_band_on_the_web_are_told(
    search: Fetch, catalog: tuple[str, Path, PixelGrid], capsys: pytest.CaptureFixture[str]
) -> None:
    """A lake whose near infrared is 0: nodata where only ranges are read, dark after a download."""
    _, folder, whole = catalog
    path = folder / "B05.tif"
    before = path.read_bytes()
    pixels = ground(whole, "B05", 0)
    pixels[20:60, 40:80] = 0
    try:
        write_cog(path, pixels, native_grid(whole, "B05"))
        scene = search(keep="remote")
        said = capsys.readouterr().err
        assert re.search(
            r"warning: S2.*B05\.tif: \d+\.\d% of its pixels are 0, of another band 0", said
        )
        assert "`keep: download` tells dark ones from those without data." in said
        near, lake = (scene.read(scene.grid.window, [band])[0] for band in BANDS)
        assert ((near > 0) & (lake == 0)).any()
        scene = search(keep="download")
        printed = capsys.readouterr()
        assert printed.err == ""
        assert re.search(r"pixels with DN 0 in some bands: [\d,]+ dark, 0 nodata", printed.out)
        near, lake = (scene.read(scene.grid.window, [band])[0] for band in BANDS)
        assert not ((near > 0) & (lake == 0)).any()
    finally:
        path.write_bytes(before)
