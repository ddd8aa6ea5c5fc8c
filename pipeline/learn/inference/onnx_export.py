"""The dense form of a model as one ONNX file: harmonised DN of a picture in, its class map out.

`to_onnx` makes it, `agreement` runs it and the model on the same made-up pictures and compares.
The graph is that of `levels`, node by node, so that it gives the patches' own logits at every distance
of cells. It is written by hand and not by torch's exporter: few nodes that can be read, no file names
and no time in it, the same bytes for the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from pipeline import __version__
from pipeline.config.record import Conf
from pipeline.errors import NetworkError
from pipeline.learn.inference.levels import Level, Taps, read_levels, unsupported
from pipeline.learn.inference.predictor import Predictor, normalisation_of
from pipeline.learn.network.classifier import ModelMeta, PatchClassifier

OPSET = 19
"""The first in which mean pooling has gaps (dilations)."""
_IR = 9
"""That of opset 19, so that runtimes of its time read the file."""
INPUT, CLASSES, PROBABILITIES = "dn", "classes", "probabilities"
_ACTIVATIONS: dict[Any, str] = {torch.relu_: "Relu", torch.sigmoid_: "Sigmoid", torch.tanh_: "Tanh"}
_SIZES = ((1, 1), (7, 12), (40, 33))
"""Rows and columns of cells of the pictures."""
_NODATA_SHARE = 0.02
_TIE = 1e-3
"""Where two classes are less apart, the last bits of arithmetic may decide."""
_CLOSE = 1e-3


class _Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node and name what it gives."""
        name = f"{kind.lower()}_{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add an array and name it."""
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=dtype), name))
        return name

    def end(self, name: str, result: str) -> None:
        """Call what a node gives by the name of an output."""
        self.nodes.append(helper.make_node("Identity", [name], [result], name=result))


def to_onnx(classifier: PatchClassifier) -> onnx.ModelProto:
    """The model as an ONNX graph.

    Input `dn`: uint16 (1, C, H, W), harmonised DN (reflectance x 10000), 0 is nodata; the cells and the
    context around them, so that H = rows x cell_px + patch_px - cell_px, and W likewise. Outputs:
    `classes`, uint8 (1, rows, cols), 0 where too little is valid, else the place of the class from 1,
    as in a class map; `probabilities`, float32 (1, K, rows, cols). What a reader must know is in its
    metadata (`metadata`).

    Raises:
        NetworkError: when the network has no dense form.
    """
    meta = classifier.meta
    if reason := unsupported(classifier.network):
        raise NetworkError(
            f"the network has no dense form, so there is nothing to export: {reason}; train one with "
            "convolutions and without padding."
        )
    geometry, graph = meta.geometry, _Graph()
    levels = read_levels(
        classifier.network, geometry.patch_px, geometry.cell_px, normalisation_of(classifier)
    )
    dn = graph.add("Cast", [INPUT], to=TensorProto.FLOAT)
    missing = graph.add("Equal", [dn, graph.constant("zero", 0.0)])
    fill = graph.constant("hole", classifier.fill_dn.reshape(1, -1, 1, 1))
    values = graph.add("Sub", [graph.add("Where", [missing, fill, dn]), fill])
    unused = geometry.patch_px - levels.extent_px
    if unused:
        values = _cropped(graph, values, 0, unused, "unused")
    for number, level in enumerate(levels.convolutions, start=1):
        values = _level(graph, values, level, f"level_{number}")
    for number, layer in enumerate(levels.dense, start=1):
        name = f"dense_{number}"
        weight = graph.constant(f"{name}_weight", layer.weight[:, :, None, None].numpy())
        bias = graph.constant(f"{name}_bias", layer.bias.numpy())
        values = graph.add("Conv", [values, weight, bias])
        if layer.activation is not None:
            values = graph.add(_ACTIVATIONS[layer.activation], [values])
    shares = graph.add("Softmax", [values], axis=1)
    graph.end(shares, PROBABILITIES)
    graph.end(_classes(graph, shares, _mapped(graph, missing, meta)), CLASSES)
    return _model(graph, meta)


