"""SAFE products, from their real metadata to pixels."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.sources import SafeConf
from pipeline.errors import LenscapeError, RadiometryError, SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.catalog import scene_item, write_catalog
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.sources.safe import scene_files
from tests.support.products import L1C, L2A, OLD_L2A, Values, clear, make_product, zipped
from tests.support.worlds import GRID


def fetched(folder: Path, path: Path, **keys: object) -> Scene:
    """The scene of a product, through the checks of `fetch`."""
    (files,) = scene_files(SafeConf.model_validate({"safe": str(path)} | keys))
    write_catalog(folder, [scene_item(files)], "train")
    return open_catalog(folder)[0]


def steep(offset: int) -> Values:
    """The same ground at any offset: brighter by it, and never dark."""

    def values(band: str, native: PixelGrid) -> np.ndarray:
        if band == "SCL":
            return clear(native)
        ground = 200 + np.arange(native.height * native.width).reshape(native.height, -1) % 5000
        return (ground - offset).astype(np.uint16)

    return values


PRODUCTS = {
    L1C: ("L1C", "03.01", 13, 0.0),
    OLD_L2A: ("L2A", "02.12", 12, 0.0),
    L2A: ("L2A", "05.09", 12, -0.1),
}
"""Level, baseline, number of bands and offset of each."""


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_says_all_itself(tmp_path: Path, packed: bool, name: str) -> None:
    level, baseline, bands, offset = PRODUCTS[name]
    root = make_product(tmp_path, name, steep(-1000 if offset else 0))
    unpacked = fetched(tmp_path / "catalog", root)
    if packed:
        path = zipped(root)
        shutil.rmtree(root)
        scene = fetched(tmp_path / "catalog", path)
    else:
        scene = unpacked
    assert (scene.id, len(scene.bands)) == (name, bands)
    assert (scene.info.level, scene.info.baseline) == (level, baseline)
    assert scene.info.platform == "sentinel-2a"
    assert scene.info.datetime.startswith(f"{name[11:15]}-{name[15:17]}-{name[17:19]}T")
    for file in scene.files.values():
        assert (file.scale, file.offset) == (0.0001, pytest.approx(offset, abs=1e-12))
    assert scene.grid == GRID
    expected = 200 + np.arange(GRID.height * GRID.width).reshape(GRID.height, -1) % 5000
    np.testing.assert_array_equal(scene.read(GRID.window, ("B02",))[0], expected)
    assert scene.info.checksum == unpacked.info.checksum  # of the pixels, packed or not


def test_the_same_ground_at_two_baselines_has_the_same_pixels(tmp_path: Path) -> None:
    """02.12 has no offset, 05.09 has -1000."""
    scenes = [
        fetched(tmp_path / f"c{offset}", make_product(tmp_path / str(offset), name, steep(offset)))
        for name, offset in ((OLD_L2A, 0), (L2A, -1000))
    ]
    assert {file.offset for scene in scenes for file in scene.files.values()} == {0.0, -0.1}
    one, other = (scene.read(GRID.window, scene.bands) for scene in scenes)
    np.testing.assert_array_equal(one, other)


def test_offsets_belong_to_their_bands(tmp_path: Path) -> None:
    """The eighth in the metadata is that of B8A."""
    quantification = '<BOA_QUANTIFICATION_VALUE unit="none">'
    change = {
        'band_id="8">-1000<': 'band_id="8">-500<',
        f"{quantification}10000<": f"{quantification}5000<",
    }
    root = make_product(tmp_path, L2A, steep(-1000), change=change)
    (files,) = scene_files(SafeConf(safe=str(root)))
    assert {band: source.offset for band, source in files.bands.items()} == {
        band: -0.1 if band == "B8A" else -0.2 for band in files.bands
    }
    assert {source.scale for source in files.bands.values()} == {0.0002}


def test_an_own_mask_and_id_go_first(tmp_path: Path) -> None:
    root = make_product(tmp_path, L2A, steep(-1000))
    mask = next(root.rglob("*SCL_20m.jp2"))
    scene = fetched(tmp_path / "c", root, id="mine", mask={"path": str(mask), "invalid": [4]})
    assert scene.id == "mine"
    assert not scene.read(GRID.window, ("B02",)).any()


def replaced(root: Path, old: str, new: str) -> Path:
    path = next(root.glob("MTD*.xml"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return root


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def with_entry(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def encrypted(path: Path) -> Path:
    """The bit that says so, in the list of a zip."""
    content = bytearray(path.read_bytes())
    place = content.find(b"PK\x01\x02")
    content[place + 8] |= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: cut(next(root.rglob("*_B05.jp2")), 900).parents[4], r"_B05\.jp2 is truncated"),
        (lambda root: cut(zipped(root), 5000), "is no whole zip .*; download it again"),
        (lambda root: encrypted(zipped(root)), "is encrypted; give the product without a password"),
        (
            lambda root: with_entry(zipped(root), "../x.jp2", b"x"),
            "'../x.jp2', which would lie outside",
        ),
        (lambda root: with_entry(zipped(root), "b", bytes(30_000_000)), "unpack to 30,000,000"),
        (
            lambda root: cut(next(root.glob("MTD*.xml")), 9000).parent,
            "is no whole XML .*; download the product again",
        ),
        (
            lambda root: replaced(root, "<n1:Level", '<!DOCTYPE a [<!ENTITY b "cc">]><n1:Level'),
            "declares a document type",
        ),
        (
            lambda root: replaced(root, "", "").joinpath("MTD_MSIL1C.xml").write_text("<a/>") and root,
            "describes a a, which is no Sentinel-2 product of level 1C or 2A",
        ),
        (lambda root: shutil.rmtree(root / "GRANULE") or root, "lacks GRANULE/.*download the product"),
        (lambda root: next(root.rglob("*_B11.jp2")).unlink() or root, "lacks GRANULE/.*_B11, which"),
        (lambda root: next(root.glob("MTD*.xml")).unlink() or root, "holds no MTD_MSIL1C.xml"),
        (lambda root: root.with_name("gone.SAFE"), "does not exist; name a folder"),
    ],
)
def test_what_is_no_whole_product_is_refused(tmp_path: Path, spoil: object, says: str) -> None:
    path = spoil(make_product(tmp_path))  # type: ignore[operator]
    with pytest.raises(SceneError, match=says) as caught:
        fetched(tmp_path / "catalog", path)
    assert "\n" not in str(caught.value)


def test_an_offset_that_was_applied_already_is_refused(tmp_path: Path) -> None:
    root = make_product(tmp_path, L2A, steep(0))
    with pytest.raises(RadiometryError, match=r"have a reflectance of 0 or less; correct"):
        fetched(tmp_path / "catalog", root)


def test_without_quantification_nothing_is_guessed(tmp_path: Path) -> None:
    change = {'<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>': ""}
    root = make_product(tmp_path, L2A, steep(-1000), change=change)
    with pytest.raises(RadiometryError, match="does not state a quantification"):
        fetched(tmp_path / "catalog", root)


def test_a_zip_that_changed_is_noticed(tmp_path: Path) -> None:
    path = zipped(make_product(tmp_path))
    scene = fetched(tmp_path / "catalog", path)
    with zipfile.ZipFile(path) as archive:
        kept = [(entry, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in kept:
            archive.writestr(entry.filename, content[:-7] if "_B02" in entry.filename else content)
    with pytest.raises(LenscapeError, match=r"\.zip!/.*_B02\.jp2 has changed since it was fetched"):
        Scene.open(scene.path)


def test_hrefs_are_relative(tmp_path: Path) -> None:
    path = zipped(make_product(tmp_path))
    text = fetched(tmp_path / "catalog", path).path.read_text()
    assert f'"../../{path.name}!/{L1C}.SAFE/GRANULE/' in text
    assert not re.search(str(tmp_path), text)
