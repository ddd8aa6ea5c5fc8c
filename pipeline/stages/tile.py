"""Stage tile: scenes and labels become the patches of a PatchStore."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.bands import BANDS, select
from pipeline.config.classes import ClassConf, ClassesConf
from pipeline.config.compute import ComputeConf, load_compute
from pipeline.config.labels import LabelSourceConf
from pipeline.config.reading import load
from pipeline.config.tile import TileConf
from pipeline.errors import ConfigError, LabelError, SceneError
from pipeline.files import publish, require_space, sha256_of, unwatched, write_json
from pipeline.geo.images.collection import holds_images
from pipeline.geo.labels.sources import read_sources
from pipeline.geo.labels.summary import LabelTally
from pipeline.geo.patches.image_store import ImageInputs, table, write_store
from pipeline.geo.patches.positions import Positions, draw, labelled_positions
from pipeline.geo.patches.scene_patches import read_patches
from pipeline.geo.patches.store_writer import PatchWriter, store_bytes
from pipeline.geo.raster.grid import PatchGrid
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.parallel import worker_count
from pipeline.store import ClassInfo, Geometry, StoreMeta


@dataclass(frozen=True)
class _Inputs:
    """What the store is made of, read and checked."""

    conf: Path
    """The file of `tile`, for the messages."""
    tile: TileConf
    classes: ClassesConf
    scenes: list[Scene]
    bands: tuple[str, ...]
    labels: LabelTally


def run(
    conf: Path,
    classes: Path,
    scenes: Path,
    out: Path,
    compute: Path | None = None,
    sources: Sequence[Path] = (),
) -> None:
    """Write the PatchStore of the labelled cells of some scenes.

    Args:
        conf: `tile.yaml`.
        classes: `classes.yaml`.
        scenes: The catalog of scenes to train on.
        out: The folder of the store.
        compute: `compute.yaml`.
        sources: The folders that label files must lie in; anywhere where there are none.

    Raises:
        LenscapeError: when conf, scenes or labels cannot be used, or the disk is too small; a store
            that was there before stays as it was.
    """
    machine = load_compute(compute)
    if holds_images(scenes):
        _tile_images(conf, classes, scenes, out, machine)
        return
    inputs = _inputs(conf, classes, scenes, sources)
    chosen = draw(_positions(inputs, worker_count(machine)), inputs.tile)
    left_out = _summed(positions.left_out for positions in chosen)
    count, side = sum(map(len, chosen)), inputs.tile.patch_px
    _require_some(count, left_out, inputs)
    size = store_bytes(chosen, len(inputs.bands))
    shape = f"{len(inputs.bands)} x {side} x {side}"
    print(f"the store takes {size / 1e6:,.1f} MB: up to {count} patches of {shape} pixels", flush=True)
    require_space(out, size, "The store")
    with publish(out) as folder:
        folder.mkdir()
        bar = tqdm(total=count, desc="tile", unit="patch", file=sys.stderr, disable=None)
        writer = PatchWriter(folder, (len(inputs.bands), side, side), len(inputs.classes.classes))
        with writer, bar:
            for positions in chosen:
                for some in read_patches(positions, inputs.bands, inputs.tile.min_valid, machine):
                    writer.write(some)
                    bar.update(len(some.positions) + some.invalid)
        left_out["invalid"] = writer.invalid
        _require_some(int(writer.kept.sum()), left_out, inputs)
        counts = _counts(writer, left_out, inputs)
        write_json(folder / "meta.json", _meta(folder, inputs, counts).model_dump(mode="json"))
    _report(counts, inputs, out)


def _tile_images(conf: Path, classes: Path, folder: Path, out: Path, machine: ComputeConf) -> None:
    tile, meanings = load(conf, TileConf), load(classes, ClassesConf)
    inputs = ImageInputs.read((conf, tile), (classes, meanings), folder)
    counts = write_store(inputs, [_info(c) for c in meanings.classes], out, machine)
    print(f"{table(counts)}\n{inputs}: {out}")


def _inputs(conf: Path, classes: Path, scenes: Path, sources: Sequence[Path]) -> _Inputs:
    tile, meanings = load(conf, TileConf), load(classes, ClassesConf)
    if not tile.labels:
        raise ConfigError(f"{conf}: key 'labels' is empty; say where the classes come from.")
    _require_inside(tile.labels, sources, conf)
    opened = open_catalog(scenes)
    bands = _bands(tile, opened, conf)
    if not tile.mixed_levels:
        _require_one_level(opened, conf)
    _require_known_scenes(tile.labels, opened, conf)
    labels = LabelTally(read_sources(tile.labels, meanings, str(classes), tile.overlap))
    return _Inputs(conf, tile, meanings, opened, bands, labels)


def _bands(tile: TileConf, scenes: list[Scene], conf: Path) -> tuple[str, ...]:
    """The bands of the store, out of those that every scene has."""
    if not scenes:
        raise SceneError("there is no scene to train on; name one in the conf of fetch and run it.")
    for scene in scenes:
        select(tile.bands, scene.bands, f"{conf}: key 'bands', scene {scene.id}")
    common = [band for band in BANDS if all(band in scene.bands for scene in scenes)]
    if not common:
        raise SceneError(
            f"the scenes {', '.join(scene.id for scene in scenes)} have no band in common; train on "
            "scenes of the same bands."
        )
    return select(tile.bands, common, f"{conf}: key 'bands'")


def _require_inside(labels: Sequence[LabelSourceConf], sources: Sequence[Path], conf: Path) -> None:
    for place, label in enumerate(labels):
        path, key = Path(label.file), f"labels[{place}].{label.KEY}"
        if reason := unwatched(path if path.is_dir() else path.parent, sources):
            raise LabelError(f"{conf}: key '{key}' is {label.file!r}, which {reason}.")


def _require_one_level(scenes: list[Scene], conf: Path) -> None:
    levels = {scene.info.level: scene.id for scene in scenes if scene.info.level is not None}
    if len(levels) > 1:
        named = " and ".join(f"{scene} is {level}" for level, scene in sorted(levels.items()))
        raise SceneError(
            f"the scenes to train on mix processing levels ({named}), in which the same ground has "
            f"other values; train on scenes of one level, or allow it in {conf} (mixed_levels: true)."
        )


def _require_known_scenes(labels: Sequence[LabelSourceConf], scenes: list[Scene], conf: Path) -> None:
    known = [scene.id for scene in scenes]
    for place, label in enumerate(labels):
        if unknown := [name for name in label.scenes or [] if name not in known]:
            raise ConfigError(
                f"{conf}: key 'labels[{place}].scenes' names {unknown[0]!r}, but the scenes to train "
                f"on are {', '.join(known)}; correct it."
            )


def _positions(inputs: _Inputs, workers: int) -> list[Positions]:
    """The positions whose cell has a class, of each scene that has labels."""
    tile, positions = inputs.tile, []
    for scene in tqdm(inputs.scenes, desc="labels", unit="scene", file=sys.stderr, disable=None):
        cells = PatchGrid(scene.grid, tile.patch_px, tile.cell_px)
        if (labels := inputs.labels.labels_on(cells, scene.info)) is not None:
            count = len(inputs.classes.classes)
            positions.append(labelled_positions(scene, labels, tile, count, workers))
    if not positions:
        raise LabelError(next(iter(inputs.labels.missing.values())))
    return positions


def _summed(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for key, value in one.items():
            total[key] = total.get(key, 0) + value
    return total


def _require_some(count: int, left_out: dict[str, int], inputs: _Inputs) -> None:
    if count:
        return
    tile, reasons = inputs.tile, ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n)
    raise LabelError(
        f"no cell is left: of {sum(left_out.values())} cells of {tile.cell_px} px, {reasons}; in "
        f"{inputs.conf}, lower min_purity ({tile.min_purity:g}) or min_valid ({tile.min_valid:g}), "
        "make cell_px smaller, or give more labels."
    )


def _counts(writer: PatchWriter, left_out: dict[str, int], inputs: _Inputs) -> dict[str, Any]:
    """Patches per class and what was left out; together they are all positions."""
    names = [c.name for c in inputs.classes.classes]
    return {
        "kept": dict(zip(names, writer.kept.tolist(), strict=True)),
        "kept_on_grid": dict(zip(names, writer.kept_on_grid.tolist(), strict=True)),
        "left_out": left_out,
        "positions": int(writer.kept.sum()) + sum(left_out.values()),
        "labels": inputs.labels.counts,
    }


def _meta(folder: Path, inputs: _Inputs, counts: dict[str, Any]) -> StoreMeta:
    tile = inputs.tile
    return StoreMeta(
        bands=list(inputs.bands),
        geometry=Geometry(patch_px=tile.patch_px, cell_px=tile.cell_px, min_valid=tile.min_valid),
        stride_px=tile.stride_px,
        min_purity=tile.min_purity,
        classes=[_info(conf) for conf in inputs.classes.classes],
        scenes=[scene.info for scene in inputs.scenes if scene.id not in inputs.labels.missing],
        credit="; ".join([inputs.classes.credit, *inputs.labels.credits]),
        counts=counts,
        patches_sha256=sha256_of(folder / "patches.parquet"),
    )


def _info(conf: ClassConf) -> ClassInfo:
    """A class as the store carries it."""
    return ClassInfo(
        name=conf.name,
        title=conf.title or conf.name,
        color=conf.color,
        description=conf.description,
        code=None if conf.code is None else str(conf.code),
    )


def _report(counts: dict[str, Any], inputs: _Inputs, out: Path) -> None:
    kept, on_grid = counts["kept"], counts["kept_on_grid"]
    width = max(12, *(len(name) for name in kept))
    print(f"{'class':<{width}}{'patches':>10}{'on cell grid':>14}")
    for name, count in kept.items():
        print(f"{name:<{width}}{count:>10}{on_grid[name]:>14}")
    print(f"{'all':<{width}}{sum(kept.values()):>10}{sum(on_grid.values()):>14}")
    print(f"left out of {counts['positions']} positions: {_listed(counts['left_out'])}")
    for found in counts["labels"]:
        print(f"labels {found['file']}: {_listed(found)}")
    labelled = len(inputs.scenes) - len(inputs.labels.missing)
    print(f"{labelled} scene(s), bands {', '.join(inputs.bands)}: {out}")
    for reason in inputs.labels.missing.values():
        print(f"warning: {reason}", file=sys.stderr)
    for name in [name for name, count in kept.items() if not count]:
        print(f"warning: no cell has the class {name!r}; label some of it or drop it.", file=sys.stderr)


def _listed(counts: dict[str, Any]) -> str:
    return ", ".join(f"{n} {what}" for what, n in counts.items() if what != "file").replace("_", " ")
