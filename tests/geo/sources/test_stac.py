"""Scenes of STAC APIs: a real API server, the Items of real catalogs, pixels of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pydantic import ValidationError
from pyproj import Transformer

from pipeline import cli
from pipeline.config.area import AreaFileConf
from pipeline.config.sources import StacConf
from pipeline.errors import ConfigError, RadiometryError, SceneError
from pipeline.geo.raster import remote
from pipeline.geo.raster.area import area_around, outline
from pipeline.geo.raster.area_of_interest import AreaOfInterest
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.sources.find import named_files
from pipeline.geo.sources.stac import search
from pipeline.stages import fetch, tile
from pipeline.store import PatchStore
from tests.malformed.case import Case
from tests.malformed.stac import CASES
from tests.support.catalogs import (
    SIDE,
    corner,
    degrees,
    ground,
    published,
    scl,
    serving_api,
    with_pixels,
)
from tests.support.labelled import make_labels, px_box
from tests.support.servers import FileServer, serving
from tests.support.worlds import native_grid

BANDS = ["B02", "B05", "B09"]
CATALOGS = {
    # what the product adds to its DN, and the offset that takes it away
    "earth-search-v1": (0, 0.0),
    "planetary-computer-02.12": (0, 0.0),
    "planetary-computer-04.00": (1000, -0.1),
    "data-space": (1000, -0.1),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Place:
    """A catalog on loopback and a folder to work in."""

    def __init__(self, folder: Path, api: str, files: FileServer, item: dict[str, Any]) -> None:
        self.folder, self.api, self.files, self.item = folder, api, files, item

    def source(self, **keys: Any) -> dict[str, Any]:
        """An entry of the conf that finds the Item."""
        stated = {
            "stac": self.api,
            "collection": self.item["collection"],
            "area": degrees(corner(self.item), 60),
            "datetime": "2015-01-01/2026-01-01",
            "cloud_cover": 90.0,
            "bands": BANDS,
            "mask_grow_m": 0,
        }
        return {key: value for key, value in (stated | keys).items() if value is not None}

    def fetch(self, **keys: Any) -> Scene:
        """The scene of the train catalog."""
        conf = self.folder / "fetch.yaml"
        conf.write_text(json.dumps({"train": [self.source(**keys)]}))
        fetch.run(conf, self.folder / "train", self.folder / "map", (), self.folder / "downloads")
        (scene,) = open_catalog(self.folder / "train")
        return scene


@contextmanager
def place(folder: Path, item: dict[str, Any], added: int) -> Iterator[Place]:
    with serving(folder / "files") as files:
        item = with_pixels(item, folder / "files", files.url(), added, BANDS)
        with serving_api([item], folder) as api:
            yield Place(folder, api, files, item)


def expected(scene: Scene, item: dict[str, Any], band: str) -> np.ndarray:
    """The harmonised DN of a scene that lies in the middle of its tile; a cloud has none."""
    whole = corner(item)
    native = native_grid(whole, band)
    factor = whole.height // native.height
    pixels = ground(whole, band, 0).repeat(factor, 0).repeat(factor, 1)
    pixels[(scl(native_grid(whole, "B05")) == 9).repeat(2, 0).repeat(2, 1)] = 0
    row, col = round((whole.y0 - scene.grid.y0) / 10), round((scene.grid.x0 - whole.x0) / 10)
    found = pixels[row : row + scene.grid.height, col : col + scene.grid.width].copy()
    found[~_in_degrees(scene.grid, degrees(whole, 60))] = 0
    return found


def _in_degrees(grid: PixelGrid, area: list[float]) -> np.ndarray:
    """Whether the centre of each pixel lies in a box in degrees."""
    x = grid.x0 + 10 * (np.arange(grid.width) + 0.5)
    y = grid.y0 - 10 * (np.arange(grid.height) + 0.5)
    east, north = Transformer.from_crs(grid.epsg, "OGC:CRS84", always_xy=True).transform(
        *np.meshgrid(x, y)
    )
    return (area[0] < east) & (east < area[2]) & (area[1] < north) & (north < area[3])


@pytest.mark.parametrize("keep", ["download", "remote"])
@pytest.mark.parametrize("name", CATALOGS)
def test_from_a_catalog_to_patches(
    tmp_path: Path, name: str, keep: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Must show: fetch and tile, end to end."""
    added, offset = CATALOGS[name]
    with place(tmp_path, published(name), added) as there:
        scene = there.fetch(keep=keep)
        assert scene.id == there.item["id"]
        assert scene.info.level == "L2A"
        assert [file.offset for file in scene.files.values()] == [offset] * 3
        assert 120 <= scene.grid.height < SIDE
        assert 120 <= scene.grid.width < SIDE
        for band, found in zip(BANDS, scene.read(scene.grid.window, BANDS), strict=True):
            assert np.array_equal(found, expected(scene, there.item, band))
        printed = capsys.readouterr()
        assert printed.err == ""
        assert ("downloaded" in printed.out) == (keep == "download")
        store = _tiled(there, scene)
        assert store.meta.scenes[0].id == scene.id
        whole = np.stack([expected(scene, there.item, band) for band in BANDS])
        rows = np.rint((scene.grid.y0 - store.patches["y"]) / 10).astype(int) - 12
        cols = np.rint((store.patches["x"] - scene.grid.x0) / 10).astype(int) - 12
        inside = (
            (rows >= 0) & (rows + 24 <= whole.shape[1]) & (cols >= 0) & (cols + 24 <= whole.shape[2])
        )
        assert inside.sum() > 50
        for number in np.flatnonzero(inside):
            row, col = rows[number], cols[number]
            patch = np.asarray(store.pixels[number])
            assert np.array_equal(patch, whole[:, row : row + 24, col : col + 24])
    if keep == "download":
        assert open_catalog(tmp_path / "map")[0].read(scene.grid.window, BANDS).any(), "no server left"


