import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import rasterio
from rio_cogeo import cog_validate

from pipeline.errors import OutputError
from pipeline.geo.maps import cog, overviews, raster_writer
from pipeline.geo.raster.grid import PixelGrid
from tests.support.limits import file_limit

GRID = PixelGrid(32633, 300000, 5800000, 611, 533, 80)
KIND = cog.MapKind([cog.Band("values")], 0, overviews.mode, {1: (10, 20, 30), 3: (200, 100, 0)})
SHARES = cog.MapKind(
    [cog.Band(f"share <{k}> & more", {"LENSCAPE_CLASS": f"c{k}"}) for k in range(3)],
    255,
    overviews.mean,
    unit="%",
)


def some_cells(grid=GRID):
    rng = np.random.default_rng(4)
    patchwork = np.kron(rng.integers(0, 4, (90, 80)), np.ones((7, 7), dtype=int))
    cells = patchwork[: grid.height, : grid.width].astype(np.uint8)
    noise = rng.random(cells.shape) < 0.3
    cells[noise] = rng.integers(0, 4, noise.sum())
    return cells


def some_shares():
    """Three bands that differ, with nodata at a corner."""
    shares = np.stack([some_cells() * 30, some_cells()[::-1] * 20, 100 - some_cells()])
    shares[:, :70, :90] = 255
    return shares


def publish(folder, cells, block=100, kind=KIND, tags=None):
    """Paints the cells, (rows, cols) or (bands, rows, cols), in blocks and publishes them."""
    folder.mkdir(exist_ok=True)
    grid = PixelGrid(GRID.epsg, GRID.x0, GRID.y0, *cells.shape[-2:], GRID.pixel_m)
    path = folder / "map.tif"
    with raster_writer.temporary_raster(
        folder / "raster.tif", grid, kind.nodata, len(kind.bands)
    ) as raster:
        for row in range(0, grid.height, block):
            for col in range(0, grid.width, block):
                raster.write(row, col, cells[..., row : row + block, col : col + block])
        cog.write_cog(raster, path, kind, tags or {"LENSCAPE_SCENE": "a <b> & 'c'"})
    return path


def test_cells_grid_palette_and_tags_come_back(tmp_path):
    cells = some_cells()
    with rasterio.open(publish(tmp_path, cells)) as dataset:
        np.testing.assert_array_equal(dataset.read(1), cells)
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == GRID.transform
        assert tuple(dataset.bounds) == GRID.bounds
        assert (dataset.nodata, dataset.dtypes) == (0, ("uint8",))
        assert dataset.descriptions == ("values",)
        assert dataset.tags()["LENSCAPE_SCENE"] == "a <b> & 'c'"
        palette = dataset.colormap(1)
        assert [palette[value][:3] for value in (0, 1, 2, 3, 4)] == [
            (0, 0, 0), (10, 20, 30), (0, 0, 0), (200, 100, 0), (0, 0, 0),
        ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [tmp_path / "map.tif"], "files of a passing nature are left"


def test_every_overview_is_the_reduction_of_its_source_cells(tmp_path):
    cells = some_cells()
    path = publish(tmp_path, cells)
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2, 4]
    for level, factor in enumerate((2, 4)):
        with rasterio.open(path, overview_level=level) as dataset:
            np.testing.assert_array_equal(dataset.read(1), overviews.mode(cells, factor, 0))


def test_it_is_a_cog_in_the_strict_sense(tmp_path):
    valid, errors, warnings = cog_validate(publish(tmp_path, some_cells()), strict=True)
    assert (valid, errors, warnings) == (True, [], [])


@pytest.mark.slow
def test_blocks_and_runs_do_not_change_a_byte(tmp_path):
    cells = some_cells()
    first = publish(tmp_path / "a", cells, block=100)
    assert first.read_bytes() == publish(tmp_path / "b", cells, block=611).read_bytes()
    other = tmp_path / "c"  # another process, hash seed and number of GDAL's threads
    program = (
        "import sys, numpy as np; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "import test_cog; test_cog.publish(Path(sys.argv[2]), test_cog.some_cells(), block=37)"
    )
    folder = str(__import__("pathlib").Path(__file__).parent)
    environment = {"GDAL_NUM_THREADS": "2", "PYTHONHASHSEED": "7", "PATH": "/usr/bin"}
    subprocess.run([sys.executable, "-c", program, folder, str(other)], check=True, env=environment)
    assert first.read_bytes() == (other / "map.tif").read_bytes()


def test_statistics_are_those_of_the_cells_with_data(tmp_path):
    cells = some_cells()
    with rasterio.open(publish(tmp_path, cells)) as dataset:
        tags = dataset.tags(1)
    valid = cells[cells > 0].astype(float)
    assert (tags["STATISTICS_MINIMUM"], tags["STATISTICS_MAXIMUM"]) == ("1", "3")
    assert float(tags["STATISTICS_MEAN"]) == pytest.approx(valid.mean(), rel=1e-12)
    assert float(tags["STATISTICS_STDDEV"]) == pytest.approx(valid.std(), rel=1e-12)
    assert float(tags["STATISTICS_VALID_PERCENT"]) == pytest.approx(100 * (cells > 0).mean(), rel=1e-3)


