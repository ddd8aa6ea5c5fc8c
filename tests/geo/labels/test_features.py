"""Features from their files: classes, numbers, counts, mending, refusals, ways to a scene."""

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from shapely import Point, Polygon, box

from pipeline.config.labels import VectorLabelConf
from pipeline.errors import LabelError
from pipeline.geo.labels.features import find_features
from pipeline.geo.labels.sources import read_features, read_sources
from pipeline.geo.raster.grid import PixelGrid
from tests.support.labelled import EPSG, make_classes, make_labels

CLASSES = make_classes("wood", "lake")
SQUARE = box(0, 0, 10, 10)
BOW_TIE = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
SPIKED = Polygon([(0, 0), (2, 0), (2, 2), (40, 2), (2, 2), (0, 2)])
COLLAPSED = Polygon([(0, 0), (2, 2), (1, 1)])


def test_rows_of_all_files_are_numbered_through(tmp_path: Path) -> None:
    first = make_labels(
        tmp_path / "a.gpkg", [("wood", SQUARE), ("road", SQUARE), ("lake", None), ("lake", SQUARE)]
    )
    second = make_labels(tmp_path / "b.geojson", [("lake", SQUARE), ("wood", SQUARE)])
    classes = make_classes("wood", "lake", ignore=["road"])
    one, two = read_sources([first, second], classes)
    assert (one.numbers.tolist(), one.classes.tolist()) == ([0, 3], [0, 1])
    assert (two.numbers.tolist(), two.classes.tolist()) == ([4, 5], [1, 0])


def test_every_feature_is_counted_once(tmp_path: Path) -> None:
    features = [
        ("wood", SQUARE),
        ("wood", BOW_TIE),
        ("wood", COLLAPSED),
        ("wood", None),
        ("wood", Polygon()),
        ("wood", Point(1, 1)),
        ("road", SQUARE),
        (None, SQUARE),
    ]
    conf = make_labels(tmp_path / "a.gpkg", features)
    source = read_features(conf, make_classes("wood", "lake", ignore=["road"]))
    found = source.counts
    assert found == {
        "features": 8, "polygons": 2, "ignored": 2, "empty": 3, "other": 1, "repaired": 1,
    }  # fmt: skip
    assert source.numbers.tolist() == [0, 1]


def test_a_feature_of_many_parts_stands_once_a_part(tmp_path: Path) -> None:
    """Dissolved labels, and what a clip leaves of them: polygons among lines and points, nested."""
    boxes = [box(20 * i, 0, 20 * i + 10, 10) for i in range(4)]
    line, point = shapely.LineString([(0, 0), (5, 5)]), Point(1, 1)
    nested = shapely.GeometryCollection([line, shapely.MultiPolygon(boxes[2:]), point])
    features = [
        ("wood", shapely.MultiPolygon(boxes[:2])),
        ("lake", boxes[0]),
        ("lake", shapely.GeometryCollection([nested, boxes[3]])),
        ("wood", None),
        ("road", shapely.MultiPolygon(boxes)),
    ]
    conf = make_labels(tmp_path / "a.gpkg", features)
    source = read_features(conf, make_classes("wood", "lake", ignore=["road"]))
    assert source.counts == {
        "features": 5, "single_parts": 13, "polygons": 6, "ignored": 4, "empty": 1, "other": 2,
        "repaired": 0,
    }  # fmt: skip
    assert source.classes.tolist() == [0, 0, 1, 1, 1, 1]
    assert sorted(shape.bounds for shape in source.shapes[2:]) == sorted(
        boxes[i].bounds for i in (0, 2, 3, 3)
    )
    assert len(set(source.numbers.tolist())) == 6
    assert source.numbers[[0, 2]].tolist() == [0, 1]  # the first part has the row of its feature
    assert source.numbers.min() >= 0
    assert source.numbers.max() < 13
    again = read_sources([conf, conf], make_classes("wood", "lake", ignore=["road"]))[1]
    assert again.numbers.tolist() == (source.numbers + 13).tolist()


def test_points_of_a_collection_count_where_there_are_no_polygons(tmp_path: Path) -> None:
    both = shapely.GeometryCollection([Point(1, 1), shapely.MultiPoint([(2, 2), (3, 3)])])
    source = read_features(make_labels(tmp_path / "a.gpkg", [("wood", both)]), CLASSES)
    assert source.counts == {
        "features": 1,
        "single_parts": 3,
        "points": 3,
        "ignored": 0,
        "empty": 0,
        "other": 0,
    }
    assert source.numbers.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("broken", "area"), [(BOW_TIE, 2.0), (SPIKED, 4.0)])
