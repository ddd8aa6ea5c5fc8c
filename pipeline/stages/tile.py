"""Stage tile: scenes and labels become the patches of a PatchStore."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.config import ClassesConf, ComputeConf, LabelConf, TileConf, load
from pipeline.errors import ConfigError, LabelError, MismatchError
from pipeline.files import publish, require_space, sha256_of, write_json
from pipeline.geo.bands import BANDS, select
from pipeline.geo.labels import LabelCounts, read_labels
from pipeline.geo.patches import (
    Positions,
    draw,
    labelled_positions,
    patch_table,
    read_patches,
    write_table,
)
from pipeline.geo.scene import Scene, open_catalog
from pipeline.scale import worker_count
from pipeline.store import ClassInfo, Geometry, StoreMeta

_REASONS = ("edge", "unlabelled", "impure", "drawn_out", "invalid")


def run(
    conf: Path,
    classes: Path,
    scenes: Path,
    out: Path,
    sources: Sequence[Path] = (),
    compute: Path | None = None,
) -> None:
    """Write the PatchStore of the labelled cells of some scenes.

    Args:
        conf: `tile.yaml`.
        classes: `classes.yaml`.
        scenes: The catalog of scenes to train on.
        out: The folder of the store.
        sources: The folders that label files must lie in; anywhere where there are none.
        compute: `compute.yaml`.

    Raises:
        LenscapeError: when conf, scenes or labels cannot be used, or the disk is too small.
    """
    settings, meanings = load(conf, TileConf), load(classes, ClassesConf)
    machine = ComputeConf() if compute is None else load(compute, ComputeConf)
    _require_inside(settings.labels, sources, conf)
    opened = open_catalog(scenes)
    bands = _bands(settings, opened, conf)
    _require_one_level(opened)
    positions, found = _positions(settings, meanings, opened)
    chosen = draw(positions, settings)
    count = sum(len(p) for p in chosen)
    _require_some(count, positions, settings)
    side = settings.patch_px
    size = count * len(bands) * side**2 * 2
    print(f"store: at most {count} patches of {len(bands)} x {side} x {side}, {size / 1e6:.1f} MB")
    require_space(out, size, "the store")
    with publish(out) as partial:
        partial.mkdir()
        kept, invalid = _write_pixels(partial, chosen, settings, bands, machine)
        table = patch_table(kept)
        write_table(partial / "patches.parquet", table)
        counts = _counts(table, [p.left_out for p in chosen], invalid, found, meanings)
        _require_some(len(table), positions, settings)
        write_json(
            partial / "meta.json",
            StoreMeta(
                bands=list(bands),
                geometry=Geometry(
                    patch_px=side, cell_px=settings.cell_px, min_valid=settings.min_valid
                ),
                stride_px=settings.stride_px,
                min_purity=settings.min_purity,
                classes=[
                    ClassInfo(
                        name=c.name,
                        title=c.title or c.name,
                        color=c.color.lower(),
                        description=c.description,
                    )
                    for c in meanings.classes
                ],
                scenes=[scene.info for scene in opened],
                credit=meanings.credit,
                counts=counts,
                pixels_sha256=sha256_of(partial / "pixels.npy"),
                patches_sha256=sha256_of(partial / "patches.parquet"),
            ).model_dump(mode="json"),
        )
    _report(counts)


def _bands(settings: TileConf, scenes: list[Scene], conf: Path) -> tuple[str, ...]:
    if not scenes:
        raise ConfigError("the catalog of scenes to train on is empty; name some in the conf of fetch.")
    common = [band for band in BANDS if all(band in scene.bands for scene in scenes)]
    if not common:
        raise MismatchError("the scenes have no band in common; train on scenes of the same bands.")
    return select(settings.bands, common, f"{conf}: key 'bands'")


def _require_inside(labels: Sequence[LabelConf], sources: Sequence[Path], conf: Path) -> None:
    for number, label in enumerate(labels):
        # not resolved: a link inside a source is what DVC follows
        path = Path(label.path).absolute()
        if sources and not any(path.is_relative_to(source.absolute()) for source in sources):
            folders = " or ".join(str(source) for source in sources)
            raise LabelError(
                f"{conf}: labels[{number}].path {label.path!r} lies outside of {folders}, where DVC "
                "would not notice that it changes; link or copy it to one of them."
            )


def _require_one_level(scenes: list[Scene]) -> None:
    levels = {scene.info.level: scene.id for scene in scenes if scene.info.level is not None}
    if len(levels) > 1:
        named = " and ".join(f"{scene} ({level})" for level, scene in sorted(levels.items()))
        raise MismatchError(
            f"the scenes to train on are of several processing levels: {named}; the same ground has "
            "other values in each: train on one level."
        )


def _positions(
    settings: TileConf, meanings: ClassesConf, scenes: list[Scene]
) -> tuple[list[Positions], LabelCounts]:
    known = {scene.id for scene in scenes}
    for source in settings.labels:
        if unknown := sorted(set(source.scenes or []) - known):
            raise ConfigError(
                f"the labels {source.path} name the scene {unknown[0]!r}, which is not among "
                f"{', '.join(sorted(known))}; correct its id."
            )
    positions, found = [], LabelCounts()
    for scene in scenes:
        sources = [s for s in settings.labels if s.scenes is None or scene.id in s.scenes]
        labels = read_labels(sources, meanings, scene.grid, settings.overlap)
        found += labels.counts
        positions.append(labelled_positions(scene, labels, settings, len(meanings.classes)))
    return positions, found


def _require_some(count: int, positions: list[Positions], settings: TileConf) -> None:
    if count == 0:
        left_out = {r: sum(p.left_out.get(r, 0) for p in positions) for r in _REASONS}
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
        raise LabelError(
            f"no cell of {settings.cell_px} px has a class (left out: {reasons or 'by validity'}); "
            "lower min_purity or min_valid, take smaller cells, or give more labels."
        )


def _write_pixels(
    folder: Path,
    chosen: list[Positions],
    settings: TileConf,
    bands: tuple[str, ...],
    machine: ComputeConf,
) -> tuple[list[tuple[Positions, npt.NDArray[np.float32]]], int]:
    """Write `pixels.npy` in order, cut to what was valid; the positions kept and how many were not."""
    path, side = folder / "pixels.npy", settings.patch_px
    total = sum(len(p) for p in chosen)
    kept: list[tuple[Positions, npt.NDArray[np.float32]]] = []
    written = invalid = 0
    with path.open("wb") as stream, tqdm(total=total, unit="patch", disable=_quiet()) as bar:
        header = _header(total, len(bands), side)
        np.lib.format.write_array_header_1_0(stream, header)
        start = stream.tell()
        for positions in chosen:
            cuts = read_patches(positions, settings, bands, worker_count(machine), machine.scheduler)
            for cut in cuts:
                stream.write(cut.pixels.tobytes())
                kept.append((cut.positions, cut.valid))
                written, invalid = written + len(cut.pixels), invalid + cut.invalid
                bar.update(len(cut.pixels) + cut.invalid)
        # numpy leaves room for the first axis in the header, so that its length does not change
        stream.seek(0)
        np.lib.format.write_array_header_1_0(stream, _header(written, len(bands), side))
        if stream.tell() != start:
            raise AssertionError("the header of pixels.npy changed its length")
    return kept, invalid


def _header(count: int, bands: int, side: int) -> dict[str, Any]:
    return {"descr": "<u2", "fortran_order": False, "shape": (count, bands, side, side)}


def _quiet() -> bool:
    return not sys.stderr.isatty()


def _counts(
    table: Any,
    left_out: list[dict[str, int]],
    invalid: int,
    found: LabelCounts,
    meanings: ClassesConf,
) -> dict[str, Any]:
    """Patches per class and what was left out; kept and left out add up to all positions."""
    names = [c.name for c in meanings.classes]
    reasons = {r: sum(one.get(r, 0) for one in left_out) for r in _REASONS} | {"invalid": invalid}

    def per_class(labels: npt.NDArray[np.int16]) -> dict[str, int]:
        return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))

    return {
        "kept": per_class(table["label"].to_numpy()),
        "kept_on_grid": per_class(table["label"].to_numpy()[table["on_grid"].to_numpy()]),
        "left_out": reasons,
        "positions": len(table) + sum(reasons.values()),
        "labels": vars(found),
    }


def _report(counts: dict[str, Any]) -> None:
    print(f"{'class':<24}{'patches':>10}{'on the cell grid':>18}")
    for name, count in counts["kept"].items():
        note = "" if count else "  (none: no cell has this class)"
        print(f"{name:<24}{count:>10}{counts['kept_on_grid'][name]:>18}{note}")
    reasons = ", ".join(f"{n} {reason}" for reason, n in counts["left_out"].items())
    print(f"left out of {counts['positions']} positions: {reasons}")
    print("labels: " + ", ".join(f"{n} {what}" for what, n in counts["labels"].items()))
