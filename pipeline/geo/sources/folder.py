"""A folder of one file per band; time stated in the conf, radiometry there or in the files."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.bands import BANDS
from pipeline.config.sources import SceneConf
from pipeline.errors import SceneError
from pipeline.geo.raster.archive import PERMIT
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.sources.stated import CLASSIFICATION, band_metadata, stated_scene

_KNOWN = (*BANDS, CLASSIFICATION)
_SUFFIXES = {".jp2", ".tif", ".tiff"}
_BAND = re.compile(r"(?:^|[^A-Za-z0-9])(B\d\d|B8A|SCL)(?:_[126]0m)?$", re.IGNORECASE)


def scene_files(conf: SceneConf) -> SceneFiles:
    """The files of a scene that the conf describes.

    Raises:
        SceneError: when the folder is missing, or has no band or two files of one.
        RadiometryError: when scale or offset is unknown, or conf and file contradict each other.
    """
    paths = _named_files(Path(conf.path))
    layers = {name: (Layer(str(path)), band_metadata(str(path))[0]) for name, path in paths.items()}
    return stated_scene(conf, conf.path, layers)


def band_files(folder: Path) -> dict[str, Path]:
    """The band files of a folder by band name, in the order of `BANDS`.

    A file belongs to the band that its name ends with, such as `T33UUU_20170216T102101_B02.jp2`,
    `B8A.tif` or `x_B05_20m.jp2`; others are passed over.

    Raises:
        SceneError: when the folder is missing, or has no band or two files of one.
    """
    return {name: path for name, path in _named_files(folder).items() if name in BANDS}


def _named_files(folder: Path) -> dict[str, Path]:
    """The files of bands, and that of the scene classification, which is named in the same way."""
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise SceneError(f"{folder} {problem}; name a folder that holds one file per band.")
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise SceneError(f"{folder} cannot be read ({error.strerror}); {PERMIT}.") from error
    paths: dict[str, Path] = {}
    for path in files:
        match = _BAND.search(path.stem)
        if path.suffix.lower() not in _SUFFIXES or match is None:
            continue
        name = match[1].upper()
        if name not in _KNOWN:
            continue
        if name in paths:
            raise SceneError(
                f"{folder} has two files of band {name}, {paths[name].name} and {path.name}; "
                "leave one of them there."
            )
        paths[name] = path
    if not paths.keys() & BANDS.keys():
        raise SceneError(
            f"{folder} holds no file that is named after a Sentinel-2 band (..._B02.jp2, B8A.tif); "
            "name the folder with the band files."
        )
    return {name: paths[name] for name in _KNOWN if name in paths}
