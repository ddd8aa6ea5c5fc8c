"""Small labelled images: a folder a class, in a folder or in a zip that is not unpacked.

Tens of thousands of them lie in one zip, so that it is opened once for all that is read of it.
"""

from __future__ import annotations

import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import rasterio
from rasterio.io import MemoryFile

from pipeline.config.opening import opening
from pipeline.errors import SceneError
from pipeline.geo.raster.archive import is_of_macos, is_zip, opened_zip, split

_SUFFIXES = (".tif", ".tiff")
_NUMBER = re.compile(r"(\d+)")
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class ImageFile:
    """One image."""

    name: str
    """Of the file, without suffix: `Forest_12`."""
    label: str
    """The name of its folder: the class of the image."""
    path: str
    """Its path; of one in a zip as in `archive`: `x.zip!/Forest/Forest_12.tif`."""


def find_images(root: Path) -> list[ImageFile]:
    """The images of a folder or a zip, at any depth, by class and number.

    Raises:
        SceneError: when there is none, or two of one name.
    """
    paths = [
        path
        for path in _paths(root)
        if path.suffix.lower() in _SUFFIXES and len(path.parts) > 1 and not is_of_macos(str(path))
    ]
    if not paths:
        raise SceneError(
            f"{root} holds no folders of GeoTIFFs, one a class (Forest/Forest_1.tif); name the folder "
            "that does, or EuroSATallBands.zip."
        )
    inside = f"{root}!/" if root.is_file() else f"{root}/"
    images = [ImageFile(path.stem, path.parent.name, f"{inside}{path}") for path in paths]
    images.sort(key=lambda image: (_natural(image.label), _natural(image.name), image.path))
    named: dict[str, ImageFile] = {}
    for image in images:
        other = named.setdefault(image.name, image)
        if other is not image:
            raise SceneError(
                f"{root} has two images named {image.name}, {other.path} and {image.path}; leave one "
                "of them there."
            )
    return images


def _paths(root: Path) -> list[PurePosixPath]:
    """The files below a folder or in a zip, relative to it."""
    if root.is_dir():
        return [PurePosixPath(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    if not root.is_file():
        raise SceneError(f"{root} does not exist; name a folder of images, or a zip of one.")
    if not is_zip(root):
        raise SceneError(f"{root} is neither a folder nor a file named .zip; name one of these.")
    with opened_zip(root) as archive:
        entries = [PurePosixPath(info.filename) for info in archive.infolist() if not info.is_dir()]
    if outside := [path for path in entries if path.is_absolute() or ".." in path.parts]:
        raise SceneError(f"{root} holds {outside[0]}, which is no path in it; download the zip again.")
    return entries


def _natural(name: str) -> list[tuple[int, str]]:
    """What sorts `Forest_2` before `Forest_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _NUMBER.split(name)]


class ImageReader(ExitStack):
    """Reads the bytes of images, by several threads at a time; zips stay open meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._zips: dict[Path, zipfile.ZipFile] = {}
        self._lock = threading.Lock()

    def read(self, path: str, most: int) -> bytes:
        """The first `most` bytes of an image, or all there are.

        Raises:
            SceneError: when it is missing or damaged.
        """
        outer, inner = split(path)
        try:
            if inner is None:
                with outer.open("rb") as stream:
                    return stream.read(most)
            return self._read_zipped(outer, inner, most)
        except FileNotFoundError:
            raise SceneError(f"{path} does not exist any more; run `fetch` again.") from None
        except OSError as error:
            raise SceneError(f"{path} cannot be read ({error.strerror}); make it readable.") from error

    def _read_zipped(self, outer: Path, inner: str, most: int) -> bytes:
        archive = self._opened(outer)
        with opening(
            lambda why: SceneError(
                f"{outer} is damaged where it holds {inner} ({why}); download it again."
            )
        ):
            if inner not in archive.NameToInfo:
                raise SceneError(f"{outer} holds no {inner} any more; run `fetch` again.")
            if archive.NameToInfo[inner].flag_bits & _ENCRYPTED:
                raise SceneError(f"{outer} is encrypted; give the zip as published.")
            with archive.open(inner) as stream:
                return stream.read(most)

    def _opened(self, path: Path) -> zipfile.ZipFile:
        with self._lock:
            if path not in self._zips:
                path.stat()  # raises where the file is gone: `opened_zip` has no message for that
                self._zips[path] = self.enter_context(opened_zip(path))
            return self._zips[path]


@contextmanager
def decoded(content: bytes, path: str) -> Iterator[Any]:
    """The dataset of a GeoTIFF in memory.

    Raises:
        SceneError: when it is none, or damaged, also for what fails while it is open.
    """
    with opening(
        lambda why: SceneError(
            f"{path} cannot be read ({why}); it is damaged or no GeoTIFF: fetch it again."
        )
    ):
        # images are read side by side: threads inside GDAL would only slow that down
        alone = rasterio.Env(GDAL_NUM_THREADS="1")
        with (
            alone,
            MemoryFile(content, filename=PurePosixPath(path).name) as file,
            file.open(driver="GTiff") as dataset,
        ):
            yield dataset
