"""A class map as the frame of a sample: its classes, their ground, pixels drawn at random."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.opening import opening
from pipeline.errors import SceneError
from pipeline.geo.maps.raster_writer import squares
from pipeline.geo.raster import raster_file
from pipeline.geo.scenes.stac import read_json

_END = "_classmap.tif"
_SIDE = 2048
"""Pixels along each axis that are in memory at a time."""


@dataclass(frozen=True)
class MapClass:
    """A class of a map."""

    value: int
    name: str
    title: str
    color: str
    mapped_ha: float
    """Ground that the map gives to it."""
    pixels: int


@dataclass(frozen=True)
class MapFrame:
    """A class map with its classes, in the order of their values."""

    path: Path
    classes: Sequence[MapClass]
    cell_m: float
    """Side of the ground that the class of a pixel is claimed for."""
    patch_m: float
    """Side of the ground that the network sees for it."""

    @property
    def scene(self) -> str:
        """The name of the scene, or of the mosaic."""
        return self.path.name.removesuffix(_END)

    @classmethod
    def open(cls, path: Path) -> MapFrame:
        """A class map of `predict`, with what lies beside it.

        Raises:
            SceneError: when it is no class map, or its Item or table of areas is missing or broken.
        """
        if not path.name.endswith(_END):
            raise SceneError(f"{path} is no class map; name a file that ends in {_END}.")
        item = path.with_name(f"{path.name.removesuffix(_END)}.json")
        with opening(
            lambda why: SceneError(
                f"{path} has no Item and table of areas beside it that go with it ({why}); run "
                "`predict` again."
            )
        ):
            stated = read_json(item)
            sides_m = (float(stated["properties"][f"lenscape:{key}_m"]) for key in ("cell", "patch"))
            cell_m, patch_m = sides_m
            described = stated["assets"]["classmap"]["classification:classes"]
            text = (path.parent / "areas.csv").read_text(encoding="utf-8")
            lines = [line for line in StringIO(text, newline="") if not line.startswith("#")]
            areas = {row["value"]: row for row in csv.DictReader(lines)}
            classes = [_class(one, areas) for one in described if one["value"]]
        if not any(one.pixels for one in classes):
            raise SceneError(
                f"{path} has no pixel with a class, so that none can be drawn; name the map of a scene "
                "with data."
            )
        return cls(path, classes, cell_m, patch_m)

    def draw(self, counts: Sequence[int], seed: int) -> dict[str, npt.NDArray[Any]]:
        """Pixels drawn at random within each class, `counts` of each, without replacement.

        The map is read square by square; what is drawn is in memory, and the numbers of its pixels.
        The same seed draws the same pixels.

        Returns:
            `x` and `y` of the centres, m; `value`; all (n,), in an order that says nothing.

        Raises:
            SceneError: when the map has fewer pixels of a class than are to be drawn.
        """
        random = np.random.default_rng(seed)
        wanted = {
            one.value: np.sort(random.choice(one.pixels, size=count, replace=False))
            for one, count in zip(self.classes, counts, strict=True)
            if count
        }
        cells_drawn: list[tuple[float, float, int]] = []
        passed = dict.fromkeys(wanted, 0)
        with raster_file.opened(str(self.path), any_format=True) as dataset:
            for row, col, cells in squares(dataset, _SIDE, 1):
                for value, numbers in wanted.items():
                    rows, cols = np.nonzero(cells == value)
                    drawn = numbers - passed[value]
                    drawn = drawn[(drawn >= 0) & (drawn < len(rows))]
                    x, y = dataset.transform @ (col + cols[drawn] + 0.5, row + rows[drawn] + 0.5)
                    cells_drawn += [(float(a), float(b), value) for a, b in zip(x, y, strict=True)]
                    passed[value] += len(rows)
        if len(cells_drawn) != sum(len(numbers) for numbers in wanted.values()):
            raise SceneError(
                f"{self.path} has other pixels than the Item beside it says; run `predict` again."
            )
        order = random.permutation(len(cells_drawn))
        columns = (np.array(column)[order] for column in zip(*cells_drawn, strict=True))
        return dict(zip(("x", "y", "value"), columns, strict=True))

    def epsg_and_pixel_m(self) -> tuple[int, float]:
        """EPSG code, and the side of a pixel, m.

        Raises:
            SceneError: when the map cannot be read.
        """
        with raster_file.opened(str(self.path), any_format=True) as dataset:
            return int(dataset.crs.to_epsg()), float(dataset.transform.a)


def _class(described: dict[str, Any], areas: dict[str, dict[str, str]]) -> MapClass:
    value = int(described["value"])
    row = areas[str(value)]
    return MapClass(
        value,
        row["name"],
        str(described["title"]),
        f"#{described['color_hint'].lower()}",
        float(row["mapped_ha"]),
        int(row["pixels"]),
    )
