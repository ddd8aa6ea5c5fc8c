"""What is malformed, one table: exit code 2, one sentence, and all that was there before stays."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import cli
from pipeline.store import PatchStore
from tests import malformed
from tests.malformed.case import Case
from tests.malformed.labels import field, vectors
from tests.support.products import make_product, zipped
from tests.support.worlds import GRID, positions, write_raster

NOBODY = 65_534
OUTPUTS = ("scenes/train", "scenes/map", "patches", "downloads")
WORDS = {
    "fetch": (
        "fetch", "--conf", "conf/fetch.yaml", "--train", "out/scenes/train", "--map", "out/scenes/map",
        "--downloads", "out/downloads",
    ),
    "tile": (
        "tile", "--conf", "conf/tile.yaml", "--classes", "conf/classes.yaml",
        "--scenes", "out/scenes/train", "--out", "out/patches",
    ),
}  # fmt: skip


def _cases() -> list[Any]:
    found = []
    areas = sorted(module.name for module in pkgutil.iter_modules(malformed.__path__))
    for area in areas:
        module = importlib.import_module(f"tests.malformed.{area}")
        for case in getattr(module, "CASES", []):
            marks = [pytest.mark.slow] if case.unprivileged else []
            found.append(pytest.param(case, id=f"{area}: {case.id}", marks=marks))
    return found


def test_the_table_has_every_kind() -> None:
    cases = [param.values[0] for param in _cases()]
    assert {"fetch", "tile"} == {case.stage for case in cases}
    sentences = [case.says for case in cases]
    assert len(cases) > 90
    assert len(set(sentences)) > 0.9 * len(sentences), "each is a cause of its own"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can reach; those of pytest itself let nobody else in."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for inside, folders, _ in os.walk(folder):
        for name in folders:
            (Path(inside) / name).chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("case", _cases())
def test_it_is_refused_in_one_sentence(
    case: Case, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (place / "conf").mkdir()
    for name, content in case.make(place / "in put" / "größe").items():
        (place / "conf" / name).write_text(json.dumps(content), encoding="utf-8")
    for name in OUTPUTS:
        old = place / "out" / name / "of an earlier run.txt"
        old.parent.mkdir(parents=True)
        old.write_text(name)
    if case.stage == "tile":
        assert _run(monkeypatch, "fetch") == 0, capfd.readouterr().err
        capfd.readouterr()
    before = _tree(place)
    if case.unprivileged:
        code, said = _as_nobody(place, case.stage)
    else:
        code, said = _run(monkeypatch, case.stage), capfd.readouterr().err
    assert code == 2, said
    assert said.startswith("lenscape: "), said
    assert said.count("\n") == 1, said
    assert said.endswith(".\n"), said
    assert re.search(case.says, said), said
    assert "Traceback" not in said
    assert _tree(place) == before


def _run(monkeypatch: pytest.MonkeyPatch, stage: str) -> int:
    """The exit code of a command that runs in this process."""
    monkeypatch.setattr(sys, "argv", ["lenscape", *WORDS[stage]])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _as_nobody(folder: Path, stage: str) -> tuple[int, str]:
    """Exit code and stderr of a command of a user whom permissions bind, which root is not.

    The interpreter may lie where only root can go: the process gives up its rights once it has its
    modules.
    """
    code = (
        "import os, sys, pipeline.stages.fetch\n"
        "from pipeline import cli\n"
        f"if os.geteuid() == 0: os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"sys.argv = ['lenscape', *{WORDS[stage]!r}]\n"
        "cli.main()\n"
    )
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
    )  # fmt: skip
    return done.returncode, done.stderr


def _tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its bytes; what cannot be read, with its size.

    What was downloaded well for a run that failed is kept for the next one.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith("out/downloads/S2") and path.suffix in ("", ".tif"):
            continue
        if not path.is_file():
            found[name] = "folder"
        elif os.access(path, os.R_OK):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = f"{path.stat().st_size} bytes"
    return found


@pytest.mark.parametrize(
    "name", ["mit Leerzeichen", "Größe ä ß 山", "#1?x=2&y %20", "x" * 200, "a {c} [d] 'e'"]
)
def test_odd_paths_simply_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / name
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "conf").mkdir()
    confs = vectors(place / name, [field(), field("water")])
    stated = {key: value for key, value in confs["fetch.yaml"]["train"][0].items() if key != "path"}
    stack = write_raster(place / name / f"{name[:190]}.tif", positions(GRID), GRID)
    zip_file = zipped(make_product(place / name))
    confs["fetch.yaml"]["train"] += [
        stated | {"id": "s2", "stack": str(stack), "bands": ["B02"]},
        {"safe": str(zip_file), "id": "s3"},
    ]
    confs["tile.yaml"]["bands"] = ["B02"]
    for conf, content in confs.items():
        (place / "conf" / conf).write_text(json.dumps(content), encoding="utf-8")
    for stage in ("fetch", "tile"):
        assert _run(monkeypatch, stage) == 0
    scenes = PatchStore.open(place / "out" / "patches").patches["scene"]
    assert set(scenes.tolist()) == {"s1", "s2", "s3"}
