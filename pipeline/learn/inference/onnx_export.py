"""The dense form of a model as one ONNX file: harmonised DN of a picture in, its class map out.

`to_onnx` makes it, `agreement` runs it and the model on the same made-up pictures and compares.
The graph is that of `levels` in the text form of ONNX, so that it gives the patches' own logits at
every distance of cells: few nodes that can be read, the same bytes for the same weights.

Not by torch's exporter (`torch.onnx.export`, tried with 2.15): torch has no mean pooling with gaps,
which some distances of cells need; the exporter writes paths of source files into the nodes, takes
seconds for a small network, and needs onnxscript.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import onnxruntime
import torch
from onnx import helper, numpy_helper

from pipeline import __version__
from pipeline.config.record import Conf
from pipeline.errors import NetworkError
from pipeline.learn.inference.levels import Level, Levels, Taps, unsupported
from pipeline.learn.inference.predictor import Predictor, normalisation_of
from pipeline.learn.network.classifier import ModelMeta, PatchClassifier
from pipeline.learn.stats.calibration import LEAST_LEAD
from pipeline.store_meta import Geometry

_ACTIVATIONS: dict[Any, str] = {torch.relu_: "Relu", torch.sigmoid_: "Sigmoid", torch.tanh_: "Tanh"}
_SIZES = ((1, 1), (7, 12), (40, 33))
"""Rows and columns of cells of the pictures."""
_NODATA_SHARE = 0.02
_TIE = 1e-3
"""Where two classes are less apart, the last bits of arithmetic may decide."""
_CLOSE = 1e-3
_MODEL = """
<ir_version: 9, opset_import: ["": 19], producer_name: "lenscape", producer_version: "{version}">
lenscape (uint16[1, {bands}, height, width] dn)
=> (uint8[1, rows, cols] classes, float[1, {classes}, rows, cols] probabilities)
{{
    pixels = Cast <to = 1> (dn)
    missing = Equal (pixels, zero)
    filled = Where (missing, fill, pixels)
    centred = Sub (filled, fill)
    value_0 = Slice (centred, origin, seen, sides)
    {layers}
    probabilities = Softmax <axis = 1> ({logits})

    missing_pixels = Cast <to = 1> (missing)
    inner = Slice (missing_pixels, cells_from, cells_to, sides)
    missing_by_band = AveragePool <{cell}> (inner)
    missing_share = ReduceMean <keepdims = 1> (missing_by_band, band)
    mapped = LessOrEqual (missing_share, most_missing)
    best = ArgMax <axis = 1, keepdims = 1> (probabilities)
    from_one = Add (best, one)
    with_nodata = Where (mapped, from_one, nodata)
    flat = Squeeze (with_nodata, band)
    classes = Cast <to = 2> (flat)
}}"""
"""Types: 1 is float32, 2 is uint8. Opset 19 is the first in which mean pooling has gaps (dilations)."""
_CALIBRATION = """
    best_logit = ArgMax <axis = 1, keepdims = 1> ({logits})
    is_best = Equal (best_logit, class_numbers)
    others = Where (is_best, least, {logits})
    rest = ReduceLogSumExp <keepdims = 1> (others, band)
    second = ReduceMax <keepdims = 1> (others, band)
    lead = Sub ({logits}, rest)
    scaled = Mul (lead, slope)
    shifted = Add (scaled, bias)
    raised = Add (shifted, rest)
    lowest = Add (second, least_lead)
    changed = Max (raised, lowest)
    calibrated = Where (is_best, changed, {logits})
""".strip()
"""The log odds of the predicted class, changed as by `recalibrated`."""


def to_onnx(classifier: PatchClassifier, geometry: Geometry | None = None) -> onnx.ModelProto:
    """The model as an ONNX graph; `geometry` is that of the map, whose pixels are cells by default.

    Input `dn`: uint16 (1, C, H, W), harmonised DN (reflectance x 10000), 0 is nodata; the map and the
    context around it, so that H = rows x pixel_px + patch_px - pixel_px, and W likewise. Outputs:
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
    geometry = geometry or meta.geometry
    levels = Levels(
        classifier.network, geometry.patch_px, geometry.cell_px, normalisation_of(classifier)
    )
    layers, floats = _layers(levels)
    logits = f"value_{len(layers)}"
    slope, bias = classifier.slope_and_bias
    if (slope, bias) != (1, 0) and len(meta.classes) > 1:
        layers.append(_CALIBRATION.format(logits=logits))
        logits = "calibrated"
    text = _MODEL.format(
        version=__version__,
        bands=len(meta.bands),
        classes=len(meta.classes),
        layers="\n    ".join(layers),
        logits=logits,
        cell=_window(Taps(geometry.cell_px, 1, geometry.cell_px)),
    )
    floats |= {
        "zero": 0.0,
        "fill": classifier.fill_dn.reshape(1, -1, 1, 1),
        # a share that is exactly the limit is enough, whatever the last bit of the mean
        "most_missing": 1 - geometry.min_valid + 1e-6,
        "slope": slope,
        "bias": bias,
        "least_lead": LEAST_LEAD,
        "least": np.finfo(np.float32).min,
    }
    unused, margin, end = geometry.patch_px - levels.extent_px, geometry.margin_px, 2**63 - 1
    integers = {
        "sides": [2, 3],
        "origin": [0, 0],
        "seen": [-unused or end] * 2,
        "cells_from": [margin] * 2,
        "cells_to": [-margin or end] * 2,
        "band": [1],
        "one": 1,
        "nodata": 0,
        "class_numbers": np.arange(len(meta.classes)).reshape(1, -1, 1, 1),
    }
    arrays = {name: np.array(values, dtype=np.float32) for name, values in floats.items()}
    arrays |= {name: np.array(values, dtype=np.int64) for name, values in integers.items()}
    made = onnx.parser.parse_model(text)
    used = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(
        numpy_helper.from_array(arrays[name], name) for name in arrays if name in used
    )
    helper.set_model_props(made, metadata(meta, geometry.cell_px))
    onnx.checker.check_model(made, full_check=True)
    return made


