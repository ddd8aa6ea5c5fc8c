"""EuroSAT from the conf of `fetch` to the report: images in, patches and a split out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from pipeline.errors import ConfigError, LabelError, LenscapeError, SceneError, SplitError
from pipeline.split_folder import SplitFolder
from pipeline.stages import fetch, split, tile
from pipeline.store import PARTS, PatchStore
from tests.support.eurosats import (
    BAND_ORDER,
    SHAPE,
    make_eurosat,
    pixels_of,
    turns,
    write_image,
    write_lists,
    zipped,
)

LABELS = ("AnnualCrop", "Forest", "SeaLake")
CLASSES = """
credit: EuroSAT
classes:
  - {name: crop, color: "#e6c35c", values: [AnnualCrop]}
  - {name: forest, color: "#1f7a3d", values: [Forest]}
  - {name: water, color: "#2f7fd6", values: [SeaLake]}
"""
TILE = "labels: []\npatch_px: 64\ncell_px: 64\nstride_px: 64\n"
STORED = [*BAND_ORDER[:8], "B8A", *BAND_ORDER[8:12]]


class Run:
    """The stages in a folder of their own."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder, self.images = folder, images
        folder.mkdir(parents=True, exist_ok=True)
        self.conf("fetch", f"train: [{{eurosat: {json.dumps(str(images))}}}]\nmap: []\n")
        self.conf("classes", CLASSES)
        self.conf("tile", TILE)
        self.conf("split", "block_m: 5000.0\nfolds: null\n")

    def conf(self, name: str, text: str) -> None:
        (self.folder / f"{name}.yaml").write_text(text, encoding="utf-8")

    def fetch(self) -> None:
        scenes = self.folder / "scenes"
        fetch.run(self.folder / "fetch.yaml", scenes / "train", scenes / "map")

    def tile(self, compute: str = "") -> PatchStore:
        self.conf("compute", compute or "workers: 2\n")
        names = (self.folder / f"{name}.yaml" for name in ("tile", "classes"))
        train, out = self.folder / "scenes" / "train", self.folder / "patches"
        tile.run(*names, train, out, self.folder / "compute.yaml")
        return PatchStore.open(out)

    def split(self) -> dict[str, Any]:
        report = self.folder / "reports" / "audit.json"
        folder = self.folder / "split"
        split.run(self.folder / "split.yaml", self.folder / "patches", folder, report)
        return json.loads(report.read_text())  # type: ignore[no-any-return]

    def bytes_of(self, name: str) -> dict[str, str]:
        return {
            path.relative_to(self.folder / name).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in sorted((self.folder / name).rglob("*"))
            if path.is_file()
        }


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_eurosat(tmp_path_factory.mktemp("images") / "eurosat", 4, LABELS)


@pytest.fixture(scope="module")
def done(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("run"), images)
    run.fetch()
    run.tile()
    return run


def test_each_image_is_a_patch_in_our_order_of_bands(done: Run) -> None:
    store = PatchStore.open(done.folder / "patches")
    assert store.meta.bands == STORED
    assert store.patches["scene"].tolist() == [f"{n}_{k}" for n in LABELS for k in (1, 2, 3, 4)]
    order = [BAND_ORDER.index(band) for band in STORED]
    for row, (label, number) in enumerate((i, k) for i in range(3) for k in range(4)):
        np.testing.assert_array_equal(store.pixels[row], pixels_of(label, number)[order])
        assert store.patches["label"][row] == label
    assert store.meta.counts["kept"] == {"crop": 4, "forest": 4, "water": 4}
    assert store.meta.scenes[0].level == "L1C"
    assert "2015-06-23" in store.meta.scenes[0].datetime


def test_each_patch_lies_where_its_image_does(done: Run, images: Path) -> None:
    patches = PatchStore.open(done.folder / "patches").patches
    for row, name in enumerate(patches["scene"].tolist()):
        with rasterio.open(images / name.split("_")[0] / f"{name}.tif") as dataset:
            left, bottom, right, top = dataset.bounds
            assert patches["epsg"][row] == dataset.crs.to_epsg()
        assert patches["x"][row] == pytest.approx((left + right) / 2)
        assert patches["y"][row] == pytest.approx((bottom + top) / 2)
    assert len(set(patches["epsg"].tolist())) == 3


def test_one_file_stands_for_all_images(done: Run) -> None:
    there = sorted(done.bytes_of("scenes/train"))
    assert there == ["catalog.json", "collection.json", "images.parquet"]
    assert json.loads((done.folder / "scenes" / "map" / "catalog.json").read_text())["links"]
    assert str(done.images.parent) not in (
        done.folder / "scenes/train/images.parquet"
    ).read_bytes().decode("latin-1")


