"""Label polygons from their files: classes, numbers, counts, mending, refusals."""

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from shapely import Point, Polygon, box

from pipeline.config.tile import LabelConf
from pipeline.errors import LabelError
from pipeline.geo.grid import SceneGrid
from pipeline.geo.polygons import read_frame, read_sources
from tests.labelled import EPSG, make_classes, make_labels

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
    (source,) = read_sources([conf], make_classes("wood", "lake", ignore=["road"]))
    found = source.counts
    assert (found.features, found.polygons, found.repaired) == (8, 2, 1)
    assert (found.ignored, found.empty, found.other) == (2, 3, 1)
    assert found.features == found.polygons + found.ignored + found.empty + found.other
    assert source.counts + source.counts == replace(
        found, features=16, polygons=4, repaired=2, ignored=4, empty=6, other=2
    )


@pytest.mark.parametrize(("broken", "area"), [(BOW_TIE, 2.0), (SPIKED, 4.0)])
def test_an_invalid_polygon_is_mended_and_stays_an_area(
    tmp_path: Path, broken: Polygon, area: float
) -> None:
    (source,) = read_sources([make_labels(tmp_path / "a.gpkg", [("wood", broken)])], CLASSES)
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
    conf = LabelConf(path=str(tmp_path / "a.gpkg"), attribute="code")
    (source,) = read_sources([conf], type(CLASSES).model_validate(classes))
    assert source.classes.tolist() == [0, 1, 0]
    assert source.numbers.tolist() == [0, 1, 3]
    assert source.counts.ignored == 1


def test_heights_of_points_do_not_count(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [("wood", shapely.force_3d(SQUARE, 7.0))])
    assert not read_sources([conf], CLASSES)[0].shapes[0].has_z


def grid(epsg: int = EPSG, x0: float = 300_000.0, y0: float = 5_800_000.0) -> SceneGrid:
    return SceneGrid(epsg, x0, y0, 100, 100)


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
    (source,) = read_sources([make_labels(tmp_path / "a.gpkg", features, crs=crs)], CLASSES)
    found, places = source.on(grid())
    assert places.tolist() == [1]
    assert shapely.hausdorff_distance(found[0], here) < 0.01


def test_a_scene_at_the_180th_meridian(tmp_path: Path) -> None:
    """UTM zone 60 reaches a little past 180 degrees, where longitudes begin again at -180."""
    scene = grid(32660, 832_000.0, 600_000.0)
    corners = gpd.GeoSeries([Point(832_000, 599_500), Point(833_000, 599_500)], crs=32660).to_crs(4326)
    assert corners.x[0] > 179 > -179 > corners.x[1]
    west, east = box(179.9, 5, 179.9999, 6), box(-179.9999, 5, -179.9, 6)
    features = [("wood", west), ("lake", east), ("wood", box(0, 5, 1, 6))]
    (source,) = read_sources([make_labels(tmp_path / "a.gpkg", features, crs=4326)], CLASSES)
    assert source.on(scene)[1].tolist() == [0, 1]


def test_no_way_between_two_crs(tmp_path: Path) -> None:
    local = (
        'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],UNIT["metre",1]]'
    )
    (source,) = read_sources([make_labels(tmp_path / "a.gpkg", [("wood", SQUARE)])], CLASSES)
    source = replace(source, crs=type(source.crs)(local))
    with pytest.raises(LabelError, match=r"a\.gpkg: its CRS \(site\) .* EPSG:32633 .* reproject"):
        source.on(grid())


def test_unknown_values_are_named_with_file_attribute_and_remedy(tmp_path: Path) -> None:
    features = [("wood", SQUARE), ("sea", SQUARE), ("park", SQUARE), ("sea", SQUARE)]
    conf = make_labels(tmp_path / "a.gpkg", features)
    with pytest.raises(LabelError) as error:
        read_sources([conf], CLASSES, "conf/classes.yaml")
    message = str(error.value)
    assert "a.gpkg: attribute 'kind' holds 'sea', 'park', which is no class" in message
    assert "conf/classes.yaml" in message
    assert "ignore" in message


def test_an_unknown_number_is_shown_as_it_stands_in_yaml(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [(3, SQUARE)])
    with pytest.raises(LabelError, match="holds 3, which"):
        read_sources([conf], CLASSES)


def test_points_alone_are_refused(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [("wood", Point(1, 1)), ("lake", Point(2, 2))])
    with pytest.raises(LabelError, match=r"a\.gpkg holds no polygons but 2 features such as a point"):
        read_sources([conf], CLASSES)


def test_a_missing_attribute_is_answered_with_those_there(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"kind": ["wood"], "year": [1]}, geometry=[SQUARE], crs=EPSG)
    frame.to_file(tmp_path / "a.gpkg")
    conf = LabelConf(path=str(tmp_path / "a.gpkg"), attribute="fclass")
    with pytest.raises(LabelError, match="no attribute 'fclass'; it has kind, year"):
        read_frame(conf)


def test_a_missing_crs(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        conf = make_labels(tmp_path / "a.shp", [("wood", SQUARE)], crs=None)
    with pytest.raises(LabelError, match=r"a\.shp has no CRS; assign"):
        read_frame(conf)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"a\.gpkg does not exist"):
        read_frame(LabelConf(path=str(tmp_path / "a.gpkg"), attribute="kind"))


def test_a_truncated_file(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [("wood", SQUARE)])
    whole = (tmp_path / "a.gpkg").read_bytes()
    (tmp_path / "a.gpkg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LabelError, match=r"a\.gpkg cannot be read as vectors"):
        read_frame(conf)


def test_a_table_without_geometries(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("kind\nwood\n")
    with pytest.raises(LabelError, match=r"a\.csv has no geometries"):
        read_frame(LabelConf(path=str(tmp_path / "a.csv"), attribute="kind"))


def test_of_several_layers_one_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    for layer, value in (("old", "wood"), ("new", "lake")):
        frame = gpd.GeoDataFrame({"kind": [value]}, geometry=[SQUARE], crs=EPSG)
        frame.to_file(path, layer=layer)
    # a style that QGIS has put beside them is no layer
    pyogrio.write_dataframe(pd.DataFrame({"styleQML": ["..."]}), path, layer="layer_styles")
    conf = LabelConf(path=str(path), attribute="kind")
    with pytest.raises(LabelError, match="several layers; name one of old, new as `layer`"):
        read_frame(conf)
    with pytest.raises(LabelError, match="no layer 'never' with geometries; name one of old, new"):
        read_frame(conf.model_copy(update={"layer": "never"}))
    chosen = conf.model_copy(update={"layer": "new"})
    assert read_sources([chosen], CLASSES)[0].classes.tolist() == [1]


def test_a_source_of_nothing_is_no_error_of_the_file(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [("road", SQUARE)])
    (source,) = read_sources([conf], make_classes("wood", "lake", ignore=["road"]))
    shapes, places = source.on(grid())
    assert (len(shapes), len(places)) == (0, 0)
    assert source.numbers.dtype == np.int32
