"""The files of a SAFE product, a folder or a zip of it, opened with care: it came from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

from pipeline.errors import SceneError
from pipeline.geo.raster.archive import opened_zip, stream_of

_METADATA = re.compile(r"(MTD_MSIL[12][AC]|S2[A-D]_OPER_MTD_SAFL[12][AC]_[^/]*)\.xml$")
_MOST_XML = 64_000_000
_MOST_FILE = 4_000_000_000
_MOST_RATIO = 1000
"""Times that a file of `_SMALL` bytes and more may be larger than its compressed form: JPEG 2000 does
not shrink, and XML shrinks 30 times."""
_SMALL = 10_000_000
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Product:
    """Where the files of a product are."""

    path: Path
    """As the conf names it."""
    root: str
    """Before the name of each of its files."""
    metadata: str
    """Name of the file that describes it."""
    names: frozenset[str]
    """Of all its files, relative to its folder."""

    @classmethod
    def open(cls, path: Path) -> Product:
        """Look into a product.

        Raises:
            SceneError: when there is none, it is no SAFE product, or its zip is damaged, encrypted or
                made to harm.
        """
        if path.is_dir():
            files = (file for file in path.rglob("*") if file.is_file())
            names = frozenset(file.relative_to(path).as_posix() for file in files)
            return cls(path, f"{path.absolute()}/", _described(names, path), names)
        if not path.is_file():
            raise SceneError(f"{path} does not exist; name a folder ...SAFE or a zip of it.")
        if path.suffix != ".zip":
            raise SceneError(f"{path} is no zip by its name; name a folder ...SAFE or a zip of it.")
        return cls._zipped(path)

    @classmethod
    def _zipped(cls, path: Path) -> Product:
        with opened_zip(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        for entry in entries:
            parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
            if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in parts[0]:
                raise SceneError(
                    f"{path} holds {entry.filename!r}, which would lie outside of its folder; no "
                    "product does: download it again from a source that you trust."
                )
            if entry.flag_bits & _ENCRYPTED:
                raise SceneError(f"{path} is encrypted; give the product without a password.")
            grown = entry.file_size > _SMALL and entry.file_size > _MOST_RATIO * entry.compress_size
            if grown or entry.file_size > _MOST_FILE:
                raise SceneError(
                    f"{path} holds {entry.filename!r}, whose {entry.compress_size:,} bytes unpack to "
                    f"{entry.file_size:,}; no product does: download it again from a source that you "
                    "trust."
                )
        every = {entry.filename for entry in entries}
        described = _described(every, path)
        top = described[: described.rfind("/") + 1]
        names = frozenset(name.removeprefix(top) for name in every if name.startswith(top))
        return cls(path, f"{path.absolute()}!/{top}", described.removeprefix(top), names)

    @property
    def name(self) -> str:
        """Of the product, without its ending."""
        inner = self.root.rstrip("/").rsplit("/", 1)[-1].removesuffix("!").removesuffix(".zip")
        return inner.removesuffix(".SAFE")

    def href(self, name: str) -> str:
        """The absolute path of one of its files, which may be in the zip."""
        return f"{self.root}{name}"

    def xml(self, name: str) -> ET.Element:
        """One of its XML files.

        Raises:
            SceneError: when it is damaged or declares entities.
        """
        href = self.href(name)
        with stream_of(href) as stream:
            content = stream.read(_MOST_XML + 1)
        # without a document type there are no entities to blow up or to read other files
        if len(content) > _MOST_XML or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise SceneError(
                f"{href} declares a document type or is larger than any metadata; no product's does: "
                "download it again from a source that you trust."
            )
        try:
            return ET.fromstring(content)
        except ET.ParseError as error:
            raise SceneError(
                f"{href} is no whole XML ({error}); download the product again."
            ) from error


def local_name(element: ET.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rsplit("}", 1)[-1]


def every(root: ET.Element, *names: str) -> Iterator[ET.Element]:
    """The elements of some names, whatever their namespace, in their order."""
    return (element for element in root.iter() if local_name(element) in names)


def _described(names: Iterable[str], path: Path) -> str:
    """The file that describes a product, the one that lies highest."""
    candidates = sorted(
        (name for name in names if _METADATA.search(name)), key=lambda n: (n.count("/"), n)
    )
    if not candidates or candidates[0].count("/") > 1:
        kind = "folder" if path.is_dir() else "zip"
        raise SceneError(
            f"{path} is no Sentinel-2 product: the {kind} holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml; "
            "name the folder ...SAFE or a zip of it."
        )
    return candidates[0]
