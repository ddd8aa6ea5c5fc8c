"""The images of EuroSAT: found, checked, downloaded."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from torchgeo.datasets import EuroSAT, EuroSATSpatial

from pipeline.config.sources import EurosatConf
from pipeline.errors import SceneError
from pipeline.geo.images.collection import open_images
from pipeline.geo.images.image_file import ImageReader, find_images
from pipeline.geo.raster import remote
from pipeline.geo.sources import eurosat
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.find import named_files
from pipeline.stages import fetch
from tests.support.eurosats import (
    SHAPE,
    make_eurosat,
    pixels_of,
    turns,
    write_image,
    write_lists,
    zipped,
)
from tests.support.servers import FileServer, faults_of, serving

LABELS = ("Forest", "River")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_eurosat(tmp_path_factory.mktemp("images") / "eurosat", 3, LABELS)


def test_addresses_hashes_and_bands_are_those_of_torchgeo() -> None:
    assert eurosat.URL == EuroSAT.url == EuroSATSpatial.url
    theirs = {EuroSAT.filename: EuroSAT.sha256}
    for dataset in (EuroSAT, EuroSATSpatial):
        theirs |= {
            dataset.split_filenames[part]: dataset.split_sha256s[part] for part in dataset.splits
        }
    assert theirs == eurosat.SHA256
    assert EuroSAT.all_band_names == eurosat.BAND_ORDER
    assert sum(eurosat.IMAGES_BY_CLASS.values()) == 27_000


def test_all_of_it_is_known_by_its_numbers(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole() -> bool:
        eurosat.write_images(EurosatConf(eurosat=str(images)), tmp_path, tmp_path, Downloads(images))
        return open_images(tmp_path).whole

    assert not whole()
    monkeypatch.setattr(eurosat, "IMAGES_BY_CLASS", {"Forest": 3, "River": 3})
    assert whole()
    monkeypatch.setattr(eurosat, "IMAGES_BY_CLASS", {"Forest": 2, "River": 4})
    assert not whole()


def test_dvc_watches_the_folder_that_holds_images_and_lists(images: Path, tmp_path: Path) -> None:
    archive = zipped(images, tmp_path / "all.zip")
    assert named_files(EurosatConf(eurosat=str(images))) == [str(images)]
    assert named_files(EurosatConf(eurosat=str(archive))) == [str(archive)]
    assert named_files(EurosatConf(eurosat="download")) == []


def cut_off(path: Path) -> None:
    write_image(path, pixels_of(0, 0))
    path.write_bytes(path.read_bytes()[:-20_000])


def text(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("no picture")


def nowhere(path: Path) -> None:
    write_image(path, pixels_of(0, 0))
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = rasterio.Affine.identity()


def without_crs(path: Path) -> None:
    write_image(path, pixels_of(0, 0), crs=None)


def degrees(path: Path) -> None:
    write_image(path, pixels_of(0, 0), 4326, transform=rasterio.Affine(1e-4, 0, 9, 0, -1e-4, 50))


def coarse(path: Path) -> None:
    write_image(path, pixels_of(0, 0), transform=rasterio.Affine(20, 0, 5e5, 0, -20, 5e6))


def of_colours(path: Path) -> None:
    write_image(path, pixels_of(0, 0)[:3].astype(np.uint8))


def large(path: Path) -> None:
    write_image(path, np.ones((13, 128, 64), dtype=np.uint16))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (cut_off, r"cannot be read \(Bad_1\.tif, band .*\); it is damaged or no GeoTIFF"),
        (text, r"cannot be read \(.*\); it is damaged or no GeoTIFF"),
        (nowhere, "does not say where it lies"),
        (without_crs, "does not say where it lies"),
        (degrees, "has the CRS EPSG:4326, which is none in metres"),
        (coarse, "has pixels of 20 x 20 m"),
        (of_colours, r"has 3 layers of 64 x 64 pixels, uint8, .*not the RGB version"),
        (large, "has 13 layers of 128 x 64 pixels"),
    ],
)
def test_an_image_of_another_form_is_refused_and_nothing_is_written(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    images = make_eurosat(tmp_path / "images", 2, LABELS)
    (images / "Forest" / "Forest_1.tif").unlink()
    make(images / "Bad" / "Bad_1.tif")
    conf = tmp_path / "fetch.yaml"
    conf.write_text(f"train: [{{eurosat: '{images}'}}]\nmap: []\n")
    with pytest.raises(SceneError, match=says) as raised:
        fetch.run(conf, tmp_path / "train", tmp_path / "map")
    assert str(images / "Bad" / "Bad_1.tif") in str(raised.value)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fetch.yaml", "images"]


def test_what_an_image_says_of_itself(images: Path) -> None:
    file = find_images(images)[1]
    with ImageReader() as reader:
        image = eurosat.checked(file, reader)
    content = (images / "Forest" / "Forest_2.tif").read_bytes()
    assert (image.epsg, image.shape, image.size) == (32632, SHAPE[1:], len(content))
    assert image.sha256 == hashlib.sha256(content).hexdigest()


class Published:
    """A server that has a small EuroSAT to download."""

    def __init__(self, files: FileServer, folder: Path, tmp_path: Path) -> None:
        self.files, self.folder = files, folder
        self.train, self.map = tmp_path / "scenes" / "train", tmp_path / "scenes" / "map"
        self.conf = tmp_path / "fetch.yaml"
        self.conf.write_text("train: [{eurosat: download}]\nmap: []\n")
        self.downloads = tmp_path / "downloads"

    def fetch(self) -> None:
        fetch.run(self.conf, self.train, self.map, downloads=self.downloads)


@pytest.fixture
def published(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "web"
    folder.mkdir()
    zipped(images, folder / eurosat.ZIP)
    write_lists(folder, turns(images))
    write_lists(folder, turns(images), "eurosat-spatial")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in eurosat.SHA256}
    monkeypatch.setattr(eurosat, "SHA256", hashes)
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    with serving(folder) as files:
        monkeypatch.setattr(eurosat, "URL", files.url())
        yield Published(files, folder, tmp_path)


def test_a_download_that_fails_now_and_then_is_finished_and_kept_with_the_images(
    published: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    published.files.fault = faults_of(eurosat.ZIP, ["cut", 500, "cut", 503])
    published.fetch()
    content = (published.folder / eurosat.ZIP).read_bytes()
    assert (published.train / eurosat.ZIP).read_bytes() == content
    assert "6 images of 2 classes (download)" in capsys.readouterr().out
    table = (published.train / "images.parquet").read_bytes()
    assert b"EuroSATallBands.zip!/ds/images/tif/Forest/Forest_1.tif" in table
    assert b"../" not in table
    published.files.forget()
    published.fetch()
    assert not published.files.requests, "what is whole is not fetched again"
    assert (published.train / "images.parquet").read_bytes() == table


def test_other_bytes_than_the_published_ones_are_refused(published: Published) -> None:
    with (published.folder / eurosat.ZIP).open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(
        SceneError, match=r"EuroSATallBands\.zip is not the .* its SHA-256 is another one"
    ):
        published.fetch()
    assert not published.train.exists()
    assert not list(published.downloads.rglob(f"{eurosat.ZIP}*"))


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"GIF89a"])
def test_an_image_without_pixels(tmp_path: Path, content: bytes) -> None:
    (make_eurosat(tmp_path / "eurosat", 2, LABELS) / "Forest" / "Forest_2.tif").write_bytes(content)
    path = zipped(tmp_path / "eurosat", tmp_path / "x.zip")
    found = [file for file in find_images(path) if file.name == "Forest_2"]
    with (
        ImageReader() as reader,
        pytest.raises(SceneError, match=r"Forest_2\.tif cannot be read \(.*\); it is damaged or no"),
    ):
        eurosat.checked(found[0], reader)


def test_images_in_a_crs_in_which_lengths_are_wrong(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "web mercator"
    shutil.copytree(images, folder)
    at = (1_500_000.0, 6_800_000.0)
    write_image(folder / "River" / "River_2.tif", pixels_of(1, 1), 3857, at=at)
    conf = tmp_path / "fetch.yaml"
    conf.write_text(json.dumps({"train": [{"eurosat": str(folder)}], "map": []}))
    with pytest.raises(
        SceneError,
        match=r"River_2\.tif has EPSG:3857, in which .* is 1\.\d+ m there; warp it to EPSG",
    ):
        fetch.run(conf, tmp_path / "train", tmp_path / "map")
    assert not (tmp_path / "train").exists()
