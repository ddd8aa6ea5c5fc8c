"""Tables of coordinates as points: what programs write as CSV, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import shapely

from pipeline.config.labels import VectorLabelConf
from pipeline.errors import ConfigError, LabelError
from pipeline.geo.labels.sources import read_features
from pipeline.geo.labels.vector_files import read_frame
from tests.support.labelled import make_classes

PLACES = [(13.125, 52.5), (13.25, 52.625)]


def conf(folder: Path, text: str | bytes, name: str = "points.csv", **keys: Any) -> VectorLabelConf:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return VectorLabelConf(**({"path": str(path), "attribute": "kind"} | keys))


def found(source: VectorLabelConf) -> tuple[list[Any], list[tuple[float, float]]]:
    frame = read_frame(source)
    return frame["kind"].tolist(), list(zip(frame.geometry.x, frame.geometry.y, strict=True))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("longitude,latitude,kind\n13.125,52.5,wood\n13.25,52.625,Moor\n", "p.csv"),
        ("kind;Lat;Lon\r\nwood;52,5;13,125\r\nMoor;52,625;13,25\r\n", "p.csv"),
        ("id\tLNG\tLATITUDE\tkind\n1\t13.125\t52.5\twood\n2\t13.25\t52.625\tMoor\n", "p.tsv"),
        ('\ufeff"kind","lon","lat"\n"wood","13.125","52.5"\n"Moor"," 13.25","52.625"\n', "p.csv"),
        ("kind|long|lat|crs\nwood|13.125|52.5|x\nMoor|13.25|52.625|x\n", "p.CSV"),
        ("kind\tdecimalLatitude\tdecimalLongitude\nwood\t52.5\t13.125\nMoor\t52.625\t13.25\n", "p.txt"),
    ],
    ids=["comma", "semicolon and decimal comma", "tab", "byte order mark and quotes", "pipe", "text"],
)
def test_columns_of_degrees_are_known_by_their_names(tmp_path: Path, text: str, name: str) -> None:
    source = conf(tmp_path, text, name)
    assert found(source) == (["wood", "Moor"], PLACES)
    assert read_frame(source).crs == 4326


@pytest.mark.parametrize("comma", [".", ","])
def test_columns_of_any_name_and_crs(tmp_path: Path, comma: str) -> None:
    text = f"Rechts;Hoch;kind\n300005{comma}5;5799500;wood\n300010;5799500{comma}25;lake\n"
    source = conf(tmp_path, text, x="Rechts", y="Hoch", crs="EPSG:32633")
    assert found(source) == (["wood", "lake"], [(300_005.5, 5_799_500.0), (300_010.0, 5_799_500.25)])
    assert read_frame(source).crs == 32633


def test_stated_columns_go_before_known_ones_and_before_geometries(tmp_path: Path) -> None:
    text = "kind,lon,lat,x,y\nwood,1,2,13.125,52.5\nlake,1,2,13.25,52.625\n"
    assert found(conf(tmp_path, text, x="x", y="y", crs="EPSG:4326"))[1] == PLACES
    text = 'kind,WKT,x,y\nwood,"POINT (1 2)",13.125,52.5\nlake,"POINT (1 2)",13.25,52.625\n'
    assert found(conf(tmp_path, text, x="x", y="y", crs="EPSG:4326"))[1] == PLACES
    assert found(conf(tmp_path, text, crs="EPSG:4326"))[1] == [(1, 2), (1, 2)]


def test_numbers_are_codes_of_classes_as_far_as_the_file_goes(tmp_path: Path) -> None:
    """The last line decides that all values are text, a megabyte behind the first."""
    note = "x" * 1_000
    lines = "".join(f"13.1,52.5,{code},{note}\n" for code in (10, 20) * 600)
    assert found(conf(tmp_path, f"lon,lat,kind,note\n{lines}"))[0][:2] == [10, 20]
    values = found(conf(tmp_path, f"lon,lat,kind,note\n{lines}13.1,52.5,wood,\n"))[0]
    assert (values[0], values[-1]) == ("10", "wood")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (("1.0", "2.0"), [1, 2]),
        (("-3", "0"), [-3, 0]),
        (("011", "020"), ["011", "020"]),
        (("true", "false"), ["true", "false"]),
        (("2017-02-03", "2018-02-03"), ["2017-02-03", "2018-02-03"]),
        (("1.5", "2"), ["1.5", "2"]),
        (("9" * 30, "2"), ["9" * 30, "2"]),
    ],
)
def test_what_is_no_whole_number_stays_as_it_is_written(
    tmp_path: Path, written: tuple[str, str], read: list[Any]
) -> None:
    lines = "".join(f"13.1,52.5,{value}\n" for value in (*written, ""))
    assert read_frame(conf(tmp_path, f"lon,lat,kind\n{lines}"))["kind"].dropna().tolist() == read


def test_rows_without_coordinates_or_class_are_counted(tmp_path: Path) -> None:
    text = "lon,lat,kind\n13.1,52.5,wood\n,52.5,wood\n13.1,NA,lake\n13.2,52.5,\n"
    source = read_features(conf(tmp_path, text), make_classes("wood", "lake"))
    assert source.counts == {"features": 4, "points": 1, "ignored": 1, "empty": 2, "other": 0}
    assert source.numbers.tolist() == [0]
    assert source.shapes[0] == shapely.Point(13.1, 52.5)


def test_texts_of_another_encoding(tmp_path: Path) -> None:
    text = "lon,lat,kind\n13.125,52.5,Gewässer\n13.25,52.625,Moor\n".encode("cp1252")
    with pytest.raises(
        LabelError, match=r"points\.csv holds texts that are not in utf-8; state the `en"
    ):
        read_frame(conf(tmp_path, text))
    assert found(conf(tmp_path, text, encoding="cp1252"))[0] == ["Gewässer", "Moor"]
    wide = text.decode("cp1252").encode("utf-16")
    for keys in ({}, {"encoding": "utf-16"}):
        with pytest.raises(LabelError, match=r"points\.csv is in UTF-16; save it in UTF-8\.$"):
            read_frame(conf(tmp_path, wide, **keys))


@pytest.mark.parametrize(
    ("text", "keys", "says"),
    [
        ("kind,east,north\nwood,1,2\n", {}, r"nor one column longitude .*`x` and `y`.*kind, east, no"),
        ("kind,lon,lng,lat\nwood,1,2,3\n", {}, r"nor one column longitude and one latitude; name"),
        ("kind,x,y\nwood,1,2\n", {"x": "x", "y": "y"}, r"in which CRS its columns 'x' and 'y' are; st"),
        ("kind,x,y\nwood,1,2\n", {"x": "e", "y": "y"}, r"no column 'e', which is the `x` of the conf"),
        (
            "kind,lon,lat\nwood,300500,5799500\n",
            {},
            r"'lon' holds '300500' in row 1, which is not within 180 d",
        ),
        ("kind,lon,lat\nwood,13,52\nlake,13,52°30'\n", {}, r"'lat' holds .* in row 2, which is no num"),
        ("kind,lon,lat\nwood,inf,52\n", {}, r"'lon' holds .* in row 1, which is no number; correct it"),
        ("kind,x,y\nwood,1,2\n", {"x": "x", "y": "y", "crs": "EPSG:99999"}, r"EPSG:99999 is no CRS"),
        ("use,lon,lat\nwood,1,2\n", {}, r"no attribute 'kind'; it has use, lon, lat"),
        ("", {}, r"points\.csv (has no|cannot be read)"),
    ],
)
def test_tables_that_say_too_little(tmp_path: Path, text: str, keys: dict[str, str], says: str) -> None:
    with pytest.raises((ConfigError, LabelError), match=says):
        read_frame(conf(tmp_path, text, **keys))