def _tiled(there: Place, scene: Scene) -> PatchStore:
    """The patches of a scene that is a wood in its west and a lake in its east."""
    half = scene.grid.width // 2
    wood = px_box(scene.grid, 0, 0, scene.grid.height, half)
    lake = px_box(scene.grid, 0, half, scene.grid.height, half)
    path = there.folder / "labels.gpkg"
    make_labels(path, [("wood", wood), ("lake", lake)], crs=scene.grid.epsg)
    (there.folder / "tile.yaml").write_text(
        json.dumps({"labels": [{"path": str(path), "attribute": "kind"}], "patch_px": 24})
    )
    classes = [{"name": name, "color": "#1b9e77"} for name in ("wood", "lake")]
    classes[1]["color"] = "#7570b3"
    (there.folder / "classes.yaml").write_text(json.dumps({"classes": classes, "credit": "made up"}))
    confs = (there.folder / "tile.yaml", there.folder / "classes.yaml")
    tile.run(*confs, there.folder / "train", there.folder / "patches", None, [there.folder])
    return PatchStore.open(there.folder / "patches")


def test_the_same_search_gives_the_same_bytes(tmp_path: Path) -> None:
    with place(tmp_path, published("earth-search-v1"), 0) as there:
        there.fetch()
        first = _bytes_below(tmp_path / "train")
        there.fetch()
        assert _bytes_below(tmp_path / "train") == first
        (tmp_path / "downloads").rename(tmp_path / "elsewhere")
        there.fetch()
        assert _bytes_below(tmp_path / "train") == first
        assert str(tmp_path).encode() not in b"".join(first.values())


