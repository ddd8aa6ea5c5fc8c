"""The files of a SAFE product, a folder or a zip of it, opened with care: it came from elsewhere.

XML is read by the parser of Python's library, which detects encodings; a document type, without which
there are no entities to blow up or to read other files, ends it before anything is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

from pipeline.errors import SceneError
from pipeline.geo.raster.archive import is_of_macos, is_zip, opened_zip, stream_of

_METADATA = re.compile(r"(MTD_MSIL[12][AC]|S2[A-D]_(OPER|USER)_MTD_SAFL[12][AC]_.*)\.xml")
_MANIFEST = "manifest.safe"
_TILE_METADATA = re.compile(r"(MTD_TL|S2[A-D]_\w+_MTD_L[12][AC]_TL_.*)\.xml")
_MOST_XML = 64_000_000
_MOST_FILE = 4_000_000_000
_MOST_RATIO = 1000
"""Times that a file of `_SMALL` bytes and more may be larger than its compressed form: JPEG 2000 does
not shrink, and XML shrinks 30 times."""
_SMALL = 10_000_000
_ENCRYPTED = 0x1
_NAMED = 5
"""How many of the files that were found a message names."""


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
        """Look into a product: its folder or a zip, whatever lies around it there, or its metadata.

        Raises:
            SceneError: when there is none or several, it is no SAFE product, or its zip is damaged,
                encrypted or made to harm.
        """
        if path.is_dir():
            root, names, described = f"{path.absolute()}/", _below(path), None
        elif not path.is_file():
            raise SceneError(f"{path} does not exist; name a folder ...SAFE or a zip of it.")
        elif is_zip(path):
            root, names, described = f"{path.absolute()}!/", _entries(path), None
        elif path.name == _MANIFEST or _METADATA.fullmatch(path.name):
            root, names = f"{path.parent.absolute()}/", _below(path.parent)
            described = None if path.name == _MANIFEST else path.name
        else:
            raise SceneError(
                f"{path} is no zip by its name; name a folder ...SAFE, a zip of it, or its "
                "MTD_MSIL1C.xml or MTD_MSIL2A.xml."
            )
        described = described or _described(names, path)
        top = described[: described.rfind("/") + 1]
        own = frozenset(name.removeprefix(top) for name in names if name.startswith(top))
        return cls(path, f"{root}{top}", described.removeprefix(top), own)

    @property
    def name(self) -> str:
        """Of the product, without its ending."""
        inner = self.root.rstrip("/").rsplit("/", 1)[-1]
        return re.sub(r"(\.SAFE)?(\.zip!)?$", "", inner, flags=re.IGNORECASE)

    def href(self, name: str) -> str:
        """The absolute path of one of its files, which may be in the zip."""
        return f"{self.root}{name}"

    def tile_xml(self, image: str) -> ET.Element | None:
        """The metadata of the granule that an image file belongs to; None where they are not there.

        Raises:
            SceneError: as `xml`.
        """
        granule = granule_of(image)
        name = next(
            (
                name
                for name in sorted(self.names)
                if name.rpartition("/")[0] == granule
                and _TILE_METADATA.fullmatch(name.rpartition("/")[2])
            ),
            None,
        )
        return None if name is None else self.xml(name)

    def listed(self) -> Iterator[str]:
        """The files that its manifest lists, where it has one.

        Raises:
            SceneError: as `xml`.
        """
        if _MANIFEST in self.names:
            for place in every(self.xml(_MANIFEST), "fileLocation"):
                yield place.get("href", "").removeprefix("./")

    def xml(self, name: str) -> ET.Element:
        """One of its XML files.

        Raises:
            SceneError: when it is damaged or declares a document type.
        """
        href = self.href(name)
        with stream_of(href) as stream:
            content = stream.read(_MOST_XML + 1)
        try:
            if len(content) > _MOST_XML:
                raise _DocumentTypeError
            parser = ET.XMLParser(target=_Builder())
            parser.feed(content)
            root: ET.Element = parser.close()
        except _DocumentTypeError:
            raise SceneError(
                f"{href} declares a document type or is larger than any metadata; no product's does: "
                "download it again from a source that you trust."
            ) from None
        except (ET.ParseError, ValueError, LookupError) as error:  # the latter two of its encoding
            raise SceneError(
                f"{href} is no whole XML ({error}); download the product again."
            ) from error
        return root


class _DocumentTypeError(Exception):
    """An XML file declares a document type."""


class _Builder(ET.TreeBuilder):
    def doctype(self, *_: str | None) -> None:
        """Called where a declaration begins, before what it declares is read."""
        raise _DocumentTypeError


def granule_of(image: str) -> str:
    """The folder of the granule that an image file belongs to, relative to the product's."""
    return image.rpartition("/IMG_DATA/")[0]


def local_name(element: ET.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rsplit("}", 1)[-1]


def every(root: ET.Element, *names: str) -> Iterator[ET.Element]:
    """The elements of some names, whatever their namespace, in their order."""
    return (element for element in root.iter() if local_name(element) in names)


def product_files(path: Path) -> list[Path]:
    """The files on disk of a product, whichever way `Product.open` is told where it is."""
    if is_zip(path):
        return [path] if path.is_file() else []
    folder = path if path.is_dir() else path.parent
    return [folder / name for name in _below(folder)]


def _below(folder: Path) -> list[str]:
    """The files in a folder, at any depth, relative to it."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [name for name in names if not is_of_macos(name)]


def _entries(path: Path) -> list[str]:
    """The files in a zip.

    Raises:
        SceneError: when it is damaged, encrypted or made to harm.
    """
    with opened_zip(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in "".join(parts[:1]):
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
    return [entry.filename for entry in entries if not is_of_macos(entry.filename)]


def _described(names: Iterable[str], path: Path) -> str:
    """The only file that describes a product.

    Raises:
        SceneError: when there is none or several.
    """
    names = sorted(names)
    found = [name for name in names if _METADATA.fullmatch(name.rpartition("/")[2])]
    if len(found) == 1:
        return found[0]
    kind = "folder" if path.is_dir() else "zip"
    if found:
        unpack = "" if path.is_dir() else "unpack it and "
        raise SceneError(
            f"{path} holds {len(found)} products, {_shown(found)}; {unpack}give each an entry of its "
            "own."
        )
    zips = [name for name in names if is_zip(Path(name))]
    remedy = "name the folder ...SAFE or a zip of it"
    if zips and not path.is_dir():
        remedy = "unpack it and name one of the zips in it"
    raise SceneError(
        f"{path} is no Sentinel-2 product: the {kind} holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml, but "
        f"{_shown(zips or names) or 'nothing'}; {remedy}."
    )


def _shown(names: list[str]) -> str:
    """Some files for people: their names, and how many more there are."""
    more = len(names) - _NAMED
    shown = (name if len(name) <= 80 else f"...{name[-77:]}" for name in names[:_NAMED])
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
