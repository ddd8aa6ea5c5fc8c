"""Published splits: text files beside images that list those to train, validate and test with.

Three files make a list: `<name>-train.txt`, `<name>-val.txt`, `<name>-test.txt`, an image a line;
suffixes do not count, because the lists of EuroSAT name JPEGs where its 13 bands are TIFFs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import SceneError

ENDINGS = {"train": "-train.txt", "validation": "-val.txt", "test": "-test.txt"}
"""How the file of a part is named."""
NAMES = {"eurosat": "official", "eurosat-spatial": "spatial"}
"""The names of EuroSAT's lists in the conf; any other has the beginning of its files' names."""


@dataclass(frozen=True)
class PartLists:
    """The lists of a folder."""

    parts: dict[str, dict[str, str]] = field(default_factory=dict)
    """By list, then image: `train`, `validation` or `test`; an image that is not listed is missing."""
    published: list[str] = field(default_factory=list)
    """The lists whose files are those that were published, byte by byte."""
    absent: dict[str, int] = field(default_factory=dict)
    """By list: how many of the images that it names are missing."""


def read_lists(folder: Path, images: set[str], published: Mapping[str, str]) -> PartLists:
    """The lists of a folder.

    `images` are the names of the images, without suffix; `published` has the SHA-256 of published files
    by name.

    Raises:
        SceneError: when one of the three files is missing or is no text, names an image twice, or none
            of the images.
    """
    lists = PartLists()
    stems = {
        path.name.removesuffix(ending)
        for ending in ENDINGS.values()
        for path in folder.glob(f"*{ending}")
    }
    for stem in sorted(stems):
        name = NAMES.get(stem, stem)
        hashes: dict[str, str] = {}
        parts: dict[str, str] = {}
        for part, ending in ENDINGS.items():
            path = folder / f"{stem}{ending}"
            content = _content(path)
            hashes[path.name] = hashlib.sha256(content).hexdigest()
            for image in _names(content, path):
                if image in parts:
                    raise SceneError(
                        f"{path} names {image}, which the list has in the {parts[image]} part already; "
                        "an image belongs to one part."
                    )
                parts[image] = part
        present = {image: part for image, part in parts.items() if image in images}
        if not present:
            raise SceneError(
                f"{folder / stem}-train.txt and the two beside it name none of the images; give lists "
                "of these images, or remove them."
            )
        lists.parts[name] = present
        lists.absent[name] = len(parts) - len(present)
        if hashes.items() <= published.items():
            lists.published.append(name)
    return lists


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SceneError(
            f"{path} does not exist, but others of its list do; a list is three files, "
            f"{', '.join(f'*{ending}' for ending in ENDINGS.values())}."
        ) from None
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error.strerror}); make it readable.") from error


def _names(content: bytes, path: Path) -> list[str]:
    """The images that a file names, without suffix."""
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise SceneError(f"{path} is no text in UTF-8; give one name of an image a line.") from None
    return [Path(line.strip()).stem for line in lines if line.strip()]