def _bytes_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_files_of_a_catalog_lie_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be mapped is whole without the other catalog, for DVC keeps each as an output."""
    with place(tmp_path, published("earth-search-v1"), 0) as there:
        scene = there.fetch()
        for folder in ("train", "map"):
            names = {path.name for path in (tmp_path / folder / scene.id).iterdir()}
            assert names == {"B02.tif", "B05.tif", "B09.tif", "mask.tif", f"{scene.id}.json"}
            (found,) = open_catalog(tmp_path / folder)
            assert {Path(file.layer.href).parent for file in found.files.values()} == {
                tmp_path / folder / scene.id
            }
        inode = (tmp_path / "map" / scene.id / "B02.tif").stat().st_ino
        assert inode == (tmp_path / "train" / scene.id / "B02.tif").stat().st_ino, "once on the disk"
        first = _bytes_below(tmp_path / "map")

        def no_links(*_: object) -> None:
            raise OSError("no links here")

        monkeypatch.setattr("os.link", no_links)
        there.fetch()
        assert _bytes_below(tmp_path / "map") == first


def test_the_area_as_a_file(tmp_path: Path) -> None:
    item = published("earth-search-v1")
    grid = corner(item)
    path = tmp_path / "area.geojson"
    inner = shapely.box(*degrees(grid, 60))
    gpd.GeoDataFrame(geometry=[inner], crs="OGC:CRS84").to_file(path)
    with place(tmp_path, item, 0) as there:
        by_numbers = there.fetch().grid
        assert there.fetch(area=str(path)).grid == by_numbers
        assert named_files(StacConf(**there.source(area=str(path)))) == [str(path)]
        assert named_files(StacConf(**there.source())) == []
        metres = gpd.read_file(path).to_crs(32639)
        metres.to_file(tmp_path / "area.gpkg")
        assert AreaOfInterest.read(
            AreaFileConf(path=str(tmp_path / "area.gpkg"))
        ).in_degrees.equals_exact(inner, 1e-6)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"cannot be read \(.*No such file"),
        ("{", r"cannot be read \("),
        ('{"type": "FeatureCollection", "features": []}', "holds no polygon; draw one"),
        ('{"type": "Point", "coordinates": [8, 50]}', "holds no polygon; draw one"),
    ],
)
def test_an_area_that_is_none(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "area.geojson"
    if content is not None:
        path.write_text(content)
    conf = StacConf(stac="http://x", collection="c", area=str(path), datetime="2020")
    with pytest.raises(SceneError, match=f"the area .*area.geojson {problem}"):
        AreaOfInterest.read(conf.area)


def test_an_item_that_states_its_offset_wrongly(tmp_path: Path) -> None:
    """Element84/earth-search#66 and #71: not applied, says the Item, but the pixels are without it."""
    item = published("earth-search-v1")
    item["properties"]["earthsearch:boa_offset_applied"] = False
    with place(tmp_path, item, -280) as there:
        with pytest.raises(
            RadiometryError, match=r"with scale 0\.0001 and offset -0\.1, .* of its valid pixels"
        ):
            there.fetch()
        assert not (tmp_path / "train").exists()
        assert there.fetch(scale=0.0001, offset=0.0).files["B02"].offset == 0.0


def test_an_item_whose_offset_is_unknown(tmp_path: Path) -> None:
    with place(tmp_path, published("earth-search-v0"), 0) as there:
        with pytest.raises(RadiometryError, match="states neither an offset nor a processing baseline"):
            there.fetch()
        scene = there.fetch(scale=0.0001, offset=0.0)
        assert scene.info.baseline is None
        assert np.array_equal(
            scene.read(scene.grid.window, ["B02"])[0], expected(scene, there.item, "B02")
        )


