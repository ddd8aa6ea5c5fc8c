"""The leakage audit: what the parts of a split share, measured on the ground.

It shares no code with the split: windows become polygons again, and polygons are intersected (GEOS),
in the CRS of one side, with those of other CRSs projected into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from pipeline.geo.raster.area import transformer
from pipeline.geo.split.blocks import Assignment, Patches
from pipeline.store import PARTS

_PIXEL_M = 60.0
_CHUNK = 20_000
"""Windows compared at a time."""
_NOTHING_M2 = 1e-3
"""Below this, an area is the noise of floats."""

Rows = npt.NDArray[np.intp]
Polygons = npt.NDArray[np.object_]


def audit(
    patches: Patches, assignment: Assignment, patch_m: float, classes: Sequence[str]
) -> dict[str, Any]:
    """The figures of a split, for `reports/audit.json` and people.

    `shared_ground_m2` is ground that windows of two parts have in common once grown to whole pixels
    of 60 m, 0 in a sound split; `smallest_distance_m` lies between windows as they are, None where
    a part is empty; `test_polygons_in_training` is the share of test patches whose label polygon, or
    point, is in training too, left out where all labels are rasters. With folds these three are those
    of the worst fold, `patches`, `blocks` and `classes` count what each fold tests, and
    `largest_share` is that of a class in one fold.
    """
    label = patches["label"]
    origin = {"seed": assignment.seed} if assignment.lists is None else {"lists": assignment.lists}
    if not assignment.fold_parts:
        rows = {part: np.flatnonzero(assignment.part == part) for part in PARTS}
        return {
            **origin,
            **_common_ground(patches, rows, patch_m),
            **_counts(rows, label, classes),
            "blocks": {part: int((assignment.block_part == part).sum()) for part in PARTS[:3]},
        }
    by_fold = [
        {part: np.flatnonzero(parts == part) for part in PARTS} for parts in assignment.fold_parts
    ]
    folds = [_common_ground(patches, rows, patch_m) for rows in by_fold]
    names = [f"fold {fold + 1}" for fold in range(len(by_fold))]
    tested = dict(zip(names, (rows["test"] for rows in by_fold), strict=True))
    distances = [fold["smallest_distance_m"]["train_test"] for fold in folds]
    return {
        **origin,
        "folds": len(folds),
        "shared_ground_m2": sum(fold["shared_ground_m2"] for fold in folds),
        "smallest_distance_m": {
            "train_test": min((one for one in distances if one is not None), default=None)
        },
        **_worst(folds, "test_polygons_in_training"),
        **_counts(tested, label, classes),
        "blocks": {name: int((assignment.block_part == name).sum()) for name in names},
        "training_patches": {
            name: len(rows["train"]) for name, rows in zip(names, by_fold, strict=True)
        },
        "largest_share": _largest_share(list(tested.values()), label, len(classes)),
    }


def _common_ground(patches: Patches, rows: Mapping[str, Rows], patch_m: float) -> dict[str, Any]:
    """What the parts of a split, or of a fold, share."""
    pairs = list(combinations(PARTS[:3] if len(rows["validation"]) else ("train", "test"), 2))
    return {
        "shared_ground_m2": sum(_shared(patches, rows[a], rows[b], patch_m) for a, b in pairs),
        "smallest_distance_m": {
            f"{a}_{b}": _distance(patches, rows[a], rows[b], patch_m) for a, b in pairs
        },
        **_known_polygons(patches, rows["train"], rows["test"]),
    }


def _counts(
    rows: Mapping[str, Rows], label: npt.NDArray[np.integer], classes: Sequence[str]
) -> dict[str, Any]:
    """Patches of each part, or of the test part of each fold, and of each class in it."""
    return {
        "patches": {name: len(one) for name, one in rows.items()},
        "classes": {
            title: {name: int((label[one] == index).sum()) for name, one in rows.items()}
            for index, title in enumerate(classes)
        },
    }


def _largest_share(tested: Sequence[Rows], label: npt.NDArray[np.integer], classes: int) -> float:
    """The largest share of the cells of a class that lies in the test part of one fold."""
    counts = np.stack([np.bincount(label[rows], minlength=classes) for rows in tested])
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    return round(float(shares.max()), 4)


def table(figures: Mapping[str, Any]) -> str:
    """The figures of `audit` for people."""
    lines = {"blocks": figures["blocks"], "patches": figures["patches"], **figures["classes"]}
    folds = figures.get("folds")
    if folds:
        lines["training patches"] = figures["training_patches"]
    columns = list(figures["patches"])
    wide = max(map(len, lines))
    head = " " * wide + "".join(f"{column:>12}" for column in columns)
    body = [
        f"{name:<{wide}}" + "".join(f"{counts.get(column, '-'):>12}" for column in columns)
        for name, counts in lines.items()
    ]
    apart = ", ".join(
        f"{pair.replace('_', ' to ')} {'-' if metres is None else f'{metres:.0f} m'}"
        for pair, metres in figures["smallest_distance_m"].items()
    )
    shared = figures["shared_ground_m2"]
    if "seed" in figures:
        origin = f"seed: {figures['seed']}"
    else:
        lists, ground = figures["lists"], "ground" if shared else "no ground"
        origin = f"parts as in the list '{lists}', not by blocks: they share {ground}"
    known, balance = [], []
    if (share := figures.get("test_polygons_in_training")) is not None:
        worst = " in the fold with most of them" if folds else ""
        known = [f"test patches whose label polygon or point is also in training: {share:.0%}{worst}"]
    if folds:
        even = f"{1 / folds:.0%} would be even"
        balance = [f"largest share of a class in one fold: {figures['largest_share']:.0%} ({even})"]
    return "\n".join(
        [
            "leakage audit" + (f": cells that each of {folds} folds tests" if folds else ""),
            head,
            *body,
            origin,
            *balance,
            f"ground shared by parts: {shared:g} m2",
            f"smallest distance between windows: {apart}",
            *known,
        ]
    )


def _shared(patches: Patches, first: Rows, second: Rows, side_m: float) -> float:
    """Area in m2 that grown windows of two sets of patches have in common."""
    area = 0.0
    for mine, theirs in _window_pairs(patches, first, second, side_m, grown=True):
        tree = shapely.STRtree(mine)
        common: list[Any] = []
        for start in range(0, len(theirs), _CHUNK):
            chunk = theirs[start : start + _CHUNK]
            in_chunk, in_tree = tree.query(chunk, predicate="intersects")
            pieces = shapely.intersection(chunk[in_chunk], mine[in_tree])
            common.append(shapely.union_all(pieces[shapely.area(pieces) > _NOTHING_M2]))
        area += float(shapely.area(shapely.union_all(common)))
    return area


def _distance(patches: Patches, first: Rows, second: Rows, side_m: float) -> float | None:
    """The smallest distance in m between windows of two sets; None where there is no such pair."""
    smallest = np.inf
    for mine, theirs in _window_pairs(patches, first, second, side_m, grown=False):
        tree = shapely.STRtree(mine)
        for start in range(0, len(theirs), _CHUNK):
            if smallest == 0:
                return 0.0
            # a bound makes the search quick, and none but a smaller distance is of interest
            bound = {"max_distance": smallest} if np.isfinite(smallest) else {}
            _, distances = tree.query_nearest(
                theirs[start : start + _CHUNK], return_distance=True, all_matches=False, **bound
            )
            smallest = min(smallest, float(distances.min(initial=np.inf)))
    return smallest if np.isfinite(smallest) else None


def _window_pairs(
    patches: Patches, first: Rows, second: Rows, side_m: float, grown: bool
) -> Iterator[tuple[Polygons, Polygons]]:
    """The windows of the two sets, once per CRS of the first, in that CRS; none twice."""
    epsg = patches["epsg"]
    for home in np.unique(epsg[first]) if len(second) else ():
        mine = _windows(patches, first[epsg[first] == home], side_m, grown)
        theirs = [
            _projected(
                _windows(patches, second[epsg[second] == code], side_m, grown), int(code), int(home)
            )
            for code in np.unique(epsg[second])
        ]
        yield mine, np.concatenate(theirs)


def _windows(patches: Patches, rows: Rows, side_m: float, grown: bool) -> Polygons:
    """The windows of patches as squares in their own CRS; the same ground at two dates is one."""
    centers = np.unique(np.stack([patches["x"][rows], patches["y"][rows]], axis=1), axis=0)
    low, high = (np.round(centers + shift, 3) for shift in (-side_m / 2, side_m / 2))
    if grown:
        low, high = np.floor(low / _PIXEL_M) * _PIXEL_M, np.ceil(high / _PIXEL_M) * _PIXEL_M
    squares: Polygons = shapely.box(*low.T, *high.T)
    return squares


def _projected(polygons: Polygons, epsg: int, home: int) -> Polygons:
    """Polygons of one CRS in another; those that cannot be projected are left out."""
    if epsg == home:
        return polygons
    change = transformer(epsg, home).transform
    moved: Polygons = shapely.transform(polygons, change, interleaved=False)
    visible: Polygons = moved[np.isfinite(shapely.bounds(moved)).all(axis=1)]
    return visible


def _known_polygons(patches: Patches, train: Rows, test: Rows) -> dict[str, float]:
    """The share of test patches whose label polygon some training patch comes from; none of rasters."""
    polygon = patches["polygon"]
    if (polygon < 0).all():
        return {}
    known = np.isin(polygon[test], polygon[train]) & (polygon[test] >= 0)
    return {"test_polygons_in_training": float(known.mean()) if len(test) else 0.0}


def _worst(folds: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    """The largest of a figure of folds, which all of them have or none."""
    return {key: max(fold[key] for fold in folds)} if key in folds[0] else {}
