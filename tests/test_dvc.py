"""dvc.yaml against the code: DVC does not follow imports, so its lists are compared here."""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
STAGES: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
IN_GIT = {
    "data/demo/scenes",
    "data/demo/labels",
    "data/own/scenes",
    "data/own/labels",
    "data/own/areas",
}
CONF = {stage: {f"conf/{stage}.yaml"} for stage in STAGES} | {
    "tile": {"conf/tile.yaml", "conf/classes.yaml"}
}


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", cache_dir=None)


def code_path(module: str) -> str:
    """The path among the deps of a stage that holds a module: its package, or itself beside them."""
    names = module.split(".")
    # geo and learn are split into packages; the others are packages as they are, or modules
    depth = 3 if names[1:2] in (["geo"], ["learn"]) else 2
    path = ROOT.joinpath(*(names if names[1:2] == ["stages"] else names[:depth]))
    if module == "pipeline":
        return "pipeline/__init__.py"
    return (path if path.is_dir() else path.with_suffix(".py")).relative_to(ROOT).as_posix()


def paths(stage: str, *keys: str) -> list[str]:
    """The paths under some keys of a stage, whether or not they carry settings."""
    items = [item for key in keys for item in STAGES[stage].get(key, [])]
    return [next(iter(item)) if isinstance(item, dict) else item for item in items]


def arguments(stage: str) -> list[tuple[str, str]]:
    """The options of a stage's command with their values."""
    words = shlex.split(STAGES[stage]["cmd"])
    assert words[:4] == ["python", "-m", "pipeline.cli", stage]  # so an experiment runs its own code
    return list(zip(words[4::2], words[5::2], strict=True))


def test_stage_module_conf_and_test_bear_one_name() -> None:
    stages = set(STAGES)
    assert stages == {path.stem for path in (ROOT / "pipeline" / "stages").glob("[a-z]*.py")}
    assert stages == {
        p.stem.removeprefix("test_") for p in (ROOT / "tests" / "stages").glob("test_*.py")
    }
    assert stages | {"classes", "compute"} == {path.stem for path in (ROOT / "conf").glob("*.yaml")}


@pytest.mark.parametrize("stage", STAGES)
def test_code_is_what_the_import_graph_says(stage: str) -> None:
    module = f"pipeline.stages.{stage}"
    expected = sorted({code_path(m) for m in {module, *imports().find_upstream_modules(module)}})
    listed = [path for path in paths(stage, "deps") if path.startswith("pipeline/")]
    assert sorted(listed) == expected, f"{stage}: code among its deps: {', '.join(expected)}"


@pytest.mark.parametrize("stage", STAGES)
def test_data_come_from_git_or_from_a_stage(stage: str) -> None:
    made = {path for other in STAGES for path in paths(other, "outs")}
    data = {path for path in paths(stage, "deps") if not path.startswith("pipeline/")}
    assert data <= made | IN_GIT
    assert all((ROOT / path).is_dir() for path in data & IN_GIT)


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_whole_files(stage: str) -> None:
    assert all(keys is None for item in STAGES[stage]["params"] for keys in item.values())
    assert set(paths(stage, "params")) == CONF[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_in_a_command_is_watched(stage: str) -> None:
    watched = set(paths(stage, "deps", "params", "outs", "metrics"))
    written = paths(stage, "outs", "metrics")
    for option, value in arguments(stage):
        folder_of_outs = option == "--out" and any(path.startswith(f"{value}/") for path in written)
        assert value in watched or folder_of_outs, f"{stage}: {option} {value}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_watched_path_reaches_the_command(stage: str) -> None:
    """A dependency that no argument names would be one that the stage finds by itself."""
    given = {value for _, value in arguments(stage)}
    for path in paths(stage, "deps", "params", "outs", "metrics"):
        assert path.startswith("pipeline/") or path in given or str(Path(path).parent) in given


def test_where_and_how_fast_is_no_dependency() -> None:
    assert "conf/compute" not in (ROOT / "dvc.yaml").read_text().split("stages:", 1)[1]


def test_figures_for_git_stay_out_of_the_cache() -> None:
    in_reports = [item for stage in STAGES.values() for item in stage.get("metrics", [])]
    assert in_reports
    assert all(settings["cache"] is False for item in in_reports for settings in item.values())
