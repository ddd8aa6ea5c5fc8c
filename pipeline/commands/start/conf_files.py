"""Files under `data/own/`, where DVC watches them, and the conf that names them."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.commands.start.given import free_name
from pipeline.config.reading import load
from pipeline.config.record import Conf
from pipeline.files import publish
from pipeline.watched import unwatched

_FAMILIES = {".shp", ".tab", ".mif"}
"""Formats of several files of one stem."""
HEADS = {
    "fetch": """\
# Stage fetch: which scenes there are. Written by `lenscape start`.
# train: scenes with labels; map: scenes to be mapped, `train` for the same ones or a list alike.
""",
    "classes": """\
# The classes, in the order of their values in the class map (from 1). Written by `lenscape start`:
# change titles and colours as you like; to merge values into one class, list them in its `values`.
# ignore: values to pass over; any other that is not listed is an error.
""",
}
"""What stands above a conf that is written as a whole."""

_OTHER_WITHOUT = {"folds"}
"""Keys whose absence does not mean `null`."""


@dataclass(frozen=True)
class Placing:
    """Puts files where DVC watches them: links to them, or copies."""

    root: Path
    """The folder of `conf/` and `data/`."""
    copy: bool

    def placed(self, path: Path, files: Iterable[Path], kind: str, name: str) -> str:
        """The path of a file or folder below `data/own/<kind>/<name>`, relative to the root.

        What lies below a watched folder stays. The folder is a real one and its files are links: DVC
        does not follow a linked folder. A folder of that name that holds other files stays too: the
        new one is called `<name>_2`.

        Args:
            path: A file, or a folder.
            files: What belongs to it, all of it in one folder.
            kind: `scenes` or `labels`.
            name: Of the new folder.
        """
        folder = path if path.is_dir() else path.parent
        watched = [self.root / "data" / where / kind for where in ("demo", "own")]
        if unwatched(path, watched) is None:
            return self._relative(path)
        wanted = {file.relative_to(folder): file for file in files}
        above = watched[-1]
        taken: list[str] = []
        while not _may_replace(target := above / free_name(name, taken), wanted):
            taken.append(target.name)
        with publish(target) as partial:
            for relative, file in wanted.items():
                (partial / relative).parent.mkdir(parents=True, exist_ok=True)
                if self.copy:
                    shutil.copyfile(file, partial / relative)
                else:
                    (partial / relative).symlink_to(file.resolve())
        return self._relative(target if path.is_dir() else target / path.name)

    def _relative(self, path: Path) -> str:
        absolute, root = path.absolute(), self.root.absolute()
        return (absolute.relative_to(root) if absolute.is_relative_to(root) else path).as_posix()


def _may_replace(target: Path, wanted: Mapping[Path, Path]) -> bool:
    """Whether a folder is free, or holds nothing but links or the same files."""
    if not target.exists():
        return True
    files = [path for path in target.rglob("*") if not path.is_dir() or path.is_symlink()]
    return all(
        path.is_symlink()
        or ((same := wanted.get(path.relative_to(target))) and filecmp.cmp(path, same, shallow=False))
        for path in files
    )


def family(path: Path) -> list[Path]:
    """The files of a vector file or a folder of one."""
    if path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.is_file()]
    if path.suffix.lower() not in _FAMILIES:
        return [path]
    return sorted(file for file in path.parent.iterdir() if file.name.startswith(f"{path.stem}."))


def conf_as_it_is[C: Conf](path: Path, record: type[C]) -> Any:
    """A conf file with its comments; empty where there is none.

    Raises:
        ConfigError: when it is none.
    """
    if not path.exists():
        return {}
    load(path, record)
    return YAML().load(path.read_text(encoding="utf-8")) or {}


def changed(conf: Any, keys: Mapping[str, Any]) -> list[str]:
    """Set keys of a conf and keep the others with their comments; says what is not as it was.

    A key whose value is None is left out, unless its absence means something else.
    """
    said = []
    for key, value in keys.items():
        if key in conf and conf[key] == value:
            continue
        if value is None and key not in _OTHER_WITHOUT:
            if conf.pop(key, None) is not None:
                said.append(f"{key} taken out")
            continue
        if key != "labels":
            said.append(
                f"{key} {'null' if value is None else value}"
                + (f" (was {conf[key]})" if conf.get(key) is not None else "")
            )
        conf[key] = value
    return said


def write_confs(folder: Path, confs: Mapping[str, Any]) -> list[str]:
    """Write conf files by their name, all of them or none.

    What git does not have is kept beside the new file as `<name>.yaml.old`; such names are returned.
    """
    kept = []
    with ExitStack() as stack:
        for name, conf in confs.items():
            path = folder / f"{name}.yaml"
            text = stack.enter_context(publish(path))
            with text.open("w", encoding="utf-8") as stream:
                stream.write(HEADS.get(name, ""))
                _yaml().dump(conf, stream)
            same = path.exists() and path.read_bytes() == text.read_bytes()
            if path.exists() and not same and not _in_git(path):
                old = folder / free_name(f"{path.name}.old", [file.name for file in folder.iterdir()])
                shutil.copyfile(path, stack.enter_context(publish(old)))
                kept.append(old.name)
    return kept


def _in_git(path: Path) -> bool:
    """Whether git has a file as it is."""
    git = ["git", "-C", str(path.parent)]
    asked = [["ls-files", "--error-unmatch", path.name], ["diff", "--quiet", "HEAD", "--", path.name]]
    try:
        return all(
            subprocess.run(git + words, capture_output=True, check=False).returncode == 0
            for words in asked
        )
    except FileNotFoundError:
        return False  # there is no git


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 100
    # `null`, where ruamel would leave an empty place
    yaml.representer.add_representer(
        type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml
