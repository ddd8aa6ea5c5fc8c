"""The split of a published list: each patch has the part that the list states.

Ground plays no role in it, so that parts may share some; the leakage audit says how much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.config.split import SplitConf
from pipeline.errors import SplitError
from pipeline.geo.split.blocks import Assignment, Blocks, Patches
from pipeline.store import PARTS

MIXED = "mixed"
"""The part of a block that has patches of several."""


def split_by_list(
    patches: Patches, part: npt.NDArray[np.str_], conf: SplitConf, classes: Sequence[str]
) -> Assignment:
    """The assignment of patches whose parts are stated; `classes` are the names that labels stand for.

    Raises:
        SplitError: when a part is empty, or a class does not train.
    """
    for name in PARTS[:3]:
        if not (part == name).any():
            raise SplitError(
                f"the list '{conf.lists}' leaves the {name} part without patches; choose another list, "
                "or none, so that the ground is split into blocks."
            )
    trained = np.bincount(patches["label"][part == "train"], minlength=len(classes))
    if missing := [name for name, count in zip(classes, trained, strict=True) if not count]:
        raise SplitError(
            f"the list '{conf.lists}' has no training patches of class '{missing[0]}'; choose another "
            "list, or take the class out."
        )
    blocks = Blocks.of(patches, conf.block_m)
    return Assignment(part, conf.seed, blocks, _of_blocks(blocks, part), conf.lists)


def _of_blocks(blocks: Blocks, part: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """The part that all patches of a block have, or `MIXED`."""
    held = np.zeros((len(blocks), len(PARTS)), dtype=bool)
    codes = np.array([PARTS.index(name) for name in part.tolist()])
    held[blocks.of_patch, codes] = True
    return np.where(held.sum(axis=1) > 1, MIXED, np.array(PARTS)[held.argmax(axis=1)])
