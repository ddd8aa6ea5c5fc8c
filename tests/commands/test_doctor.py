"""What this installation can do is what is found in it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import rasterio
import torch

from pipeline.commands import doctor
from pipeline.errors import LenscapeError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # asks a Python for its QGIS


def lines(report: str) -> dict[str, str]:
    """Each line of a report by what it is about."""
    return {line[:12].strip(): line[13:] for line in report.splitlines()}


def test_what_the_stages_need_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor.run(tmp_path)
    checks = lines(capsys.readouterr().out)
    assert sys.executable in checks["Python"]
    assert str(tmp_path) in checks["disk"]
    assert f"GDAL {rasterio.__gdal_version__}, JP2OpenJPEG, GTiff, COG" in checks["rasters"]
    assert f"(torch {torch.__version__})" in checks["accelerator"]
    assert "sqlite:///" in checks["MLflow"] or "://" in checks["MLflow"]
    assert not any(text.startswith("MISSING") for text in checks.values())


def test_runs_go_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    doctor.run(tmp_path)
    assert f"runs go to sqlite:///{tmp_path}/runs.db" in lines(capsys.readouterr().out)["MLflow"]


def test_what_is_missing_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(LenscapeError, match=r"^git is missing: needed by DVC; install it"):
        doctor.run(tmp_path)
    checks = lines(capsys.readouterr().out)
    assert checks["git"].startswith("MISSING")
    assert checks["Chromium"].startswith("-")


def test_a_driver_that_gdal_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(doctor._RASTERS, "JP2Unknown", "bands of other products")
    with pytest.raises(LenscapeError, match="lacks JP2Unknown for bands of other products; pip"):
        doctor.run(tmp_path)
    assert "MISSING" in lines(capsys.readouterr().out)["rasters"]


def test_a_package_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(LenscapeError, match=r"^vectors is missing: pyogrio cannot be imported \("):
        doctor.run(tmp_path)


def test_each_source_that_is_not_available_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor.run(tmp_path)
    checks = lines(capsys.readouterr().out)
    sources = ("folders", "stacks", "SAFE", "STAC", "EuroSAT", "polygons", "points", "codes")
    assert all(checks[name].startswith("ok") for name in sources)
    monkeypatch.setattr(doctor, "_drivers", lambda: {"GTiff": "GeoTIFF"})
    monkeypatch.setitem(sys.modules, "pystac_client", None)
    with pytest.raises(LenscapeError, match=r"^rasters is missing: .* lacks JP2OpenJPEG for bands"):
        doctor.run(tmp_path)
    checks = lines(capsys.readouterr().out)
    assert checks["SAFE"].startswith("-")
    assert "not available, GDAL lacks JP2OpenJPEG; run make" in checks["SAFE"]
    assert "not available, pystac_client cannot be imported; run make" in checks["STAC"]
    assert checks["stacks"].startswith("ok")


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
    checks = lines(capsys.readouterr().out)
    assert checks["web pixels"].startswith("ok")
    assert checks["signing"].endswith("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    doctor.run(tmp_path)
    report = capsys.readouterr().out
    assert lines(report)["signing"].endswith("by your keys")
    assert "hidden" not in report


def test_a_gdal_without_http_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.Env() as environment:
        without = {name: what for name, what in environment.drivers().items() if name != "HTTP"}
    monkeypatch.setattr(rasterio.Env, "drivers", lambda _: without)
    doctor.run(tmp_path)
    line = lines(capsys.readouterr().out)["web pixels"]
    assert line.startswith("-")
    assert "`keep: download` in conf/fetch.yaml: not available, GDAL lacks HTTP; run make" in line


def test_labels_that_are_open_with_edits_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "data" / "own" / "labels" / "mine" / "drawn.gpkg"
    labels.parent.mkdir(parents=True)
    with closing(sqlite3.connect(labels)) as editor:
        editor.execute("PRAGMA journal_mode=WAL")
        editor.execute("CREATE TABLE a (b INTEGER)")
        editor.commit()
        doctor.run(tmp_path)
        named = lines(capsys.readouterr().out)["labels"]
        assert named.startswith(
            f"-        {labels} is open in another program, which keeps edits in dra"
        )
    doctor.run(tmp_path)
    assert lines(capsys.readouterr().out)["labels"].startswith("ok       1 files, none of them open")


DOCTOR = "from pathlib import Path; from pipeline.commands.doctor import run; run(Path())"


@pytest.mark.parametrize("name", ["PROJ_DATA", "PROJ_LIB"])
def test_the_data_of_another_proj_are_named(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DOCTOR], cwd=ROOT, env=os.environ | {name: str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert lines(done.stdout)["projections"].startswith("BROKEN")
    assert f"PROJ does not find its EPSG codes; unset {name}" in done.stderr


@pytest.mark.parametrize("name", ["PROJ_DATA", "PROJ_LIB", "GDAL_DATA"])
def test_the_command_line_uses_its_own_data(tmp_path: Path, name: str) -> None:
    with closing(sqlite3.connect(tmp_path / "proj.db")) as database:
        database.execute("CREATE TABLE metadata (key, value)")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "doctor"], cwd=ROOT,
        env=os.environ | {name: str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert lines(done.stdout)["projections"].split() == ["ok", "EPSG", "codes", "are", "known"]


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (".dvc/tmp/rwlock", b"", r"rwlock is broken: no DVC runs\? then delete .*rwlock"),
        (".dvc/tmp/rwlock", b'{"/a/b": {"wri', "rwlock is broken"),
        (
            "dvc.lock",
            b"schema: '2.0'\nstages:\n  tile:\n    cmd: pyth\n    de",
            "dvc.lock is broken: git",
        ),
        ("dvc.lock", b"", "dvc.lock is broken: git checkout .*dvc.lock .* then dvc repro"),
    ],
)
def test_what_a_kill_left_of_the_files_of_dvc_is_named(
    tmp_path: Path, path: str, content: bytes, message: str
) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_bytes(content)
    with pytest.raises(LenscapeError, match=message):
        doctor.run(tmp_path)


def test_whole_files_of_dvc_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text("{}")
    shutil.copy(ROOT / "dvc.lock", tmp_path)
    doctor.run(tmp_path)


def test_a_password_of_the_store_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:geheim@db/mlflow")
    doctor.run(tmp_path)
    assert lines(capsys.readouterr().out)["MLflow"].endswith("runs go to postgresql://***@db/mlflow")
