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
    in_block = np.array(
        [np.bincount(blocks.of_patch[part == name], minlength=len(blocks)) > 0 for name in PARTS]
    )
    block_part = np.where(in_block.sum(axis=0) > 1, MIXED, np.array(PARTS)[in_block.argmax(axis=0)])
    return Assignment(part, conf.seed, blocks, block_part, conf.lists)
