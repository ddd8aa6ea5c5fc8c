"""The commands of the Makefile: listed, and set up from whatever Python there is."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^([a-z0-9._-]+)==\S+(?: ;.*)? \\$", re.MULTILINE)
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def test_help_lists_every_command() -> None:
    shown = subprocess.check_output(["make", "--no-print-directory", "help"], text=True, cwd=ROOT)
    listed = {line.split()[0] for line in shown.splitlines()[1:]}
    targets = set(re.findall(r"^\.PHONY: (\w+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert listed == targets
    assert {"demo", "test", "ui", "folds", "help"} <= listed


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What set-up reads, and a PATH with the tools of a bare system and no Python."""
    for name in (".ci/setup", "requirements.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "dirname", "cat", "cmp", "sed", "rm"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    return tmp_path


def set_up(checkout: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(checkout / "bin"), "HOME": str(checkout / "home")}
    return subprocess.run(
        [shutil.which("sh") or "sh", str(checkout / ".ci" / "setup")],
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_without_a_python_one_sentence_says_what_to_install(checkout: Path) -> None:
    done = set_up(checkout)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith(
        "lenscape needs Python 3.12 or later with venv and finds none; install"
    )
    assert done.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


def test_shims_that_fail_and_pythons_that_are_too_old_are_passed_over(checkout: Path) -> None:
    """As pyenv's shims do where .python-version allows another version only."""
    executable(
        checkout / "bin" / "python3.13", "#!/bin/sh\necho 'pyenv: command not found' >&2; exit 127\n"
    )
    executable(checkout / "bin" / "python3.12", "#!/bin/sh\nexit 1\n")
    found = checkout / "home" / ".pyenv" / "versions" / "3.13.9" / "bin" / "python3"
    executable(
        found,
        "#!/bin/sh\n"
        'case "$2" in *version_info*) exit 0 ;; *executable*) echo "$0"; exit 0 ;; esac\n'
        'case "$1" in --version) echo Python 3.13.9 ;; *) echo "asked for: $*" >&2; exit 3 ;; esac\n',
    )
    done = set_up(checkout)
    assert f"lenscape: making .venv with Python 3.13.9 ({found})" in done.stdout
    assert done.stderr == f"asked for: -m venv {checkout}/.venv\n"


def test_requirements_are_pinned_and_hashed_and_name_no_host() -> None:
    text = (ROOT / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(PIN.match(line) or HASH.fullmatch(line) for line in lines)
    assert "//" not in text
    assert {"uv", "torch", "setuptools", "dvc"} <= set(PIN.findall(text))


def test_requirements_hold_what_the_project_asks_for() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = stated["project"]["optional-dependencies"]
    groups = [
        stated["project"]["dependencies"],
        *extras.values(),
        *stated["dependency-groups"].values(),
    ]
    asked = {canonical(re.split("[<>=[]", text)[0]) for group in groups for text in group}
    pinned = {canonical(name) for name in PIN.findall((ROOT / "requirements.txt").read_text())}
    assert asked <= pinned


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", [".ci/setup", ".ci/run"])
def test_scripts_can_be_run_and_read(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / name], check=True)
