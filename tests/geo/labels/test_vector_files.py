"""Vector files of labels: every format comes to the same features; what cannot be used is refused."""

from pathlib import Path
from zipfile import ZipFile

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
from shapely import box

from pipeline.config.labels import VectorLabelConf
from pipeline.errors import ConfigError, LabelError, SceneError
from pipeline.geo.labels.vector_files import read_frame
from tests.support.labelled import EPSG, make_labels

SQUARE = box(0, 0, 10, 10)


@pytest.mark.parametrize(
    "name", ["a.gpkg", "a.shp", "a.geojson", "a.fgb", "a.parquet", "a.kml", "a.zip"]
)
def test_every_format_has_the_same_features(tmp_path: Path, name: str) -> None:
    places = [box(13.1, 52.1, 13.2, 52.2), box(13.3, 52.3, 13.4, 52.4)]
    frame = gpd.GeoDataFrame({"kind": ["Wald", "Gewässer"]}, geometry=places, crs=4326)
    path = tmp_path / name
    match path.suffix:
        case ".parquet":
            frame.to_parquet(path)
        case ".zip":
            (tmp_path / "shape").mkdir()
            frame.to_file(tmp_path / "shape" / "a.shp")
            with ZipFile(path, "w") as archive:
                for part in (tmp_path / "shape").iterdir():
                    archive.write(part, part.name)
        case ".kml":
            frame.to_file(path, driver="LIBKML")
        case _:
            frame.to_file(path)
    found = read_frame(VectorLabelConf(path=str(path), attribute="kind"))
    found = found.sort_values("kind", ascending=False)  # FlatGeobuf orders by place
    assert found["kind"].tolist() == ["Wald", "Gewässer"]
    assert found.crs == 4326
    for shape, place in zip(found.geometry, places, strict=True):
        assert shape.normalize().equals_exact(place.normalize(), 1e-6)


def test_geoparquet_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    conf = VectorLabelConf(path=str(path), attribute="kind")
    frame = gpd.GeoDataFrame({"kind": ["wood"]}, geometry=[SQUARE], crs=EPSG)
    frame.set_crs(None, allow_override=True).to_parquet(path)
    with pytest.raises(LabelError, match=r"a\.parquet has no CRS; assign"):
        read_frame(conf)
    frame.to_parquet(path)
    with pytest.raises(LabelError, match="no attribute 'use'; it has kind"):
        read_frame(conf.model_copy(update={"attribute": "use"}))
    with pytest.raises(LabelError, match="is GeoParquet, where `layer` means nothing; take it out"):
        read_frame(conf.model_copy(update={"layer": "a"}))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LabelError, match=r"a\.parquet cannot be read as vectors"):
        read_frame(conf)
    pq.write_table(pa.table({"kind": ["wood"]}), path)
    with pytest.raises(LabelError, match=r"a\.parquet has no geometries"):
        read_frame(conf)


def test_a_missing_attribute_is_answered_with_those_there(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"kind": ["wood"], "year": [1]}, geometry=[SQUARE], crs=EPSG)
    frame.to_file(tmp_path / "a.gpkg")
    conf = VectorLabelConf(path=str(tmp_path / "a.gpkg"), attribute="fclass")
    with pytest.raises(LabelError, match="no attribute 'fclass'; it has kind, year"):
        read_frame(conf)


def test_a_missing_crs(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        conf = make_labels(tmp_path / "a.shp", [("wood", SQUARE)], crs=None)
    with pytest.raises(LabelError, match=r"a\.shp has no CRS; assign"):
        read_frame(conf)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"a\.gpkg does not exist"):
        read_frame(VectorLabelConf(path=str(tmp_path / "a.gpkg"), attribute="kind"))


