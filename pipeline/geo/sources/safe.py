"""SAFE products of ESA: files, radiometry and identity as their own metadata state them.

Quantification and the offset of each band are read from the product's XML (Sentinel-2 Products
Specification Document, S2-PDGS-TAS-DI-PSD): reflectance = (DN + offset) / quantification. An offset
that is not there is 0, which it was before processing baseline 04.00; nothing follows from a date.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from pipeline.bands import BANDS
from pipeline.config.sources import SafeConf
from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.scene_files import BandLayer, MaskLayer, SceneFiles, require_name
from pipeline.geo.sources.cloud_masks import masks_of
from pipeline.geo.sources.product import Product, every, local_name

_LEVELS = {"Level-1C_User_Product": "L1C", "Level-2A_User_Product": "L2A"}
_QUANTIFICATION = {
    "L1C": ("QUANTIFICATION_VALUE",),
    "L2A": ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"),
}
_OFFSET = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET"}
_IMAGE = re.compile(r"_(?:(B\d\d|B8A|SCL)(?:_(\d\d)m)?)$")
_TILE = re.compile(r"_(T\d\d[A-Z]{3})_")
_SUFFIXES = (".jp2", ".tif")
_SCL_M = 20
_OLD_L2A = ("IMAGE_FILE_2A", "IMAGE_ID_2A")
"""Elements that name the images of L2A products of 2016 and 2017."""


def scene_files(conf: SafeConf) -> list[SceneFiles]:
    """The scenes of a product: one, or of the products of before December 2016 one a granule.

    Raises:
        SceneError: when it is no such product, or a file that its metadata name is missing.
        RadiometryError: when its metadata do not state the quantification.
    """
    product = Product.open(Path(conf.safe))
    root = product.xml(product.metadata)
    level = _level(root, product)
    granules = list(_granules(root, product, own_masks=conf.mask is None))
    if not granules:
        raise SceneError(f"{product.href(product.metadata)} names no granule; download it again.")
    name = conf.id or _text(root, "PRODUCT_URI").removesuffix(".SAFE") or product.name
    remedy = "add an `id` to its entry in the conf" if conf.id is None else "download it again"
    radiometry = _radiometry(root, level, product)
    return [
        SceneFiles(
            require_name(name if len(granules) == 1 else f"{name}_{tile}", conf.safe, remedy),
            conf.safe,
            _moment(root, product),
            {
                band: BandLayer(Layer(product.href(images[band])), *radiometry[band], origin="product")
                for band in BANDS
                if band in images
            },
            MaskLayer.of_user(conf.mask),
            _text(root, "SPACECRAFT_NAME").lower() or None,
            level,
            _text(root, "PROCESSING_BASELINE") or None,
            masks=masks_of(product, images) if conf.mask is None else (),
            sizes=_sizes(product, images),
        )
        for tile, images in granules
    ]


def _level(root: ET.Element, product: Product) -> str:
    """The level of a product, `L1C` or `L2A`.

    Raises:
        SceneError: when it is of another, or an L2A of the form of before 2018.
    """
    if (level := _LEVELS.get(local_name(root))) is None:
        raise SceneError(
            f"{product.href(product.metadata)} describes a {local_name(root)}, which is no Sentinel-2 "
            "product of level 1C or 2A; name one of these."
        )
    if "_USER_" in product.metadata or next(every(root, *_OLD_L2A), None) is not None:
        raise SceneError(
            f"{product.path} is an L2A product in the format of 2016 and 2017 (IMAGE_FILE_2A), which "
            "is not supported; name the same scene in a later processing, or put its band files into a "
            "folder and name that as `path`, with `scale` and `offset`."
        )
    return level


def _sizes(product: Product, images: Mapping[str, str]) -> dict[float, tuple[int, int]]:
    """Rows and columns by pixel size in m, as the metadata of a granule state them; else none.

    Raises:
        SceneError: when they are no numbers.
    """
    tile = product.tile_xml(next(iter(images.values())))
    try:
        return {
            float(size.get("resolution", "")): (int(_text(size, "NROWS")), int(_text(size, "NCOLS")))
            for size in (() if tile is None else every(tile, "Size"))
        }
    except ValueError:
        raise SceneError(
            f"{product.path}: the metadata of its granule state sizes that are no numbers; download "
            "the product again."
        ) from None


def _granules(
    root: ET.Element, product: Product, *, own_masks: bool
) -> Iterator[tuple[str, dict[str, str]]]:
    """Of each granule the MGRS tile, and the image files by band, each at its native resolution.

    The scene classification is among them if `own_masks` says so.
    """
    stems = {name.rsplit(".", 1)[0]: name for name in product.names if name.lower().endswith(_SUFFIXES)}
    by_name = {stem.rsplit("/", 1)[-1]: name for stem, name in stems.items()}
    for granule in every(root, "Granule", "Granules"):
        images: dict[str, str] = {}
        for image in every(granule, "IMAGE_FILE", "IMAGE_ID"):
            stem = (image.text or "").strip()
            if (match := _IMAGE.search(stem)) is None or match[1] not in (*BANDS, "SCL"):
                continue
            band, side = match[1], match[2]
            if band == "SCL" and not own_masks:
                continue
            native = _SCL_M if band == "SCL" else BANDS[band].native_m
            if side is not None and int(side) != native:
                continue
            # before December 2016, the metadata name images without their folders
            file = stems.get(stem) or by_name.get(stem.rsplit("/", 1)[-1])
            if file is None:
                raise SceneError(
                    f"{product.path} lacks {stem}, which its metadata name; unpack or download the "
                    "product again."
                )
            images[band] = file
        identity = granule.get("granuleIdentifier", "")
        tile = _TILE.search(identity)
        if any(band in BANDS for band in images):
            yield (tile[1] if tile else identity), images


def _radiometry(root: ET.Element, level: str, product: Product) -> dict[str, tuple[float, float]]:
    """Scale and offset of each band: reflectance = DN * scale + offset."""
    stated = [_text(root, name) for name in _QUANTIFICATION[level]]
    try:
        offsets = {
            element.get("band_id"): float(element.text or "nan")
            for element in every(root, _OFFSET[level])
        }
        scale = 1 / float(next(filter(None, stated)))
        # the number of a band in the metadata is its index among all 13
        by_band = {
            band: (scale, offsets.get(str(number), 0.0) * scale) for number, band in enumerate(BANDS)
        }
    except (StopIteration, ValueError, ZeroDivisionError):
        by_band = {}
    if not by_band or not all(
        0 < scale < math.inf and math.isfinite(offset) for scale, offset in by_band.values()
    ):
        raise RadiometryError(
            f"{product.href(product.metadata)} does not state a quantification and offsets that are "
            "numbers; download the product again."
        )
    return by_band


def _moment(root: ET.Element, product: Product) -> datetime:
    stated = _text(root, "PRODUCT_START_TIME")
    try:
        moment = datetime.fromisoformat(stated)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        raise SceneError(
            f"{product.href(product.metadata)} states the time {stated!r}, which is none; download the "
            "product again."
        ) from None


def _text(root: ET.Element, name: str) -> str:
    """The text of the first element of a name, empty where there is none."""
    return next(((element.text or "").strip() for element in every(root, name)), "")