def test_an_invalid_polygon_is_mended_and_stays_an_area(
    tmp_path: Path, broken: Polygon, area: float
) -> None:
    source = read_features(make_labels(tmp_path / "a.gpkg", [("wood", broken)]), CLASSES)
    mended = source.shapes[0]
    assert mended.is_valid
    assert mended.geom_type in {"Polygon", "MultiPolygon"}
    assert mended.area == pytest.approx(area)


def test_values_are_text_or_whole_numbers_and_may_be_merged(tmp_path: Path) -> None:
    numbers = pd.array([311, 512, None, 312], dtype="Int64")
    frame = gpd.GeoDataFrame({"code": numbers}, geometry=[SQUARE] * 4, crs=EPSG)
    frame.to_file(tmp_path / "a.gpkg")
    classes = make_classes("wood", "lake").model_dump()
    classes["classes"][0]["values"] = [311, 312]
    classes["classes"][1]["values"] = [512]
    conf = VectorLabelConf(path=str(tmp_path / "a.gpkg"), attribute="code")
    source = read_features(conf, type(CLASSES).model_validate(classes))
    assert source.classes.tolist() == [0, 1, 0]
    assert source.numbers.tolist() == [0, 1, 3]
    assert source.counts["ignored"] == 1


def test_heights_of_points_do_not_count(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [("wood", shapely.force_3d(SQUARE, 7.0))])
    assert not read_features(conf, CLASSES).shapes[0].has_z


def grid(epsg: int = EPSG, x0: float = 300_000.0, y0: float = 5_800_000.0) -> PixelGrid:
    return PixelGrid(epsg, x0, y0, 100, 100)


@pytest.mark.parametrize("crs", [4326, 3035, 25832, EPSG])
def test_labels_of_any_crs_come_to_that_of_the_scene(tmp_path: Path, crs: int) -> None:
    here, left = (
        box(300_100, 5_799_500, 300_200, 5_799_600),
        box(299_000, 5_799_500, 299_990, 5_799_600),
    )
    shapes = gpd.GeoSeries([left, here], crs=EPSG).to_crs(crs)
    # the antipodes: there is no easting in UTM zone 33 for them
    away = gpd.GeoSeries([box(-168, -53, -167, -52)], crs=4326).to_crs(crs) if crs == 4326 else []
    features = [("wood", shape) for shape in [*shapes, *away]]
    source = read_features(make_labels(tmp_path / "a.gpkg", features, crs=crs), CLASSES)
    found, places = source.intersecting(grid())
    assert places.tolist() == [1]
    assert shapely.hausdorff_distance(found[0], here) < 0.01


def test_a_scene_at_the_180th_meridian(tmp_path: Path) -> None:
    """UTM zone 60 reaches a little past 180 degrees, where longitudes begin again at -180."""
    scene = grid(32660, 832_000.0, 600_000.0)
    corners = gpd.GeoSeries([Point(832_000, 599_500), Point(833_000, 599_500)], crs=32660).to_crs(4326)
    assert corners.x[0] > 179 > -179 > corners.x[1]
    west, east = box(179.9, 5, 179.9999, 6), box(-179.9999, 5, -179.9, 6)
    features = [("wood", west), ("lake", east), ("wood", box(0, 5, 1, 6))]
    source = read_features(make_labels(tmp_path / "a.gpkg", features, crs=4326), CLASSES)
    assert source.intersecting(scene)[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    "odd",
    [
        box(179.9, 5, 180.3, 6),  # drawn on past 180 degrees
        box(-180.1, 5, -179.7, 6),
        Polygon([(179.9, 5), (-179.7, 5), (-179.7, 6), (179.9, 6)]),
        Polygon([(179.9, 5), (180.3, 6), (180.3, 5), (179.9, 6)]),  # crosses itself
        Point(180.004, 5.42),
    ],
)
def test_labels_across_the_180th_meridian(tmp_path: Path, odd: shapely.Geometry) -> None:
    """They meet the scenes of both sides as if they had been cut there."""
    conf = make_labels(tmp_path / "a.gpkg", [("wood", odd)], crs=4326)
    source = find_features(conf, CLASSES, "classes.yaml")
    west, _, east, _ = shapely.total_bounds(source.shapes)
    assert -180 <= west < east <= 180 or odd.geom_type == "Point"
    assert np.all(shapely.bounds(source.shapes)[:, 2] - shapely.bounds(source.shapes)[:, 0] < 1)
    assert source.rows == 1
    assert (source.classes == 0).all()
    if odd.geom_type == "Point":
        assert shapely.get_x(source.shapes) == pytest.approx([-179.996])
    else:
        found = read_features(conf, CLASSES)
        for epsg, x0 in ((32660, 830_000.0), (32601, 168_000.0)):
            assert len(found.intersecting(grid(epsg, x0, 600_000.0))[1]) > 0


