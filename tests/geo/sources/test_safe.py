"""SAFE products, from their real metadata to pixels."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.sources import SafeConf
from pipeline.errors import LenscapeError, RadiometryError, SceneError
from pipeline.geo.raster.grid import PixelGrid
from pipeline.geo.scenes.catalog import scene_item, write_catalog
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.sources.safe import scene_files
from pipeline.stages import fetch
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
    with pytest.raises(RadiometryError, match=r"below -0\.03; its own metadata state them"):
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


BAD_NAMES = ["../../x", "..", "a/b", "/etc/x", "x&lt;script&gt;", "n" * 300, "-x", "ä", "x y"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_in_the_metadata_does_not_decide_where_is_written(tmp_path: Path, name: str) -> None:
    change = {f"<PRODUCT_URI>{L1C}.SAFE<": f"<PRODUCT_URI>{name}<"}
    root = make_product(tmp_path / "in", change=change)
    conf = tmp_path / "fetch.yaml"
    conf.write_text(json.dumps({"train": [{"safe": str(root)}]}))
    out = tmp_path / "a" / "b" / "c"
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SceneError, match=r"which cannot name a folder .*; add an `id` to its entry in"):
        fetch.run(conf, out / "train", out / "map", downloads=out / "d")
    assert {path for path in tmp_path.rglob("*") if path.is_file()} <= before
    assert fetched(tmp_path / "catalog", root, id="mine").id == "mine"


def test_a_granule_does_not_decide_it_either(tmp_path: Path) -> None:
    root = make_product(tmp_path)
    path = next(root.glob("MTD*.xml"))
    text = path.read_text()
    granule = re.search(r"<Granule .*?</Granule>", text, re.DOTALL)
    assert granule is not None
    other = re.sub(r'granuleIdentifier="[^"]*"', 'granuleIdentifier="../../x"', granule[0])
    path.write_text(text.replace(granule[0], granule[0] + other))
    for keys, remedy in (({}, "add an `id`"), ({"id": "mine"}, "download it again")):
        with pytest.raises(SceneError, match=rf"_\.\./\.\./x', which cannot name a .*; {remedy}"):
            scene_files(SafeConf.model_validate({"safe": str(root)} | keys))


def test_an_item_on_disk_does_not_decide_it(tmp_path: Path) -> None:
    path = fetched(tmp_path / "catalog", make_product(tmp_path)).path
    path.write_text(path.read_text().replace(f'"id": "{L1C}"', '"id": "../../x"'))
    with pytest.raises(SceneError, match=r"has a scene '\.\./\.\./x', which .*; run `fetch` again"):
        Scene.open(path)


def test_a_product_is_found_wherever_one_points_into_it(tmp_path: Path) -> None:
    root = make_product(tmp_path / "in")
    (root / "manifest.safe").write_text("<xfdu/>")
    expected = fetched(tmp_path / "catalog", root).info
    deeper = tmp_path / "deeper"
    shutil.copytree(root, deeper / "download" / root.name)
    zip_path = zipped(root)
    upper = zip_path.with_name("x.SAFE.ZIP")
    shutil.copy(zip_path, upper)
    (deep_zip := tmp_path / "deep.zip").touch()
    with zipfile.ZipFile(zip_path) as archive, zipfile.ZipFile(deep_zip, "w") as deep:
        for entry in archive.infolist():
            deep.writestr(f"a/b/{entry.filename}", archive.read(entry))
            # what macOS packs beside each file
            top, _, name = entry.filename.rpartition("/")
            deep.writestr(f"__MACOSX/a/b/{top}/._{name}", b"x")
    for path in (root / "MTD_MSIL1C.xml", root / "manifest.safe", deeper, upper, deep_zip):
        scene = fetched(tmp_path / "c", path)
        assert (scene.id, scene.info.checksum) == (expected.id, expected.checksum), path


def test_files_of_macos_are_passed_over(tmp_path: Path) -> None:
    root = make_product(tmp_path)
    for path in [*root.rglob("*")]:
        if path.is_file():
            path.with_name(f"._{path.name}").write_bytes(b"x")
    assert fetched(tmp_path / "catalog", root).id == L1C


def test_several_products_are_refused_by_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in (L1C, L2A):
        make_product(folder, name, steep(-1000 if name == L2A else 0))
    named = rf"holds 2 products, {L1C}\.SAFE/MTD_MSIL1C\.xml, {L2A}\.SAFE/MTD_MSIL2A\.xml; "
    with pytest.raises(SceneError, match=rf"{named}give each an entry of its own"):
        fetched(tmp_path / "c", folder)
    path = tmp_path / "both.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    with pytest.raises(SceneError, match=rf"{named}unpack it and give each an entry of its own"):
        fetched(tmp_path / "c", path)
    assert fetched(tmp_path / "c", folder / f"{L2A}.SAFE" / "MTD_MSIL2A.xml").id == L2A
    shutil.copy(folder / f"{L1C}.SAFE" / "MTD_MSIL1C.xml", folder / f"{L2A}.SAFE")
    with pytest.raises(SceneError, match=r"2 products, MTD_MSIL1C\.xml, MTD_MSIL2A\.xml; give"):
        fetched(tmp_path / "c", folder / f"{L2A}.SAFE")
    assert fetched(tmp_path / "c", folder / f"{L2A}.SAFE" / "MTD_MSIL2A.xml").id == L2A


def test_what_is_there_instead_of_a_product_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    zipped(make_product(folder))
    shutil.rmtree(folder / f"{L1C}.SAFE")
    with pytest.raises(SceneError, match=rf"folder holds no .*, but {L1C}\.SAFE\.zip; name"):
        fetched(tmp_path / "c", folder)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(folder / f"{L1C}.SAFE.zip", "x/inner.zip")
    with pytest.raises(SceneError, match=r"but x/inner\.zip; unpack it and name one of the zips in it"):
        fetched(tmp_path / "c", tmp_path / "outer.zip")
    (tmp_path / "readme.xml").write_text("<a/>")
    with pytest.raises(SceneError, match=r"readme\.xml is no zip by its name; name .*MTD_MSIL1C\.xml"):
        fetched(tmp_path / "c", tmp_path / "readme.xml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_document_type_is_refused_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    root = make_product(tmp_path)
    path = next(root.glob("MTD*.xml"))
    text = re.sub(r"<\?xml.*?\?>", "", path.read_text(), count=1).strip()
    with_type = '<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY c SYSTEM "file:///etc/passwd">]>' + text
    mark = "" if encoding in ("utf-8", "utf-16") else "\ufeff"
    path.write_bytes(f"{mark}{with_type}".encode(encoding))
    with pytest.raises(SceneError, match="declares a document type"):
        fetched(tmp_path / "c", root)
    path.write_bytes(f"{mark}{text}".encode(encoding))
    assert fetched(tmp_path / "c", root).id == L1C


def test_an_encoding_that_nobody_knows(tmp_path: Path) -> None:
    root = make_product(tmp_path)
    path = next(root.glob("MTD*.xml"))
    path.write_text('<?xml version="1.0" encoding="no-such"?><a/>')
    with pytest.raises(SceneError, match=r"MTD_MSIL1C\.xml is no whole XML .*; download"):
        fetched(tmp_path / "c", root)


def test_an_old_l2a_is_refused_by_its_format(tmp_path: Path) -> None:
    """Sen2Cor of before 2018 names its images otherwise."""
    root = make_product(tmp_path, L2A, steep(-1000))
    path = root / "MTD_MSIL2A.xml"
    old = path.read_text().replace("IMAGE_FILE>", "IMAGE_FILE_2A>")
    path.write_text(old)
    says = r"in the format of 2016 and 2017 .*, which is not supported; name .*`path`, with `scale`"
    with pytest.raises(SceneError, match=says):
        fetched(tmp_path / "c", root)
    path.rename(root / "S2A_USER_MTD_SAFL2A_PDMC_20160318T145513_R008_V20160318T104614.xml")
    with pytest.raises(SceneError, match=says):
        fetched(tmp_path / "c", root)
    (root / "S2A_USER_MTD_SAFL2A_PDMC_20160318T145513_R008_V20160318T104614.xml").write_text(
        old.replace("IMAGE_FILE_2A>", "IMAGE_ID_2A>")
    )
    with pytest.raises(SceneError, match=says):
        fetched(tmp_path / "c", zipped(root))


TILE = """<n1:Level-1C_Tile_ID xmlns:n1="x"><n1:Geometric_Info><Tile_Geocoding>
  <Size resolution="10"><NROWS>{rows}</NROWS><NCOLS>120</NCOLS></Size>
  <Size resolution="20"><NROWS>66</NROWS><NCOLS>60</NCOLS></Size>
  <Size resolution="60"><NROWS>22</NROWS><NCOLS>20</NCOLS></Size>
