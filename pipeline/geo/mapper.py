"""From a scene and a function that classifies to a folder of maps, piece by piece.

Only pieces in flight are in memory, and the source blocks around them, of which each is decoded once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.files import require_space
from pipeline.geo import classmap, preview
from pipeline.geo.areas import Tally, areas_csv
from pipeline.geo.canvas import Canvas, MapGrid, canvas
from pipeline.geo.classmap import Provenance
from pipeline.geo.cog import read_small
from pipeline.geo.delivery import smooth
from pipeline.geo.mapitem import MapFolder, MapRecord, write_item
from pipeline.geo.mappolygons import write_polygons
from pipeline.geo.pieces import Mapper, column_bytes, inside_px, map_piece, piece_bytes, pieces
from pipeline.geo.scene import Scene
from pipeline.geo.sidecars import write_sidecars
from pipeline.geo.thumbnail import Thumbnail
from pipeline.geo.truecolour import write_true_colour
from pipeline.scale import run_pieces

_PREVIEW_PX = 640
"""Of a picture on its longer side; a panel of the preview has about 560."""
_LAYERS = ("classes", "confidence", "probabilities")
_NODATA = (classmap.NODATA, classmap.CONFIDENCE_NODATA, classmap.CONFIDENCE_NODATA)


@dataclass(frozen=True)
class Crew:
    """Who does the work: threads of this process, or a Dask scheduler."""

    workers: int = 1
    memory_mb: int = 1024
    """For pixels in flight; it bounds the workers."""
    scheduler: str | None = None


def map_scene(
    scene: Scene, mapper: Mapper, provenance: Provenance, place: Path, folder: Path, crew: Crew
) -> Tally:
    """Map a scene into `folder`, which will lie at `place`: maps, styles, areas, preview, Item.

    Returns:
        The cells and the ground of each value of the class map.

    Raises:
        SceneError: when its pixels cannot be read.
        OutputError: when the disk is full or cannot be written.
    """
    grid, legend = mapper.grid(scene), mapper.legend
    cells = MapGrid(scene.grid.epsg, grid.transform, grid.rows, grid.cols)
    bands = [1, 1, len(mapper.classes)] if mapper.probabilities else [1, 1]
    # maps uncompressed, with overviews, then as COGs, and a picture
    size = 5 * sum(bands) * grid.rows * grid.cols // 2 + 8_000_000
    require_space(place, size, f"The class map of {scene.id}")
    files = MapFolder(folder, scene.id)
    folder.mkdir()
    with ExitStack() as stack:
        layers = [
            stack.enter_context(canvas(folder / f"{name}.partial", cells, nodata, count))
            for name, nodata, count in zip(_LAYERS, _NODATA, bands, strict=False)
        ]
        photo = Thumbnail(scene, preview.photo_bands(scene.bands), _PREVIEW_PX)
        tally = _paint(scene, mapper, crew, layers, photo)
        painted = layers[0]
        if side := mapper.delivery.smoothing_cells:
            painted = stack.enter_context(canvas(folder / "smooth.partial", cells, classmap.NODATA))
            tally = smooth(layers[0], painted, grid, len(mapper.classes), side)
        with ThreadPoolExecutor(1) as beside:
            confidence = beside.submit(
                classmap.write_confidence, layers[1], files.confidence, provenance
            )
            classmap.write_class_map(painted, files.class_map, legend, provenance)
            confidence.result()
        if mapper.probabilities:
            classmap.write_probabilities(layers[2], files.probabilities, mapper.classes, provenance)
    files.areas.write_text(areas_csv(tally, legend, scene.grid.pixel_m), encoding="utf-8")
    record = MapRecord(provenance, cells, legend, tally, scene.path)
    if (least := mapper.delivery.polygons_m2) is not None:
        write_polygons(files.class_map, files.polygons, legend, least)
    write_sidecars(files.class_map, f"Class map of {scene.id}", record, provenance)
    shown = preview.Photo(photo.pixels(), photo.bands, scene.grid.bounds)
    write_true_colour(scene, shown, files.true_colour, place)
    _draw(shown, record, files)
    write_item(files, record, place)
    return tally


def _paint(
    scene: Scene, mapper: Mapper, crew: Crew, layers: Sequence[Canvas], photo: Thumbnail
) -> Tally:
    grid, budget = mapper.grid(scene), crew.memory_mb * 1_000_000
    # half of the memory for source blocks, half for pieces in flight
    workers = max(1, min(crew.workers, budget // 2 // piece_bytes(mapper)))
    across = max(1, budget // 2 // column_bytes(scene, mapper))
    parts = pieces(grid, mapper.piece_cells, across)
    windows = (grid.read_window(piece.rows, piece.cols) for piece in parts)
    tally = Tally.empty()
    total = scene.grid.height * scene.grid.width / 1e6
    bar = tqdm(total=total, desc=scene.id, unit="Mpx", file=sys.stderr, disable=None)
    here = crew.scheduler is None
    with bar, scene.cache(mapper.bands, windows if here else (), photo.show) as cache:
        work = partial(map_piece, scene, mapper, cache=cache if here else None)
        # closed before the cache is, also when something fails
        with closing(run_pieces(work, parts, workers, crew.scheduler)) as results:
            for piece, values in zip(parts, results, strict=True):
                for layer, cells in zip(layers, values, strict=True):
                    layer.paint(piece.rows.start, piece.cols.start, cells)
                inside = inside_px(grid, piece)
                tally = tally.plus(values[0], *inside)
                bar.update(int(inside[0].sum() * inside[1].sum()) / 1e6)
    return tally


def _draw(photo: preview.Photo, record: MapRecord, files: MapFolder) -> None:
    origin = record.provenance
    cells, bounds = read_small(files.class_map, _PREVIEW_PX)
    picture = preview.MapPicture(cells, bounds, record.classes, record.tally.shares())
    facts = [
        f"{origin.datetime[:10]} {origin.datetime[11:16]} UTC",
        origin.platform,
        origin.level,
        f"EPSG:{record.grid.epsg}",
        f"cells of {record.grid.transform.a:g} m",
        origin.note,
    ]
    subtitle = " · ".join(fact for fact in facts if fact)
    preview.draw(
        files.preview, photo, picture, preview.Caption(files.scene, subtitle, origin.attribution)
    )
