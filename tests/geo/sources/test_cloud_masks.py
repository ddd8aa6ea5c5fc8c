"""The masks that SAFE products bring along, through `fetch` to the pixels of the scene."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from ruamel.yaml import YAML

from pipeline.errors import SceneError
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.sources.cloud_masks import masks_of
from pipeline.geo.sources.product import Product
from pipeline.stages import fetch
from tests.support.products import L1C, L2A, clear, make_product, zipped
from tests.support.worlds import GRID, native_grid

BRIGHT = 2_500
X0, Y0 = int(GRID.x0), int(GRID.y0)
GML = """<?xml version="1.0" encoding="UTF-8"?>
<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2"
  gml:id="S2A_OPER_MSK_CLOUDS_SGS__20161027T142523_A008571_T33UUU_B00_MSIL1C">
  <gml:boundedBy><gml:Envelope srsName="urn:ogc:def:crs:EPSG:8.7:{epsg}">
    <gml:lowerCorner>0 0</gml:lowerCorner><gml:upperCorner>1 1</gml:upperCorner>
  </gml:Envelope></gml:boundedBy>
  <eop:maskMembers>{features}</eop:maskMembers>
</eop:Mask>
"""
FEATURE = """
    <eop:MaskFeature gml:id="{kind}.0">
      <eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">{kind}</eop:maskType>
      <eop:extentOf><gml:Polygon gml:id="{kind}.0_Polygon">{rings}</gml:Polygon></eop:extentOf>
    </eop:MaskFeature>"""
RING = """<gml:{side}><gml:LinearRing><gml:posList srsDimension="2">{corners}</gml:posList>
  </gml:LinearRing></gml:{side}>"""


def ring(side: str, row: int, col: int, height: int, width: int) -> str:
    """A rectangle of pixels of 10 m."""
    left, top = X0 + 10 * col, Y0 - 10 * row
    right, bottom = left + 10 * width, top - 10 * height
    places = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return RING.format(side=side, corners=" ".join(f"{x} {y}" for x, y in places))


def polygons(epsg: int = GRID.epsg, **rings: str) -> str:
    features = "".join(FEATURE.format(kind=kind, rings=text) for kind, text in rings.items())
    return GML.format(epsg=epsg, features=features)


def bright(band: str, native: Any) -> np.ndarray:
    if band == "SCL":
        return clear(native)
    return (BRIGHT + np.indices((native.height, native.width)).sum(axis=0) % 2).astype(np.uint16)


def quality(root: Path) -> Path:
    """The folder of masks of the only granule."""
    folder = next((root / "GRANULE").iterdir()) / "QI_DATA"
    folder.mkdir(exist_ok=True)
    return folder


def run_fetch(folder: Path, path: Path, **keys: Any) -> Scene:
    folder.mkdir(parents=True, exist_ok=True)
    yaml = YAML(typ="safe", pure=True)
    with (folder / "fetch.yaml").open("w") as stream:
        yaml.dump({"train": [{"safe": str(path)} | keys], "map": "train"}, stream)
    fetch.run(folder / "fetch.yaml", folder / "train", folder / "map", downloads=folder / "d")
    return open_catalog(folder / "train")[0]


def masked(scene: Scene) -> np.ndarray:
    """Where pixels of 10 m are masked, bool (H, W)."""
    found = scene.read(GRID.window, ("B02",))[0]
    assert set(np.unique(found)) <= {0, BRIGHT, BRIGHT + 1}
    return found == 0


def rectangle(row: int, col: int, height: int, width: int) -> np.ndarray:
    where = np.zeros((GRID.height, GRID.width), dtype=bool)
    where[row : row + height, col : col + width] = True
    return where


def shares(scene: Scene) -> Mapping[str, float]:
    item = YAML(typ="safe", pure=True).load(scene.path.read_text())
    return item["properties"]["lenscape:masked_share"]


@pytest.mark.parametrize("packed", [False, True])
def test_polygons_of_cloud_with_a_hole(tmp_path: Path, packed: bool) -> None:
    root = make_product(tmp_path, L1C, bright)
    cloud = ring("exterior", 10, 20, 40, 30) + ring("interior", 20, 30, 6, 8)
    text = polygons(OPAQUE=cloud, CIRRUS=ring("exterior", 90, 5, 12, 24))
    (quality(root) / "MSK_CLOUDS_B00.gml").write_text(text)
    scene = run_fetch(tmp_path / "run", zipped(root) if packed else root, mask_grow_m=0)
    opaque = rectangle(10, 20, 40, 30) & ~rectangle(20, 30, 6, 8)
    cirrus = rectangle(90, 5, 12, 24)
    np.testing.assert_array_equal(masked(scene), opaque | cirrus)
    found = shares(scene)
    assert found["cloud_opaque"] == pytest.approx(opaque.mean(), abs=1e-6)
    assert found["cirrus"] == pytest.approx(cirrus.mean(), abs=1e-6)


def test_the_conf_says_which_of_them_count(tmp_path: Path) -> None:
    root = make_product(tmp_path, L1C, bright)
    text = polygons(OPAQUE=ring("exterior", 0, 0, 9, 9), CIRRUS=ring("exterior", 90, 5, 12, 24))
    (quality(root) / "S2A_OPER_MSK_CLOUDS_SGS__20160929T154211_T33UUU_B00_MSIL1C.gml").write_text(text)
    scene = run_fetch(tmp_path / "run", root, mask_grow_m=0, mask_classes=["cirrus"])
    np.testing.assert_array_equal(masked(scene), rectangle(90, 5, 12, 24))
    assert not masked(run_fetch(tmp_path / "run", root, mask_classes=[])).any()


def test_layers_of_cloud_cirrus_and_snow(tmp_path: Path) -> None:
    root = make_product(tmp_path, L1C, bright)
    coarse = native_grid(GRID, "B09")
    layers = np.zeros((3, coarse.height, coarse.width), dtype=np.uint8)
    layers[0, 2:4, 3:7], layers[1, 10:12, 0:2], layers[2, 15:20, 10:15] = 1, 1, 1
    with rasterio.open(
        quality(root) / "MSK_CLASSI_B00.jp2", "w", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES",
        count=3, dtype="uint8", height=coarse.height, width=coarse.width,
        crs=CRS.from_epsg(GRID.epsg), transform=coarse.transform,
    ) as file:  # fmt: skip
        file.write(layers)
    opaque, cirrus, snow = (
        rectangle(12, 18, 12, 24),
        rectangle(60, 0, 12, 12),
        rectangle(90, 60, 30, 30),
    )
    scene = run_fetch(tmp_path / "run", root, mask_grow_m=0)
    np.testing.assert_array_equal(masked(scene), opaque | cirrus)
    scene = run_fetch(tmp_path / "run", root, mask_classes=["snow", "cloud_opaque"], mask_grow_m=60)
    # snow has an edge that one can trust
    wide = rectangle(6, 18, 24, 24) | rectangle(12, 12, 12, 36)
    np.testing.assert_array_equal(masked(scene), wide | snow)


def test_the_scene_classification(tmp_path: Path) -> None:
    def values(band: str, native: Any) -> np.ndarray:
        found = bright(band, native) + np.uint16(1_000) * (band != "SCL")
        if band == "SCL":
            found[0, :8] = 0, 1, 3, 8, 9, 10, 11, 5
        return found.astype(np.uint8 if band == "SCL" else np.uint16)

    root = make_product(tmp_path, L2A, values)
    for keys, expected in (
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"mask_classes": ["snow"]}, [6]),
        ({"mask_classes": []}, []),
        ({"mask_classes": ["cloud_high", "cloud_shadow"]}, [2, 4]),
    ):
        scene = run_fetch(tmp_path / "run", root, mask_grow_m=0, **keys)
        assert np.flatnonzero(masked(scene)[0, ::2]).tolist() == expected


def test_the_scene_to_map_has_the_mask_too(tmp_path: Path) -> None:
    root = make_product(tmp_path, L1C, bright)
    (quality(root) / "MSK_CLOUDS_B00.gml").write_text(polygons(OPAQUE=ring("exterior", 0, 0, 9, 9)))
    run = tmp_path / "run"
    trained = run_fetch(run, root)
    (mapped,) = open_catalog(run / "map")
    assert masked(trained).any()
    np.testing.assert_array_equal(masked(mapped), masked(trained))
    assert all((scene.path.parent / "mask.tif").is_file() for scene in (trained, mapped))


def test_no_cloud_and_no_mask_mask_nothing(tmp_path: Path) -> None:
    root = make_product(tmp_path, L1C, bright)
    assert not masked(run_fetch(tmp_path / "run", root)).any()
    (quality(root) / "MSK_CLOUDS_B00.gml").write_text(GML.format(epsg=1, features=""))
    assert not masked(run_fetch(tmp_path / "run", root)).any()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (polygons(OPAQUE=ring("exterior", 0, 0, 9, 9))[:-60], "is no whole XML"),
        (
            polygons(epsg=32632, OPAQUE=ring("exterior", 0, 0, 9, 9)),
            "EPSG:32632, its scene .* one prod",
        ),
        (polygons(OPAQUE="<gml:exterior/>"), "holds a polygon whose corners are none; download"),
        (
            polygons(OPAQUE=ring("exterior", 0, 0, 9, 9)).replace("srsName", "name"),
            "does not state one CRS of its polygons; download",
        ),
    ],
)
def test_a_mask_that_cannot_be_read_is_refused(tmp_path: Path, text: str, says: str) -> None:
    root = make_product(tmp_path, L1C, bright)
    (quality(root) / "MSK_CLOUDS_B00.gml").write_text(text)
    with pytest.raises(SceneError, match=rf"MSK_CLOUDS_B00\.gml .*{says}"):
        run_fetch(tmp_path / "run", root)
    assert not (tmp_path / "run" / "train").exists()


def test_masks_are_those_of_their_granule(tmp_path: Path) -> None:
    root = make_product(tmp_path, L1C, bright)
    other = root / "GRANULE" / "other" / "QI_DATA"
    other.mkdir(parents=True)
    (other / "MSK_CLOUDS_B00.gml").write_text(polygons(OPAQUE=ring("exterior", 0, 0, 9, 9)))
    image = next(name for name in Product.open(root).names if name.endswith("_B02.jp2"))
    assert masks_of(Product.open(root), {"B02": image}) == ()


TILE = """<n1:Level-1C_Tile_ID xmlns:n1="x"><n1:Quality_Indicators_Info><Pixel_Level_QI>
  <MASK_FILENAME bandId="0" type="MSK_DEFECT">{granule}/QI_DATA/MSK_DEFECT_B01.gml</MASK_FILENAME>
  <MASK_FILENAME type="{kind}">{granule}/QI_DATA/{kind}_B00.{suffix}</MASK_FILENAME>
