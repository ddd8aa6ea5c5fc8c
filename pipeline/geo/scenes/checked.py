"""A scene as `fetch` takes it: its Item with masks, and what there is to say of its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pystac

from pipeline.config.sources import Masking
from pipeline.geo.scenes.catalog import DARK_SHARE, scene_item
from pipeline.geo.scenes.masks import mask_scene
from pipeline.geo.scenes.scene_files import SceneFiles
from pipeline.geo.scenes.zeros import tell_zeros


def checked_scene(
    files: SceneFiles, masking: Masking, folder: Path, warn: Callable[[str], object]
) -> tuple[pystac.Item, list[str]]:
    """The checked Item of a scene, and what its pixels are, for people.

    Masks that are made go to `folder`; `warn` is told what is doubtful, a sentence at a time.

    Raises:
        SceneError: when a file is missing, damaged, or not on the ground of the others.
        RadiometryError: when scale or offset is contradicted by the pixels.
    """
    item = scene_item(files, warn)
    zeros = tell_zeros(item, files, folder / "nodata.tif")
    shares = mask_scene(item, files, masking, folder / "mask.tif")
    if files.mask is not None and not sum(shares.values()):
        marks = ", ".join(map(str, files.mask.classes))
        warn(
            f"the mask {files.mask.layer.href} marks no pixel, as none there is {marks}; correct "
            "its `invalid`, or drop it where the scene is clear."
        )
    facts = [f"masked {_listed(shares)}"] if shares else []
    if dark := item.properties.get(DARK_SHARE):
        listed = ", ".join(f"{share:.1%} of {band}" for band, share in dark.items())
        facts.append(f"reflectance 0 or less, stored as the darkest value: {listed}")
    if zeros.dark or zeros.edge:
        facts.append(
            f"pixels with DN 0 in some bands: {zeros.dark:,} dark, {zeros.edge:,} nodata "
            f"as they touch ground without data; in all bands: {zeros.all_bands:,}, nodata"
        )
    return item, facts


def _listed(shares: Mapping[str, float]) -> str:
    """The masked share of a scene, in total and by class."""
    listed = ", ".join(f"{name} {share:.1%}" for name, share in shares.items() if share)
    return f"{sum(shares.values()):.1%}" + (f": {listed}" if listed else "")
