"""Files that a contributor expects, held to the project that they speak of."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import __version__
from pipeline.cli import cli

ROOT = Path(__file__).parent.parent
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(path: str) -> Any:
    return YAML(typ="safe", pure=True).load((ROOT / path).read_text(encoding="utf-8"))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_continuous_integration_runs_the_tests_on_each_supported_python() -> None:
    job = read(".github/workflows/ci.yml")["jobs"]["test"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[-1] == "make test"
    assert "test" in targets()
    lowest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert lowest
    versions = job["strategy"]["matrix"]["python"]
    assert lowest[1] == versions[0]
    assert (ROOT / ".python-version").read_text().strip() == versions[-1]


def test_hooks_run_what_make_check_runs() -> None:
    hooks = read(".pre-commit-config.yaml")["repos"][0]["hooks"]
    programs = {hook["entry"].split()[0] for hook in hooks}
    assert programs == {f".venv/bin/{name}" for name in ("ruff", "mypy", "lint-imports")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^\t{Path(name).name}\b", makefile, re.MULTILINE) for name in programs)


def test_citation_names_this_version_and_licence() -> None:
    citation = read("CITATION.cff")
    assert citation["version"] == __version__
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith(f"{citation['license']} License")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms_ask_for_what_exists(form: Path) -> None:
    text = form.read_text(encoding="utf-8")
    body = YAML(typ="safe", pure=True).load(text)["body"]
    fields = [entry for entry in body if entry["type"] != "markdown"]
    assert len({entry["id"] for entry in fields}) == len(fields)
    assert all(entry["attributes"]["label"] for entry in fields)
    assert set(re.findall(r"`lenscape ([a-z]+)", text)) <= set(cli.commands)
    assert all((ROOT / path).exists() for path in re.findall(r"conf/\w+\.yaml", text))


def test_image_ends_in_the_demo() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == 'CMD ["make", "demo"]'
    assert "demo" in targets()
    for line in lines:
        if line.startswith("COPY ") and line != "COPY . .":
            assert all((ROOT / path).exists() for path in line.split()[1:-1]), line