def test_a_zip_gives_the_same_patches_and_the_same_bytes_again(
    done: Run, images: Path, tmp_path: Path
) -> None:
    archive = zipped(images, tmp_path / "EuroSATallBands.zip")
    first, again = Run(tmp_path / "a", archive), Run(tmp_path / "b", archive)
    for run, compute in ((first, "workers: 1\n"), (again, "workers: 3\n")):
        run.fetch()
        run.tile(compute)
    assert first.bytes_of("patches") == again.bytes_of("patches")
    assert first.bytes_of("scenes") == again.bytes_of("scenes")
    ours, theirs = first.bytes_of("patches"), done.bytes_of("patches")
    assert ours == theirs


def test_blocks_part_images_of_several_zones(done: Run) -> None:
    audit = done.split()
    assert audit["shared_ground_m2"] == 0
    assert min(audit["patches"][part] for part in ("train", "validation", "test")) > 0
    assert audit["smallest_distance_m"]["train_test"] > 0


def test_a_list_parts_them_as_it_says_and_the_audit_tells_what_they_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_eurosat(tmp_path / "images", 4, LABELS)
    # a test image beside a training image: one shares the ground of 60 m pixels with the other
    near = (420_000.7 + 640, 5_000_000.3)
    write_image(images / "AnnualCrop" / "AnnualCrop_4.tif", pixels_of(0, 3), 32629, at=near)
    parts = turns(images)
    write_lists(images, parts | {"train": parts["train"][:-1]})
    run = Run(tmp_path / "run", images)
    run.fetch()
    assert "list official: 5 train, 3 validation, 3 test" in capsys.readouterr().out
    store = run.tile()
    run.conf("split", "lists: official\nblock_m: 100000.0\nfolds: null\n")
    audit = run.split()
    printed = capsys.readouterr().out
    assert audit["lists"] == "official"
    assert audit["shared_ground_m2"] > 0
    assert "parts as in the list 'official', not by blocks: they share ground" in printed
    opened = SplitFolder.open(run.folder / "split", store)
    names = store.patches["scene"]
    assert set(names[opened.rows("test")]) == set(parts["test"])
    assert set(names[opened.rows("validation")]) == set(parts["val"])
    assert set(names[opened.rows("unused")]) == {"SeaLake_2"}
    assert opened.split.lists == "official"
    assert opened.split.shared_ground_m2 == audit["shared_ground_m2"]
    blocks = gpd.read_file(run.folder / "split" / "blocks.gpkg", layer="blocks")
    several = (blocks[list(PARTS)] > 0).sum(axis=1) > 1
    assert several.any()
    assert (blocks["part"] == "mixed").tolist() == several.tolist()
    assert store.meta.images is not None
    assert not store.meta.images.whole
    assert store.meta.images.published_lists == []


def test_smaller_patches_are_the_centre_of_their_images(done: Run, tmp_path: Path) -> None:
    run = Run(tmp_path, done.images)
    run.conf("tile", TILE.replace("64", "32") + "bands: [B8A, B02]\n")
    run.fetch()
    store = run.tile()
    expected = pixels_of(1, 2)[[BAND_ORDER.index("B8A"), 1], 16:48, 16:48]
    np.testing.assert_array_equal(store.pixels[6], expected)
    assert store.patches["x"][6] == PatchStore.open(done.folder / "patches").patches["x"][6]


def test_images_without_valid_pixels_are_left_out_and_counted(tmp_path: Path) -> None:
    images = make_eurosat(tmp_path / "images", 3, LABELS)
    empty, half = pixels_of(0, 0), pixels_of(0, 1)
    empty[:, :, :20] = 0
    half[:, :, :14] = 0
    half[:, 5, 50] = 65_535
    for number, pixels in ((1, empty), (2, half)):
        write_image(
            images / "AnnualCrop" / f"AnnualCrop_{number}.tif", pixels, at=(9e5, 5e6 + 9e3 * number)
        )
    write_lists(images, turns(images))
    run = Run(tmp_path / "run", images)
    run.fetch()
    store = run.tile()
    assert store.patches["scene"].tolist()[:2] == ["AnnualCrop_2", "AnnualCrop_3"]
    assert store.meta.counts["left_out"]["invalid"] == 1
    assert store.patches["valid"][0] == pytest.approx(1 - 14 / 64 - 1 / 64**2)
    assert store.pixels[0, 0, 5, 50] == 0
    assert store.published_parts("official").tolist()[:2] == ["validation", "test"]


def test_a_draw_keeps_so_many_of_a_class_whatever_the_seed_of_other_classes(
    done: Run, tmp_path: Path
) -> None:
    run = Run(tmp_path, done.images)
    run.fetch()
    run.conf("tile", f"{TILE}max_per_class: 2\nseed: 1\n")
    first = run.tile()
    assert first.meta.counts["kept"] == {"crop": 2, "forest": 2, "water": 2}
    assert first.meta.counts["left_out"]["drawn_out"] == 6
    kept = first.patches["scene"].tolist()
    assert kept == sorted(kept)
    run.conf("tile", f"{TILE}max_per_class: 2\nseed: 2\n")
    assert run.tile().patches["scene"].tolist() != kept


