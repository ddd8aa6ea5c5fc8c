"""A how-to page as a person follows it: its conf is put in place and its commands are run in order.

A block that opens as "yaml conf/tile.yaml" replaces the keys that it shows in that file, one of
"python map.py" is that file, one of "sh" is run in the project, and one of "sh shown" is for people
alone; the page says there why.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

from tests.support.projects import ROOT, Project

HOWTO = ROOT / "docs" / "howto"
BLOCK = re.compile(r"^```(\w+) *([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def follow(page: Path, project: Project, variables: Mapping[str, str] | None = None) -> str:
    """All that the commands of a page print; each must succeed.

    `variables` are those of the shell that the page tells the reader to set.
    """
    exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in (variables or {}).items())
    printed = []
    for language, what, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "yaml" and what:
            _put(project.path / what, text)
        elif language == "python" and what:
            (project.path / what).write_text(text, encoding="utf-8")
        elif language == "sh" and what != "shown":
            printed.append(project.run("bash", "-euo", "pipefail", "-c", f"{exports}{text}"))
    return "".join(printed)


def _put(path: Path, text: str) -> None:
    """Replace the keys of a conf file by those of a block."""
    yaml = YAML()
    there = yaml.load(path.read_text(encoding="utf-8")) if path.exists() else {}
    there.update(yaml.load(text))
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(there, stream)
