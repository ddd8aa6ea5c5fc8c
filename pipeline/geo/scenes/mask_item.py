"""The mask of a scene in its Item: made where the source brings one along, and counted in any case."""

from __future__ import annotations

from pathlib import Path

import pystac
from pystac.extensions.classification import Classification

from pipeline.config.sources.masking import Masking
from pipeline.geo.raster.raster_file import inspect
from pipeline.geo.scenes.catalog import add_mask
from pipeline.geo.scenes.item import epsg_of, grid_of
from pipeline.geo.scenes.masks import NAMES, make_mask, masked_share
from pipeline.geo.scenes.scene_files import USER_MASK, SceneFiles

MASKED_SHARE = "lenscape:masked_share"
"""Property of an Item: the share of the scene that is masked, by class."""
_EXTENSION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"


def mask_scene(
    item: pystac.Item, files: SceneFiles, masking: Masking, folder: Path, path: Path
) -> dict[str, float]:
    """Make the mask of a scene and say in its Item how much of the scene it leaves out.

    A mask of the user, which the Item has already, takes the place of the source's own.

    Args:
        item: Of the scene, to which the mask is added.
        files: The scene.
        masking: What becomes of the masks that the source brings along.
        folder: The folder that the Item will lie in.
        path: Where a mask is written.

    Returns:
        The share of the scene by class; empty where nothing can be masked.

    Raises:
        SceneError: when a mask cannot be used.
        OutputError: when the mask cannot be written.
    """
    grid = grid_of(item.properties, epsg_of(item))
    if files.mask is not None:
        shares = {USER_MASK: masked_share(inspect(*files.mask.layer), files.mask.classes, grid)}
    elif (made := make_mask(files.masks, grid, masking, path)) is not None:
        shares = made.shares
        add_mask(item, made.layer, folder, grid, {"classification:classes": _classes(made.shares)})
        item.stac_extensions.append(_EXTENSION)
    else:
        return {}
    item.properties[MASKED_SHARE] = shares
    return shares


def _classes(there: dict[str, float]) -> list[dict[str, object]]:
    """The values of a mask in the form of the STAC extension."""
    return [
        Classification.create(value, description=name.replace("_", " "), name=name).to_dict()
        for value, name in NAMES.items()
        if value == 0 or name in there
    ]
