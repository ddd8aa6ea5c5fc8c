"""Stage split: the patches of a store come to folds, or to training, validation and test parts."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.reading import load
from pipeline.config.split import SplitConf
from pipeline.errors import SplitError
from pipeline.files import publish, require_space, sha256_of, write_json
from pipeline.geo.split.audit import audit, table
from pipeline.geo.split.blocks import Assignment, Blocks, split_patches
from pipeline.geo.style.geopackage import categorized_qml, squares, write_layer
from pipeline.split_folder import Split, fold_column
from pipeline.store import PARTS, PatchStore

COLORS = {"train": "#0072b2", "validation": "#e69f00", "test": "#d55e00", "unused": "#999999"}
"""Of the palette of Okabe and Ito, which people of any colour vision tell apart."""
FOLD_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000")
"""Of the same palette; more folds take them again."""
_BYTES_A_PATCH = 500
MIXED = "mixed"
"""The part of a block that has patches of several, as only a published list may have it."""


def run(conf: Path, store: Path, out: Path, report: Path) -> None:
    """Write the split of a store to the folder `out` and its leakage audit to `report`.

    Raises:
        LenscapeError: when conf or store cannot be used, or no seed brings every class to every part.
    """
    settings, opened = load(conf, SplitConf), PatchStore.open(store)
    geometry = opened.meta.geometry
    patch_m = geometry.patch_m
    classes = [info.name for info in opened.meta.classes]
    if settings.lists is None:
        assignment = split_patches(opened.patches, settings, patch_m, classes)
    else:
        assignment = _split_by_list(opened, settings, settings.lists, conf)
    figures = audit(opened.patches, assignment, patch_m, classes)
    if figures["shared_ground_m2"] > 0 and assignment.lists is None:
        raise SplitError(
            f"the parts of {store} share {figures['shared_ground_m2']:g} m2 of ground, which is a "
            f"fault of lenscape; please report it together with {conf} and patches.parquet."
        )
    require_space(out, len(opened) * _BYTES_A_PATCH, "the split")
    with publish(out) as partial, publish(report) as audited:
        partial.mkdir()
        _write_split(partial, opened, settings, assignment, figures["shared_ground_m2"])
        _write_blocks(partial / "blocks.gpkg", assignment, settings.block_m)
        _write_patches(partial / "patches.gpkg", opened, assignment)
        write_json(audited, figures)
    print(table(figures))


def _split_by_list(store: PatchStore, conf: SplitConf, name: str, file: Path) -> Assignment:
    """The parts of a published list of the store, which stands in a conf file.

    Ground plays no role in it, so that parts may share some; the leakage audit says how much.

    Raises:
        SplitError: when the store has no such list, a part is empty, or a class does not train.
    """
    names = [] if store.meta.images is None else store.meta.images.lists
    if name not in names:
        listed = f"it has {', '.join(names)}" if names else "it has none"
        raise SplitError(
            f"{file}: key 'lists' is {name!r}, which {store.folder} does not have ({listed}); put the "
            "lists beside the images and fetch them again, or leave the key out."
        )
    part, patches = store.published_parts(name), store.patches
    for each in PARTS[:3]:
        if not (part == each).any():
            raise SplitError(
                f"the list '{name}' leaves the {each} part without patches; choose another list, or "
                "none, so that the ground is split into blocks."
            )
    trained = np.bincount(patches["label"][part == "train"], minlength=len(store.meta.classes))
    for info, count in zip(store.meta.classes, trained, strict=True):
        if not count:
            raise SplitError(
                f"the list '{name}' has no training patches of class '{info.name}'; choose another "
                "list, or take the class out."
            )
    blocks = Blocks.of(patches, conf.block_m)
    in_block = np.array(
        [np.bincount(blocks.of_patch[part == each], minlength=len(blocks)) > 0 for each in PARTS]
    )
    block_part = np.where(in_block.sum(axis=0) > 1, MIXED, np.array(PARTS)[in_block.argmax(axis=0)])
    return Assignment(part, conf.seed, blocks, block_part, name)


def _write_split(
    folder: Path, store: PatchStore, conf: SplitConf, assignment: Assignment, shared_m2: float
) -> None:
    parts = folder / "parts.parquet"
    columns = {fold_column(fold): part for fold, part in enumerate(assignment.fold_parts)}
    named = {name: part.tolist() for name, part in ({"part": assignment.part} | columns).items()}
    pq.write_table(pa.table(named), parts, compression="zstd")
    rows = np.flatnonzero(assignment.part == "train")
    counts = np.bincount(store.patches["label"][rows], minlength=len(store.meta.classes))
    split = Split(
        seed=assignment.seed,
        block_m=conf.block_m,
        folds=conf.folds,
        lists=assignment.lists,
        shared_ground_m2=shared_m2,
        statistics=store.statistics(rows),
        class_counts=counts.tolist(),
        store_sha256=store.sha256,
        parts_sha256=sha256_of(parts),
    )
    write_json(folder / "split.json", split.model_dump(mode="json"))


def _write_blocks(path: Path, assignment: Assignment, block_m: float) -> None:
    """One square a block: its part or fold, and its patches by part once the buffer is applied."""
    blocks = assignment.blocks
    columns = {"block": blocks.names, "part": assignment.block_part}
    columns["patches"] = np.bincount(blocks.of_patch, minlength=len(blocks))
    for part in () if assignment.fold_parts else PARTS:
        rows = assignment.part == part
        columns[part] = np.bincount(blocks.of_patch[rows], minlength=len(blocks))
    x, y = (blocks.col + 0.5) * block_m, (blocks.row + 0.5) * block_m
    frame = gpd.GeoDataFrame(columns, geometry=squares(x, y, blocks.epsg, block_m))
    write_layer(path, "blocks", frame, _qml(_colors(assignment, PARTS[:3]), opacity=0.3))


def _write_patches(path: Path, store: PatchStore, assignment: Assignment) -> None:
    """One square a cell, the ground that the class of the patch is claimed for."""
    patches = store.patches
    titles = np.array([info.title for info in store.meta.classes])
    part = assignment.part
    if assignment.fold_parts:  # the fold that tests a cell; no cell is tested twice
        part = np.full(len(part), "train", dtype=object)
        for fold, parts in enumerate(assignment.fold_parts, start=1):
            part[parts == "test"] = f"fold {fold}"
    columns = {
        "part": part,
        "class": titles[patches["label"]],
        "scene": patches["scene"].astype(str),
        "block": np.array(assignment.blocks.names)[assignment.blocks.of_patch],
        **{name: patches[name] for name in ("purity", "valid", "on_grid", "polygon")},
    }
    outlines = squares(patches["x"], patches["y"], patches["epsg"], store.meta.geometry.cell_m)
    write_layer(
        path, "patches", gpd.GeoDataFrame(columns, geometry=outlines), _qml(_colors(assignment, PARTS))
    )


def _colors(assignment: Assignment, parts: tuple[str, ...]) -> dict[str, str]:
    """The colour of each part, or of each fold and of what only trains."""
    if not assignment.fold_parts:
        return {part: COLORS[part] for part in parts}
    count = len(assignment.fold_parts)
    folds = {f"fold {n + 1}": FOLD_COLORS[n % len(FOLD_COLORS)] for n in range(count)}
    return folds | ({"train": COLORS["unused"]} if "unused" in parts else {})


def _qml(colors: dict[str, str], opacity: float = 0.6) -> str:
    return categorized_qml("part", [(part, part, color) for part, color in colors.items()], opacity)