def test_ignored_classes_are_left_out(done: Run, tmp_path: Path) -> None:
    run = Run(tmp_path, done.images)
    run.conf("classes", CLASSES.replace("values: [Forest]", "values: [Wood]") + "ignore: [Forest]\n")
    run.fetch()
    store = run.tile()
    assert store.meta.counts["kept"] == {"crop": 4, "forest": 0, "water": 4}
    assert store.meta.counts["left_out"]["unlabelled"] == 4


@pytest.mark.parametrize(
    ("name", "text", "error", "says"),
    [
        (
            "tile",
            TILE.replace("[]", "[{path: a.gpkg, attribute: b}]"),
            ConfigError,
            r"tile\.yaml: key 'labels' .* carry their class; write `labels: \[\]`",
        ),
        ("tile", TILE.replace("64", "65"), ConfigError, r"key 'patch_px' is 65.* make it 64, or less"),
        ("tile", TILE.replace("64", "31"), ConfigError, r"key 'patch_px' is 31.* by an even number"),
        ("tile", f"{TILE}bands: [B02, B13]\n", ConfigError, r"'B13' is no Sentinel-2 band"),
        (
            "classes",
            CLASSES.replace("[Forest]", "[Wood]"),
            LabelError,
            r"show 'Forest' \(4 images\), which is no class; list it in .*classes\.yaml",
        ),
        (
            "classes",
            CLASSES.replace("Forest", "a").replace("AnnualCrop", "b").replace("SeaLake", "c")
            + "ignore: [Forest, AnnualCrop, SeaLake]\n",
            LabelError,
            r"no image is left of 12 \(12 unlabelled\)",
        ),
    ],
)
def test_what_does_not_fit_images_is_refused_and_the_store_stays(
    done: Run, tmp_path: Path, name: str, text: str, error: type[LenscapeError], says: str
) -> None:
    run = Run(tmp_path, done.images)
    run.fetch()
    run.conf(name, text)
    (run.folder / "patches").mkdir()
    (run.folder / "patches" / "old").write_text("stays")
    with pytest.raises(error, match=says) as raised:
        run.tile()
    assert "\n" not in str(raised.value)
    assert sorted(run.bytes_of("patches")) == ["old"]


def test_an_image_that_changed_since_it_was_fetched_is_refused(tmp_path: Path) -> None:
    images = make_eurosat(tmp_path / "images", 3, LABELS)
    run = Run(tmp_path / "run", images)
    run.fetch()
    path = images / "Forest" / "Forest_2.tif"
    before = path.read_bytes()
    for other in (before + b"x", before[:-1], before[:-1] + bytes([before[-1] ^ 1])):
        path.write_bytes(other)
        with pytest.raises(
            SceneError, match=r"Forest_2\.tif has changed since it was fetched; run `fetch`"
        ):
            run.tile()
    path.unlink()
    with pytest.raises(SceneError, match=r"Forest_2\.tif does not exist any more; run `fetch` again"):
        run.tile()
    assert not (run.folder / "patches").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "lists: official\nfolds: null\n",
            r"key 'lists' is 'official', which .*patches does not have \(it has mine\)",
        ),
        ("lists: mine\nfolds: null\n", r"the list 'mine' has no training patches of class 'water'"),
    ],
)
def test_a_list_that_does_not_serve_is_refused(tmp_path: Path, text: str, says: str) -> None:
    images = make_eurosat(tmp_path / "images", 3, LABELS)
    parts = turns(images)
    write_lists(images, parts | {"train": parts["train"][:-1]}, "mine")
    run = Run(tmp_path / "run", images)
    run.fetch()
    run.tile()
    run.conf("split", text)
    with pytest.raises(SplitError, match=says):
        run.split()
    assert not (run.folder / "split").exists()


def test_the_columns_of_lists_stay_in_the_order_of_the_patches(tmp_path: Path) -> None:
    images = make_eurosat(tmp_path / "images", 3, LABELS)
    parts = turns(images)
    write_lists(images, parts)
    write_lists(images, {"train": parts["test"], "val": parts["val"], "test": parts["train"]}, "mine")
    run = Run(tmp_path / "run", images)
    run.fetch()
    store = run.tile()
    table = pq.read_table(run.folder / "patches" / "lists.parquet")
    assert table.column_names == ["mine", "official"]
    for name, part in zip(store.patches["scene"], store.published_parts("mine"), strict=True):
        number = str(name)[-1]
        assert part == {"1": "test", "2": "validation", "3": "train"}[number]
    assert store.pixels.shape[1:] == SHAPE
