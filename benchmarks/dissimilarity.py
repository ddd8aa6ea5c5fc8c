"""Two ways to tell what is unlike the training data, side by side on one model.

    python -m benchmarks.dissimilarity [--model models] [--scenes catalog]

Ours describes a patch by its bands, the other by what the last dense layer sees of it; both measure the
Mahalanobis distance to the nearest class, with the 95th percentile of the validation part as the limit.
The table has the share of patches beyond the limit: of the test part as it is, with its bands in
another order, with a tenth of its reflectance, with a cloud painted over it; and of other scenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.bands import BANDS
from pipeline.geo.raster.grid import PatchGrid
from pipeline.geo.scenes.scene import open_catalog
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.stats.applicability import TrainingFeatures, patch_features
from pipeline.split_folder import SplitFolder
from pipeline.store import PatchStore

Pixels = npt.NDArray[np.uint16]
Describe = Callable[[Pixels], npt.NDArray[np.float64]]
BATCH, OTHER = 512, 4000


def by_bands(classifier: PatchClassifier) -> Describe:
    cell_px, fill = classifier.meta.geometry.cell_px, classifier.fill_dn
    return lambda pixels: patch_features([pixels], cell_px, fill)


def by_network(classifier: PatchClassifier) -> Describe:
    """What goes into the output layer."""
    seen: list[npt.NDArray[np.float64]] = []
    output = classifier.network.output
    assert isinstance(output, torch.nn.Linear)

    def listen(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], logits: torch.Tensor) -> None:
        del module, logits
        seen.append(inputs[0].double().numpy())

    output.register_forward_hook(listen)

    def describe(pixels: Pixels) -> npt.NDArray[np.float64]:
        seen.clear()
        with torch.inference_mode():
            for first in range(0, len(pixels), BATCH):
                classifier(torch.from_numpy(pixels[first : first + BATCH]))
        return np.concatenate(seen)

    return describe


def shuffled(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Each patch with its bands in an order of its own."""
    return np.stack([patch[random.permutation(len(patch))] for patch in pixels])


def clouded(pixels: Pixels, bands: list[str], random: np.random.Generator) -> Pixels:
    """Opaque cloud: bright and nearly flat, darker beyond 1.3 um, with 5 % of texture."""
    level = np.array(
        [5500 if BANDS[name].center_wavelength_um < 1.3 else 3500 for name in bands], dtype=float
    )
    texture = 1 + 0.05 * random.standard_normal((len(pixels), 1, *pixels.shape[2:]))
    return (level[:, None, None] * texture).clip(1, 65534).astype(np.uint16)


def scene_patches(
    classifier: PatchClassifier, catalog: Path, random: np.random.Generator
) -> dict[str, Pixels]:
    """Some patches of each scene of a catalog, all of them whole."""
    geometry, found = classifier.meta.geometry, {}
    for scene in open_catalog(catalog):
        grid = PatchGrid(scene.grid, geometry.patch_px, geometry.cell_px)
        places = random.permutation(grid.rows * grid.cols)[:OTHER]
        patches = []
        for place in np.sort(places):
            row, col = divmod(int(place), grid.cols)
            window = grid.read_window(range(row, row + 1), range(col, col + 1))
            patches.append(scene.read(window, classifier.meta.bands))
        pixels = np.stack(patches)
        found[scene.id] = pixels[(pixels > 0).all(axis=(1, 2, 3))]
    return found


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("model", "models"), ("store", "data/patches"), ("split", "data/split")):
        parser.add_argument(f"--{name}", type=Path, default=Path(default))
    parser.add_argument("--scenes", type=Path, default=None)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    classifier = PatchClassifier.load(args.model)
    store = PatchStore.open(args.store)
    split = SplitFolder.open(args.split, store)
    if split.split.folds is not None:
        parser.error(f"{args.split} has folds; write one with `folds: null`, and train a model on it.")
    places = classifier.require_matches(store.meta, str(args.store))
    part = {name: store.pixels[split.rows(name)][:, places] for name in ("train", "validation", "test")}
    tried = {
        "test part": part["test"],
        "bands in another order": shuffled(part["test"], random),
        "a tenth of the reflectance": np.maximum(part["test"] // 10, 1),
        "cloud": clouded(part["test"], classifier.meta.bands, random),
    }
    if args.scenes is not None:
        tried |= scene_patches(classifier, args.scenes, random)
    labels = store.patches["label"][split.rows("train")]
    print("| described by | " + " | ".join(tried) + " |\n" + "|---" * (1 + len(tried)) + "|")
    for name, describe in (
        ("bands", by_bands(classifier)),
        ("last dense layer", by_network(classifier)),
    ):
        distribution = TrainingFeatures.of(describe(part["train"]), labels)
        distribution = distribution.with_threshold(distribution.distances(describe(part["validation"])))
        shares = [np.mean(distribution.relative(describe(pixels)) > 1) for pixels in tried.values()]
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")


if __name__ == "__main__":
    main()
