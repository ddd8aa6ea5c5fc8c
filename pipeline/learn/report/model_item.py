"""A model as a STAC Item with the MLM extension (Machine Learning Model, version 1.4.0).

By it a catalog tells what the model takes and gives. The Item is plain JSON: no clock, no host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.learn.network.classifier import ModelMeta
from pipeline.learn.network.layers import plan, total_weights

SCHEMA = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_MULTIHASH_SHA256 = "1220"
"""SHA-256 of 32 bytes, as the multihash of the file extension begins."""


type Axes = Mapping[str, int]
"""Names of axes in their order, with their lengths, -1 where any will do."""


@dataclass(frozen=True)
class ModelFile:
    """A file of a model, as an asset of its Item."""

    href: str
    """Relative to the Item."""
    media_type: str
    artifact: str
    """What made it, as `mlm:artifact_type` has it: `safetensors`, `onnx`."""
    sha256: str
    title: str
    takes: Axes
    """Axes of the input."""
    gives: Axes
    """Axes of the probabilities."""


def model_item(meta: ModelMeta, file: ModelFile) -> dict[str, Any]:
    """The Item of a model.

    Args:
        meta: The model; its `region` becomes the geometry, which is none where it is not known.
        file: What is loaded.
    """
    box = meta.region
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [SCHEMA, _FILE],
        "id": f"lenscape-{meta.weights_sha256[:12]}",
        "geometry": None if box is None else _outline(box),
        "properties": _properties(meta) | _learning(meta, file),
        "links": [],
        "assets": {
            "model": {
                "href": file.href,
                "type": file.media_type,
                "title": file.title,
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": file.artifact,
                "bands": [{"name": band} for band in meta.bands],
                "file:checksum": _MULTIHASH_SHA256 + file.sha256,
            }
        },
    }
    return item if box is None else item | {"bbox": list(box)}


def _outline(box: Sequence[float]) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _properties(meta: ModelMeta) -> dict[str, Any]:
    moments = sorted(moment for scene in meta.scenes for moment in scene.datetime.split("/"))
    return {
        "title": f"lenscape {meta.preset} on {len(meta.bands)} bands",
        "description": (
            f"Land-cover classes of Sentinel-2 patches of {meta.geometry.patch_px} px: "
            f"{', '.join(info.title for info in meta.classes)}. {meta.credit}."
        ),
        "datetime": None,
        "start_datetime": moments[0],
        "end_datetime": moments[-1],
    }


def _learning(meta: ModelMeta, file: ModelFile) -> dict[str, Any]:
    layers = plan(meta.network, len(meta.bands), meta.geometry.patch_px, len(meta.classes))
    return {
        "mlm:name": f"lenscape-{meta.preset}-{meta.weights_sha256[:12]}",
        "mlm:architecture": "LeNet" if meta.network.convolutions else "MLP",
        "mlm:tasks": ["classification", "scene-classification"],
        "mlm:framework": "ONNX" if file.artifact == "onnx" else "PyTorch",
        "mlm:total_parameters": total_weights(layers),
        "mlm:pretrained": False,
        "mlm:pretrained_source": None,
        "mlm:input": [
            {
                "name": "harmonised DN (reflectance x 10000; 0 is nodata)",
                "bands": meta.bands,
                "input": _structure(file.takes, "uint16"),
                "description": "The model itself fills nodata pixels and normalises.",
                "value_scaling": None,
                "resize_type": None,
                "pre_processing_function": None,
            }
        ],
        "mlm:output": [_output(meta, file)],
    }


def _output(meta: ModelMeta, file: ModelFile) -> dict[str, Any]:
    classes: list[Mapping[str, Any]] = [
        {
            "value": value,
            "name": info.name,
            "title": info.title,
            "description": info.description or info.title,
            "color_hint": info.color.removeprefix("#").upper(),
        }
        for value, info in enumerate(meta.classes)
    ]
    return {
        "name": "calibrated probabilities",
        "tasks": ["classification"],
        "result": _structure(file.gives, "float32"),
        "classification:classes": classes,
        "post_processing_function": None,
    }


def _structure(axes: Axes, kind: str) -> dict[str, Any]:
    return {"shape": list(axes.values()), "dim_order": list(axes), "data_type": kind}


def weights_file(meta: ModelMeta, href: str) -> ModelFile:
    """The file of weights that `train` writes: patches in, one set of probabilities each out."""
    side = meta.geometry.patch_px
    return ModelFile(
        href,
        "application/octet-stream",
        "safetensors",
        meta.weights_sha256,
        "Weights of the network, read by lenscape with the model.json beside them",
        {"batch": -1, "channel": len(meta.bands), "height": side, "width": side},
        {"batch": -1, "class": len(meta.classes)},
    )


def onnx_file(meta: ModelMeta, href: str, sha256: str) -> ModelFile:
    """The file that `lenscape export` writes: a picture in, probabilities of its cells out."""
    return ModelFile(
        href,
        "application/octet-stream; framework=onnx; profile=onnx",
        "onnx",
        sha256,
        "The model as an ONNX graph, once over a picture",
        {"batch": 1, "channel": len(meta.bands), "height": -1, "width": -1},
        {"batch": 1, "class": len(meta.classes), "height": -1, "width": -1},
    )
