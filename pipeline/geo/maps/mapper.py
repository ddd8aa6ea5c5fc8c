"""From a scene and a function that classifies to a folder of maps, piece by piece.

Only pieces in flight are in memory, and the source blocks around them, of which each is decoded once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.config.compute import ComputeConf
from pipeline.errors import SceneError
from pipeline.files import require_space
from pipeline.geo.maps import class_map, preview
from pipeline.geo.maps.areas import Tally, areas_csv
from pipeline.geo.maps.catalog import MapFolder
from pipeline.geo.maps.class_map import MapRecord, Provenance
from pipeline.geo.maps.cog import MapKind
from pipeline.geo.maps.item import write_item
from pipeline.geo.maps.map_ground import MapGround
from pipeline.geo.maps.pieces import (
    Mapper,
    Piece,
    column_bytes,
    inside_px,
    map_piece,
    piece_bytes,
    pieces,
)
from pipeline.geo.maps.postprocessing import smooth, write_polygons
from pipeline.geo.maps.raster_writer import RasterWriter, temporary_raster
from pipeline.geo.maps.sidecars import write_sidecars
from pipeline.geo.maps.true_colour import photo_bands, photo_title, stretch, write_true_colour
from pipeline.geo.scenes.scene import Scene
from pipeline.geo.scenes.stac import href_of
from pipeline.geo.scenes.thumbnail import Thumbnail
from pipeline.parallel import in_worker, run_pieces, worker_count

_PREVIEW_PX = 640
"""Of a picture on its longer side; a panel of the preview has about 560."""


def map_scene(
    scene: Scene,
    mapper: Mapper,
    provenance: Provenance,
    destination: Path,
    folder: Path,
    compute: ComputeConf,
) -> MapRecord:
    """Map a scene into `folder`, which will lie at `destination`: maps, styles, areas, preview, Item.

    Returns:
        What the Item says of the map, with the pixels and the ground of each value.

    Raises:
        SceneError: when it has no pixel in the area, or its pixels cannot be read.
        OutputError: when the disk is full or cannot be written.
    """
    if (ground := mapper.ground(scene)) is None:
        raise SceneError(f"scene {scene.id} has no pixel in the area; correct the area.")
    grid, legend = ground.grid, mapper.legend
    cells = grid.map_grid
    files = MapFolder(folder, scene.id)
    outputs = _outputs(mapper, files)
    bands = sum(len(kind.bands) for _, kind in outputs.values())
    # maps uncompressed, with overviews, then as COGs, and a picture
    size = 5 * bands * grid.rows * grid.cols // 2 + 8_000_000
    require_space(destination, size, f"The class map of {scene.id}")
    folder.mkdir()
    with ExitStack() as stack:
        layers = {
            name: stack.enter_context(
                temporary_raster(folder / f"{name}.partial", cells, kind.nodata, len(kind.bands))
            )
            for name, (_, kind) in outputs.items()
        }
        thumbnail = Thumbnail(scene, photo_bands(scene.bands), _PREVIEW_PX, ground.scene, ground.shape)
        tally = _map_pieces(scene, mapper, ground, compute, list(layers.values()), thumbnail)
        outside = _outside_share(layers.get("dissimilarity"))
        if side := mapper.postprocessing.smoothing_pixels:
            smoothed = stack.enter_context(
                temporary_raster(folder / "smooth.partial", cells, class_map.NODATA)
            )
            tally = smooth(layers["classes"], smoothed, ground, len(mapper.classes), side)
            layers["classes"] = smoothed
        paths, kinds = zip(*outputs.values(), strict=True)
        write = partial(class_map.write_map, origin=provenance)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(write, layers.values(), paths, kinds))
    inside = "the scene" if ground.shape is None else "the area of interest"
    files.areas.write_text(areas_csv(tally, legend, scene.grid.pixel_m, inside), encoding="utf-8")
    record = MapRecord(provenance, cells, legend, tally, outside)
    if (least := mapper.postprocessing.polygons_m2) is not None:
        write_polygons(files.class_map, files.polygons, legend, least)
    write_sidecars(files.class_map, f"Class map of {scene.id}", record)
    pixels = thumbnail.pixels()
    write_true_colour(scene, ground.scene, pixels, thumbnail.bands, files.true_colour, destination)
    shown = preview.Panel(photo_title(thumbnail.bands), stretch(pixels), ground.scene.bounds)
    facts = (
        f"{scene.info.datetime[:10]} {scene.info.datetime[11:16]} UTC",
        scene.info.platform,
        scene.info.level,
        f"EPSG:{cells.epsg}",
        f"pixels of {cells.pixel_m:g} m",
        provenance.note,
    )
    preview.draw_map(files, record, shown, facts, _PREVIEW_PX)
    write_item(files, record, href_of(scene.path, destination))
    return record


def _outputs(mapper: Mapper, files: MapFolder) -> dict[str, tuple[Path, MapKind]]:
    """The rasters of a scene, in the order in which `map_piece` gives them."""
    outputs = {
        "classes": (files.class_map, class_map.class_map_kind(mapper.legend)),
        "confidence": (files.confidence, class_map.CONFIDENCE),
    }
    if mapper.compare is not None:
        outputs["dissimilarity"] = (files.dissimilarity, class_map.DISSIMILARITY)
    if mapper.probabilities:
        probabilities = class_map.probabilities_kind(mapper.classes)
        outputs["probabilities"] = (files.probabilities, probabilities)
    return outputs


def _outside_share(raster: RasterWriter | None) -> float | None:
    """The share of the mapped pixels outside the area of applicability; None without such a raster."""
    if raster is None:
        return None
    counts = raster.counts[0][: class_map.CONFIDENCE_NODATA]
    return float(counts[101:].sum() / max(int(counts.sum()), 1))


def _map_pieces(
    scene: Scene,
    mapper: Mapper,
    ground: MapGround,
    compute: ComputeConf,
    layers: Sequence[RasterWriter],
    thumbnail: Thumbnail,
) -> Tally:
    grid, budget = ground.grid, compute.memory_mb * 1_000_000
    # half of the memory for source blocks, half for pieces in flight
    at_once = max(1, min(worker_count(compute), budget // 2 // piece_bytes(mapper)))
    across = max(1, budget // 2 // column_bytes(scene, mapper))
    parts = pieces(grid, mapper.piece_cells, across)
    around = [ground.within(piece.rows, piece.cols) for piece in parts]
    due = [Piece(*rows_and_cols) for rows_and_cols in around if rows_and_cols is not None]
    windows = (grid.read_window(piece.rows, piece.cols) for piece in due)
    tally = Tally.empty()
    total = ground.scene.height * ground.scene.width / 1e6
    bar = tqdm(total=total, desc=scene.id, unit="Mpx", file=sys.stderr, disable=in_worker() or None)
    in_process = compute.scheduler is None
    with bar, scene.cache(mapper.bands, windows if in_process else (), thumbnail.show) as cache:
        work = partial(map_piece, scene, mapper, ground, cache=cache if in_process else None)
        # closed before the cache is, also when something fails
        with closing(run_pieces(work, due, at_once, compute)) as results:
            for piece, part in zip(parts, around, strict=True):
                if part == (piece.rows, piece.cols):
                    values = next(results)
                else:
                    values = [layer.empty(len(piece.rows), len(piece.cols)) for layer in layers]
                    if part is not None:
                        at = _at(piece, *part)
                        for whole, mapped in zip(values, next(results), strict=True):
                            whole[..., *at] = mapped
                for layer, pixels in zip(layers, values, strict=True):
                    layer.write(piece.rows.start, piece.cols.start, pixels)
                tally = tally.plus(values[0], ground.ground_px(piece.rows, piece.cols))
                bar.update(int(np.outer(*inside_px(grid, piece)).sum()) / 1e6)
    return tally


def _at(piece: Piece, rows: range, cols: range) -> tuple[slice, slice]:
    """Where some rows and columns of pixels lie in a piece that holds them."""
    row, col = rows.start - piece.rows.start, cols.start - piece.cols.start
    return slice(row, row + len(rows)), slice(col, col + len(cols))