def _layers(levels: Levels) -> tuple[list[str], dict[str, npt.ArrayLike]]:
    """The nodes of all levels, each with the result of the one before it, and their weights by name."""
    dense = [
        Level(layer.weight[:, :, None, None], layer.bias, Taps(1, 1, 1), layer.activation)
        for layer in levels.dense
    ]
    weights: dict[str, npt.ArrayLike] = {}
    steps: list[tuple[str, str]] = []  # an operator, and its inputs beside the last result
    for number, level in enumerate((*levels.convolutions, *dense), start=1):
        weights |= {f"weight_{number}": level.weight.numpy(), f"bias_{number}": level.bias.numpy()}
        steps.append((f"Conv <{_window(level.taps)}>", f", weight_{number}, bias_{number}"))
        if level.activation is not None:
            steps.append((_ACTIVATIONS[level.activation], ""))
        if level.pooling is not None:
            kind = "MaxPool" if level.pooling.maximum else "AveragePool"
            steps.append((f"{kind} <{_window(level.pooling.taps)}>", ""))
    nodes = [
        f"value_{number} = {operator} (value_{number - 1}{others})"
        for number, (operator, others) in enumerate(steps, start=1)
    ]
    return nodes, weights


def _window(taps: Taps) -> str:
    """The attributes of an operator with a moving window."""
    sizes = {"kernel_shape": taps.count, "strides": taps.stride, "dilations": taps.spacing}
    return ", ".join(f"{name} = [{size}, {size}]" for name, size in sizes.items())


def metadata(meta: ModelMeta, pixel_px: int) -> dict[str, str]:
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
        "pixel_px": pixel_px,
        "cell_px": geometry.cell_px,
        "pixel_m": geometry.pixel_m,
        "min_valid": geometry.min_valid,
        "resampling": meta.resampling,
        "anchor": "map pixels begin at multiples of pixel_px * pixel_m in the CRS",
        "edges": "what lies outside of the scene is mirrored, the edge repeated",
        "scenes": plain(meta.scenes),
        "credit": meta.credit,
        "weights_sha256": meta.weights_sha256,
    }
    return {key: json.dumps(value, ensure_ascii=False, sort_keys=True) for key, value in facts.items()}


@dataclass(frozen=True)
class Agreement:
    """How far the ONNX file and the model agree."""

    pixels: int
    same: int
    """Map pixels of the same class."""
    decided: int
    """Map pixels of another class whose two best classes are no tie."""
    largest: float
    """Largest difference of a probability."""

    @property
    def holds(self) -> bool:
        """Whether the classes are the same but for ties."""
        return self.decided == 0 and self.largest < _CLOSE


def agreement(
    content: bytes, classifier: PatchClassifier, geometry: Geometry | None = None
) -> Agreement:
    """Run an ONNX file by onnxruntime, and the model by torch, on pictures of several sizes.

    The pictures are noise around the statistics of the training part, with nodata pixels.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    predictor, random = Predictor(classifier, geometry=geometry), np.random.default_rng(0)
    count = same = decided = 0
    largest = 0.0
    for rows, cols in _SIZES:
        pixels = _picture(classifier, predictor.geometry, (rows, cols), random)
        classes, shares = session.run(["classes", "probabilities"], {"dn": pixels[None]})
        exact = predictor(pixels, rows, cols)
        best = np.sort(exact, axis=0)[-2:]
        other = shares[0].argmax(axis=0) != exact.argmax(axis=0)
        expected = np.where(_mapped(predictor.geometry, pixels), shares[0].argmax(axis=0) + 1, 0)
        count += rows * cols
        same += int((~other).sum())
        decided += int((other & (best[-1] - best[0] > _TIE)).sum()) + int(
            (classes[0] != expected).sum()
        )
        # not `max`, which takes what is no number for small
        largest = float(np.maximum(largest, np.abs(shares[0] - exact).max()))
    return Agreement(count, same, decided, largest)


def _mapped(geometry: Geometry, pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Whether enough of each map pixel is valid, (rows, cols)."""
    margin, side = geometry.margin_px, geometry.cell_px
    inner = pixels[:, margin : pixels.shape[1] - margin, margin : pixels.shape[2] - margin] > 0
    rows, cols = (length // side for length in inner.shape[1:])
    valid = inner.reshape(len(inner), rows, side, cols, side).mean(axis=(0, 2, 4))
    mapped: npt.NDArray[np.bool_] = valid >= geometry.min_valid - 1e-9
    return mapped


def _picture(
    classifier: PatchClassifier,
    geometry: Geometry,
    size: tuple[int, int],
    random: np.random.Generator,
) -> npt.NDArray[np.uint16]:
    statistics, (rows, cols) = classifier.meta.statistics, size
    context = geometry.patch_px - geometry.cell_px
    shape = rows * geometry.cell_px + context, cols * geometry.cell_px + context
    mean, std = (np.asarray(values)[:, None, None] for values in (statistics.mean, statistics.std))
    noise = random.standard_normal((len(mean), *shape)) + 2 * random.standard_normal((len(mean), 1, 1))
    pixels = (mean + std * noise).clip(1, 65534).astype(np.uint16)
    pixels[random.random(pixels.shape) < _NODATA_SHARE] = 0
    # in a corner so many nodata pixels that some map pixels have no class
    corner = pixels[:, : shape[0] // 3, : shape[1] // 3]
    corner[random.random(corner.shape) < 0.3] = 0
    return pixels
