"""Published figures to set ours beside, where all of a published data set was run."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.learn.stats.accuracy import Scores
from pipeline.store import SplitFolder, StoreMeta


@dataclass(frozen=True)
class Published:
    """An accuracy that somebody published."""

    accuracy: float
    how: str
    """Network, bands and split."""
    source: str


FIGURES = {
    "EuroSAT": (
        Published(
            0.9857,
            "ResNet-50 pretrained on ImageNet, bands B04, B03, B02; a random 80 % trained, the other "
            "20 % tested, not these lists",
            "Helber et al. 2019, doi:10.1109/JSTARS.2019.2918242",
        ),
    )
}
"""By collection of images."""


def beside(store: StoreMeta, split: SplitFolder, network: Scores) -> str:
    """Our accuracy beside the published ones, where all images were parted by a published list."""
    images, lists = store.images, split.split.lists
    if images is None or not images.whole or lists not in images.published_lists:
        return ""
    ours = f"{network.accuracy:.2%} here, list '{lists}', {len(split.rows('test')):,} test images"
    lines = [f"{one.accuracy:.2%} {one.how} ({one.source})" for one in FIGURES.get(images.name, ())]
    return f"All of {images.name}: " + "; ".join([ours, *lines])
