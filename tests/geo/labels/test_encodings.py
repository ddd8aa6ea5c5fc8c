"""Texts in other encodings: read as the conf says, and recognised where nothing says it."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
from shapely import box

from pipeline.config.labels import VectorLabelConf
from pipeline.errors import LabelError
from pipeline.geo.labels.encodings import misread
from pipeline.geo.labels.sources import read_features
from pipeline.geo.labels.vector_files import read_frame
from tests.support.labelled import EPSG, make_classes

SQUARE = box(0, 0, 10, 10)


def shapefile(folder: Path, encoding: str, attribute: str = "art", *, says: str | None = None) -> Path:
    """A Shapefile whose `.cpg` is lost, or says something else."""
    path = folder / "a.shp"
    frame = gpd.GeoDataFrame({attribute: ["Gewässer", "Öde"]}, geometry=[SQUARE] * 2, crs=EPSG)
    frame.to_file(path, encoding=encoding)
    path.with_suffix(".cpg").unlink(missing_ok=True)
    header = bytearray(path.with_suffix(".dbf").read_bytes())
    header[29] = 0  # the byte of the table that may name the encoding too
    path.with_suffix(".dbf").write_bytes(header)
    if says:
        path.with_suffix(".cpg").write_text(says)
    return path


def classes():
    made = make_classes("water", "waste")
    values = [["Gewässer"], ["Öde"]]
    listed = [one.model_copy(update={"values": v}) for one, v in zip(made.classes, values, strict=True)]
    return made.model_copy(update={"classes": listed})


@pytest.mark.parametrize("encoding", ["UTF-8", "cp850"])
def test_a_lost_cpg_is_told_with_the_encoding_and_the_key_works(tmp_path: Path, encoding: str) -> None:
    conf = VectorLabelConf(path=str(shapefile(tmp_path, encoding)), attribute="art")
    with pytest.raises(
        LabelError, match=r"a\.shp: attribute 'art': .* is 'Gewässer' in ([\w-]+): "
    ) as no:
        read_features(conf, classes())
    told = str(no.value).split("`encoding: ")[1].split("`")[0]
    assert told == encoding
    assert read_features(conf.model_copy(update={"encoding": told}), classes()).counts["polygons"] == 2


def test_the_key_goes_before_a_wrong_cpg(tmp_path: Path) -> None:
    path = shapefile(tmp_path, "cp1252", says="UTF-8")
    conf = VectorLabelConf(path=str(path), attribute="art")
    with pytest.raises(LabelError):
        read_features(conf, classes())
    found = read_frame(conf.model_copy(update={"encoding": "cp1252"}))
    assert found["art"].tolist() == ["Gewässer", "Öde"]


def test_an_attribute_may_be_misread_too(tmp_path: Path) -> None:
    conf = VectorLabelConf(path=str(shapefile(tmp_path, "UTF-8", "Größe")), attribute="Größe")
    with pytest.raises(LabelError, match=r"no attribute 'Größe': 'GrÃ.*' is 'Größe' in UTF-8: state"):
        read_frame(conf)


def test_texts_that_look_misread_and_texts_that_do_not() -> None:
    assert misread(["Wiese", "GewÃ¤sser"], set()) == (
        "'GewÃ¤sser' looks decoded wrongly: state the `encoding` of the labels (a Shapefile says it in "
        "a .cpg file beside it)"
    )
    assert "looks decoded" in str(misread(["Gew\x84sser"], set()))
    assert "looks decoded" in str(misread(["Gew\ufffdsser"], set()))
    genuine = [
        "Gewässer",
        "Größe",
        "forêt",
        "água",
        "Österreich",
        "Łąka",
        "лес",
        "森林",
        "naïve",
        "½ ha",
    ]
    assert misread(genuine, {"Wald", "Wiese"}) is None


@pytest.mark.parametrize("value", ["", "nonsense", "hex", "a\0b"])
def test_an_unknown_encoding_is_refused_with_the_conf(value: str) -> None:
    with pytest.raises(ValueError, match="is no encoding; write one such as cp1252 or UTF-8"):
        VectorLabelConf(path="a.shp", attribute="art", encoding=value)