def _variants(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The Item at five times, with a cloud cover each."""
    found = []
    for day, cloud in ((5, 30.0), (1, 10.0), (3, 20.0), (2, 10.0), (4, None)):
        one = json.loads(json.dumps(item))
        one["id"] = f"S2A_39QTA_2023060{day}_0_L2A"
        one["properties"] |= {"datetime": f"2023-06-0{day}T07:24:41Z", "eo:cloud_cover": cloud}
        found.append(one)
    return found


def test_the_least_cloudy_in_the_order_of_their_time(tmp_path: Path) -> None:
    item = published("earth-search-v1")
    item["assets"] = {key: item["assets"][key] for key in ("blue",)}
    with serving(tmp_path / "files") as files:
        item = with_pixels(item, tmp_path / "files", files.url(), 0, ["B02"])
        with serving_api(_variants(item), tmp_path) as api:
            there = Place(tmp_path, api, files, item)

            def days(**keys: Any) -> list[str]:
                conf = tmp_path / "fetch.yaml"
                source = there.source(bands=["B02"], **keys)
                conf.write_text(json.dumps({"train": [source]}))
                fetch.run(conf, tmp_path / "t", tmp_path / "m", (), tmp_path / "d")
                return [scene.id[17:18] for scene in open_catalog(tmp_path / "t")]

            assert days(max_scenes=1) == ["1"]
            assert days(max_scenes=3) == ["1", "2", "3"]
            assert days(max_scenes=9) == ["1", "2", "3", "5"], "of one the cloud cover is unknown"
            assert days(max_scenes=9, cloud_cover=None) == ["1", "2", "3", "4", "5"]
            assert days(max_scenes=9, cloud_cover=10.0) == ["1", "2"]
            assert days(max_scenes=9, datetime="2023-06-02/2023-06-03") == ["2", "3"]
            with pytest.raises(
                SceneError, match=r"there is no scene with at most 9 % cloud; widen the se"
            ):
                days(cloud_cover=9.0)
            with pytest.raises(SceneError, match="there is no scene"):
                days(area=[10.0, 50.0, 11.0, 51.0])


def _at(
    item: dict[str, Any], name: str, geometry: shapely.Geometry, bbox: list[float]
) -> dict[str, Any]:
    """The Item under another name on other ground."""
    other = json.loads(json.dumps(item)) | {"id": name, "bbox": bbox}
    other["geometry"] = shapely.geometry.mapping(geometry)
    other["properties"]["grid:code"] = name
    return other


def test_an_area_across_the_antimeridian_finds_the_scenes_of_both_sides(tmp_path: Path) -> None:
    item = published("earth-search-v1")
    across = shapely.MultiPolygon(
        [shapely.box(179.9, -18, 180, -17), shapely.box(-180, -18, -179.2, -17)]
    )
    items = [
        _at(item, "west", shapely.box(179.0, -18, 179.7, -17), [179.0, -18, 179.7, -17]),
        _at(item, "across", across, [179.9, -18, -179.2, -17]),
        _at(item, "east", shapely.box(-179.5, -18, -178.5, -17), [-179.5, -18, -178.5, -17]),
        _at(item, "africa", shapely.box(10, -18, 11, -17), [10, -18, 11, -17]),
    ]
    corners = [179.6, -17.6, -179.4, -17.4]
    drawn = shapely.Polygon([(179.6, -17.6), (180.6, -17.6), (180.6, -17.4), (179.6, -17.4)])
    naive = shapely.Polygon([(179.6, -17.6), (-179.4, -17.6), (-179.4, -17.4), (179.6, -17.4)])
    places = {"past_180": drawn, "naive": naive, "cut": outline((179.6, -17.6, -179.4, -17.4))}
    areas: list[Any] = [corners]
    for name, place in places.items():
        gpd.GeoDataFrame(geometry=[place], crs="OGC:CRS84").to_file(tmp_path / f"{name}.geojson")
        areas.append(str(tmp_path / f"{name}.geojson"))
    # drawn in metres of zone 1, where the meridian is nothing special
    gpd.GeoSeries([drawn], crs="OGC:CRS84").to_crs(32701).to_file(tmp_path / "utm.gpkg")
    areas.append(str(tmp_path / "utm.gpkg"))
    with serving_api(items, tmp_path) as api:
        for area in areas:
            stated = {"stac": api, "collection": item["collection"], "datetime": "2023"}
            conf = StacConf(**stated, area=area, max_scenes=9)
            shape = AreaOfInterest.read(conf.area).in_degrees
            assert area_around(shape) == pytest.approx(corners, abs=0.01), area
            assert {one["id"] for one in search(conf, shape)} == {"west", "across", "east"}, area


@pytest.mark.parametrize(
    "area",
    [
        [13.0, 52.0, 12.0, 53.0],  # west and east taken for each other
        [-12.0, 52.0, -13.0, 53.0],
        [179.0, -17.0, 181.0, -16.0],
        [180.0, -17.0, -180.0, -16.0],
        [179.0, -16.0, -179.0, -17.0],
        [12.0, 52.0, 12.0, 53.0],
    ],
)
def test_corners_that_are_no_area(area: list[float]) -> None:
    with pytest.raises(ValidationError, match="west is above east only across 180 degrees; correct it"):
        StacConf(stac="http://x", collection="c", area=area, datetime="2020")


def test_of_an_acquisition_processed_twice_the_later_baseline(tmp_path: Path) -> None:
    first, again = published("earth-search-v1"), published("earth-search-v1")
    again["id"] = "S2A_39QTA_20230628_1_L2A"
    first["properties"]["s2:processing_baseline"] = "05.10"
    other = json.loads(json.dumps(first)) | {"id": "other"}
    other["properties"]["grid:code"] = "MGRS-39QUA"
    with serving_api([again, first, other], tmp_path) as api:
        area = degrees(corner(first))
        stated = {"stac": api, "collection": first["collection"], "area": area, "datetime": "2023"}
        conf = StacConf(**stated, max_scenes=9)
        assert [item["id"] for item in search(conf, AreaOfInterest.read(conf.area).in_degrees)] == [
            first["id"],
            "other",
        ]


def test_too_many_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.geo.sources.stac.MOST_FOUND", 3)
    item = published("earth-search-v1")
    with serving_api(_variants(item), tmp_path) as api:
        area = degrees(corner(item))
        stated = {"stac": api, "collection": item["collection"], "area": area, "datetime": "2023"}
        conf = StacConf(**stated, cloud_cover=5.0)
        with pytest.raises(SceneError, match="there are over 3 scenes; narrow the time or the area"):
            search(conf, AreaOfInterest.read(conf.area).in_degrees)


def test_a_server_of_files_that_sends_no_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole files are fetched, with a warning, even where they were to be read remotely."""
    with place(tmp_path, published("earth-search-v1"), 0) as there:
        there.files.ranges = False
        scene = there.fetch(keep="remote")
        assert capsys.readouterr().err.count("sends no parts of files: it was fetched whole") == 4
        assert np.array_equal(
            scene.read(scene.grid.window, ["B02"])[0], expected(scene, there.item, "B02")
        )


def test_an_api_that_fails_for_a_while(tmp_path: Path) -> None:
    item = published("earth-search-v1")
    with serving(tmp_path) as files:
        landing = {
            "type": "Catalog",
            "id": "c",
            "description": "d",
            "stac_version": "1.0.0",
            "conformsTo": [
                "https://api.stacspec.org/v1.0.0/core",
                "https://api.stacspec.org/v1.0.0/item-search",
            ],
            "links": [{"rel": "search", "href": files.url("search"), "type": "application/geo+json"}],
        }
        found = {"type": "FeatureCollection", "features": [item], "links": []}
        for path, content in (("/api", landing), ("/search", found)):
            files.answers[path] = (200, "application/json", json.dumps(content).encode())
        left = [503, 500, 429]
        files.fault = lambda _: left.pop() if left else None
        area = degrees(corner(item))
        conf = StacConf(stac=files.url("api"), collection="c", area=area, datetime="2023")
        assert [one["id"] for one in search(conf, AreaOfInterest.read(conf.area).in_degrees)] == [
            item["id"]
        ]
        files.fault = lambda _: 503
        with pytest.raises(
            SceneError, match=r"http.*/api cannot be searched \(.*check the address, the"
        ):
            search(conf, AreaOfInterest.read(conf.area).in_degrees)


def test_a_band_that_is_none(tmp_path: Path) -> None:
    unknown = pytest.raises(ConfigError, match="'B2' is no Sentinel-2 band; choose from B01, ")
    with place(tmp_path, published("earth-search-v1"), 0) as there, unknown:
        there.fetch(bands=["B2"])


def test_an_address_of_an_object_store(tmp_path: Path) -> None:
    """The Data Space's hrefs are read where its Items say that the store is."""
    item = published("data-space")
    item["properties"]["storage:schemes"]["cdse-s3"]["platform"] = "http://127.0.0.1:9"
    with serving_api([item], tmp_path) as api:
        there = Place(tmp_path, api, FileServer(tmp_path), item)
        with pytest.raises(
            SceneError, match=r"^http://127\.0\.0\.1:9/eodata/Sentinel-2/MSI/L2A/.*_B02_10m"
        ):
            there.fetch()


def test_an_id_that_is_a_path(tmp_path: Path) -> None:
    item = published("earth-search-v1") | {"id": "../../over"}
    with serving_api([item], tmp_path) as api:
        there = Place(tmp_path / "in" / "here", api, FileServer(tmp_path), item)
        there.folder.mkdir(parents=True)
        with pytest.raises(SceneError, match=r"a scene '\.\./\.\./over', which cannot name a folder"):
            there.fetch()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_malformed_is_refused_in_one_sentence(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = case.make(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fetch.yaml").write_text(json.dumps(conf["fetch.yaml"]))
    words = ["lenscape", "fetch", "--conf", "fetch.yaml", "--train", "out/train", "--map", "out/map"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(case.says, said), said
    assert not list((tmp_path / "out").rglob("*"))
