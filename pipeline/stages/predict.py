"""Stage `predict`: scenes to class maps and mosaics, with confidence, styles, areas and a catalog."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import compress
from pathlib import Path

import numpy as np
import torch

from pipeline.config.compute import ComputeConf, load_compute
from pipeline.config.predict import PredictConf
from pipeline.config.reading import load
from pipeline.errors import ConfigError, MismatchError, SceneError
from pipeline.files import (
    canonical_json,
    code_sha256,
    publish,
    remove,
    remove_leftovers,
    sha256_of,
    sha256_of_value,
)
from pipeline.geo.maps.catalog import (
    FINGERPRINT,
    MapFolder,
    is_kept,
    made_maps,
    stated_properties,
    write_catalog,
)
from pipeline.geo.maps.class_map import MapRecord, Provenance
from pipeline.geo.maps.item import OUTSIDE
from pipeline.geo.maps.map_ground import MapGround
from pipeline.geo.maps.mapper import map_scene
from pipeline.geo.maps.pieces import Mapper
from pipeline.geo.maps.postprocessing import PostProcessing
from pipeline.geo.mosaics.mosaic import MappedScene
from pipeline.geo.mosaics.mosaic_set import Plan, write_mosaics
from pipeline.geo.qgis.project import PROJECT, write_project
from pipeline.geo.raster.area_of_interest import AreaOfInterest, require_watched
from pipeline.geo.raster.grid import PatchGrid
from pipeline.geo.scenes.scene import Scene, open_catalog
from pipeline.geo.scenes.stac import href_of
from pipeline.learn.inference.predictor import Predictor
from pipeline.learn.network.classifier import META, ModelMeta, PatchClassifier, require_bands
from pipeline.learn.stats.applicability import domain_shift
from pipeline.learn.tracking.pages import MAPS
from pipeline.learn.tracking.registry import registered_model_folder
from pipeline.learn.tracking.run import add, ask_store, run_record
from pipeline.learn.tracking.tracker import Additions
from pipeline.outputs import owned
from pipeline.parallel import run_scenes
from pipeline.store_meta import Geometry

_COMPARED = 128
"""Side of the square of pixels in which classes of low precision are compared with those of float32."""
_LOGGED = "maps.json"
"""Artifact of a run: the fingerprints of the maps that it has previews and areas of."""


def run(
    conf: Path,
    model: Path,
    scenes: Path,
    out: Path,
    compute: Path | None = None,
    sources: Sequence[Path] = (),
) -> None:
    """Map every scene of the catalog in `scenes` to `out/<scene>/`, then join the maps in mosaics.

    A folder of a map appears when it is whole. One that was made from the same scene, model, conf and
    code is kept; one whose scene is gone is removed. The file of an area must lie in one of `sources`;
    anywhere where there are none.

    Raises:
        LenscapeError: when an input is missing or does not fit; the scene at hand is not written.
    """
    with owned(out, inside=True):
        remove_leftovers(out)
        settings = load(conf, PredictConf)
        require_watched(settings.area, sources, f"{conf}: key 'area'")
        _map_all(conf, settings, model, scenes, out, load_compute(compute))


def _map_all(
    conf: Path, settings: PredictConf, model: Path, scenes: Path, out: Path, machine: ComputeConf
) -> None:
    folder = model if settings.model == "trained" else registered_model_folder(settings.model)
    run_record(folder)  # no run to add to is better known before hours of work than after
    ask_store("predict")
    classifier = PatchClassifier.load(folder)
    meta = classifier.meta
    every = open_catalog(scenes)
    for scene in every:
        _require_fits(scene, meta)
    geometry = meta.geometry.of_map(settings.pixel_px, f"{conf}: key 'pixel_px'")
    predictor = _predictor(classifier, geometry, machine)
    mapper = _mapper(predictor, settings)
    grounds = _grounds(every, mapper)
    to_map = [scene for scene in every if scene.id in grounds]
    if to_map:
        _print_limits(settings, predictor)
    else:
        print("there is no scene to map; name some under `map` in the conf of fetch")
    _ = mapper.legend  # what it refuses is better known before hours of work
    plan = _plan(conf, settings, {name: ground.grid for name, ground in grounds.items()})
    made_by = [code_sha256(), sha256_of(folder / META), meta.weights_sha256]
    made_by.append(settings.model_dump_json(exclude={"model", "mosaic", "area"}))
    if mapper.area is not None:
        made_by.append(mapper.area.sha256)
    maps = [
        MappedScene(
            MapFolder(out / s.id, s.id), grounds[s.id], _provenance(s, mapper, meta, made_by, out)
        )
        for s in to_map
    ]
    outside: dict[str, float] = {}
    _map_due(list(zip(to_map, maps, strict=True)), mapper, machine)
    for scene, mapped in zip(to_map, maps, strict=True):
        if (percent := stated_properties(mapped.files.item).get(OUTSIDE)) is not None:
            outside[f"outside_area_of_applicability/{scene.id}"] = percent / 100
    mosaics = [] if plan is None else write_mosaics(plan, maps, mapper.legend, out)
    for mosaic in mosaics:
        print(f"{mosaic.scene}: {mosaic.folder}")
    folders = [*(mapped.files for mapped in maps), *mosaics]
    ids = [files.scene for files in folders]
    for name in set(made_maps(out)) - set(ids):
        remove(out / name)
    write_catalog(out, ids)
    if ids:
        write_project(out / PROJECT, out)
    else:
        remove(out / PROJECT)
    add(folder, "predict", partial(_track, folders, maps, outside))


def _grounds(scenes: Sequence[Scene], mapper: Mapper) -> dict[str, MapGround]:
    """The ground to map of each scene that has some in the area, by scene.

    Raises:
        SceneError: when there are scenes and none has.
    """
    found = {scene.id: mapper.ground(scene) for scene in scenes}
    grounds = {name: ground for name, ground in found.items() if ground is not None}
    if scenes and not grounds:
        area = "their outlines" if mapper.area is None else f"the area {mapper.area.name}"
        raise SceneError(f"no scene to map has a pixel in {area}; correct the area.")
    for name in found:
        if name not in grounds:
            print(f"{name}: not mapped, it has no pixel in the area")
    return grounds


def _plan(conf: Path, settings: PredictConf, grids: Mapping[str, PatchGrid]) -> Plan | None:
    """The mosaics to be made, or an error; a warning of scenes that have no grid in common."""
    if settings.mosaic == "none":
        return None
    plan = Plan(settings.mosaic, str(conf), grids)
    plan.require_possible()
    for note in plan.notes:
        print(f"warning: {note}", file=sys.stderr)
    return plan


def _map_due(scenes: Sequence[tuple[Scene, MappedScene]], mapper: Mapper, machine: ComputeConf) -> None:
    """Write the folders of the maps that are not there already."""
    due = [not is_kept(mapped.files, mapped.origin.fingerprint) for _, mapped in scenes]
    to_make = list(compress(scenes, due))
    work = partial(_map, mapper)
    # a GPU is one machine's, and has its own ways to be shared
    side_by_side = machine.scheduler is not None or not _on_gpu(mapper)
    made = (
        run_scenes(work, to_make, machine)
        if side_by_side
        else (work(scene, machine) for scene in to_make)
    )
    with closing(made):
        for (scene, mapped), is_due in zip(scenes, due, strict=True):
            if note := mapped.origin.note:
                print(f"warning: {scene.id}: {note}", file=sys.stderr)
            said = (
                next(made)
                if is_due
                else f"{scene.id}: kept, nothing that it is made from has changed; "
                f"{mapped.files.class_map}"
            )
            print(said, flush=True)


def _on_gpu(mapper: Mapper) -> bool:
    predictor = mapper.classify
    return isinstance(predictor, Predictor) and predictor.classifier.mean.is_cuda


def _map(mapper: Mapper, due: tuple[Scene, MappedScene], machine: ComputeConf) -> str:
    """Write the folder of a map; what there is to say of it."""
    scene, mapped = due
    files = mapped.files
    with publish(files.folder) as folder:
        record = map_scene(scene, mapper, mapped.origin, files.folder, folder, machine)
    return "\n".join([_summary(record, files), *_agreement(scene, mapper, mapped.ground.grid)])


def _predictor(classifier: PatchClassifier, geometry: Geometry, machine: ComputeConf) -> Predictor:
    has_gpu = torch.cuda.is_available()
    if machine.accelerator == "gpu" and not has_gpu:
        raise ConfigError(
            "the compute conf asks for accelerator 'gpu', which this machine does not have; "
            "set it to auto."
        )
    if not has_gpu or machine.accelerator == "cpu":
        return Predictor(classifier, torch.device("cpu"), torch.float32, geometry)
    precision = torch.float32 if machine.precision == "float32" else torch.bfloat16
    return Predictor(classifier, torch.device("cuda"), precision, geometry)


def _print_limits(settings: PredictConf, predictor: Predictor) -> None:
    """Print why the network runs patch by patch, and what cannot be mapped with it."""
    if predictor.patchwise_because is not None:
        print(f"the network runs patch by patch: {predictor.patchwise_because}", file=sys.stderr)
    if settings.dissimilarity and predictor.classifier.training_features is None:
        print(
            "no dissimilarity is mapped: the model, of an older lenscape, does not know what its "
            "training data look like; run `train` again",
            file=sys.stderr,
        )


def _agreement(scene: Scene, mapper: Mapper, grid: PatchGrid) -> list[str]:
    """For how many pixels in the middle of a scene low precision gives the class of float32."""
    predictor = mapper.classify
    if not isinstance(predictor, Predictor) or predictor.form is None:
        return []
    if predictor.form.dtype == torch.float32:
        return []
    rows, cols = (
        range((count - min(count, _COMPARED)) // 2, (count + min(count, _COMPARED)) // 2)
        for count in (grid.rows, grid.cols)
    )
    pixels = scene.read(grid.read_window(rows, cols), mapper.bands)
    share = predictor.agreement(pixels, len(rows), len(cols))
    kind = str(predictor.form.dtype).removeprefix("torch.")
    count = len(rows) * len(cols)
    return [f"{scene.id}: {kind} gives {share:.2%} of {count} pixels the class of float32"]


def _mapper(predictor: Predictor, settings: PredictConf) -> Mapper:
    meta, features = predictor.classifier.meta, predictor.classifier.training_features
    smoothing, polygons = settings.smoothing, settings.polygons
    return Mapper(
        predictor,
        tuple(meta.bands),
        predictor.geometry,
        tuple(meta.classes),
        predictor.block_cells,
        predictor.work_bytes,
        settings.probabilities,
        predictor.dissimilarity if settings.dissimilarity and features is not None else None,
        PostProcessing(
            settings.min_confidence,
            0 if smoothing == "none" else smoothing.window_pixels,
            None if polygons == "none" else polygons.min_area_m2,
        ),
        None if settings.area is None else AreaOfInterest.read(settings.area),
    )


def _require_fits(scene: Scene, meta: ModelMeta) -> None:
    require_bands(meta.bands, list(scene.bands), f"scene {scene.id}")
    if scene.grid.pixel_m != meta.geometry.pixel_m:
        raise MismatchError(
            f"the model sees pixels of {meta.geometry.pixel_m:g} m, but scene {scene.id} has "
            f"{scene.grid.pixel_m:g} m; map scenes of the same resolution."
        )


def _provenance(
    scene: Scene, mapper: Mapper, meta: ModelMeta, made_by: list[str], out: Path
) -> Provenance:
    """The origin of a map; `made_by` are model, conf and code, which all maps have in common."""
    hashes = {"weights": meta.weights_sha256, **meta.hashes.model_dump()}
    return Provenance(
        scenes=[scene.info],
        bands=tuple(meta.bands),
        cell_m=meta.geometry.cell_m,
        patch_m=meta.geometry.patch_m,
        hashes={key: value for key, value in hashes.items() if value},
        credit=meta.credit,
        note=domain_shift(scene.info, meta.scenes),
        postprocessing=mapper.postprocessing.facts(),
        # the Item by its content, and by where it lies, since the map refers to it
        fingerprint=sha256_of_value(
            [*made_by, sha256_of(scene.path), href_of(scene.path, out / scene.id)]
        ),
    )


def _summary(record: MapRecord, files: MapFolder) -> str:
    shares = record.tally.shares()[1:]
    order = sorted(np.flatnonzero(shares).tolist(), key=lambda k: -shares[k])[:3]
    largest = [f"{record.classes[k].title} {100 * shares[k]:.0f} %" for k in order] or ["no data"]
    parts = [", ".join(largest), str(files.class_map)]
    if (share := record.outside_share) is not None:
        parts.insert(1, f"{100 * share:.1f} % of the pixels lie outside the area of applicability")
    return f"{files.scene}: {'; '.join(parts)}"


def _track(
    folders: list[MapFolder], maps: list[MappedScene], outside: dict[str, float], run: Additions
) -> None:
    """Add previews, areas, metrics and notes of the scenes to the run of the model.

    What the run has is not sent again: of ten thousand maps that are kept, that would take hours.
    """
    has = json.loads(run.stored_text(_LOGGED) or "{}")
    made_from = {files.scene: stated_properties(files.item).get(FINGERPRINT) for files in folders}
    for files in folders:
        for path in (files.preview, files.areas):
            # the map over all zones has neither
            if path.exists() and has.get(files.scene) != made_from[files.scene]:
                run.artifact(path, f"{MAPS}/{files.scene}")
    run.text(canonical_json(has | made_from), _LOGGED)
    run.metrics(outside)
    run.tags({f"note.{m.files.scene}": m.origin.note for m in maps if m.origin.note})