</Pixel_Level_QI></n1:Quality_Indicators_Info></n1:Level-1C_Tile_ID>"""
MANIFEST = """<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1"><dataObject><byteStream>
  <fileLocation href="./{granule}/QI_DATA/{kind}_B00.{suffix}" locatorType="URL"/>
</byteStream></dataObject></xfdu:XFDU>"""


def listing(root: Path, name: str, kind: str, suffix: str) -> Path:
    """The product with a file that lists a mask of clouds, which is not there."""
    granule = next((root / "GRANULE").iterdir())
    inside, text = granule.relative_to(root).as_posix(), MANIFEST if name == "manifest.safe" else TILE
    path = (root if name == "manifest.safe" else granule) / name
    path.write_text(text.format(granule=inside, kind=kind, suffix=suffix))
    return root


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "suffix"),
    [
        ("manifest.safe", "MSK_CLOUDS", "gml"),
        ("MTD_TL.xml", "MSK_CLOUDS", "gml"),
        ("manifest.safe", "MSK_CLASSI", "jp2"),
        ("S2A_OPER_MTD_L1C_TL_SGS__20160318T180000_A003854_T33UUU.xml", "MSK_CLOUDS", "gml"),
    ],
)
def test_a_mask_that_is_listed_and_missing_is_refused(
    tmp_path: Path, name: str, kind: str, suffix: str, packed: bool
) -> None:
    root = listing(make_product(tmp_path, L1C, bright), name, kind, suffix)
    path = zipped(root) if packed else root
    with pytest.raises(SceneError, match=rf"lacks .*/{kind}_B00\.{suffix}, .*`mask: none`"):
        run_fetch(tmp_path / "run", path)
    assert not masked(run_fetch(tmp_path / "run", path, mask="none")).any()


def test_without_a_mask_fetch_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_product(tmp_path, L1C, bright)
    run_fetch(tmp_path / "run", root)
    assert "comes without a cloud mask: its clouds are not left out" in capsys.readouterr().out
    run_fetch(tmp_path / "run", root, mask="none")
    (quality(root) / "MSK_CLOUDS_B00.gml").write_text(GML.format(epsg=1, features=""))
    run_fetch(tmp_path / "run", root)
    assert "cloud mask" not in capsys.readouterr().out


def test_mask_none_leaves_out_nothing_of_l2a(tmp_path: Path) -> None:
    def values(band: str, native: Any) -> np.ndarray:
        found = bright(band, native)
        return found * np.uint8(0) + np.uint8(9) if band == "SCL" else found + np.uint16(1_000)

    root = make_product(tmp_path, L2A, values)
    assert masked(run_fetch(tmp_path / "run", root)).all()
    assert not masked(run_fetch(tmp_path / "run", root, mask="none")).any()
    for path in root.rglob("*SCL_20m.jp2"):
        path.unlink()
    with pytest.raises(SceneError, match=r"lacks GRANULE/.*SCL_20m"):
        run_fetch(tmp_path / "run", root)
    assert not masked(run_fetch(tmp_path / "run", root, mask="none")).any()
