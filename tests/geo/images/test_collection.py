"""The collection of images that `fetch` writes and `tile` reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pystac
import pytest
from stac_geoparquet.arrow import stac_table_to_items

from pipeline.errors import SceneError
from pipeline.geo.images import items
from pipeline.geo.images.collection import About, Image, holds_images, open_images
from pipeline.geo.images.image_file import ImageFile
from pipeline.geo.images.items import write_collection
from pipeline.geo.images.published_splits import PartLists

ABOUT = About(
    id="Made",
    title="Made up",
    description="Images that are none",
    license="MIT",
    interval=("2015-06-23T00:00:00Z", "2017-08-31T00:00:00Z"),
    level="L1C",
    bands=("B02", "B8A"),
    whole=False,
)
LISTS = PartLists({"mine": {"a_3": "test"}}, ["mine"], {"mine": 0})


def images(folder: Path, count: int) -> list[Image]:
    return [
        Image(
            ImageFile(f"a_{number}", "a", str(folder / "a" / f"a_{number}.tif")),
            100 + number,
            f"{number:064x}",
            32600 + number % 2 + 32,
            (9.9, 0.0, 5e5 + 1000 * number, 0.0, -10.1, 5e6),
            (64, 64),
        )
        for number in range(1, count + 1)
    ]


def written(folder: Path, count: int = 5) -> Path:
    folder.mkdir(parents=True)
    write_collection(folder, folder, iter(images(folder.parent / "eurosat", count)), ABOUT, LISTS)
    return folder


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    folder = written(tmp_path / "train")
    assert holds_images(folder)
    assert not holds_images(tmp_path)
    found = open_images(folder)
    assert found.table["scene"].to_pylist() == ["a_1", "a_2", "a_3", "a_4", "a_5"]
    assert found.table["path"][3].as_py() == str(tmp_path / "eurosat" / "a" / "a_4.tif")
    assert found.table["size"].to_pylist() == [101, 102, 103, 104, 105]
    assert found.table["epsg"].to_pylist() == [32633, 32632, 32633, 32632, 32633]
    assert found.table["x"].to_pylist() == [5e5 + 1000 * n + 32 * 9.9 for n in range(1, 6)]
    assert found.table["y"].to_pylist() == [5e6 - 32 * 10.1] * 5
    assert found.parts.to_pydict() == {"mine": [None, None, "test", None, None]}
    assert (found.bands, found.level, found.side_px) == (("B02", "B8A"), "L1C", 64)
    assert (found.whole, found.published) == (False, ["mine"])
    assert found.datetime == "2015-06-23T00:00:00Z/2017-08-31T00:00:00Z"


def test_hrefs_are_encoded(tmp_path: Path) -> None:
    folder = written(tmp_path / "a #1 %41 ü" / "train")
    write_collection(tmp_path, tmp_path, iter(images(folder.parent, 1)), ABOUT, LISTS)
    (table,) = tmp_path.glob("*.parquet")
    (item,) = stac_table_to_items(pq.read_table(table))
    assert item["assets"]["image"]["href"] == "a%20%231%20%2541%20%C3%BC/a/a_1.tif"
    assert open_images(tmp_path).table["path"][0].as_py() == str(folder.parent / "a" / "a_1.tif")


def test_rows_are_items_that_others_understand(tmp_path: Path) -> None:
    folder = written(tmp_path / "train")
    (collection,) = pystac.Catalog.from_file(str(folder / "catalog.json")).get_children()
    west, _, _, north = collection.extent.spatial.bboxes[0]
    table = pq.read_table(folder / collection.assets["items"].href)
    items = [pystac.Item.from_dict(item) for item in stac_table_to_items(table)]
    assert [item.id for item in items] == ["a_1", "a_2", "a_3", "a_4", "a_5"]
    assert west == min(item.bbox[0] for item in items)
    assert north == max(item.bbox[3] for item in items)
    assert items[0].datetime is None
    assert items[0].common_metadata.start_datetime.year == 2015
    assert items[0].properties["lenscape:class"] == "a"
    assert items[0].assets["image"].href == "../eurosat/a/a_1.tif"


def test_the_same_images_give_the_same_bytes_anywhere(
    tmp_path: Path,
) -> None:
    first, second = written(tmp_path / "x" / "train"), written(tmp_path / "y" / "train")
    for name in ("catalog.json", "collection.json", "images.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert str(tmp_path).encode() not in (first / name).read_bytes()


def test_items_go_to_the_table_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "_ROWS", 2)
    folder = written(tmp_path / "train")
    assert pq.ParquetFile(folder / "images.parquet").metadata.num_row_groups == 3
    # of the first two none is in the list
    assert open_images(folder).parts.to_pydict() == {"mine": [None, None, "test", None, None]}


def test_the_checksum_tells_images_apart(tmp_path: Path) -> None:
    first, second = written(tmp_path / "x", 4), written(tmp_path / "y", 5)
    assert open_images(first).checksum != open_images(second).checksum


@pytest.mark.parametrize("name", ["collection.json", "images.parquet"])
def test_a_broken_collection_is_refused(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path / "train")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(SceneError, match=rf"{name} is no .* run `fetch` again"):
        open_images(folder)


def test_images_at_the_antimeridian(tmp_path: Path) -> None:
    """One on each side, and one across, in zone 1 near the equator."""
    folder = tmp_path / "train"
    folder.mkdir()
    places = [(32660, 832_000.0), (32601, 165_700.0), (32601, 170_000.0)]
    found = [
        replace(image, epsg=epsg, transform=(10.0, 0.0, x0, 0.0, -10.0, 2e5))
        for image, (epsg, x0) in zip(images(tmp_path / "eurosat", 3), places, strict=True)
    ]
    write_collection(folder, folder, iter(found), ABOUT, LISTS)
    (collection,) = pystac.Catalog.from_file(str(folder / "catalog.json")).get_children()
    west, _, east, _ = collection.extent.spatial.bboxes[0]
    assert 179.9 < west < 180
    assert -180 < east < -179.9
    table = pq.read_table(folder / "images.parquet")
    items = [pystac.Item.from_dict(item) for item in stac_table_to_items(table)]
    kinds = [item.geometry["type"] for item in items]
    assert kinds == ["Polygon", "MultiPolygon", "Polygon"]
    assert [item.bbox[0] < item.bbox[2] for item in items] == [True, False, True]
