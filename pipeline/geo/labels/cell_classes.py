"""The labels of a scene: a class, or none, per pixel; from them a class, or none, per cell.

Of several sources the first one that has a class for a pixel wins. A cell has the class that covers
the largest share of it, if that is at least `min_purity`; of equal shares, the class that stands
first in the conf. Unlabelled ground is unknown, never background.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.geo.raster.grid import Window

UNLABELLED = -1


def _no_numbers() -> npt.NDArray[np.int32]:
    return np.empty(0, dtype=np.int32)


@dataclass(frozen=True, kw_only=True)
class Labels(ABC):
    """The labels of one scene, from one or several sources; threads may read them side by side."""

    numbers: npt.NDArray[np.int32] = field(default_factory=_no_numbers)
    """Numbers of the features that may label its ground; a raster has none."""
    centred: npt.NDArray[np.int32] = field(default_factory=_no_numbers)
    """Those of them that label cells of the cell grid alone."""
    counts: dict[str, int] = field(default_factory=dict)
    """What there was to count on this scene, by what it is."""

    @abstractmethod
    def pixels(self, window: Window) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Class and feature number of each pixel of a window, both (H, W), -1 where there is none."""


@dataclass(frozen=True)
class LayeredLabels(Labels):
    """Labels on top of each other: the first that has a class for a pixel wins."""

    layers: Sequence[Labels]

    @classmethod
    def of(cls, layers: Sequence[Labels]) -> LayeredLabels:
        """Several layers, the first one on top."""
        centred = np.concatenate([_no_numbers(), *(layer.centred for layer in layers)])
        return cls(layers, centred=centred)

    def pixels(self, window: Window) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Those of the first layer, and of the next ones where it has none."""
        classes, numbers = unlabelled(window)
        for layer in self.layers:
            free = classes == UNLABELLED
            if not free.any():
                break
            below, below_numbers = layer.pixels(window)
            np.copyto(classes, below, where=free)
            np.copyto(numbers, below_numbers, where=free)
        return classes, numbers


def unlabelled(window: Window) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
    """Classes and feature numbers of a window where nothing is labelled."""
    shape = (window.height, window.width)
    return np.full(shape, UNLABELLED, dtype=np.int16), np.full(shape, UNLABELLED, dtype=np.int32)


def classify_cells(
    classes: npt.NDArray[np.int16], numbers: npt.NDArray[np.int32], count: int
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """The class of each cell from its pixels, however small its share.

    `classes` and `numbers` are the class and the polygon of each pixel, (N, cell_px, cell_px), -1 where
    there is none; `count` is the number of classes.

    Returns:
        For each cell its class (-1 where no pixel has one), the share of the cell that this class
        covers, and of the polygons of this class the one that covers most of the cell.
    """
    flat = classes.reshape(len(classes), -1)
    shares = np.stack([(flat == label).mean(axis=1) for label in range(count)], axis=1)
    label = shares.argmax(axis=1).astype(np.int16)
    purity = shares.max(axis=1).astype(np.float32)
    label[purity == 0] = UNLABELLED
    of_class = np.where(flat == label[:, None], numbers.reshape(len(numbers), -1), UNLABELLED)
    return label, purity, _most_frequent(of_class)


def _most_frequent(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The most frequent value that is not -1 of each row, the smallest of equals; -1 where none is."""
    ordered = np.sort(values, axis=1)
    width = ordered.shape[1]
    # the length of the run of equal values that ends at each of them
    starts = np.ones(ordered.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    since = np.maximum.accumulate(np.where(starts, np.arange(width), 0), axis=1)
    runs = np.where(ordered == UNLABELLED, 0, np.arange(width) - since + 1)
    best = runs.argmax(axis=1)
    return ordered[np.arange(len(ordered)), best]
