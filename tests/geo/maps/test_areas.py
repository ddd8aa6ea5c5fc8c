import csv

import numpy as np

from pipeline.geo.maps.areas import Tally, areas_csv
from pipeline.geo.raster.grid import PatchGrid, PixelGrid
from pipeline.store_meta import ClassInfo

CLASSES = [
    ClassInfo(name="forest", title="Forest", color="#00ff00", code="311"),
    ClassInfo(name="total", title="A class that is called total", color="#ff0000"),
    ClassInfo(name="absent", title="Absent", color="#0000ff"),
]
GRID = PatchGrid(PixelGrid(32633, 300_030.0, 5_800_010.0, 61, 83), 16, 8)


def cells_of(grid):
    return np.random.default_rng(0).integers(0, 3, (grid.rows, grid.cols)).astype(np.uint8)


def tally_of(cells, grid, block):
    rows, cols = grid.inside_px()
    tally = Tally.empty()
    for row in range(0, grid.rows, block):
        for col in range(0, grid.cols, block):
            part = cells[row : row + block, col : col + block]
            inside_px = np.outer(rows[row : row + block], cols[col : col + block])
            tally = tally.plus(part, inside_px)
    return tally


def test_ground_is_that_of_each_pixel_of_the_scene():
    cells = cells_of(GRID)
    tally = tally_of(cells, GRID, 3)
    rows = (np.arange(GRID.scene.height) - GRID.row0) // GRID.cell_px
    cols = (np.arange(GRID.scene.width) - GRID.col0) // GRID.cell_px
    per_pixel = cells[np.ix_(rows, cols)]
    np.testing.assert_array_equal(tally.ground_px, np.bincount(per_pixel.ravel(), minlength=256))
    np.testing.assert_array_equal(tally.pixels, np.bincount(cells.ravel(), minlength=256))


def test_the_table_adds_up_to_the_area_of_the_scene():
    text = areas_csv(tally_of(cells_of(GRID), GRID, 5), CLASSES, 10.0)
    lines = text.splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert "no area estimates" in " ".join(comments)
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert list(rows[0]) == [
        "value",
        "name",
        "code",
        "pixels",
        "mapped_ha",
        "percent",
        "adjusted_ha",
        "adjusted_low_ha",
        "adjusted_high_ha",
        "adjusted_because",
    ]
    named = [(row["value"], row["name"]) for row in rows]
    assert named == [
        ("1", "forest"), ("2", "total"), ("3", "absent"), ("0", "nodata"), ("", "total"),
    ]  # fmt: skip
    assert [row["code"] for row in rows] == ["311", "", "", "", ""]
    *parts, total = rows
    assert total["mapped_ha"] == f"{61 * 83 * 100 / 1e4:.2f}"
    assert sum(round(100 * float(row["mapped_ha"])) for row in parts) == 61 * 83
    assert sum(int(row["pixels"]) for row in parts) == int(total["pixels"]) == GRID.rows * GRID.cols
    assert abs(sum(float(row["percent"]) for row in parts) - 100) < 0.03
    assert all(row[f"adjusted{end}"] == "" for row in rows for end in ("_ha", "_low_ha", "_high_ha"))
    assert ["sample" in row["adjusted_because"] for row in rows] == [True, True, True, False, False]
    assert rows[2]["pixels"] == "0"
    assert rows[2]["mapped_ha"] == "0.00"


def test_blocks_do_not_change_the_table():
    cells = cells_of(GRID)
    assert areas_csv(tally_of(cells, GRID, 2), CLASSES, 10.0) == areas_csv(
        tally_of(cells, GRID, 99), CLASSES, 10.0
    )


def test_no_spreadsheet_runs_what_a_code_says():
    codes = ["=cmd|' /C calc'!A0", "@SUM(1)", "-1"]
    classes = [one.model_copy(update={"code": code}) for one, code in zip(CLASSES, codes, strict=True)]
    text = areas_csv(tally_of(cells_of(GRID), GRID, 5), classes, 10.0)
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    assert [row["code"] for row in rows][:3] == [f"'{codes[0]}", f"'{codes[1]}", "-1"]
