"""A folder of one file per band, with radiometry and time stated in the conf."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.config.sources.folder import SceneConf
from pipeline.errors import RadiometryError, SceneError
from pipeline.geo.bands import BANDS
from pipeline.geo.raster import Layer
from pipeline.geo.sources.scenefiles import BandSource, MaskSource, SceneFiles

_SUFFIXES = {".jp2", ".tif", ".tiff"}
_BAND = re.compile(r"(?:^|[^A-Za-z0-9])(B\d\d|B8A)(?:_[126]0m)?$", re.IGNORECASE)


def scene_files(conf: SceneConf) -> SceneFiles:
    """The files of a scene that the conf describes.

    Raises:
        SceneError: when the folder is missing, or has no band or two files of one.
        RadiometryError: when scale or offset is not stated.
    """
    scale, offset = _radiometry(conf)
    paths = band_files(Path(conf.path))
    return SceneFiles(
        conf.id,
        conf.path,
        conf.datetime,
        {name: BandSource(Layer(str(path)), scale, offset) for name, path in paths.items()},
        None if conf.mask is None else MaskSource(Layer(conf.mask.path), tuple(conf.mask.invalid)),
        conf.platform,
        conf.level,
        conf.baseline,
    )


def band_files(folder: Path) -> dict[str, Path]:
    """The band files of a folder by band name, in the order of `BANDS`.

    A file belongs to the band that its name ends with, such as `T33UUU_20170216T102101_B02.jp2`,
    `B8A.tif` or `x_B05_20m.jp2`; others are passed over.

    Raises:
        SceneError: when the folder is missing, or has no band or two files of one.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SceneError(f"{folder} {what}; name a folder that holds one file per band.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _BAND.search(path.stem)
        if path.suffix.lower() not in _SUFFIXES or match is None:
            continue
        name = match[1].upper()
        if name not in BANDS:
            continue
        if name in found:
            raise SceneError(
                f"{folder} has two files of band {name}, {found[name].name} and {path.name}; "
                "leave one of them there."
            )
        found[name] = path
    if not found:
        raise SceneError(
            f"{folder} holds no file that is named after a Sentinel-2 band (..._B02.jp2, B8A.tif); "
            "name the folder with the band files."
        )
    return {name: found[name] for name in BANDS if name in found}


def _radiometry(conf: SceneConf) -> tuple[float, float]:
    """Scale and offset of a scene: reflectance = DN * scale + offset.

    Raises:
        RadiometryError: when one of them is unknown; it is never guessed.
    """
    missing = [key for key in ("scale", "offset") if getattr(conf, key) is None]
    if missing or conf.scale is None or conf.offset is None:
        raise RadiometryError(
            f"scene {conf.id} ({conf.path}): its radiometry is unknown; add {' and '.join(missing)} to "
            "it in the conf (scale: 0.0001; offset: 0 before baseline 04.00, -0.1 from then on)."
        )
    return conf.scale, conf.offset
