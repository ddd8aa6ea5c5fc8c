"""The command line: instant help, one sentence on errors, paths as in dvc.yaml."""

import resource
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from pipeline import __version__
from pipeline.cli import cli

ROOT = Path(__file__).parent.parent
STAGES = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
HEAVY = (
    "torch",
    "lightning",
    "torchgeo",
    "mlflow",
    "rasterio",
    "geopandas",
    "pandas",
    "pystac",
    "numpy",
)


def lenscape(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def imported(code: str, names: tuple[str, ...]) -> list[str]:
    """The modules out of `names` that are loaded once `code` has run in a fresh Python."""
    code = f"{code}\nimport sys; print(*(set({names!r}) & set(sys.modules)))"
    return subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split()


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    code = "from click.testing import CliRunner; from pipeline.cli import cli"
    run = "assert 'Usage:' in CliRunner().invoke(cli, ['--help']).output"
    assert imported(f"{code}\n{run}", HEAVY) == []


@pytest.mark.slow
def test_help_takes_under_a_second_of_processor_time(tmp_path: Path) -> None:
    lenscape("--help", cwd=tmp_path)  # a first run may write bytecode
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert lenscape("--help", cwd=tmp_path).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["fetch", "tile", "split"])
def test_stages_before_training_import_no_torch(stage: str) -> None:
    assert imported(f"import pipeline.stages.{stage}", ("torch", "lightning", "mlflow")) == []


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(cli, [command, "--help"])
    assert shown.exit_code == 0, shown.output
    assert cli.commands[command].help
    for parameter in cli.commands[command].params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            explained = parameter.help or parameter.show_default
            assert explained, f"{command} {parameter.opts[0]} says nothing about itself"


@pytest.mark.parametrize("stage", STAGES)
def test_paths_by_hand_are_those_of_dvc(stage: str) -> None:
    words = shlex.split(STAGES[stage]["cmd"])[4:]
    given = {o: v for o, v in zip(words[::2], words[1::2], strict=True) if o != "--sources"}
    defaults = {option.opts[0]: str(option.default) for option in cli.commands[stage].params}
    assert {option: defaults[option] for option in given} == given


@pytest.mark.slow
def test_an_error_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = lenscape("split", "--conf", "nowhere.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "lenscape: nowhere.yaml does not exist; create it or name another file.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_wrong_command_is_exit_code_2(tmp_path: Path) -> None:
    done = lenscape("tail", cwd=tmp_path)
    assert (done.returncode, "No such command 'tail'" in done.stderr) == (2, True)


def test_the_version_is_that_of_the_distribution() -> None:
    assert __version__ in CliRunner().invoke(cli, ["--version"]).output
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
