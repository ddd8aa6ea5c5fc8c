"""Sources of labels, whatever their form, and what they say of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.config.classes import ClassesConf
from pipeline.config.labels import LabelSourceConf, RasterLabelConf, VectorLabelConf
from pipeline.geo.labels.cell_classes import Labels
from pipeline.geo.labels.features import AREAL, PUNCTUAL, find_features
from pipeline.geo.labels.points import Points, points_of
from pipeline.geo.labels.polygons import Polygons, polygons_of
from pipeline.geo.labels.rasters import open_raster
from pipeline.geo.raster.grid import PatchGrid


class LabelSource(Protocol):
    """One source of labels, opened and checked."""

    @property
    def conf(self) -> LabelSourceConf:
        """The entry that names it."""

    @property
    def counts(self) -> dict[str, int]:
        """What was found in its file, by what it is."""

    @property
    def numbers(self) -> npt.NDArray[np.int32]:
        """Numbers of its features; those of a raster have none."""

    def on(self, cells: PatchGrid) -> Labels | None:
        """What it says of a scene; None where that is nothing."""


def read_sources(
    confs: Sequence[LabelSourceConf],
    classes: ClassesConf,
    where: str = "classes.yaml",
    overlap: str = "smallest",
) -> list[LabelSource]:
    """All sources of labels, their features numbered through.

    Features are held in memory, a kilobyte or so each; rasters stay where they are.

    Args:
        confs: The sources, in the order in which they win.
        classes: What their values mean.
        where: The file of `classes`, for the messages.
        overlap: Which polygon of one file wins: the `smallest`, or none (`unlabelled`).

    Raises:
        LenscapeError: when a file cannot be read, has no CRS, lacks the attribute, holds a value that
            is no class, or labels no ground.
    """
    sources: list[LabelSource] = []
    first = 0
    for conf in confs:
        if isinstance(conf, RasterLabelConf):
            sources.append(open_raster(conf, classes, where))
        else:
            features = read_features(conf, classes, where, first, overlap)
            first += features.counts["features"]
            sources.append(features)
    return sources


def read_features(
    conf: VectorLabelConf,
    classes: ClassesConf,
    where: str = "classes.yaml",
    first: int = 0,
    overlap: str = "smallest",
) -> Polygons | Points:
    """The polygons of a vector file, or the points of one without polygons.

    Args:
        conf: The source.
        classes: What its values mean.
        where: The file of `classes`, for the messages.
        first: How many rows the files before it have.
        overlap: As `read_sources` has it.

    Raises:
        LabelError: as `read_sources` does.
    """
    found = find_features(conf, classes, where)
    if len(found.of(PUNCTUAL)) and not len(found.of(AREAL)):
        return points_of(found, first)
    return polygons_of(found, first, overlap)
