"""Maps of a scene whose pixels know where they are, by a function whose answer says so."""

import csv
import hashlib
import json
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from rio_cogeo import cog_validate

from pipeline.config.compute import ComputeConf
from pipeline.geo.maps import mapper as mapper_module
from pipeline.geo.maps.catalog import catalogued, write_catalog
from pipeline.geo.maps.class_map import Provenance
from pipeline.geo.maps.mapper import map_scene
from pipeline.geo.maps.pieces import Mapper, map_piece, pieces, valid_share
from pipeline.geo.raster import block_cache
from pipeline.geo.raster.raster_file import OpenFile
from pipeline.store_meta import ClassInfo, Geometry
from tests.support.mapped import info
from tests.support.placed import HEIGHT, WIDTH, X0, Y0, make_scene

PATCH, CELL = 16, 8
MARGIN = (PATCH - CELL) // 2
K = 251
CLASSES = [ClassInfo(name=f"c{i}", title=f"Class {i}", color=f"#{i:02x}55aa") for i in range(K)]
HOLES = [(40, 40, 30, 50), (0, 160, 40, 11), (120, 13, 2, 8), (100, 100, 8, 1)]


def code(row, col):
    """A class that changes with any shift of a pixel."""
    return (7 * row + 3 * col) % K


def where_it_is(pixels, rows, cols, _=True):
    """Probabilities (K, rows, cols) that name the top left pixel of each cell; holes are class 0."""
    cells = pixels[:, MARGIN::CELL, MARGIN::CELL][:, :rows, :cols].astype(int)
    best = np.where(cells[0] > 0, code(cells[0] - 1, cells[1] - 1), 0)
    probabilities = np.full((K, rows, cols), 0.2 / K, dtype=np.float32)
    np.put_along_axis(probabilities, best[None], 0.8, axis=0)
    return probabilities


def whole_patch(pixels, rows, cols, _=True):
    """Probabilities that depend on every pixel of the patch, the context included."""
    views = np.lib.stride_tricks.sliding_window_view(pixels, (PATCH, PATCH), axis=(1, 2))
    sums = views[:, ::CELL, ::CELL].sum(axis=(0, 3, 4), dtype=np.int64)
    assert sums.shape == (rows, cols)
    probabilities = np.zeros((K, rows, cols), dtype=np.float32)
    np.put_along_axis(probabilities, (sums % K)[None], 1.0, axis=0)
    return probabilities


