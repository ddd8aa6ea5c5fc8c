"""Draws the pictures of docs/course.md and writes its numbers, all of them computed here.

After `make demo`: python docs/course/make.py [--model models] [--scenes data/scenes/map]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch.nn import functional as F

from pipeline.config.train import PRESETS, ConvolutionConf, NetworkConf
from pipeline.geo.raster.grid import Window
from pipeline.geo.scenes.scene import open_catalog
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.layers import Axis, plan, table
from pipeline.learn.report.figures import picture, stretch

PAGE = Path(__file__).parents[1] / "course.md"
CROP = Window(row=250, col=700, height=96, width=96)
"""Of the demo scene: fields, a village and the edge of a wood."""
IMAGE = ((3, 1, 4, 3), (3, 2, 3, 1), (4, 3, 6, 4), (3, 3, 1, 7))
FIRST = ((1, -1, 2), (3, 1, 4), (5, -2, 9))
ONES = ((1, 1, 1),) * 3
FILTERS = {
    "edges": np.array(((-1, -1, -1), (-1, 8, -1), (-1, -1, -1))),
    "sharpen": np.array(((0, -1, 0), (-1, 5, -1), (0, -1, 0))),
    "Gaussian blur": np.array(((1, 2, 1), (2, 4, 2), (1, 2, 1))) / 16,
}
CASCADE = (("5 of 5 x 5", 5, 5), ("10 of 3 x 3", 10, 3), ("40 of 2 x 2", 40, 2))
Array = npt.NDArray[np.float64]


def convolved(image: npt.ArrayLike, kernel: npt.ArrayLike, padding: int = 0, stride: int = 1) -> Array:
    """What torch calls convolution: the kernel as it stands, multiplied and summed at each place."""
    x, w = (torch.tensor(np.asarray(v), dtype=torch.float64)[None, None] for v in (image, kernel))
    result: Array = F.conv2d(x, w, padding=padding, stride=stride)[0, 0].numpy()
    return result


def pooled(image: npt.ArrayLike, kind: str, size: int = 2) -> Array:
    """Average or max pooling, its stride its size."""
    x = torch.tensor(np.asarray(image), dtype=torch.float64)[None, None]
    result: Array = (F.max_pool2d if kind == "max" else F.avg_pool2d)(x, size)[0, 0].numpy()
    return result


def numbers() -> dict[str, str]:
    """The blocks of the page by name, as Markdown."""
    return {
        "weights": _weights(),
        "convolution": _convolution(),
        "sizes": _sizes(),
        "pooling": _pooling(),
        "fields": _fields(),
        "lenet": _lenet(),
        "slopes": _slopes(),
    }


def _weights() -> str:
    def dense(pixels: int, units: int) -> int:
        return torch.nn.Linear(pixels, units, bias=False, device="meta").weight.numel()

    def filters(height: int, width: int, count: int) -> int:
        layer = torch.nn.Conv2d(1, count, (height, width), bias=False, device="meta")
        return layer.weight.numel()

    rows = [
        ("dense: every unit sees every pixel", dense(20, 20), dense(10**6, 1000)),
        ("shared: one filter as large as the image", filters(4, 5, 1), filters(1000, 1000, 1)),
        ("shared and local: filters of 3 x 3", filters(3, 3, 1), filters(3, 3, 1000)),
    ]
    lines = [f"| {name} | {small:,} | {large:,} |" for name, small, large in rows]
    head = "| weights | 4 x 5 px, one unit a pixel | a megapixel, 1,000 units or filters |"
    return "\n".join([head, "|---|---|---|", *lines])


def _convolution() -> str:
    results = {
        "image": IMAGE,
        "ones": ONES,
        "ones, no padding": convolved(IMAGE, ONES),
        "ones, padding 1": convolved(IMAGE, ONES, padding=1),
        "W": FIRST,
        "W, no padding": convolved(IMAGE, FIRST),
    }
    return _text(*(f"{name}\n{_matrix(values)}" for name, values in results.items()))


def _sizes() -> str:
    sides = {stride: Axis(5).after(3, stride=stride).count for stride in (1, 2)}
    lines = [f"a 3 x 3 filter on 5 x 5, stride {s}: side {side}" for s, side in sides.items()]
    convolutions = [ConvolutionConf(filters=count, kernel=side) for _, count, side in CASCADE]
    layers = plan(NetworkConf(convolutions=convolutions), 3, 32, 10)
    cascade = [str(layer.output) for layer in layers[: len(CASCADE) + 1]]
    steps = ", ".join(name for name, _, _ in CASCADE)
    return _text("\n".join([*lines, f"filters {steps}: {' -> '.join(cascade)}"]))


def _pooling() -> str:
    image = np.zeros((4, 4))
    image[0, 0] = 9
    shifted = np.roll(image, 1, axis=1)
    shown = {
        "a bright pixel": image,
        "shifted by a pixel": shifted,
        "max of the first": pooled(image, "max"),
        "max of the shifted": pooled(shifted, "max"),
        "average of the first": pooled(image, "average"),
    }
    return _text(*(f"{name}\n{_matrix(values)}" for name, values in shown.items()))


def _fields() -> str:
    layers = plan(PRESETS["modern"], 13, 16, 8)
    rows = [
        f"| {layer.name} | {layer.output} | {layer.field_px} px, {10 * layer.field_px} m |"
        for layer in layers
    ]
    return "\n".join(["| layer | output | one value sees |", "|---|---|---|", *rows])


def _lenet() -> str:
    layers = plan(PRESETS["lenet5"], 1, 32, 10)
    sides = [str(layer.output.height) for layer in layers if layer.output.height > 1][1:]
    counts = [layer.weights for layer in layers if layer.weights]
    summed = " + ".join(f"{count:,}" for count in counts)
    found = f"sides {', '.join(sides)}; weights {summed} = {sum(counts):,}"
    return _text(table(layers).rstrip() + f"\n\n{found}")


def _slopes() -> str:
    rows = []
    for value in (0.0, 2.0, 5.0):
        slopes = []
        for activation in (torch.sigmoid, torch.relu):
            x = torch.tensor(value + 1e-9, dtype=torch.float64, requires_grad=True)
            activation(x).backward()
            slopes.append(f"{float(x.grad or 0):.4f}")
        rows.append(f"| {value:g} | {slopes[0]} | {slopes[1]} |")
    return "\n".join(["| x | slope of the sigmoid | slope of ReLU |", "|---|---|---|", *rows])


def _matrix(values: npt.ArrayLike) -> str:
    cells = [[f"{value:g}" for value in row] for row in np.asarray(values)]
    width = max(len(cell) for row in cells for cell in row)
    return "\n".join(" ".join(cell.rjust(width) for cell in row) for row in cells)


def _text(*parts: str) -> str:
    return "```text\n" + "\n\n".join(parts) + "\n```"


def written(page: str, blocks: Mapping[str, str]) -> str:
    """A page with its blocks replaced; each lies between `<!-- name -->` and `<!-- /name -->`."""
    for name, block in blocks.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        page, count = pattern.subn(lambda found, block=block: f"{found[1]}{block}\n{found[2]}", page)
        if count != 1:
            raise SystemExit(f"{PAGE} has {count} places for {name}; there must be one")
    return page


def pictures(classifier: PatchClassifier, pixels: npt.NDArray[np.uint16]) -> dict[str, Figure]:
    """The pictures of the page by name.

    Args:
        classifier: A trained model.
        pixels: Of its bands, uint16 (C, H, W).
    """
    bands = classifier.meta.bands
    colours = pixels[[bands.index(band) for band in ("B04", "B03", "B02")]]
    seen = picture(colours, stretch(colours[None]))
    grey = seen.mean(axis=2)
    kernels = {name: convolved(grey, kernel) for name, kernel in FILTERS.items()}
    moved = {
        "no padding: 2 px less": convolved(grey, FILTERS["edges"]),
        "padding 1: the same size": convolved(grey, FILTERS["edges"], padding=1),
        "stride 2: half of it": convolved(grey, FILTERS["edges"], stride=2),
        "stride 4: a quarter": convolved(grey, FILTERS["edges"], stride=4),
    }
    small = {
        f"{kind} of {size} x {size}": pooled(grey, kind, size)
        for kind in ("max", "average")
        for size in (2, 8)
    }
    return {
        "filters": _row({"red, green and blue": seen, "mean of the three": grey} | kernels),
        "learned": _row(_learned(classifier, pixels)),
        "steps": _row(moved),
        "pooling": _row(small),
        "fields": _fields_on(classifier, seen),
    }


def _learned(
    classifier: PatchClassifier, pixels: npt.NDArray[np.uint16], count: int = 5
) -> dict[str, Array]:
    """What the filters with the most weight of the first layer make of a picture."""
    first = classifier.network[0]
    with torch.inference_mode():
        values = (
            classifier.filled(torch.from_numpy(pixels[None].copy())) - classifier.mean
        ) / classifier.std
        found = first(values)[0].numpy().astype(np.float64)
    strength = first.weight.detach().abs().sum(dim=(1, 2, 3)).numpy()
    return {f"learned filter {n + 1}": found[n] for n in np.argsort(-strength, kind="stable")[:count]}


def _fields_on(classifier: PatchClassifier, seen: Array) -> Figure:
    """The patch in the middle of a picture, with the field of one value a layer."""
    meta = classifier.meta
    side = meta.geometry.patch_px
    top, left = (seen.shape[0] - side) // 2, (seen.shape[1] - side) // 2
    patch = seen[top : top + side, left : left + side]
    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(patch, interpolation="nearest")
    drawn: dict[int, str] = {}
    for layer in plan(meta.network, len(meta.bands), side, len(meta.classes))[1:]:
        drawn.setdefault(layer.field_px, layer.name)
    colors = ("#56b4e9", "#009e73", "#f0e442", "#e69f00", "#d55e00", "#cc79a7", "#0072b2", "#ffffff")
    for (field, name), color in zip(drawn.items(), colors, strict=False):
        corner = (side - field) / 2 - 0.5
        square = Rectangle(
            (corner, corner),
            field,
            field,
            fill=False,
            color=color,
            linewidth=2,
            label=f"{name}: {field} px",
        )
        axes.add_patch(square)
    axes.set_axis_off()
    axes.set_xlim(-0.7, side - 0.3)
    axes.set_ylim(side - 0.3, -0.7)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _row(images: Mapping[str, Array]) -> Figure:
    """Pictures side by side, in pixels of their own; grey from the 2nd to the 98th percentile."""
    figure = Figure(figsize=(2.3 * len(images), 2.6), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, len(images)), images.items(), strict=True):
        low, high = np.percentile(image, (2, 98))
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(f"{title}\n{image.shape[0]} x {image.shape[1]}", fontsize=8)
        axes.set_axis_off()
    return figure


def save(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write figures as PNG files."""
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=90, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models"))
    parser.add_argument("--scenes", type=Path, default=Path("data/scenes/map"))
    parser.add_argument("--page", type=Path, default=PAGE)
    stated = parser.parse_args(arguments)
    classifier = PatchClassifier.load(stated.model)
    pixels = open_catalog(stated.scenes)[0].read(CROP, classifier.meta.bands)
    folder = stated.page.with_suffix("")
    folder.mkdir(exist_ok=True)
    save(pictures(classifier, pixels), folder)
    page = written(stated.page.read_text(encoding="utf-8"), numbers())
    stated.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
