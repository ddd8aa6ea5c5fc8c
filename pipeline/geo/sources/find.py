"""From an entry of the conf of `fetch` to its scenes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pipeline.config.area import AreaConf, AreaFileConf
from pipeline.config.fetch import SourceConf
from pipeline.config.opening import opening
from pipeline.config.sources import (
    EurosatConf,
    MaskConf,
    SafeConf,
    SceneConf,
    ScenesConf,
    StacConf,
    StackConf,
)
from pipeline.errors import SceneError
from pipeline.geo.raster.archive import split
from pipeline.geo.raster.area_of_interest import AreaOfInterest
from pipeline.geo.raster.remote import is_remote
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.sources import eurosat, folder, safe, stac, stack
from pipeline.geo.sources.download import Downloads
from pipeline.geo.sources.product import product_files


def find_scenes(
    source: SourceConf, downloads: Downloads, area: AreaConf | None = None
) -> list[SceneFiles]:
    """The scenes of one source, in a stable order; what it has to fetch goes to `downloads`.

    `area` is the ground that becomes the scenes; all of their files' without it.

    Raises:
        SceneError: when there is none, or one cannot be used.
    """
    match source:
        case SceneConf():
            scenes = [folder.scene_files(source)]
        case StackConf():
            scenes = [stack.scene_files(source)]
        case SafeConf():
            with opening(
                lambda why: SceneError(
                    f"{source.safe} is no product as ESA writes it ({why}); download it again."
                )
            ):
                scenes = safe.scene_files(source)
        case StacConf():
            return stac.scene_files(source, downloads)
        case EurosatConf():
            return []  # its images are no scenes: `eurosat.write_images`
    if area is None:
        return scenes
    of_interest = AreaOfInterest.read(area)
    return [replace(scene, area=of_interest) for scene in scenes]


def named_files(source: SourceConf) -> list[str]:
    """The paths of files and folders that a source names, which DVC must watch."""
    match source:
        case EurosatConf():
            paths = [] if source.eurosat == eurosat.DOWNLOAD else [source.eurosat]
        case StacConf():
            paths = []
        case SceneConf():
            paths = [source.path]
        case StackConf():
            paths = [source.stack]
        case SafeConf():
            paths = [source.safe]
    if not isinstance(source, EurosatConf | StacConf) and isinstance(source.mask, MaskConf):
        paths.append(source.mask.path)
    if isinstance(source, ScenesConf) and isinstance(source.area, AreaFileConf):
        paths.append(source.area.path)
    return paths


def source_files(source: SourceConf, area: AreaConf | None = None) -> list[Path] | None:
    """All files on which the scenes of a source depend; None where one is remote, or not to be seen."""
    if isinstance(source, EurosatConf | StacConf):
        return None
    named = named_files(source)
    if isinstance(area, AreaFileConf):
        named.append(area.path)
    files: set[Path] = set()
    for path in named:
        of_product = isinstance(source, SafeConf) and path == source.safe
        try:
            found = product_files(Path(path)) if of_product else _files(split(path)[0])
        except OSError:  # a folder may not be read
            return None
        if is_remote(path) or not found:
            return None
        files.update(found)
    return sorted(files)


def _files(path: Path) -> list[Path]:
    """The files of a folder, or a file with what belongs to it, such as the parts of a Shapefile."""
    if path.is_dir():
        return [Path(one.path) for one in os.scandir(path) if one.is_file()]
    own = path.name, f"{path.stem}."
    beside = os.scandir(path.parent) if path.is_file() else ()
    return [Path(one.path) for one in beside if one.name.startswith(own)]
