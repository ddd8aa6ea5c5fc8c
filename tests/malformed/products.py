"""SAFE products that are damaged, made to harm, or of another kind."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.geo.raster.grid import PixelGrid
from tests.malformed.case import Case
from tests.support.products import L1C, L2A, clear, make_product, zipped
from tests.support.worlds import GRID, positions, write_raster


def _conf(path: Path) -> dict[str, Any]:
    return {"fetch.yaml": {"train": [{"safe": str(path)}], "map": "train"}}


def _metadata(root: Path) -> Path:
    return next(root.glob("MTD*.xml"))


def _truncated_image(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    os.truncate(next(root.rglob("*_B05.jp2")), 900)
    return _conf(root)


def _truncated_image_in_zip(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    os.truncate(next(root.rglob("*_B05.jp2")), 900)
    return _conf(zipped(root))


def _truncated_zip(folder: Path) -> dict[str, Any]:
    path = zipped(make_product(folder))
    os.truncate(path, path.stat().st_size // 2)
    return _conf(path)


def _encrypted_zip(folder: Path) -> dict[str, Any]:
    path = zipped(make_product(folder))
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1  # the flag of an entry in the list of the zip
    path.write_bytes(content)
    return _conf(path)


def _with_entry(folder: Path, name: str, content: bytes) -> dict[str, Any]:
    path = zipped(make_product(folder))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return _conf(path)


def _leaving_zip(folder: Path) -> dict[str, Any]:
    return _with_entry(folder, "../../over.jp2", b"x")


def _absolute_zip(folder: Path) -> dict[str, Any]:
    return _with_entry(folder, "/etc/over.jp2", b"x")


def _bomb_zip(folder: Path) -> dict[str, Any]:
    return _with_entry(folder, f"{L1C}.SAFE/GRANULE/x.jp2", bytes(30_000_000))


def _zip_without_permission(folder: Path) -> dict[str, Any]:
    path = zipped(make_product(folder))
    path.chmod(0)
    return _conf(path)


def _no_zip(folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True)
    path = folder / "product.zip"
    path.write_text("<html>Log in</html>")
    return _conf(path)


def _zip_of_something_else(folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True)
    path = folder / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/1.jpg", b"x")
    return _conf(path)


def _cut_xml(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    os.truncate(_metadata(root), 9_000)
    return _conf(root)


def _entity_bomb(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    path = _metadata(root)
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(9))
    text = path.read_text().replace("<n1:Level", f"<!DOCTYPE a [{entities}]><n1:Level", 1)
    path.write_text(text.replace("</n1:", "&e8;</n1:", 1))
    return _conf(root)


def _other_product(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    path = _metadata(root)
    path.write_text(path.read_text().replace("Level-1C_User_Product", "Level-1B_User_Product"))
    return _conf(root)


def _no_metadata(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    _metadata(root).unlink()
    return _conf(root)


def _no_granule(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    shutil.rmtree(root / "GRANULE")
    return _conf(root)


def _no_granule_in_zip(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    shutil.rmtree(root / "GRANULE")
    return _conf(zipped(root))


def _no_band(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    next(root.rglob("*_B11.jp2")).unlink()
    return _conf(root)


def _other_ground(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    moved = PixelGrid(GRID.epsg, GRID.x0 + 9_000, GRID.y0, GRID.height, GRID.width)
    write_raster(next(root.rglob("*_B03.jp2")), positions(moved), moved)
    return _conf(root)


def _dark(band: str, native: PixelGrid) -> np.ndarray:
    shape = native.height, native.width
    dn = 500 + np.arange(native.height * native.width, dtype=np.uint16).reshape(shape) % 100
    return clear(native) if band == "SCL" else dn


def _offset_twice(folder: Path) -> dict[str, Any]:
    return _conf(make_product(folder, L2A, _dark))


def _no_quantification(folder: Path) -> dict[str, Any]:
    change = {'<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>': ""}
    return _conf(make_product(folder, L2A, change=change))


def _cut_mask(folder: Path) -> dict[str, Any]:
    root = make_product(folder)
    quality = next((root / "GRANULE").iterdir()) / "QI_DATA"
    quality.mkdir()
    (quality / "MSK_CLOUDS_B00.gml").write_text("<eop:Mask xmlns:eop='e'><eop:maskMembers>")
    return _conf(root)


def _not_there(folder: Path) -> dict[str, Any]:
    return _conf(folder / f"{L1C}.SAFE.zip")


CASES = [
    Case("truncated JP2", _truncated_image, r"_B05\.jp2 is truncated: .*; fetch it again"),
    Case(
        "truncated JP2 in a zip", _truncated_image_in_zip, r"\.zip!/.*_B05\.jp2 is truncated: .*; fetch"
    ),
    Case("truncated zip", _truncated_zip, r"\.zip is no whole zip .*; download it again"),
    Case("encrypted zip", _encrypted_zip, r"\.zip is encrypted; give the product without a password"),
    Case(
        "zip with a path out of it", _leaving_zip, r"holds '\.\./\.\./over\.jp2', which would .*: down"
    ),
    Case(
        "zip with an absolute path", _absolute_zip, r"holds '/etc/over\.jp2', which would .*: download"
    ),
    Case("zip bomb", _bomb_zip, r"\.zip holds .* unpack to 30,000,000; .*: download it again"),
    Case(
        "zip without permission",
        _zip_without_permission,
        r"\.zip cannot be read \(Perm.*; give",
        unprivileged=True,
    ),
    Case("page named .zip", _no_zip, r"product\.zip is no whole zip .*; download it again"),
    Case("zip of something else", _zip_of_something_else, r"photos\.zip is no Sentinel-2 .*; name the"),
    Case("XML cut in the middle", _cut_xml, r"MTD_MSIL1C\.xml is no whole XML .*; download the"),
    Case("XML with an entity bomb", _entity_bomb, r"MTD_MSIL1C\.xml declares a document type .*: down"),
    Case("XML of another product", _other_product, r"describes a Level-1B_User_Product, .*; name one"),
    Case("no metadata", _no_metadata, r"\.SAFE is no Sentinel-2 product: .*; name the folder"),
    Case("missing granule", _no_granule, r"\.SAFE lacks GRANULE/.*; unpack or download the product"),
    Case("missing granule in a zip", _no_granule_in_zip, r"\.zip lacks GRANULE/.*; unpack or download"),
    Case("missing band file", _no_band, r"lacks GRANULE/.*_B11, which .*; unpack or download"),
    Case("bands of different ground", _other_ground, r"_B03\.jp2 covers other ground .*; give bands"),
    Case(
        "offset applied already",
        _offset_twice,
        r"_B01_60m\.jp2: with scale .* below -0\.03; its own .*: download",
    ),
    Case(
        "no quantification", _no_quantification, r"MTD_MSIL2A\.xml does not state a quant.*; download"
    ),
    Case(
        "cloud mask cut in the middle", _cut_mask, r"MSK_CLOUDS_B00\.gml is no whole XML .*; download"
    ),
    Case("product that is not there", _not_there, r"\.SAFE\.zip does not exist; name a folder"),
]
"""Each is a cause of its own."""