def patchwork(pixels, rows, cols, _=True):
    """Five classes in a patchwork with noise, by the place that the pixels (patch_px 1) name."""
    row, col = (pixels.astype(np.int64) - 1)[:, :rows, :cols]
    noise = (row * 7919 + col * 104729) % 7 == 0
    best = np.where(noise, (row * col) % 5, (row // 3 + col // 5) % 5) % 5
    return np.stack([best == k for k in range(5)]).astype(np.float32)


def mapper(classify=where_it_is, piece_px=64):
    geometry = Geometry(patch_px=PATCH, cell_px=CELL, min_valid=0.75)
    return Mapper(classify, ("B02", "B03"), geometry, CLASSES, (max(1, piece_px // CELL),) * 2)


def provenance():
    return Provenance(
        [info("s.1")],
        bands=("B02", "B03"),
        cell_m=80,
        patch_m=160,
        hashes={"weights": "ab" * 32},
        credit="Labels (c) nobody",
    )


def run(scene, folder, workers=None, **how):
    """Maps a scene into a folder; the folder."""
    map_scene(scene, mapper(**how), provenance(), folder, folder, workers or ComputeConf(workers=1))
    return folder


def values(folder, what="classmap"):
    with rasterio.open(folder / f"s.1_{what}.tif") as dataset:
        return dataset.read(1)


def digests(folder):
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())
    }


def mirrored(index, size):
    """Symmetric reflection, one step at a time."""
    while not 0 <= index < size:
        index = -1 - index if index < 0 else 2 * size - 1 - index
    return index


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def holed(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("holed"), HOLES)


@pytest.fixture(scope="module")
def mapped(scene, tmp_path_factory):
    return run(scene, tmp_path_factory.mktemp("mapped") / "s.1")


def test_every_pixel_of_the_scene_finds_its_cell_by_its_coordinates(mapped):
    with rasterio.open(mapped / "s.1_classmap.tif") as dataset:
        cells, transform = dataset.read(1), dataset.transform
        assert dataset.crs.to_epsg() == 32633
    assert (transform.c % 80, transform.f % 80) == (0, 0), "anchored at multiples of the cell"
    seen = np.zeros(cells.shape, dtype=bool)
    for row in range(HEIGHT):
        y = Y0 - 10 * row - 5
        top = (np.floor(y / 80) + 1) * 80
        first_row = mirrored(round((Y0 - top) / 10), HEIGHT)
        for col in range(WIDTH):
            x = X0 + 10 * col + 5
            left = np.floor(x / 80) * 80
            first_col = mirrored(round((left - X0) / 10), WIDTH)
            place = int((transform.f - y) // 80), int((x - transform.c) // 80)
            assert cells[place] == code(first_row, first_col) + 1
            seen[place] = True
    assert seen.all(), "no cell lies wholly outside of the scene"


def test_confidence_is_the_probability_in_per_cent(mapped):
    assert set(np.unique(values(mapped, "confidence"))) == {80}


def test_context_past_the_edges_is_mirrored(scene, tmp_path):
    cells = values(run(scene, tmp_path / "s.1", classify=whole_patch))
    grid = mapper().ground(scene).grid
    for row in range(grid.rows):
        for col in (0, 5, grid.cols - 1):
            window = grid.read_window(range(row, row + 1), range(col, col + 1))
            rows = [mirrored(index, HEIGHT) for index in window.rows]
            cols = [mirrored(index, WIDTH) for index in window.cols]
            total = PATCH * sum(1 + r for r in rows) + PATCH * sum(1 + c for c in cols)
            assert cells[row, col] == total % K + 1


def test_a_cell_with_too_few_valid_pixels_is_nodata(holed, tmp_path):
    folder = run(holed, tmp_path / "s.1")
    valid = np.ones((HEIGHT, WIDTH), dtype=bool)
    for row, col, height, width in HOLES:
        valid[row : row + height, col : col + width] = False
    cells, confidence = values(folder), values(folder, "confidence")
    grid = mapper().ground(holed).grid
    shares = set()
    for row in range(grid.rows):
        for col in range(grid.cols):
            window = grid.read_window(range(row, row + 1), range(col, col + 1), margin_px=0)
            inside = valid[
                max(window.row, 0) : window.row + CELL, max(window.col, 0) : window.col + CELL
            ]
            shares.add(round(inside.mean(), 4))
            assert (cells[row, col] == 0) == (inside.mean() < 0.75)
            assert (confidence[row, col] == 255) == (cells[row, col] == 0)
    assert 0.75 in shares, "no cell is just good enough: the test does not see the limit"
    lines = (folder / "areas.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    nodata, total = rows[-2:]
    assert int(nodata["pixels"]) == (cells == 0).sum()
    assert total["mapped_ha"] == f"{HEIGHT * WIDTH / 100:.2f}"


def test_pieces_and_workers_do_not_change_a_byte(holed, tmp_path):
    first = digests(run(holed, tmp_path / "a", ComputeConf(workers=1)))
    assert first == digests(run(holed, tmp_path / "b", ComputeConf(workers=2)))
    # another size of pieces, which nobody can choose: the same maps nevertheless
    assert first == digests(run(holed, tmp_path / "c", ComputeConf(workers=2), piece_px=24))
    assert first == digests(run(holed, tmp_path / "d", piece_px=1024))


def test_pieces_cover_the_cells_once(scene):
    grid = mapper().ground(scene).grid
    count = np.zeros((grid.rows, grid.cols), dtype=int)
    for piece in pieces(grid, (3, 3)):
        count[np.ix_(piece.rows, piece.cols)] += 1
    assert (count == 1).all()


def test_pieces_of_few_columns_come_first_where_memory_is_short(scene):
    grid = mapper().ground(scene).grid
    every = pieces(grid, (3, 4))
    narrow = pieces(grid, (3, 4), across=2)
    key = lambda piece: (piece.rows.start, piece.cols.start)  # noqa: E731
    assert sorted(every, key=key) == sorted(narrow, key=key) == every
    assert [piece.cols.start // 8 for piece in narrow] == sorted(p.cols.start // 8 for p in narrow)
    assert narrow != every


def test_a_cache_for_little_memory_changes_no_byte(holed, tmp_path, monkeypatch):
    whole = digests(run(holed, tmp_path / "a", ComputeConf(workers=2)))
    monkeypatch.setattr(mapper_module, "column_bytes", lambda *_: 10**12)
    assert digests(run(holed, tmp_path / "b", ComputeConf(workers=2, memory_mb=128))) == whole


def test_each_source_block_is_decoded_once(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(block_cache, "CHUNK_PX", (16, 32))
    seen, read = [], OpenFile.read
    monkeypatch.setattr(
        OpenFile, "read", lambda self, *of: (seen.append((self.href, *of)), read(self, *of))[1]
    )
    run(scene, tmp_path / "a", ComputeConf(workers=3))
    assert len(seen) == len(set(seen)) == 2 * len({window for _, window, _ in seen}) > 10


def test_each_overview_of_a_large_map_is_the_mode_of_its_cells(tmp_path):
    scene = make_scene(tmp_path, [(900, 1000, 64, 100)], size=(1301, 1203))
    geometry = Geometry(patch_px=1, cell_px=1, min_valid=0.5)
    large = Mapper(patchwork, ("B02", "B03"), geometry, CLASSES[:5], (300, 300))
    folder = tmp_path / "s.1"
    map_scene(scene, large, provenance(), folder, folder, ComputeConf(workers=2))
    path = folder / "s.1_classmap.tif"
    assert cog_validate(path, strict=True) == (True, [], [])
    cells = values(folder)
    assert cells.shape == (1301, 1203)
    with rasterio.open(path) as dataset:
        factors = dataset.overviews(1)
    assert factors == [2, 4, 8]
    for level, factor in enumerate(factors):
        with rasterio.open(path, overview_level=level) as dataset:
            reduced = dataset.read(1)
        padded = np.pad(cells, [(0, -side % factor) for side in cells.shape])
        squares = padded.reshape(reduced.shape[0], factor, reduced.shape[1], factor)
        counts = np.stack([(squares == value).sum(axis=(1, 3)) for value in range(1, 6)])
        mode = np.where(counts.max(axis=0) > 0, counts.argmax(axis=0) + 1, 0)
        np.testing.assert_array_equal(reduced, mode)


def test_pixels_outside_of_the_scene_do_not_count_as_valid(scene):
    grid = mapper().ground(scene).grid
    assert (grid.row0, grid.col0) == (-3, -3)
    piece = pieces(grid, (1, 1))[0]
    pixels = np.zeros((2, PATCH, PATCH), dtype=np.uint16)
    pixels[:, MARGIN : MARGIN + 3, :] = 9  # the rows above the scene
    assert valid_share(pixels, grid, piece) == 0
    pixels[0, MARGIN + 3 : MARGIN + 8, MARGIN + 3 : MARGIN + 8] = 9
    assert valid_share(pixels, grid, piece) == 0.5


def test_the_item_describes_every_file_and_is_valid_stac(mapped, scene):
    write_catalog(mapped.parent, ["s.1"])
    assert catalogued(mapped.parent) == ["s.1"]
    catalog = pystac.Catalog.from_file(str(mapped.parent / "catalog.json"))
    (item,) = catalog.get_items()
    described = {Path(asset.href).name for asset in item.assets.values()}
    assert described == {file.name for file in mapped.iterdir()} - {"s.1.json"}
    for asset in item.assets.values():
        path = Path(asset.get_absolute_href())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert asset.extra_fields["file:checksum"] == f"1220{digest}"
        assert asset.extra_fields["file:size"] == path.stat().st_size
    assert item.properties["proj:code"] == "EPSG:32633"
    assert "Contains modified Copernicus Sentinel data 2021" in item.properties["description"]
    (origin,) = item.get_links("derived_from")
    assert origin.get_absolute_href() == str(scene.path)
    # offline: the schemas of extensions are on the web, the core ones come with pystac
    core = item.clone()
    core.stac_extensions = []
    core.validate()
    catalog.validate()


def test_a_catalog_cannot_name_a_folder_outside_of_its_own(tmp_path):
    hrefs = ["./../...json", "./a/b.json", "../a/a.json", "./a/a.json", "/a/a.json"]
    links = [{"rel": "item", "href": href} for href in hrefs]
    (tmp_path / "catalog.json").write_text(json.dumps({"links": links}))
    assert catalogued(tmp_path) == ["a"]
    (tmp_path / "catalog.json").write_text("no json")
    assert catalogued(tmp_path) == []


def test_the_item_names_the_classes_and_their_colours(mapped):
    item = json.loads((mapped / "s.1.json").read_text())
    classes = item["assets"]["classmap"]["classification:classes"]
    assert classes[0] == {
        "value": 0, "name": "nodata", "description": "no data", "nodata": True,
    }  # fmt: skip
    assert [c["value"] for c in classes[1:]] == list(range(1, K + 1))
    assert [c["title"] for c in classes[1:]] == [info.title for info in CLASSES]
    assert [f"#{c['color_hint'].lower()}" for c in classes[1:]] == [i.color for i in CLASSES]
    counts = np.bincount(values(mapped).ravel(), minlength=K + 1)
    assert [c["count"] for c in classes[1:]] == counts[1:].tolist()


def test_nothing_in_a_folder_of_maps_tells_where_or_when_it_was_made(scene, tmp_path):
    for file in run(scene, tmp_path / "s.1").iterdir():
        assert str(tmp_path.parent).encode() not in file.read_bytes(), file.name


def test_the_function_and_its_pieces_can_travel(scene):
    job = pickle.loads(pickle.dumps(partial(map_piece, scene, mapper(), mapper().ground(scene))))
    piece = pieces(mapper().ground(scene).grid, (8, 8))[0]
    assert job(piece)[0].shape == (8, 8)
