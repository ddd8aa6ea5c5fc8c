"""A model as a STAC Item with the MLM extension (Machine Learning Model, version 1.4.0).

By it a catalog tells what the model takes and gives. The Item is plain JSON: no clock, no host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.learn.network.classifier import ModelMeta
from pipeline.learn.network.layers import plan, total_weights

SCHEMA = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_MULTIHASH_SHA256 = "1220"
"""SHA-256 of 32 bytes, as the multihash of the file extension begins."""

type Axes = Mapping[str, int]
"""Names of axes in their order, with their lengths, -1 where any will do."""


def weights_item(meta: ModelMeta, href: str) -> dict[str, Any]:
    """The Item of the weights that `train` writes: patches in, one set of probabilities each out."""
    side = meta.geometry.patch_px
    asset = {
        "href": href,
        "type": "application/octet-stream",
        "title": "Weights of the network, read by lenscape with the model.json beside them",
        "mlm:artifact_type": "safetensors",
        "file:checksum": _MULTIHASH_SHA256 + meta.weights_sha256,
    }
    takes = {"batch": -1, "channel": len(meta.bands), "height": side, "width": side}
    return _item(meta, asset, takes, {"batch": -1, "class": len(meta.classes)})


def onnx_item(meta: ModelMeta, href: str, sha256: str) -> dict[str, Any]:
    """The Item of the file of `lenscape export`: a picture in, probabilities of map pixels out."""
    asset = {
        "href": href,
        "type": "application/octet-stream; framework=onnx; profile=onnx",
        "title": "The model as an ONNX graph, once over a picture",
        "mlm:artifact_type": "onnx",
        "file:checksum": _MULTIHASH_SHA256 + sha256,
    }
    sides = {"height": -1, "width": -1}
    takes, gives = {"channel": len(meta.bands)} | sides, {"class": len(meta.classes)} | sides
    return _item(meta, asset, {"batch": 1} | takes, {"batch": 1} | gives)


def _item(meta: ModelMeta, asset: dict[str, Any], takes: Axes, gives: Axes) -> dict[str, Any]:
    """The Item of a file of a model; its geometry is the region of the labels, where it is known."""
    box = meta.region
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [SCHEMA, _FILE],
        "id": f"lenscape-{meta.weights_sha256[:12]}",
        "geometry": None if box is None else _outline(box),
        "properties": _properties(meta)
        | _learning(meta, "ONNX" if asset["mlm:artifact_type"] == "onnx" else "PyTorch")
        | {"mlm:input": [_input(meta, takes)], "mlm:output": [_output(meta, gives)]},
        "links": [],
        "assets": {
            "model": asset
            | {
                "roles": ["mlm:model", "mlm:weights"],
                "bands": [{"name": band} for band in meta.bands],
            }
        },
    }
    return item if box is None else item | {"bbox": list(box)}


def _outline(box: Sequence[float]) -> dict[str, Any]:
    """The geometry of a box, cut at the antimeridian where its west is above its east (RFC 7946)."""
    west, south, east, north = box
    halves = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    polygons = [
        [[[left, south], [right, south], [right, north], [left, north], [left, south]]]
        for left, right in halves
    ]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


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


def _learning(meta: ModelMeta, framework: str) -> dict[str, Any]:
    layers = plan(meta.network, len(meta.bands), meta.geometry.patch_px, len(meta.classes))
    return {
        "mlm:name": f"lenscape-{meta.preset}-{meta.weights_sha256[:12]}",
        "mlm:architecture": "LeNet" if meta.network.convolutions else "MLP",
        "mlm:tasks": ["classification", "scene-classification"],
        "mlm:framework": framework,
        "mlm:total_parameters": total_weights(layers),
        "mlm:pretrained": False,
        "mlm:pretrained_source": None,
    }


def _input(meta: ModelMeta, axes: Axes) -> dict[str, Any]:
    return {
        "name": "harmonised DN (reflectance x 10000; 0 is nodata)",
        "bands": meta.bands,
        "input": _structure(axes, "uint16"),
        "description": "The model itself fills nodata pixels and normalises.",
        "value_scaling": None,
        "resize_type": None,
        "pre_processing_function": None,
    }


def _output(meta: ModelMeta, axes: Axes) -> dict[str, Any]:
    classes = [
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
        "result": _structure(axes, "float32"),
        "classification:classes": classes,
        "post_processing_function": None,
    }


def _structure(axes: Axes, kind: str) -> dict[str, Any]:
    return {"shape": list(axes.values()), "dim_order": list(axes), "data_type": kind}
