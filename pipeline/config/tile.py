"""`conf/tile.yaml`: how scenes and labels become patches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.area import AreaConf
from pipeline.config.labels import LabelSourceConf
from pipeline.config.record import Conf, Positive, Share


class TileConf(Conf):
    """`conf/tile.yaml`: how scenes and labels become patches."""

    labels: list[LabelSourceConf]
    """Where the class of the ground comes from; the first that has one for a pixel wins. Empty for a
    collection of labelled images, whose class is their own."""
    bands: Literal["all", "rgb", "10m"] | Annotated[list[str], Field(min_length=1)] = "all"
    """The bands of the store; `all` are those that every scene has."""
    patch_px: Positive = 16
    """Side of a patch, what the network sees, in pixels of 10 m."""
    cell_px: Positive = 8
    """Side of a cell, what the class is claimed for, in pixels of 10 m."""
    stride_px: Positive = 8
    """Distance of training patches; it divides `cell_px`. Evaluation keeps to the cell grid."""
    min_purity: Annotated[float, Field(gt=0, le=1)] = 0.6
    """A cell has a class when that class covers at least this share of it."""
    min_valid: Share = 0.75
    """A cell is used, and later mapped, when at least this share of its band pixels is valid."""
    mixed_levels: bool = False
    """Whether L1C and L2A may be trained on together, in which the same ground has other values."""
    overlap: Literal["smallest", "unlabelled"] = "smallest"
    """Pixels under polygons of several classes in one file: the smallest polygon wins, or none."""
    exclude: AreaConf | None = None
    """Ground that no patch shows, such as that of an independent test."""
    max_per_class: Positive | None = None
    """At most this many patches a class, drawn by ground position."""
    max_per_scene: Positive | None = None
    """At most this many patches a scene, drawn by ground position."""
    seed: int = 0
    """Seed of the drawing."""

    @model_validator(mode="after")
    def _geometry_fits(self) -> TileConf:
        if self.patch_px < self.cell_px or (self.patch_px - self.cell_px) % 2:
            raise ValueError(
                f"patch_px {self.patch_px} must exceed cell_px {self.cell_px} by an even number, "
                "or equal it, so that the cell is its centre"
            )
        if self.cell_px % self.stride_px:
            raise ValueError(f"stride_px {self.stride_px} must divide cell_px {self.cell_px}")
        return self
