"""A whole project in a temporary git repository: this code, a crop of the demo scene, a small conf."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import rasterio
from rasterio.windows import Window

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "data" / "demo"
SCENE = "T33UUU_20170216T102101"
CODE = (
    "pipeline", "conf/examples", "dvc.yaml", ".dvc/config", ".dvc/.gitignore", ".dvcignore",
    ".gitignore",
)  # fmt: skip
SCENES = {"east": (384, 528), "north": (0, 1056)}
"""Row and column of the top left corner of each crop in the demo scene, multiples of 60 m."""
HEIGHT, WIDTH = 384, 480
ODD_NAME = "Ort #2, 100% 'a' \"b\" & ä?x=1"
"""A folder with what means something in URLs, SQL, XML and to shells."""

STAGES = {"fetch", "tile", "split", "train", "evaluate", "predict"}
UNRUN = "unrun"
"""The tag of the commit before the first run."""
OUTPUTS = (
    "data/scenes", "data/patches", "data/split", "data/maps", "models", "reports", "mlflow.db",
    "mlartifacts",
)  # fmt: skip
CONF = {
    "fetch": "train:\n{scenes}\nmap: train\n",
    "tile": "labels: [{path: data/demo/labels/osm_landuse.gpkg, attribute: fclass}]\nstride_px: 8\n",
    "classes": (
        "credit: Labels © OpenStreetMap contributors, ODbL 1.0\n"
        "ignore: [residential]\n"
        "classes:\n"
        "  - {name: open, title: Open land, color: '#e6c35c', values: [farm, grass, meadow]}\n"
        "  - {name: wood, title: Wald und Gebüsch, color: '#1f7a3d', values: [forest, scrub]}\n"
        "  - {name: wet, title: Wet, color: '#2f7fd6', values: [water, wetland]}\n"
    ),
    "split": "block_m: 480.0\nfolds: 2\n",
    # -S of an experiment changes keys that stand in the file, and only those
    "train": "epochs: 2\nbatch_size: 64\nbands: all\nseed: 0\n",
    "evaluate": "gallery: 4\nbaselines: [majority, logistic_regression]\n",
    "predict": "model: trained\n",
    "compute": "accelerator: cpu\nprecision: float32\n",
}


@dataclass(frozen=True)
class Project:
    """A git repository with DVC, whose commands run as a person would run them."""

    path: Path
    home: Path
    """Where DVC and git keep what is of the user and the machine."""
    programs: Path | None = None
    """Of `forking`: what starts at once in the place of `python`, `dvc` and `lenscape`."""

    def run(self, *words: str) -> str:
        """What a command prints on both streams; it must succeed."""
        done = subprocess.run(
            words, cwd=self.path, env=self.environment(), check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}"
        return done.stdout

    def dvc(self, *words: str) -> str:
        return self.run("dvc", *words)

    def repro(self, *words: str) -> set[str]:
        """The stages that `dvc repro` really ran."""
        return stages_run(self.dvc("repro", *words))

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def clone(self, path: Path) -> Project:
        """A clone by git: no outputs, no cache, no MLflow store."""
        self.run("git", "clone", "--quiet", str(self.path), str(path))
        return replace(self, path=path)

    def copy(self, folder: Path, *, outputs: bool = True) -> Project:
        """This project in another folder, with its DVC cache and its MLflow store.

        Without outputs it is as it was before the first run, and DVC takes from the cache what a run
        would make again from the same inputs; only the tables of the MLflow store are there already.
        """
        copied = replace(self, path=folder / "project", home=folder / "home")
        copied.home.mkdir(parents=True)
        left_out = {self.path / ".dvc" / "tmp"}
        if not outputs:
            left_out |= {self.path / name for name in OUTPUTS}
        shutil.copytree(
            self.path, copied.path, symlinks=True, copy_function=_copy_or_link,
            ignore=lambda parent, names: [name for name in names if Path(parent, name) in left_out],
        )  # fmt: skip
        copied.run("git", "update-index", "-q", "--refresh")
        if outputs:
            move_store(copied.path / "mlflow.db", self.path, copied.path)
        else:
            copied.run("git", "reset", "--quiet", "--hard", UNRUN)
            (copied.path / "mlflow.db").write_bytes(empty_store())
        return copied

    def conf(self, name: str, text: str) -> None:
        (self.path / "conf" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def bytes_of(self, folder: str) -> dict[str, str]:
        """The hash of each file below a folder, but for what `fetch` keeps for itself."""
        top = self.path / folder
        return {
            path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(top.rglob("*"))
            if path.is_file() and "train.checked" not in path.parts
        }

    def environment(self) -> dict[str, str]:
        """That of this process, without what would lead to other stores, settings or code.

        Bytecode is kept: a stage would else compile the whole pipeline.
        """
        others = ("MLFLOW_", "DVC_", "GIT_", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        programs = (self.programs, Path(sys.executable).parent, os.environ["PATH"])
        own = {
            "PATH": os.pathsep.join(str(folder) for folder in programs if folder),
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "lenscape",
            "GIT_AUTHOR_EMAIL": "lenscape@example.org",
            "GIT_COMMITTER_NAME": "lenscape",
            "GIT_COMMITTER_EMAIL": "lenscape@example.org",
            "DVC_NO_ANALYTICS": "1",
            "DVC_GLOBAL_CONFIG_DIR": str(self.home / "dvc"),
            "DVC_SYSTEM_CONFIG_DIR": str(self.home / "dvc-system"),
            "DVC_SITE_CACHE_DIR": str(self.home / "dvc-site"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # eight processes beside a server, for jobs that nobody gives it
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        return kept | own


def stages_run(output: str) -> set[str]:
    """The stages that DVC says it runs; those taken from its run cache are none."""
    return set(re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE))


def finished_project(folder: Path) -> Project:
    """A project whose stages have all run once, made by the first process that asks for the folder.

    It lies in a folder `ODD_NAME`: everything that reads or writes paths has to bear it.

    Its lock file and its reports are committed. Tests read it, or work in a copy.
    """
    folder.mkdir(exist_ok=True)
    finished = folder / "finished"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder)
            project = make_project(folder, ODD_NAME)
            project.run("git", "tag", UNRUN)
            assert project.repro() == STAGES
            status = project.run("git", "status", "--porcelain").splitlines()
            assert {line[3:] for line in status} == {"dvc.lock", "reports/"}
            project.commit("dvc repro")
            finished.touch()
    return Project(folder / ODD_NAME, folder / "home")


def make_project(folder: Path, folder_name: str = "project") -> Project:
    """A project that was never run, committed."""
    project = Project(folder / folder_name, folder / "home")
    for path in (project.path / "conf", project.home):
        path.mkdir(parents=True)
    for name in CODE:
        _copy(ROOT / name, project.path / name)
    for name in ("scenes", "labels", "areas"):
        (project.path / "data" / "own" / name).mkdir(parents=True)
        (project.path / "data" / "own" / name / ".gitkeep").touch()
    _copy(DEMO / "labels", project.path / "data" / "demo" / "labels")
    for name, (row, col) in SCENES.items():
        _crop(project.path / "data" / "demo" / "scenes" / name, row, col)
    for name, text in CONF.items():
        project.conf(name, text.replace("{scenes}", scene_entry("east")))
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    project.commit("a project")
    return project


def scene_entry(name: str) -> str:
    """A scene as an item of a list in `fetch.yaml`."""
    return (
        f"- {{id: {name}, path: data/demo/scenes/{name}, datetime: '2017-02-16T10:21:01Z', "
        "scale: 0.0001, offset: 0, level: L1C, platform: sentinel-2a}"
    )


def _copy_or_link(source: str, target: str) -> None:
    """Files in DVC's cache never change, so those are linked."""
    if "/.dvc/cache/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)  # with its time, by which Python knows that bytecode is current