def test_a_map_without_data_has_no_statistics(tmp_path):
    with rasterio.open(publish(tmp_path, np.zeros((20, 30), dtype=np.uint8))) as dataset:
        assert not dataset.read(1).any()
        assert not any(key.startswith("STATISTICS") for key in dataset.tags(1))


def test_a_small_map_covers_whole_squares_of_cells(tmp_path):
    path = publish(tmp_path, some_cells())
    left, top = GRID.x0, GRID.y0
    cells, bounds = cog.read_small(path, 300)
    assert cells.shape == (153, 134)  # of 611 x 533 cells, 4 x 4 a pixel of 320 m
    assert bounds == (left, top - 153 * 320, left + 134 * 320, top)
    cells, bounds = cog.read_small(path, 1000)
    np.testing.assert_array_equal(cells, some_cells())
    assert bounds == GRID.bounds


def test_a_map_without_palette_is_grey(tmp_path):
    kind = cog.MapKind([cog.Band("per cent")], 255, overviews.mean, unit="%")
    with rasterio.open(publish(tmp_path, some_cells(), kind=kind)) as dataset:
        assert dataset.colorinterp[0].name == "gray"
        assert (dataset.nodata, dataset.units) == (255, ("%",))


def test_each_band_has_its_cells_overviews_names_and_statistics(tmp_path):
    shares = some_shares()
    path = publish(tmp_path, shares, kind=SHARES)
    assert list(tmp_path.iterdir()) == [path], "GDAL kept something out of the TIFF"
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), shares)
        assert dataset.descriptions == ("share <0> & more", "share <1> & more", "share <2> & more")
        assert (dataset.nodata, dataset.units) == (255, ("%",) * 3)
        assert [kind.name for kind in dataset.colorinterp] == ["gray", "undefined", "undefined"]
        for band, values in enumerate(shares, start=1):
            tags = dataset.tags(band)
            assert tags["LENSCAPE_CLASS"] == f"c{band - 1}"
            assert float(tags["STATISTICS_MEAN"]) == pytest.approx(values[values < 255].mean())
    for level, factor in enumerate((2, 4)):
        with rasterio.open(path, overview_level=level) as dataset:
            expected = [overviews.mean(values, factor, 255) for values in shares]
            np.testing.assert_array_equal(dataset.read(), expected)
    again = publish(tmp_path / "again", shares, block=77, kind=SHARES)
    assert again.read_bytes() == path.read_bytes()


def test_a_band_is_read_without_the_others(tmp_path):
    """Otherwise showing one class of 254 decodes them all."""
    with rasterio.open(publish(tmp_path, some_shares(), kind=SHARES)) as dataset:
        assert dataset.profile["interleave"] == "band"


def test_memory_does_not_grow_with_the_number_of_bands(tmp_path):
    def peak(bands):
        kind = cog.MapKind(SHARES.bands[:1] * bands, 255, overviews.mean)
        cells = np.broadcast_to(some_cells(), (bands, GRID.height, GRID.width))
        tracemalloc.start()
        try:
            publish(tmp_path / str(bands), cells, kind=kind)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(24) < 1.1 * peak(2)


def test_what_the_disk_lost_is_noticed_in_any_band(tmp_path, monkeypatch):
    written = []

    def copy_with_a_gap(*arguments, **options):
        rasterio_copy(*arguments, **options)
        written.append(arguments[1])
        with rasterio.open(arguments[1], "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
            dataset.write(np.zeros((9, 9), dtype=np.uint8), 3, window=((0, 9), (100, 109)))

    rasterio_copy = cog.rasterio.shutil.copy
    monkeypatch.setattr(cog.rasterio.shutil, "copy", copy_with_a_gap)
    with pytest.raises(OutputError, match="does not hold what was written to it"):
        publish(tmp_path, some_shares(), kind=SHARES)
    assert written


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    place = tmp_path / "absent" / "raster.tif"
    sentence = r"raster\.tif cannot be written .* check the free space"
    with pytest.raises(OutputError, match=sentence), raster_writer.temporary_raster(place, GRID, 0):
        pass


@pytest.mark.parametrize("size", [0, 8, 100])
def test_what_never_came_to_the_disk_is_one_sentence(tmp_path, size):
    """A small raster lies in GDAL's memory until then."""
    grid = PixelGrid(32633, 300000.0, 5900000.0, 40, 40, 80.0)
    path = tmp_path / "classes.partial"
    with (
        file_limit(size),
        pytest.raises(OutputError, match=r"classes\.partial cannot be written .*check the free space"),
        raster_writer.temporary_raster(path, grid, 0) as raster,
    ):
        raster.flush()
    assert not list(tmp_path.iterdir())
