"""Where the files of a mapped scene lie, by what they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MapFolder:
    """The files of one mapped scene: `<scene>/<scene>_classmap.tif` and what belongs to it."""

    folder: Path
    scene: str

    @property
    def class_map(self) -> Path:
        """The class map, a COG."""
        return self.folder / f"{self.scene}_classmap.tif"

    @property
    def confidence(self) -> Path:
        """The confidence, a COG."""
        return self.folder / f"{self.scene}_confidence.tif"

    @property
    def dissimilarity(self) -> Path:
        """The dissimilarity to the training data, a COG; unless the conf of `predict` leaves it out."""
        return self.folder / f"{self.scene}_dissimilarity.tif"

    @property
    def probabilities(self) -> Path:
        """The probabilities of all classes, a COG; only where the conf of `predict` asks for them."""
        return self.folder / f"{self.scene}_probabilities.tif"

    @property
    def polygons(self) -> Path:
        """The class map as polygons; only where the conf of `predict` asks for them."""
        return self.folder / f"{self.scene}_polygons.gpkg"

    @property
    def true_colour(self) -> Path:
        """The scene in true colour, without the ending: `.vrt` or `.tif`."""
        return self.folder / f"{self.scene}_truecolour"

    @property
    def areas(self) -> Path:
        """The table of areas."""
        return self.folder / "areas.csv"

    @property
    def preview(self) -> Path:
        """The picture."""
        return self.folder / "preview.png"

    @property
    def item(self) -> Path:
        """The STAC Item."""
        return self.folder / f"{self.scene}.json"