def test_no_way_between_two_crs(tmp_path: Path) -> None:
    local = (
        'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],UNIT["metre",1]]'
    )
    source = read_features(make_labels(tmp_path / "a.gpkg", [("wood", SQUARE)]), CLASSES)
    source = replace(source, crs=type(source.crs)(local))
    with pytest.raises(LabelError, match=r"a\.gpkg: its CRS \(site\) .* EPSG:32633 .* reproject"):
        source.intersecting(grid())


def test_unknown_values_are_named_with_file_attribute_and_remedy(tmp_path: Path) -> None:
    features = [("wood", SQUARE), ("sea", SQUARE), ("park", SQUARE), ("sea", SQUARE)]
    conf = make_labels(tmp_path / "a.gpkg", features)
    with pytest.raises(LabelError) as error:
        read_sources([conf], CLASSES, "conf/classes.yaml")
    message = str(error.value)
    assert (
        "a.gpkg: attribute 'kind' holds 'sea' (2 features), 'park' (1 features), which is no class"
        in message
    )
    assert "conf/classes.yaml" in message
    assert "ignore" in message


def test_an_unknown_number_is_shown_as_it_stands_in_yaml(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [(3, SQUARE)])
    with pytest.raises(LabelError, match=r"holds 3 \(1 features\), which"):
        read_sources([conf], CLASSES)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([], ["a.gpkg holds no features", "draw some"]),
        ([("road", SQUARE), (None, SQUARE)], ["none of the 2 features", "2 have no value", "list its"]),
        ([("wood", COLLAPSED), ("wood", None)], ["2 are empty or have no area", "draw them again"]),
        ([("wood", shapely.LineString([(0, 0), (1, 1)]))], ["1 are neither", "buffer them"]),
        ([("wood", COLLAPSED), ("road", SQUARE)], ["1 have no value", "1 are empty"]),
    ],
)
def test_a_file_of_nothing_says_why(tmp_path: Path, features: list, words: list[str]) -> None:
    schema = gpd.GeoDataFrame({"kind": ["x"]}, geometry=[SQUARE], crs=EPSG).iloc[:0]
    if features:
        conf = make_labels(tmp_path / "a.gpkg", features)
    else:
        schema.to_file(tmp_path / "a.gpkg")
        conf = VectorLabelConf(path=str(tmp_path / "a.gpkg"), attribute="kind")
    with pytest.raises(LabelError) as error:
        read_features(conf, make_classes("wood", "lake", ignore=["road"]))
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_coordinates_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    corners = [(0, 0), (10, 0), (10, value), (0, 10), (0, 0)]
    odd = shapely.set_coordinates(Polygon([(0, 0), (1, 0), (1, 1), (0, 1)]), corners)
    conf = make_labels(tmp_path / "a.gpkg", [("wood", SQUARE), ("wood", odd), ("lake", odd)])
    with pytest.raises(LabelError, match=r"a\.gpkg: of feature 2 \(there are 2 such\) a coordinate"):
        read_features(conf, CLASSES)


def test_values_that_are_lists(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"kind": [["wood"], ["lake"]]}, geometry=[SQUARE, SQUARE], crs=EPSG)
    frame.to_parquet(tmp_path / "a.parquet")
    conf = VectorLabelConf(path=str(tmp_path / "a.parquet"), attribute="kind")
    with pytest.raises(
        LabelError, match=r"a\.parquet: attribute 'kind' holds lists or the like; it must"
    ):
        read_features(conf, CLASSES)
