"""`lenscape export`: a model as one ONNX file, for other programs, and the STAC Item of it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from pipeline.errors import NetworkError
from pipeline.files import publish, sha256_of, write_json
from pipeline.learn.inference.onnx_export import agreement, to_onnx
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.report.model_item import onnx_item


def run(model: Path, out: Path, pixel_px: int | None = None) -> None:
    """Write the dense form of the model in a folder to `out`, once onnxruntime agrees with torch.

    It maps with pixels of `pixel_px` pixels of the scene, those of `predict` by default. The Item lies
    beside it, under its name with `.json` in place of the suffix.

    Raises:
        LenscapeError: when the model cannot be read, has no dense form, or the two do not agree.
    """
    classifier = PatchClassifier.load(model)
    geometry = classifier.meta.geometry.of_map(pixel_px or "auto", "--pixel-px")
    content = to_onnx(classifier, geometry).SerializeToString(deterministic=True)
    check = agreement(content, classifier, geometry)
    if not check.holds:
        raise NetworkError(
            f"the ONNX form of {model} does not agree with it ({check.decided} of {check.pixels} "
            f"pixels have another class, probabilities differ by {check.largest:.2g}), so nothing is "
            "written; please report this with the model."
        )
    with publish(out) as partial, publish(out.with_suffix(".json")) as described:
        partial.write_bytes(content)
        item = onnx_item(classifier.meta, f"./{quote(out.name)}", sha256_of(partial))
        write_json(described, item)
    print(
        f"{out}: {check.same} of {check.pixels} pixels have the class that torch gives them, "
        f"probabilities differ by {check.largest:.1g} at most"
    )
