"""What this installation can do is what is found in it."""

import shutil
import sys
from pathlib import Path

import pytest
import rasterio
import torch

from pipeline.commands import doctor
from pipeline.errors import LenscapeError


def lines(said: str) -> dict[str, str]:
    """Each line of a report by what it is about."""
    return {line[:12].strip(): line[13:] for line in said.splitlines()}


def test_what_the_stages_need_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor.run(tmp_path)
    found = lines(capsys.readouterr().out)
    assert sys.executable in found["Python"]
    assert str(tmp_path) in found["disk"]
    assert f"GDAL {rasterio.__gdal_version__}, JP2OpenJPEG, GTiff, COG" in found["rasters"]
    assert f"(torch {torch.__version__})" in found["accelerator"]
    assert "sqlite:///" in found["MLflow"] or "://" in found["MLflow"]
    assert not any(text.startswith("MISSING") for text in found.values())


def test_runs_go_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    doctor.run(tmp_path)
    assert f"runs go to sqlite:///{tmp_path}/runs.db" in lines(capsys.readouterr().out)["MLflow"]


def test_what_is_missing_is_said_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(LenscapeError, match=r"^git is missing: needed by DVC; install it"):
        doctor.run(tmp_path)
    found = lines(capsys.readouterr().out)
    assert found["git"].startswith("MISSING")
    assert found["Chromium"].startswith("-")


def test_a_driver_that_gdal_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(doctor._RASTERS, "JP2Unheard", "bands of other products")
    with pytest.raises(LenscapeError, match="lacks JP2Unheard for bands of other products; pip"):
        doctor.run(tmp_path)
    assert "MISSING" in lines(capsys.readouterr().out)["rasters"]


def test_a_package_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(LenscapeError, match=r"^vectors is missing: pyogrio cannot be imported \("):
        doctor.run(tmp_path)


def test_each_source_is_said_with_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor.run(tmp_path)
    found = lines(capsys.readouterr().out)
    sources = ("folders", "stacks", "SAFE", "STAC", "EuroSAT", "polygons", "points", "codes")
    assert all(found[name].startswith("ok") for name in sources)
    monkeypatch.setattr(doctor, "_drivers", lambda: {"GTiff": "GeoTIFF"})
    monkeypatch.setitem(sys.modules, "pystac_client", None)
    doctor.run(tmp_path)
    found = lines(capsys.readouterr().out)
    assert found["SAFE"].startswith("-")
    assert "not here, GDAL lacks JP2OpenJPEG; run make" in found["SAFE"]
    assert "not here, pystac_client cannot be imported; run make" in found["STAC"]
    assert found["stacks"].startswith("ok")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is absent")
def test_programs_are_found_on_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor.run(tmp_path)
    assert shutil.which("git") in lines(capsys.readouterr().out)["git"]


def test_what_is_read_from_the_web(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    doctor.run(tmp_path)
    found = lines(capsys.readouterr().out)
    assert found["web pixels"].startswith("ok")
    assert found["signing"].endswith("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    doctor.run(tmp_path)
    said = capsys.readouterr().out
    assert lines(said)["signing"].endswith("by your keys")
    assert "hidden" not in said


def test_a_gdal_without_http_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.Env() as environment:
        without = {name: what for name, what in environment.drivers().items() if name != "HTTP"}
    monkeypatch.setattr(rasterio.Env, "drivers", lambda _: without)
    doctor.run(tmp_path)
    found = lines(capsys.readouterr().out)["web pixels"]
    assert found.startswith("-")
    assert "`keep: download` in conf/fetch.yaml" in found
