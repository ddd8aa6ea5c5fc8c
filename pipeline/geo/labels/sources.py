"""Sources of labels, whatever their form: opened, brought to scenes, and counted over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.classes import ClassesConf
from pipeline.config.labels import LabelSourceConf, RasterLabelConf, VectorLabelConf
from pipeline.errors import LabelError
from pipeline.geo.labels.cell_classes import LayeredLabels
from pipeline.geo.labels.features import AREAL, PUNCTUAL, find_features
from pipeline.geo.labels.points import Points, points_of
from pipeline.geo.labels.polygons import Polygons, polygons_of
from pipeline.geo.labels.rasters import LabelRaster, open_raster
from pipeline.geo.raster.grid import PatchGrid
from pipeline.store_meta import SceneInfo

type LabelSource = Polygons | Points | LabelRaster
"""One source of labels, opened and checked."""


def read_sources(
    confs: Sequence[LabelSourceConf],
    classes: ClassesConf,
    file: str = "classes.yaml",
    overlap: str = "smallest",
) -> list[LabelSource]:
    """All sources of labels, their features numbered through.

    Features are held in memory, a kilobyte or so each; rasters stay where they are.

    Args:
        confs: The sources, in the order in which they win.
        classes: What their values mean.
        file: The file of `classes`, for the messages.
        overlap: Which polygon of one file wins: the `smallest`, or none (`unlabelled`).

    Raises:
        LenscapeError: when a file cannot be read, has no CRS, lacks the attribute, holds a value that
            is no class, or labels no ground.
    """
    sources: list[LabelSource] = []
    first = 0
    for conf in confs:
        if isinstance(conf, RasterLabelConf):
            sources.append(open_raster(conf, classes, file))
        else:
            features = read_features(conf, classes, file, overlap)
            sources.append(replace(features, numbers=features.numbers + np.int32(first)))
            first += features.counts.get("single_parts", features.counts["features"])
    return sources


def read_features(
    conf: VectorLabelConf,
    classes: ClassesConf,
    file: str = "classes.yaml",
    overlap: str = "smallest",
) -> Polygons | Points:
    """The polygons of a vector file, or the points of one without polygons.

    Raises:
        LabelError: as `read_sources` does.
    """
    features = find_features(conf, classes, file)
    if len(features.of(PUNCTUAL)) and not len(features.of(AREAL)):
        return points_of(features)
    return polygons_of(features, overlap)


@dataclass
class _SourceCounts:
    """One source and what it labelled so far."""

    source: LabelSource
    scenes: int = 0
    """Scenes that it labels."""
    out_of_date: int = 0
    """Scenes that were acquired on other days than those of which it is true."""
    intersecting: set[int] = field(default_factory=set)
    """Numbers of its features that intersect a scene."""
    winning: set[int] = field(default_factory=set)
    """Those of its points that give a cell its class."""
    counts: Counter[str] = field(default_factory=Counter)
    """Sums of what was counted on each scene."""

    @property
    def summary(self) -> dict[str, Any]:
        """All counts: `outside` are features that intersect no scene, `duplicates` points in cells that
        have their class from another one."""
        counts: dict[str, Any] = (
            {"file": Path(self.source.conf.file).name} | self.source.counts | self.counts
        )
        for kind in {"polygons", "points"} & counts.keys():
            counts["outside"] = counts[kind] - len(self.intersecting)
        if "points" in counts:
            counts["duplicates"] = len(self.intersecting - self.winning)
        return counts | {"scenes": self.scenes, "scenes_out_of_date": self.out_of_date}


class LabelTally:
    """Sources of labels with what they label, scene by scene."""

    def __init__(self, sources: Sequence[LabelSource]) -> None:
        """Begin with sources that label no scene yet, in the order in which they win."""
        self._sources = [_SourceCounts(source) for source in sources]
        self.missing: dict[str, str] = {}
        """For the id of each scene that nothing labels, why that is, and what to do."""

    def labels_on(self, cells: PatchGrid, scene: SceneInfo) -> LayeredLabels | None:
        """The labels of a scene; None where there are none, which is noted in `missing`.

        Raises:
            LabelError: when no source names the scene, or one cannot be brought to it.
        """
        naming = [each for each in self._sources if each.source.conf.names(scene.id)]
        if not naming:
            raise LabelError(
                f"no labels describe the scene {scene.id}; add its id to the `scenes` of its labels, "
                "or take it out of the scenes to train on."
            )
        layers = []
        for each in naming:
            if not each.source.conf.holds(_day_of(scene)):
                each.out_of_date += 1
            elif (labels := each.source.on(cells)) is not None:
                each.scenes += 1
                each.intersecting.update(labels.numbers.tolist())
                each.winning.update(labels.centred.tolist())
                each.counts.update(labels.counts)
                layers.append(labels)
        if not layers:
            self.missing[scene.id] = _reason(cells, [each.source for each in naming], scene)
        return LayeredLabels.of(layers) if layers else None

    @property
    def counts(self) -> list[dict[str, Any]]:
        """What was found of each source: its `file`, then how many of what."""
        return [each.summary for each in self._sources]

    @property
    def credits(self) -> list[str]:
        """The credits of those sources that label a scene, each once."""
        stated = (each.source.conf.credit for each in self._sources if each.scenes)
        return list(dict.fromkeys(credit for credit in stated if credit))


def _day_of(scene: SceneInfo) -> date:
    """The day of acquisition, UTC."""
    return date.fromisoformat(scene.datetime[:10])


def _reason(cells: PatchGrid, naming: Sequence[LabelSource], scene: SceneInfo) -> str:
    """Why none of the sources that name a scene labels it, and what to do."""
    on_time = [source.conf.file for source in naming if source.conf.holds(_day_of(scene))]
    if not on_time:
        paths = ", ".join(source.conf.file for source in naming)
        return (
            f"the labels ({paths}) are not valid on {_day_of(scene)}, the day of the scene {scene.id}; "
            "change `valid_from` or `valid_to`, or take the scene out of those to train on."
        )
    grid = cells.scene
    left, bottom, right, top = grid.bounds
    return (
        f"the labels ({', '.join(on_time)}) do not overlap the scene {scene.id} (EPSG:{grid.epsg}, x "
        f"{left:.0f} to {right:.0f}, y {bottom:.0f} to {top:.0f}); give labels of its ground, or "
        "correct their CRS."
    )
