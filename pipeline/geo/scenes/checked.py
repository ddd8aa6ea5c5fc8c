"""A scene as `fetch` takes it: its Item with masks, and what there is to say of its pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pystac

from pipeline.config.sources import MASK_CLASSES, Masking
from pipeline.geo.scenes.catalog import DARK_SHARE, scene_item
from pipeline.geo.scenes.masks import mask_scene
from pipeline.geo.scenes.scene_files import CLOUD_POLYGONS, MaskLayer, PolygonMask, SceneFiles
from pipeline.geo.scenes.zeros import tell_zeros

_MOST_MASKED = 0.5
"""Share of a scene: a mask of the user that leaves out more may have its values the wrong way round."""


def checked_scene(
    files: SceneFiles,
    masking: Masking,
    folder: Path,
    warn: Callable[[str], object],
    workers: int = 1,
) -> tuple[pystac.Item, list[str]]:
    """The checked Item of a scene, and what its pixels are, for people.

    Masks that are made go to `folder`; `warn` is told what is doubtful, a sentence at a time; `workers`
    are threads.

    Raises:
        SceneError: when a file is missing, damaged, or not on the ground of the others.
        RadiometryError: when scale or offset is contradicted by the pixels.
    """
    item = scene_item(files, warn)
    zeros = tell_zeros(item, files, folder / "nodata.tif", workers)
    shares = mask_scene(item, files, masking, folder / "mask.tif")
    if doubt := _doubt(files, masking, shares):
        warn(doubt)
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


def _doubt(files: SceneFiles, masking: Masking, shares: Mapping[str, float]) -> str | None:
    """What of the keys that choose masked pixels is hardly meant so."""
    if files.mask is not None:
        mask, share = files.mask.layer.href, sum(shares.values())
        marks = ", ".join(map(str, files.mask.classes))
        if not share:
            return (
                f"the mask {mask} marks no pixel, as none there is {marks}; correct its `invalid`, or "
                "drop it where the scene is clear."
            )
        if share > _MOST_MASKED:
            return (
                f"the mask {mask} leaves out {share:.1%} of the scene, as so many pixels are {marks}; "
                "where that means clear, name the other values as its `invalid`."
            )
    has = {kind for mask in files.masks for kind in _kinds(mask)}
    lost = [kind for kind in masking.classes if kind not in has]
    if has and lost and (masking.own or not has.intersection(masking.classes)):
        named = [kind for kind in MASK_CLASSES if kind in has]
        return (
            f"its masks have no {', '.join(lost)}, which `mask_classes` names; choose from "
            f"{', '.join(named)}."
        )
    return None


def _kinds(mask: MaskLayer | PolygonMask) -> Iterable[str]:
    """The classes that a mask of its kind can have."""
    return mask.classes.values() if isinstance(mask, MaskLayer) else CLOUD_POLYGONS.values()


def _listed(shares: Mapping[str, float]) -> str:
    """The masked share of a scene, in total and by class."""
    listed = ", ".join(f"{name} {share:.1%}" for name, share in shares.items() if share)
    return f"{sum(shares.values()):.1%}" + (f": {listed}" if listed else "")
