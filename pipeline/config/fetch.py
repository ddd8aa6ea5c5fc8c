"""`conf/fetch.yaml`: the scenes to train on and the scenes to map."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.config.area import AreaConf
from pipeline.config.record import Conf
from pipeline.config.sources import (
    USUAL,
    EurosatConf,
    MaskClass,
    Masking,
    Metres,
    SafeConf,
    SceneConf,
    ScenesConf,
    StacConf,
    StackConf,
)


def _form(raw: Any) -> str:
    """The name of the record that an entry is meant to be, by its key."""
    if isinstance(raw, Conf):
        return type(raw).__name__
    keys = raw if isinstance(raw, dict) else ()
    return next((name for key, name in _BY_KEY.items() if key in keys), "SceneConf")


_BY_KEY = {"eurosat": "EurosatConf", "safe": "SafeConf", "stac": "StacConf", "stack": "StackConf"}
"""The name of a record by the key that every entry of its form has; any other is a `SceneConf`."""
SourceConf = Annotated[
    Annotated[SceneConf, Tag("SceneConf")]
    | Annotated[EurosatConf, Tag("EurosatConf")]
    | Annotated[SafeConf, Tag("SafeConf")]
    | Annotated[StacConf, Tag("StacConf")]
    | Annotated[StackConf, Tag("StackConf")],
    Discriminator(_form),
]
"""One entry: a scene, or where to find scenes."""


class FetchConf(Conf):
    """`conf/fetch.yaml`: the scenes to train on and the scenes to map."""

    train: Annotated[list[SourceConf], Field(min_length=1)]
    """Scenes with labels."""
    map: Literal["train"] | list[SourceConf] = "train"
    """Scenes to be mapped: a list of its own, or `train` for the same ones."""
    area: AreaConf | None = None
    """The ground that becomes a scene; an entry may have its own. All of its files' where absent."""
    mask_classes: list[MaskClass] = list(USUAL)
    """The classes of the products' own masks that are masked; an entry may have its own."""
    mask_grow_m: Metres = 100.0
    """Cloud, shadow and cirrus of these masks are widened by so many metres."""

    @model_validator(mode="after")
    def _ids_are_unique(self) -> FetchConf:
        for scenes in (self.train, self.map_scenes):
            ids = Counter(scene.id for scene in scenes if scene.id is not None)
            if twice := sorted(name for name, count in ids.items() if count > 1):
                raise ValueError(f"scene id {twice[0]!r} stands twice; give each scene its own id")
        return self

    @model_validator(mode="after")
    def _images_are_alone(self) -> FetchConf:
        if any(isinstance(source, EurosatConf) for source in self.map_scenes):
            raise ValueError(
                "EuroSAT is a collection of images with a class each, none of them a scene to map; "
                "write `map: []`, or list scenes under `map`"
            )
        if self.images is not None and len(self.train) > 1:
            raise ValueError("EuroSAT stands beside other entries of `train`; train on it alone")
        if self.images is not None and self.area is not None and not self.map_scenes:
            raise ValueError("`area` is of scenes, and EuroSAT has none; drop it")
        return self

    @property
    def images(self) -> EurosatConf | None:
        """The collection of images to train on, where there is one in place of scenes."""
        return next((source for source in self.train if isinstance(source, EurosatConf)), None)

    def masking(self, source: SourceConf) -> Masking:
        """How the masks of the scenes of a source are used."""
        own = source if isinstance(source, ScenesConf) else ScenesConf()
        classes = self.mask_classes if own.mask_classes is None else own.mask_classes
        grow_m = self.mask_grow_m if own.mask_grow_m is None else own.mask_grow_m
        return Masking(tuple(classes), grow_m, own.mask_classes is not None)

    def area_of(self, source: SourceConf) -> AreaConf | None:
        """The ground of a source that becomes its scenes; None for all of its files'."""
        own = source.area if isinstance(source, ScenesConf) else None
        return self.area if own is None else own

    @property
    def map_scenes(self) -> list[SourceConf]:
        """The scenes to be mapped, whichever way they are stated."""
        return self.train if self.map == "train" else self.map