@cache
def empty_store() -> bytes:
    """A database with MLflow's tables and nothing in them.

    To make them takes seconds, so it is kept beside pytest's own cache, once a version of MLflow.
    """
    kept = ROOT / ".pytest_cache" / f"mlflow-{mlflow.__version__}.db"
    kept.parent.mkdir(exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock, TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            database = Path(folder) / "mlflow.db"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow's own
                mlflow.MlflowClient(f"sqlite:///{database}").search_experiments()
            whole = kept.with_suffix(".new")
            shutil.copyfile(database, whole)
            whole.replace(kept)
        return kept.read_bytes()


def move_store(database: Path, before: Path, after: Path) -> None:
    """Let an MLflow store name the artifacts beside it: it holds absolute paths, some as URIs."""
    names = [(str(before), str(after)), (before.as_uri(), after.as_uri())]
    with closing(sqlite3.connect(database)) as store, store:
        tables = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for _, column, kind, *_ in store.execute(f'PRAGMA table_info("{table}")').fetchall():
                if not kind.startswith(("VARCHAR", "TEXT")):
                    continue
                for old, new in names:
                    store.execute(
                        f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                        f'WHERE instr("{column}", ?)',
                        (old, new, old),
                    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _crop(folder: Path, row: int, col: int) -> None:
    """A part of the demo scene as JP2 files of its 13 bands at their own resolution."""
    folder.mkdir(parents=True)
    for path in sorted((DEMO / "scenes" / SCENE).glob("*.jp2")):
        with rasterio.open(path) as source:
            factor = round(source.res[0] / 10)
            window = Window(col // factor, row // factor, WIDTH // factor, HEIGHT // factor)
            profile = source.profile | {
                "height": window.height,
                "width": window.width,
                "transform": source.window_transform(window),
            }
            write_jp2(folder / path.name, source.read(1, window=window), profile)


def write_jp2(path: Path, pixels: object, profile: dict[str, object]) -> None:
    """A lossless JPEG 2000 file."""
    with rasterio.open(path, "w", **profile, QUALITY=100, REVERSIBLE="YES") as target:
        target.write(pixels, 1)
