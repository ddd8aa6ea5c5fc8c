"""`areas.csv`: how much ground a class map gives to each class. Pixel counts, not area estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.files import csv_text
from pipeline.store_meta import ClassInfo

HEADER = (
    "# Ground that the class map gives to each class, inside {}; each piece counts once.",
    "# These are pixel counts and no area estimates: the errors of the map are in them. For areas",
    "# with confidence intervals, adjust them by the confusion matrix of a random sample.",
)
ADJUSTED = ("adjusted_ha", "adjusted_low_ha", "adjusted_high_ha", "adjusted_because")
"""Area estimates with their 95 % interval, and why they are empty."""
COLUMNS = ("value", "name", "code", "pixels", "mapped_ha", "percent", *ADJUSTED)
NO_SAMPLE = "no probability sample of this map was drawn; `lenscape accuracy` adjusts areas by one"


@dataclass(frozen=True)
class Tally:
    """Pixels and ground of each value of a class map."""

    pixels: npt.NDArray[np.int64]
    """Pixels with the value, 256 values."""
    ground_px: npt.NDArray[np.int64]
    """Scene pixels under them; what lies past its edge, or outside of the area, does not count."""

    @classmethod
    def empty(cls) -> Tally:
        """A tally of nothing."""
        return cls(np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64))

    def plus(self, cells: npt.NDArray[np.uint8], ground_px: npt.NDArray[np.integer]) -> Tally:
        """This tally and a block of uint8 (h, w) pixels with the scene pixels under each, (h, w).

        A pixel without any under it does not count.
        """
        flat = cells.ravel()
        counted = flat[ground_px.ravel() > 0]
        # sums of whole numbers below 2**53 are exact in float64
        ground = np.bincount(flat, ground_px.ravel(), minlength=256)
        return Tally(
            self.pixels + np.bincount(counted, minlength=256),
            self.ground_px + np.rint(ground).astype(np.int64),
        )

    def shares(self) -> npt.NDArray[np.float64]:
        """The share of the scene's ground that each value has, 256 values."""
        shares: npt.NDArray[np.float64] = self.ground_px / max(int(self.ground_px.sum()), 1)
        return shares


def areas_csv(
    tally: Tally, classes: Sequence[ClassInfo], pixel_m: float, inside: str = "the scene"
) -> str:
    """The table as text: a row a class, then nodata and the total, the area that lies `inside`.

    `code` is what another nomenclature calls the class, empty where the conf states none.
    """
    rows: list[list[object]] = []
    values = [*range(1, len(classes) + 1), 0]
    named = [*((info.name, info.code) for info in classes), ("nodata", None)]
    shares = tally.shares()
    for value, (name, code) in zip(values, named, strict=True):
        hectares = _hectares(int(tally.ground_px[value]), pixel_m)
        row = [value, name, code, tally.pixels[value], hectares, f"{100 * shares[value]:.2f}"]
        row += ["", "", "", NO_SAMPLE if value else "nodata is no class"]
        rows.append(row)
    total = int(tally.ground_px.sum())
    rows.append(["", "total", "", tally.pixels.sum(), _hectares(total, pixel_m), "100.00", *[""] * 4])
    return "\n".join(HEADER).format(inside) + "\n" + csv_text(COLUMNS, rows)


def _hectares(pixels: int, pixel_m: float) -> str:
    return f"{pixels * pixel_m**2 / 1e4:.2f}"  # exact for pixels of 10 m
