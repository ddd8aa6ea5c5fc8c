"""Whether the class map says what the peer says, of all patches that both computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from benchmarks.errors import BenchmarkError, DisagreementError
from benchmarks.peer import Answers
from pipeline.geo.raster.grid import PatchGrid

TOLERANCE = 1e-4
"""Of max(1, largest logit): below it, two logits are a tie in float32."""


@dataclass(frozen=True)
class Agreement:
    """What came of the comparison."""

    compared: int
    """Patches, each counted once."""
    classes: int
    """Different classes among them."""
    differing: int
    """Patches of another class, all of them ties."""
    gap: float
    """The largest gap between the peer's logits of the two classes, where they differ."""

    def __str__(self) -> str:
        said = f"{self.compared:,} patches of {self.classes} classes compared, {self.differing} differ"
        return said + (f" (ties: logits at most {self.gap:.1g} apart)" if self.differing else "")


def require_agreement(answers: Answers, class_map: Path, grid: PatchGrid) -> Agreement:
    """Compare the peer's classes with those of a class map.

    Raises:
        DisagreementError: when they differ by more than a tie.
        BenchmarkError: when there is nothing to compare, or a single class, which proves nothing.
    """
    rows, cols, logits = _cells(answers, grid)
    with rasterio.open(class_map) as dataset:
        ours = dataset.read(1)[rows, cols].astype(np.intp) - 1
    mapped = ours >= 0
    rows, cols, logits, ours = rows[mapped], cols[mapped], logits[mapped], ours[mapped]
    theirs = logits.argmax(axis=1)
    classes = len(np.unique(theirs))
    if classes < 2:
        raise BenchmarkError(
            f"{len(theirs)} patches of {classes} class(es) were compared, which proves nothing; give a "
            "larger --size or another --scene."
        )
    differ = np.flatnonzero(theirs != ours)
    gaps = logits[differ, theirs[differ]] - logits[differ, ours[differ]]
    found = Agreement(len(theirs), classes, len(differ), float(gaps.max(initial=0.0)))
    allowed = TOLERANCE * max(1.0, float(np.abs(logits).max()))
    if found.gap > allowed:
        worst = differ[int(gaps.argmax())]
        raise DisagreementError(
            f"{found.differing} of {found.compared} patches differ, by up to {found.gap:.3g} in their "
            f"logits where {allowed:.3g} is a tie (cell row {rows[worst]}, column {cols[worst]} of "
            f"{class_map}): one of the two sides is wrong."
        )
    return found


def _cells(
    answers: Answers, grid: PatchGrid
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Rows, columns and logits of the cells in the middle of the peer's patches, each cell once."""
    if not answers.logits:
        raise BenchmarkError("the peer computed no patch; give it more --seconds.")
    scene, context = grid.scene, grid.margin_px
    top = (scene.y0 - np.concatenate(answers.top)) / scene.pixel_m + context - grid.row0
    left = (np.concatenate(answers.left) - scene.x0) / scene.pixel_m + context - grid.col0
    cells = np.stack([top, left], axis=1) / grid.cell_px
    whole = np.rint(cells).astype(np.intp)
    if np.abs(cells - whole).max() > 0.01:
        raise BenchmarkError("the peer's patches do not lie on the cell grid; the region is wrong.")
    whole, first = np.unique(whole, axis=0, return_index=True)
    return whole[:, 0], whole[:, 1], np.concatenate(answers.logits)[first]
