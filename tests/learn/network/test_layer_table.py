from __future__ import annotations

from pipeline.learn.network.layer_table import table
from pipeline.learn.network.layers import PRESETS, plan


def rows(text):
    return {line.split("  ")[0]: line.split() for line in text.splitlines() if line}


def test_the_table_of_lenet5_reads_as_the_course_has_it():
    lines = rows(table(plan(PRESETS["lenet5"], 1, 32, 10)))
    assert lines["convolution 2"][-6:] == ["2,416", "240,000", "14", "140", "241,600", "1,883,200"]
    assert "10 x 10 x 16" in table(plan(PRESETS["lenet5"], 1, 32, 10))
    assert lines["total"] == ["total", "61,706", "416,520", "423,038", "6,763,934"]


def test_metres_follow_the_pixel():
    assert rows(table(plan(PRESETS["lenet5"], 1, 32, 10), pixel_m=2.5))["convolution 1"][-3] == "12.5"


def test_columns_line_up():
    lines = table(plan(PRESETS["modern"], 13, 16, 8)).splitlines()
    until = [index for index, line in enumerate(lines) if line.startswith("-")]
    body = [line for line in lines[: until[1]] if not line.startswith("-")]
    assert len({len(line) for line in body}) == 1
