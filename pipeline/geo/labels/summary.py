"""Which sources of labels describe which scenes, and what was found of each over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import LabelError
from pipeline.geo.labels.cell_classes import LayeredLabels
from pipeline.geo.labels.sources import LabelSource
from pipeline.geo.raster.grid import PatchGrid
from pipeline.store import SceneInfo


@dataclass
class _Found:
    """What was found of one source so far."""

    source: LabelSource
    scenes: int = 0
    """Scenes that it labels."""
    out_of_date: int = 0
    """Scenes that were acquired on other days than those of which it is true."""
    intersecting: set[int] = field(default_factory=set)
    """Numbers of its features that touch a scene."""
    counts: Counter[str] = field(default_factory=Counter)
    """Sums of what was counted on each scene."""

    @property
    def told(self) -> dict[str, Any]:
        """All of it; `outside` are features that touch no scene."""
        label_count = len(np.unique(self.source.numbers))
        found = {"file": Path(self.source.conf.file).name} | self.source.counts | self.counts
        if label_count:
            found["outside"] = label_count - len(self.intersecting)
        return found | {"scenes": self.scenes, "scenes_out_of_date": self.out_of_date}


class LabelTally:
    """Sources of labels at work, scene by scene."""

    def __init__(self, sources: Sequence[LabelSource]) -> None:
        """Begin with sources of which nothing was asked, in the order in which they win."""
        self._found = [_Found(source) for source in sources]
        self.missing: dict[str, str] = {}
        """For the id of each scene that nothing labels, why that is, and what to do."""

    def labels_on(self, cells: PatchGrid, scene: SceneInfo) -> LayeredLabels | None:
        """The labels of a scene; None where there are none, which is noted in `missing`.

        Raises:
            LabelError: when no source names the scene, or one cannot be brought to it.
        """
        naming = [found for found in self._found if found.source.conf.names(scene.id)]
        if not naming:
            raise LabelError(
                f"no labels describe the scene {scene.id}; add its id to the `scenes` of its labels, "
                "or take it out of the scenes to train on."
            )
        layers = []
        for found in naming:
            if not found.source.conf.holds(_day_of(scene)):
                found.out_of_date += 1
            elif (labels := found.source.on(cells)) is not None:
                found.scenes += 1
                found.intersecting.update(labels.numbers.tolist())
                found.counts.update(labels.counts)
                layers.append(labels)
        if not layers:
            self.missing[scene.id] = _reason(cells, [found.source for found in naming], scene)
        return LayeredLabels(layers) if layers else None

    @property
    def counts(self) -> list[dict[str, Any]]:
        """What was found of each source: its `file`, then how many of what."""
        return [found.told for found in self._found]

    @property
    def credits(self) -> list[str]:
        """The credits of those sources that label a scene, each once."""
        stated = (found.source.conf.credit for found in self._found if found.scenes)
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
