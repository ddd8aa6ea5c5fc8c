"""A folder of one file per band; time stated in the conf, radiometry there or in the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.bands import BANDS
from pipeline.config.sources import SceneConf
from pipeline.errors import SceneError
from pipeline.geo.raster.archive import PERMIT, is_of_macos
from pipeline.geo.raster.raster_file import Layer
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.sources.band_names import band_of_file
from pipeline.geo.sources.stated import CLASSIFICATION, band_metadata, stated_scene

_KNOWN = (*BANDS, CLASSIFICATION)
_SUFFIXES = {".jp2", ".tif", ".tiff"}
_OTHER_SUFFIXES = {".dat", ".hdf", ".img", ".j2k", ".nc", ".vrt"}
"""Of rasters that cannot be read as bands."""


def scene_files(conf: SceneConf) -> SceneFiles:
    """The files of a scene that the conf describes.

    Raises:
        SceneError: when the folder is missing, or has no band or two files of one.
        RadiometryError: when scale or offset is unknown, or conf and file contradict each other.
    """
    folder = Path(conf.path)
    rasters = _rasters(folder)
    paths = _named_files(folder, rasters)
    used = {path.absolute() for path in paths.values()}
    if conf.mask is not None:
        used.add(Path(conf.mask.path).absolute())
    unused = tuple(path.name for path in rasters if path.absolute() not in used)
    layers = {name: (Layer(str(path)), band_metadata(str(path))[0]) for name, path in paths.items()}
    return replace(stated_scene(conf, conf.path, layers), unused=unused)


def band_files(folder: Path) -> dict[str, Path]:
    """The band files of a folder by band name, in the order of `BANDS`.

    A file belongs to the band that its name ends with, such as `T33UUU_20170216T102101_B02.jp2`,
    `B8A.tif`, `img.B2.tif` or `x_B05_20m.jp2`; others are passed over.

    Raises:
        SceneError: when the folder is missing, or has no band or two files of one.
    """
    found = _named_files(folder, _rasters(folder))
    return {name: path for name, path in found.items() if name in BANDS}


def _rasters(folder: Path) -> list[Path]:
    """The files of a folder that are rasters by their names."""
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise SceneError(f"{folder} {problem}; name a folder that holds one file per band.")
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise SceneError(f"{folder} cannot be read ({error.strerror}); {PERMIT}.") from error
    suffixes = _SUFFIXES | _OTHER_SUFFIXES
    return [path for path in files if path.suffix.lower() in suffixes and not is_of_macos(path.name)]


def _named_files(folder: Path, rasters: list[Path]) -> dict[str, Path]:
    """The files of bands, and that of the scene classification, which is named in the same way."""
    paths: dict[str, Path] = {}
    for path in rasters:
        name = band_of_file(path.stem) if path.suffix.lower() in _SUFFIXES else None
        if name is None:
            continue
        if name in paths:
            raise SceneError(
                f"{folder} has two files of band {name}, {paths[name].name} and {path.name}; "
                "leave one of them there."
            )
        paths[name] = path
    if not paths.keys() & BANDS.keys():
        found = [path.name for path in rasters] or [
            f"{p.name}/" for p in folder.iterdir() if p.is_dir()
        ]
        listed = f", but {', '.join(sorted(found)[:5])}" if found else ""
        raise SceneError(
            f"{folder} holds no file that is named after a Sentinel-2 band (..._B02.jp2, B8A.tif)"
            f"{listed}; name the folder with the band files, or a product as `safe`."
        )
    return {name: paths[name] for name in _KNOWN if name in paths}
