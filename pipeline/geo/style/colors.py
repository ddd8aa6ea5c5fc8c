"""Colours that can be told apart on a map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# of viridis, which is as readable in grey and with colour-blind eyes
PER_CENT_RAMP = {0: "#440154", 25: "#3b528b", 50: "#21918c", 75: "#5ec962", 100: "#fde725"}
"""Colour by per cent; linear in between."""
DISSIMILARITY_RAMP = {0: "#f7f7f7", 100: "#fddbc7", 101: "#ef8a62", 200: "#b2182b"}
"""Colour by per cent of the threshold of the area of applicability; what lies outside it stands out."""
_LEVELS = np.linspace(0, 255, 16).round().astype(np.uint8)
_BACKGROUNDS = np.array([[255, 255, 255], [0, 0, 0], [128, 128, 128]], dtype=np.uint8)
"""Paper, night and the grey of missing data: a class looks like none of them."""

# Björn Ottosson, "A perceptual color space for image processing" (2020): linear sRGB -> OKLab
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def rgb(color: str) -> tuple[int, int, int]:
    """`#rrggbb` -> red, green, blue from 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def distinct_colors(count: int) -> list[str]:
    """Colours as `#rrggbb`, each as far in OKLab from those before it as sRGB allows.

    The first ones do not depend on `count`.
    """
    grid = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    labs = oklab(grid)
    nearest = np.min(
        [np.linalg.norm(labs - background, axis=1) for background in oklab(_BACKGROUNDS)], axis=0
    )
    colors = []
    for _ in range(count):
        best = int(nearest.argmax())
        red, green, blue = grid[best]
        colors.append(f"#{red:02x}{green:02x}{blue:02x}")
        nearest = np.minimum(nearest, np.linalg.norm(labs - labs[best], axis=1))
    return colors


def oklab(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """OKLab coordinates (N, 3) of sRGB colours (N, 3): distances there are as the eye sees them."""
    share = rgb / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    lab: npt.NDArray[np.float64] = np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T
    return lab
