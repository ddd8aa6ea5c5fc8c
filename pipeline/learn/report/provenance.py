"""Provenance of a model for its run: name, parameters, tags, parts of the data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config.train import TrainConf, resolve
from pipeline.files import sha256_of_value
from pipeline.learn.data.training_data import TrainingData
from pipeline.split_folder import SplitFolder

CONTEXTS = {"train": "training", "validation": "validation", "test": "test"}
"""Contexts of MLflow datasets, by part of a split."""
_NAMED_SCENES = 2
_EXPERIMENT = "DVC_EXP_NAME"
"""Where DVC names the experiment that a stage runs in."""


def run_name(conf: TrainConf, bands: Sequence[str], scenes: Sequence[str]) -> str:
    """Preset, bands, scenes: `modern, 13 bands, T33UUU_20170216T102101`; then the DVC experiment."""
    preset, _ = resolve(conf.network)
    named_choice = isinstance(conf.bands, str) and conf.bands != "all"
    choice = conf.bands if named_choice else f"{len(bands)} band{'s' if len(bands) > 1 else ''}"
    named = ", ".join(scenes[:_NAMED_SCENES])
    more = f" and {len(scenes) - _NAMED_SCENES} more" if len(scenes) > _NAMED_SCENES else ""
    experiment = os.environ.get(_EXPERIMENT)
    return f"{preset}, {choice}, {named}{more}" + (f" ({experiment})" if experiment else "")


def parameters(data: TrainingData, split: SplitFolder, conf: TrainConf) -> dict[str, str]:
    """All that was set, flattened: `train.lr`, `tile.patch_px`, `split.seed`."""
    store = data.store.meta
    _, network = resolve(conf.network)
    settings = conf.model_dump(mode="json") | {"network": network.model_dump(mode="json")}
    tile = store.geometry.model_dump() | {
        "stride_px": store.stride_px,
        "min_purity": store.min_purity,
        "resampling": store.resampling,
        "bands": store.bands,
        "classes": [c.name for c in store.classes],
        "scenes": [scene.id for scene in store.scenes],
    }
    blocks = split.split.model_dump(include={"seed", "block_m", "folds", "lists"})
    merged = flattened("train", settings) | flattened("tile", tile) | flattened("split", blocks)
    return merged | {"train.input_bands": ", ".join(data.bands)}


def tags(data: TrainingData, split: SplitFolder, conf: TrainConf) -> dict[str, str]:
    """Hashes of the inputs, and the names of the experiment and of the network."""
    preset, _ = resolve(conf.network)
    values = {
        "store_sha256": data.store.sha256,
        "split_sha256": split.sha256,
        "conf_sha256": sha256_of_value(conf.model_dump(mode="json")),
        "preset": preset,
        "bands": ", ".join(data.bands),
        "scenes": ", ".join(scene.id for scene in data.store.meta.scenes),
    }
    experiment = os.environ.get(_EXPERIMENT)
    return values | ({"dvc.experiment": experiment} if experiment else {})


def part_digest(data: TrainingData, split: SplitFolder, part: str) -> str:
    """A digest of a part of a split, short enough for MLflow."""
    return sha256_of_value([data.store.sha256, split.split.parts_sha256, part])[:16]


def flattened(prefix: str, value: Any) -> dict[str, str]:
    """A nested conf as parameters: `train.augment.flips`, `train.network.dense[0].units`."""
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        items = [(f"{prefix}.{key}", inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        items = [(f"{prefix}.{number}", inner) for number, inner in enumerate(value, start=1)]
    else:
        return {prefix: ", ".join(map(str, value)) if isinstance(value, list) else str(value)}
    merged: dict[str, str] = {}
    for key, inner in items:
        merged |= flattened(key, inner)
    return merged
