"""EuroSAT: 27,000 images of 64 x 64 pixels in 13 bands, ten classes, cut from Sentinel-2 over Europe.

Helber, Bischke, Dengel and Borth (2019): EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land
Use and Land Cover Classification, IEEE JSTARS 12(7), doi:10.1109/JSTARS.2019.2918242; MIT licence. The
images hold DN of L1C: reflectance x 10000 without an offset, as all products of their years, and with
the band B10, which L2A does not have. Their dates are not published.

Addresses and hashes are those of torchgeo 0.10 (`torchgeo.datasets.EuroSAT`, `EuroSATSpatial`); they
are repeated here because `fetch` starts in less time than it takes to import torch. A test compares.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path

from pipeline.config.compute import ComputeConf
from pipeline.config.sources import EurosatConf
from pipeline.errors import SceneError
from pipeline.files import linked, remove, sha256_of
from pipeline.geo.images.collection import About, Image, of_file
from pipeline.geo.images.image_file import ImageFile, ImageReader, decoded, find_images
from pipeline.geo.images.items import write_collection
from pipeline.geo.images.published_splits import ENDINGS, PartLists, read_lists
from pipeline.geo.raster.remote import look_up
from pipeline.geo.sources.download import Downloads
from pipeline.parallel import run_pieces, worker_count

URL = "https://hf.co/datasets/torchgeo/eurosat/resolve/1ce6f1bfb56db63fd91b6ecc466ea67f2509774c/"
ZIP = "EuroSATallBands.zip"
SHA256 = {
    ZIP: "751f070f9bffa2eed48b24ca2dd0b02959280c08837e8c9a5532a67ba611df59",
    "eurosat-train.txt": "1c1d2e855f95deee605a3d992f914d113fddbecf422ec61648057d029a37d695",
    "eurosat-val.txt": "b385741f31daa9f1250cf1e1fe03adfab394e1172e0693df40141af004f60330",
    "eurosat-test.txt": "cf37948894c12bd953930ff54ee9b7abf0b31478abb8d25fd2c6c721db74c592",
    "eurosat-spatial-train.txt": "2db7d455afb8dcbca898ea19a00f1f90c091734efdbba89e22aaf24056da243f",
    "eurosat-spatial-val.txt": "6c758477604b7057a0fd990d7f6327b63b99a6725aac11a6a9d0174a7fdd8f0b",
    "eurosat-spatial-test.txt": "de22dec83d350cac3b3e4ca8e285cb6733c81ab94bf5bcf9213a567993402452",
}
"""The files by name: the images, and which of them train, validate and test."""
IMAGES_BY_CLASS = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}
BAND_ORDER = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A",
)  # fmt: skip
"""Of the layers of an image: B8A is the last."""
SIDE_PX = 64
DOWNLOAD = "download"
ID = "EuroSAT"
_MOST_BYTES = 1_000_000
"""Of an image; as published they have 107,244."""
_PUBLISHED = "2015-06-23T00:00:00Z", "2017-08-31T00:00:00Z"
"""From the launch of Sentinel-2A to the first version of the paper (arXiv:1709.00029)."""


def write_images(conf: EurosatConf, folder: Path, target: Path, downloads: Downloads) -> str:
    """Write the checked collection of the images to `folder`, and summarise it.

    The empty `folder` will become `target`. A downloaded zip becomes a part of the collection, so that
    DVC keeps it.

    Raises:
        SceneError: when there are no images, or one of them or a list cannot be used.
        OutputError: when the disk is full.
    """
    path, base = Path(conf.eurosat), target
    if conf.eurosat == DOWNLOAD:
        path = _downloaded(downloads)
        linked(path, folder / ZIP)
        base = path.parent  # the zip lies in `target` as it does there
    files = find_images(path)
    lists = read_lists(path if path.is_dir() else path.parent, {file.name for file in files}, SHA256)
    counts = Counter(file.label for file in files)
    about = About(
        id=ID,
        title="EuroSAT",
        description="Labelled images of 640 m, cut from Sentinel-2 scenes of L1C",
        license="MIT",
        interval=_PUBLISHED,
        level="L1C",
        bands=BAND_ORDER,
        # as far as their numbers tell
        whole=counts == IMAGES_BY_CLASS,
    )
    with ImageReader() as reader:
        work = partial(checked, reader=reader)
        images = run_pieces(work, files, worker_count(ComputeConf()))
        with closing(images):
            write_collection(folder, base, images, about, lists)
    return _summary(conf, counts, lists)


def _summary(conf: EurosatConf, counts: Counter[str], lists: PartLists) -> str:
    """What was read, from the number of images of each class."""
    lines = [f"train: EuroSAT, {counts.total():,} images of {len(counts)} classes ({conf.eurosat})"]
    for name, parts in lists.parts.items():
        listed = ", ".join(f"{list(parts.values()).count(part):,} {part}" for part in ENDINGS)
        absent = lists.absent[name]
        lines.append(f"list {name}: {listed}" + (f"; {absent:,} more are not there" if absent else ""))
    return "\n".join(lines)


def checked(file: ImageFile, reader: ImageReader) -> Image:
    """An image whose pixels were read once.

    Raises:
        SceneError: when it is damaged, is no image of EuroSAT, or does not say where it lies.
    """
    content = reader.read(file.path, _MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise SceneError(f"{file.path} has more bytes than an image of EuroSAT can have; remove it.")
    with decoded(content, file.path) as dataset:
        shape = dataset.count, dataset.height, dataset.width
        if shape != (len(BAND_ORDER), SIDE_PX, SIDE_PX) or set(dataset.dtypes) != {"uint16"}:
            raise SceneError(
                f"{file.path} has {shape[0]} layers of {shape[1]} x {shape[2]} pixels, "
                f"{dataset.dtypes[0]}, but an image of EuroSAT has {len(BAND_ORDER)} of {SIDE_PX} x "
                f"{SIDE_PX}, uint16; give those of {ZIP} (not the RGB version)."
            )
        dataset.read()
        return of_file(file, content, dataset)


def _downloaded(downloads: Downloads) -> Path:
    """The zip in a folder with its lists, each fetched unless it exists."""
    folder = downloads.folder / "eurosat"
    for name, sha256 in SHA256.items():
        path = folder / name
        if path.exists() and sha256_of(path) == sha256:
            continue
        file = look_up(f"{URL}{name}")
        downloads.whole(file, path, "EuroSAT")
        if sha256_of(path) != sha256:
            remove(path)
            raise SceneError(
                f"{file.href} is not the {name} that was published: its SHA-256 is another one; run "
                "`fetch` again, or name a folder with images that you have."
            )
    return folder / ZIP