def _level(graph: _Graph, values: str, level: Level, name: str) -> str:
    weight = graph.constant(f"{name}_weight", level.weight.numpy())
    bias = graph.constant(f"{name}_bias", level.bias.numpy())
    taps = level.taps
    result = graph.add(
        "Conv", [values, weight, bias], strides=[taps.stride] * 2, dilations=[taps.spacing] * 2
    )
    if level.activation is not None:
        result = graph.add(_ACTIVATIONS[level.activation], [result])
    if level.pooling is not None:
        kind = "MaxPool" if level.pooling.maximum else "AveragePool"
        result = graph.add(kind, [result], **_window(level.pooling.taps))
    return result


def _window(taps: Taps) -> dict[str, list[int]]:
    return {
        "kernel_shape": [taps.count] * 2,
        "strides": [taps.stride] * 2,
        "dilations": [taps.spacing] * 2,
    }


def _mapped(graph: _Graph, missing: str, meta: ModelMeta) -> str:
    """Whether enough of a cell is valid, (1, 1, rows, cols)."""
    geometry = meta.geometry
    cells = graph.add("Cast", [missing], to=TensorProto.FLOAT)
    if geometry.margin_px:
        cells = _cropped(graph, cells, geometry.margin_px, geometry.margin_px, "context")
    side = geometry.cell_px
    share = graph.add("AveragePool", [cells], kernel_shape=[side] * 2, strides=[side] * 2)
    axes = graph.constant("bands", [1], np.int64)
    lacking = graph.add("ReduceMean", [share, axes], keepdims=1)
    # a share that is exactly the limit is enough, whatever the last bit of the mean
    most = graph.constant("most_missing", 1 - geometry.min_valid + 1e-6)
    return graph.add("LessOrEqual", [lacking, most])


def _classes(graph: _Graph, shares: str, mapped: str) -> str:
    best = graph.add("ArgMax", [shares], axis=1, keepdims=1)
    from_one = graph.add("Add", [best, graph.constant("one", 1, np.int64)])
    chosen = graph.add("Where", [mapped, from_one, graph.constant("nodata", 0, np.int64)])
    flat = graph.add("Squeeze", [chosen, graph.constant("band", [1], np.int64)])
    return graph.add("Cast", [flat], to=TensorProto.UINT8)


def _cropped(graph: _Graph, values: str, first: int, last: int, name: str) -> str:
    """Without the `first` and the `last` rows and columns."""
    bounds = [
        graph.constant(f"{name}_{end}", indices, np.int64)
        for end, indices in (
            ("from", [first, first]),
            ("to", [-last or np.iinfo(np.int64).max] * 2),
            ("axes", [2, 3]),
        )
    ]
    return graph.add("Slice", [values, *bounds])


def _model(graph: _Graph, meta: ModelMeta) -> onnx.ModelProto:
    sides = ["height", "width"], ["rows", "cols"]
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.UINT16, [1, len(meta.bands), *sides[0]])]
    outputs = [
        helper.make_tensor_value_info(CLASSES, TensorProto.UINT8, [1, *sides[1]]),
        helper.make_tensor_value_info(
            PROBABILITIES, TensorProto.FLOAT, [1, len(meta.classes), *sides[1]]
        ),
    ]
    made = helper.make_model(
        helper.make_graph(graph.nodes, "lenscape", inputs, outputs, graph.constants),
        producer_name="lenscape",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR,
    )
    helper.set_model_props(made, metadata(meta))
    onnx.checker.check_model(made, full_check=True)
    return made