</Tile_Geocoding></n1:Geometric_Info></n1:Level-1C_Tile_ID>"""


def test_images_have_the_size_that_their_granule_states(tmp_path: Path) -> None:
    root = make_product(tmp_path)
    path = next((root / "GRANULE").iterdir()) / "MTD_TL.xml"
    path.write_text(TILE.format(rows=132))
    assert fetched(tmp_path / "c", root).grid == GRID
    path.write_text(TILE.format(rows=10980))
    for given in (root, zipped(root)):
        with pytest.raises(SceneError, match=r"_B02\.jp2 has 132 x 120 pixels, but .* 10980 x 120; d"):
            fetched(tmp_path / "c", given)
    path.write_text(TILE.format(rows="many"))
    with pytest.raises(SceneError, match="sizes that are no numbers; download"):
        fetched(tmp_path / "c", root)


@pytest.mark.parametrize("value", ["abc", "", "1e309", "nan"])
@pytest.mark.parametrize(
    "element", ['<BOA_ADD_OFFSET band_id="3">', '<BOA_QUANTIFICATION_VALUE unit="none">']
)
def test_radiometry_that_is_no_number(tmp_path: Path, element: str, value: str) -> None:
    root = make_product(tmp_path, L2A)
    path = root / "MTD_MSIL2A.xml"
    text = path.read_text()
    assert element in text
    before, _, after = text.partition(element)
    path.write_text(before + element + value + after[after.index("<") :])
    with pytest.raises(
        RadiometryError, match=r"MTD_MSIL2A\.xml does not state a quantification and off"
    ):
        scene_files(SafeConf(safe=str(root)))


def test_a_start_without_a_zone_is_in_utc(tmp_path: Path) -> None:
    root = make_product(tmp_path, L2A)
    path = root / "MTD_MSIL2A.xml"
    text = path.read_text()
    before, _, after = text.partition("Z</PRODUCT_START_TIME>")
    assert after
    path.write_text(f"{before}</PRODUCT_START_TIME>{after}")
    (scene,) = scene_files(SafeConf(safe=str(root)))
    assert scene.datetime.utcoffset() == timedelta(0)
