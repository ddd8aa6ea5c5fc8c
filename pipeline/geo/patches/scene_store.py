"""The PatchStore of scenes and labels."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.bands import BANDS, select
from pipeline.config.compute import ComputeConf
from pipeline.errors import ConfigError, LabelError, SceneError
from pipeline.geo.labels.sources import LabelTally, read_sources
from pipeline.geo.patches.many_scenes import patches_of_scenes, prepare
from pipeline.geo.patches.positions import Positions, draw, in_area, labelled_positions, without
from pipeline.geo.patches.store_writer import StoreContent, TileInputs
from pipeline.geo.raster.area_of_interest import AreaOfInterest, require_watched
from pipeline.geo.raster.grid import PatchGrid
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.parallel import worker_count
from pipeline.watched import open_edits, unwatched


def scene_content(
    inputs: TileInputs, catalog: Path, sources: Sequence[Path], compute: ComputeConf
) -> StoreContent:
    """The labelled cells of the scenes of a catalog that become patches, as the conf wants them.

    Label files must lie in one of the folders `sources`; anywhere where there are none.

    Raises:
        LenscapeError: when conf, scenes or labels cannot be used.
    """
    tile = inputs.tile
    if not tile.labels:
        raise ConfigError(f"{inputs.file}: key 'labels' is empty; say where the classes come from.")
    _require_inside(inputs, sources)
    require_watched(tile.exclude, sources, f"{inputs.file}: key 'exclude'")
    scenes = open_catalog(catalog)
    bands = _bands(inputs, scenes)
    if not tile.mixed_levels:
        _require_one_level(scenes, inputs.file)
    _require_known_scenes(inputs, scenes)
    prepare(len(scenes), compute)
    labels = LabelTally(
        read_sources(tile.labels, inputs.classes, str(inputs.classes_file), tile.overlap)
    )
    excluded = None if tile.exclude is None else AreaOfInterest.read(tile.exclude)
    chosen = draw(_positions(inputs, scenes, labels, excluded, worker_count(compute)), tile)
    left_out: Counter[str] = Counter()
    for positions in chosen:
        left_out.update(positions.left_out)
    files = dict.fromkeys(Path(label.file) for label in tile.labels)
    labelled = [scene.info for scene in scenes if scene.id not in labels.missing]
    credit = "; ".join([inputs.classes.credit, *labels.credits])
    own = {"min_purity": tile.min_purity, "scenes": labelled, "credit": credit}
    return StoreContent(
        bands=bands,
        count=sum(map(len, chosen)),
        patches=partial(patches_of_scenes, chosen, bands, tile.min_valid, compute),
        left_out=dict(left_out),
        labels=labels.counts,
        meta=lambda _folder, _kept: own,
        summary=f"{len(labelled)} scene(s), bands {', '.join(bands)}",
        unit="cell",
        remedy=f"in {inputs.file}, lower min_purity ({tile.min_purity:g}) or min_valid "
        f"({tile.min_valid:g}), make cell_px smaller, or give more labels",
        warnings=[*labels.missing.values(), *filter(None, map(open_edits, files))],
    )


def _bands(inputs: TileInputs, scenes: list[Scene]) -> tuple[str, ...]:
    """The bands of the store, out of those that every scene has."""
    wanted, key = inputs.tile.bands, f"{inputs.file}: key 'bands'"
    if not scenes:
        raise SceneError("there is no scene to train on; name one in the conf of fetch and run it.")
    for scene in scenes:
        select(wanted, scene.bands, f"{key}, scene {scene.id}")
    common = [band for band in BANDS if all(band in scene.bands for scene in scenes)]
    if not common:
        raise SceneError(
            f"the scenes {', '.join(scene.id for scene in scenes)} have no band in common; train on "
            "scenes of the same bands."
        )
    return select(wanted, common, key)


def _require_inside(inputs: TileInputs, sources: Sequence[Path]) -> None:
    for index, label in enumerate(inputs.tile.labels):
        path, key = Path(label.file), f"labels[{index}].{label.KEY}"
        if reason := unwatched(path, sources):
            raise LabelError(f"{inputs.file}: key '{key}' is {label.file!r}, which {reason}.")


def _require_one_level(scenes: list[Scene], conf: Path) -> None:
    levels = {scene.info.level: scene.id for scene in scenes if scene.info.level is not None}
    if len(levels) > 1:
        named = " and ".join(f"{scene} is {level}" for level, scene in sorted(levels.items()))
        raise SceneError(
            f"the scenes to train on mix processing levels ({named}), in which the same ground has "
            f"other values; train on scenes of one level, or allow it in {conf} (mixed_levels: true)."
        )


def _require_known_scenes(inputs: TileInputs, scenes: list[Scene]) -> None:
    known = [scene.id for scene in scenes]
    for index, label in enumerate(inputs.tile.labels):
        if unknown := [name for name in label.scenes or [] if name not in known]:
            raise ConfigError(
                f"{inputs.file}: key 'labels[{index}].scenes' names {unknown[0]!r}, but the scenes to "
                f"train on are {', '.join(known)}; correct it."
            )


def _positions(
    inputs: TileInputs,
    scenes: list[Scene],
    labels: LabelTally,
    excluded: AreaOfInterest | None,
    workers: int,
) -> list[Positions]:
    """The positions whose cell has a class, of each scene that has labels."""
    tile, positions = inputs.tile, []
    for scene in tqdm(scenes, desc="labels", unit="scene", file=sys.stderr, disable=None):
        cells = PatchGrid(scene.grid, tile.patch_px, tile.cell_px)
        if (of_scene := labels.labels_on(cells, scene.info)) is not None:
            count = len(inputs.classes.classes)
            of_area = in_area(labelled_positions(scene, of_scene, tile, count, workers))
            positions.append(of_area if excluded is None else without(of_area, excluded))
    if not positions:
        raise LabelError(next(iter(labels.missing.values())))
    if excluded is not None and not any(map(len, positions)):
        raise LabelError(
            f"{inputs.file}: key 'exclude' leaves no labelled cell; make the area {excluded.name} "
            "smaller."
        )
    return positions