def metadata(meta: ModelMeta) -> dict[str, str]:
    """What a program that runs the file must know, as JSON by key."""

    def plain(records: Sequence[Conf]) -> list[dict[str, Any]]:
        return [record.model_dump(mode="json", exclude_none=True) for record in records]

    geometry = meta.geometry
    facts: dict[str, Any] = {
        "bands": meta.bands,
        "classes": plain(meta.classes),
        "scale": 0.0001,
        "offset": 0.0,
        "nodata": 0,
        "patch_px": geometry.patch_px,
        "cell_px": geometry.cell_px,
        "pixel_m": geometry.pixel_m,
        "min_valid": geometry.min_valid,
        "resampling": meta.resampling,
        "anchor": "cells begin at multiples of cell_px * pixel_m in the CRS",
        "edges": "what lies outside of the scene is mirrored, the edge repeated",
        "scenes": plain(meta.scenes),
        "credit": meta.credit,
        "weights_sha256": meta.weights_sha256,
    }
    return {key: json.dumps(value, ensure_ascii=False, sort_keys=True) for key, value in facts.items()}


@dataclass(frozen=True)
class Agreement:
    """How far the ONNX file and the model agree."""

    cells: int
    same: int
    """Cells of the same class."""
    decided: int
    """Cells of another class whose two best classes are no tie."""
    largest: float
    """Largest difference of a probability."""

    @property
    def holds(self) -> bool:
        """Whether the classes are the same but for ties."""
        return self.decided == 0 and self.largest < _CLOSE


def agreement(content: bytes, classifier: PatchClassifier) -> Agreement:
    """Run an ONNX file by onnxruntime, and the model by torch, on pictures of several sizes.

    The pictures are noise around the statistics of the training part, with nodata pixels.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    predictor, random = Predictor(classifier), np.random.default_rng(0)
    cells = same = decided = 0
    largest = 0.0
    for rows, cols in _SIZES:
        pixels = _picture(classifier, rows, cols, random)
        classes, shares = session.run([CLASSES, PROBABILITIES], {INPUT: pixels[None]})
        exact = predictor(pixels, rows, cols)
        best = np.sort(exact, axis=0)[-2:]
        other = shares[0].argmax(axis=0) != exact.argmax(axis=0)
        expected = np.where(_cells_mapped(classifier, pixels), shares[0].argmax(axis=0) + 1, 0)
        cells += rows * cols
        same += int((~other).sum())
        decided += int((other & (best[-1] - best[0] > _TIE)).sum()) + int(
            (classes[0] != expected).sum()
        )
        # not `max`, which takes what is no number for small
        largest = float(np.maximum(largest, np.abs(shares[0] - exact).max()))
    return Agreement(cells, same, decided, largest)


def _cells_mapped(classifier: PatchClassifier, pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Whether enough of each cell is valid, (rows, cols)."""
    geometry = classifier.meta.geometry
    margin, side = geometry.margin_px, geometry.cell_px
    inner = pixels[:, margin : pixels.shape[1] - margin, margin : pixels.shape[2] - margin] > 0
    rows, cols = (length // side for length in inner.shape[1:])
    valid = inner.reshape(len(inner), rows, side, cols, side).mean(axis=(0, 2, 4))
    mapped: npt.NDArray[np.bool_] = valid >= geometry.min_valid - 1e-9
    return mapped


def _picture(
    classifier: PatchClassifier, rows: int, cols: int, random: np.random.Generator
) -> npt.NDArray[np.uint16]:
    geometry, statistics = classifier.meta.geometry, classifier.meta.statistics
    context = geometry.patch_px - geometry.cell_px
    shape = rows * geometry.cell_px + context, cols * geometry.cell_px + context
    mean, std = (np.asarray(values)[:, None, None] for values in (statistics.mean, statistics.std))
    noise = random.standard_normal((len(mean), *shape)) + 2 * random.standard_normal((len(mean), 1, 1))
    pixels = (mean + std * noise).clip(1, 65534).astype(np.uint16)
    pixels[random.random(pixels.shape) < _NODATA_SHARE] = 0
    # in a corner so many nodata pixels that some cells have no class
    corner = pixels[:, : shape[0] // 3, : shape[1] // 3]
    corner[random.random(corner.shape) < 0.3] = 0
    return pixels
