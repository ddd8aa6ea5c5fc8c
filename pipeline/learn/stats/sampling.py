"""How many cells of each class of a map to look at, so that accuracy and areas can be estimated.

After Olofsson et al. 2014, Good practices for estimating area and assessing accuracy of land change,
Remote Sensing of Environment 148, section 5.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

GUESSED_ACCURACY = 0.8
"""User's accuracy that is expected of each class before one knows."""


def sample_size(standard_error: float, accuracy: float = GUESSED_ACCURACY) -> int:
    """Cells in all for a standard error of the overall accuracy (equation 13, classes alike)."""
    return math.ceil(accuracy * (1 - accuracy) / standard_error**2)


def allocate(cells: Sequence[int], total: int, fewest: int) -> npt.NDArray[np.int64]:
    """Cells to draw by class: each its share of `total`, rare classes `fewest`, which come on top.

    Args:
        cells: Cells of each class on the map, (K,); of a class without any nothing is drawn.
        total: Cells to draw if no class were rare.
        fewest: Of each class that is mapped, as far as it has so many.

    Returns:
        (K,), never more than there are.
    """
    there = np.asarray(cells, dtype=np.int64)
    shares = np.floor(there / max(int(there.sum()), 1) * total + 0.5).astype(np.int64)
    return np.minimum(there, np.maximum(shares, fewest))