def test_a_truncated_file(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.gpkg", [("wood", SQUARE)])
    whole = (tmp_path / "a.gpkg").read_bytes()
    (tmp_path / "a.gpkg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LabelError, match=r"a\.gpkg cannot be read as vectors"):
        read_frame(conf)


def test_a_table_without_geometries(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("kind\nwood\n")
    with pytest.raises(LabelError, match=r"a\.csv has no geometries, nor one column longitude"):
        read_frame(VectorLabelConf(path=str(tmp_path / "a.csv"), attribute="kind"))


def test_of_several_layers_one_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    for layer, value in (("old", "wood"), ("new", "lake")):
        frame = gpd.GeoDataFrame({"kind": [value]}, geometry=[SQUARE], crs=EPSG)
        frame.to_file(path, layer=layer)
    # a style that QGIS has put beside them is no layer
    pyogrio.write_dataframe(pd.DataFrame({"styleQML": ["..."]}), path, layer="layer_styles")
    conf = VectorLabelConf(path=str(path), attribute="kind")
    with pytest.raises(LabelError, match="several layers; name one of old, new as `layer`"):
        read_frame(conf)
    with pytest.raises(LabelError, match="no layer 'never' with geometries; name one of old, new"):
        read_frame(conf.model_copy(update={"layer": "never"}))
    chosen = conf.model_copy(update={"layer": "new"})
    assert read_frame(chosen)["kind"].tolist() == ["lake"]


def test_a_crs_that_the_file_does_not_say_is_stated(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        conf = make_labels(tmp_path / "a.shp", [("wood", SQUARE)], crs=None)
    assert read_frame(conf.model_copy(update={"crs": "EPSG:32633"})).crs == EPSG
    with pytest.raises(
        ConfigError, match=r"`crs` of .*a\.shp: EPSG:99999 is no CRS that PROJ knows; na"
    ):
        read_frame(conf.model_copy(update={"crs": "EPSG:99999"}))
    told = make_labels(tmp_path / "b.shp", [("wood", SQUARE)])
    assert read_frame(told.model_copy(update={"crs": f"EPSG:{EPSG}"})).crs is not None
    with pytest.raises(LabelError, match=r"b\.shp is in .*33N, but the conf says `crs: EPSG:4326`; l"):
        read_frame(told.model_copy(update={"crs": "EPSG:4326"}))


def zip_of(path: Path, *folders: str, name: str = "a.shp") -> Path:
    """A zip with a vector file in each of some folders, as macOS packs it."""
    shape = path.parent / "shape"
    shape.mkdir(exist_ok=True)
    gpd.GeoDataFrame({"kind": ["wood"]}, geometry=[SQUARE], crs=EPSG).to_file(shape / name)
    with ZipFile(path, "w") as archive:
        for folder in folders:
            for part in sorted(shape.iterdir()):
                archive.write(part, f"{folder}{part.name}")
                archive.writestr(f"__MACOSX/{folder}._{part.name}", b"x")
    return path


@pytest.mark.parametrize("file", ["a.zip", "A.SHP.ZIP", "ä #1.zip"])
@pytest.mark.parametrize("folder", ["", "data/", "a/b/"])
@pytest.mark.parametrize("name", ["a.shp", "a.gpkg"])
def test_a_file_is_found_wherever_it_lies_in_a_zip(
    tmp_path: Path, file: str, folder: str, name: str
) -> None:
    conf = VectorLabelConf(path=str(zip_of(tmp_path / file, folder, name=name)), attribute="kind")
    assert read_frame(conf)["kind"].tolist() == ["wood"]


def test_several_files_of_a_zip(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", "x/", "y/")
    with pytest.raises(
        SceneError, match=r"a\.zip holds the vector files x/a\.shp, y/a\.shp; unpack it"
    ):
        read_frame(VectorLabelConf(path=str(path), attribute="kind"))
    zip_of(tmp_path / "b.zip", "x/")
    path = zip_of(tmp_path / "b.zip", "x/", name="b.shp")
    conf = VectorLabelConf(path=str(path), attribute="kind")
    with pytest.raises(LabelError, match="has several layers; name one of a, b as `layer`"):
        read_frame(conf)
    assert len(read_frame(conf.model_copy(update={"layer": "b"}))) == 1


def test_a_ring_that_is_not_closed(tmp_path: Path) -> None:
    conf = make_labels(tmp_path / "a.geojson", [("wood", SQUARE)])
    path = tmp_path / "a.geojson"
    first, _, rest = path.read_text().partition("[ [ [ ")
    corner, _, rest = rest.partition(" ]")
    path.write_text(f"{first}[ [ [ 3.0, 3.0 ]{rest}")
    assert corner not in ("", "3.0, 3.0")
    with pytest.raises(
        LabelError, match=r"a\.geojson cannot be read as vectors \(GEOSException.*; give"
    ):
        read_frame(conf)
