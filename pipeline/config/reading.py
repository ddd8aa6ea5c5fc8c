"""One YAML file -> one record; an error names the file, the key and the value.

YAML is parsed as DVC parses it (YAML 1.2), so that `1e-3` is a number on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node

from pipeline.config.opening import opening
from pipeline.config.record import PATTERNS, Conf
from pipeline.errors import ConfigError

_MOST_VALUES = 100_000
"""In a file, those of aliases as often as they stand there."""
_DEEPEST = 32
_LARGEST = 2**63
"""No whole number may reach this: tables and random numbers have 64 bits."""
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that no path, and often no file, can hold."""


class _Timestamp(str):
    """A time that is not in quotes, as it is written; DVC could not write it to dvc.lock."""

    __slots__ = ()


class _Constructor(SafeConstructor):
    """Makes the values of a file; one that is none is named with its line."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """The value of a node."""
        try:
            return super().construct_object(node, deep)
        except (YAMLError, RecursionError):
            raise
        except Exception as error:
            kind = str(node.tag).rsplit(":", 1)[-1]
            problem = f"{str(node.value)[:80]!r} is no {kind}"
            raise ConstructorError(None, None, problem, node.start_mark) from error


_Constructor.add_constructor(
    "tag:yaml.org,2002:timestamp", lambda loader, node: _Timestamp(loader.construct_scalar(node))
)


def load[C: Conf](path: Path, model: type[C]) -> C:
    """Read a YAML file into its record.

    Raises:
        ConfigError: when the file is missing, is no YAML, or does not fit the record; the message
            names the file, the key and the value.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; create it or name another file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); it must be a UTF-8 text file.") from error
    with opening(lambda why: ConfigError(f"{path} is no valid YAML: {why}; correct it there.")):
        try:
            raw = yaml.load(text)
        except YAMLError as error:
            raise ConfigError(
                f"{path} is no valid YAML: {_position(error)}; correct it there."
            ) from error
    return parse({} if raw is None else raw, model, str(path))


def parse[C: Conf](raw: Any, model: type[C], file: str) -> C:
    """The record that parsed YAML describes; the name of its `file` begins the message of an error.

    Raises:
        ConfigError: when it does not fit the record.
    """
    for number, (key, value) in enumerate(_values(raw)):
        if number == _MOST_VALUES or len(key) > _DEEPEST:
            raise ConfigError(
                f"{file}: key '{_dotted(key[:3])}' holds itself, or more than {_MOST_VALUES:,} values "
                f"or {_DEEPEST} levels of them; write it without aliases."
            )
        if problem := _unusable(value):
            raise ConfigError(f"{file}: key '{_dotted(key)}' {problem}.")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_sentence(file, error, model, raw)) from None


def _unusable(value: Any) -> str:
    """What is wrong with a value whatever its key; empty for any other."""
    if isinstance(value, _Timestamp):
        return f"is {value}; put it in quotes"
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return "is a number of more than 64 bits; correct the value"
    if isinstance(value, str) and (odd := _UNWRITABLE.search(value)):
        return f"holds the character U+{ord(odd[0]):04X}, which no file can have; take it out"
    return ""


def _position(error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem and error.problem_mark:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(error.problem.split())}"
    return " ".join(str(error).split())


type _Key = tuple[int | str, ...]


def _values(raw: Any, key: _Key = ()) -> Iterator[tuple[_Key, Any]]:
    """All values of a parsed file with their keys, a list or a mapping before what it holds."""
    yield key, raw
    if isinstance(raw, dict | list):
        for part, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from _values(value, (*key, part))


def _sentence(file: str, error: ValidationError, model: type[Conf], raw: Any) -> str:
    """What is wrong, of several complaints the deepest: in a union, the form that was meant.

    An unknown key goes before a missing one, because it is often that one misspelt.
    """
    located = [(_key(problem, raw), problem) for problem in error.errors()]
    meant = [(key, problem) for key, problem in located if key[:1] == located[0][0][:1]]
    key, _ = max(meant, key=lambda pair: (len(pair[0]), pair[1]["type"] == "extra_forbidden"))
    problems = [problem for other, problem in meant if other == key]
    first = problems[0]
    at = f"{file}: key '{_dotted(key)}'" if key else file
    match first["type"]:
        case "extra_forbidden":
            return f"{at} is unknown; the keys there are {', '.join(_keys_beside(first, model))}."
        case "missing":
            return f"{at} is missing; add it."
        case "invalid_key":
            return f"{at} has a key that is no text; put it in quotes."
        case "value_error":
            return f"{at}: {first['ctx']['error']}."
        case _:
            needed = " or ".join(dict.fromkeys(_needed(problem) for problem in problems))
            text = needed == "a valid string" and isinstance(first["input"], int | float)
            remedy = "put it in quotes" if text else "correct the value"
            return f"{at} is {_shown(first['input'])}, but it must be {needed}; {remedy}."


def _key(problem: ErrorDetails, raw: Any) -> _Key:
    """The key of a problem in the file: its location without pydantic's names of union members."""
    key: list[int | str] = []
    for depth, part in enumerate(problem["loc"], start=1):
        if part in raw if isinstance(raw, dict) else isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
        elif problem["type"] != "missing" or depth < len(problem["loc"]):
            continue
        key.append(part)
    return tuple(key)


def _dotted(key: _Key) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")


def _keys_beside(problem: ErrorDetails, model: type[Conf]) -> Iterator[str]:
    """The keys of the record that holds the key of a problem."""
    records = {model.__name__: model}
    for part in problem["loc"][:-1]:
        if part in records:  # of a union, the member that was meant
            model = records[part]
        elif part in model.model_fields:
            named = _records_in(model.model_fields[part].annotation)
            records = {record.__name__: record for record in named}
            model = next(iter(records.values()), model)
    return iter(model.model_fields)


def _records_in(annotation: Any) -> Iterator[type[Conf]]:
    """The records among the types that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Conf):
        yield annotation
    for part in get_args(annotation):
        yield from _records_in(part)


def _needed(problem: ErrorDetails) -> str:
    if problem["type"] == "string_pattern_mismatch":
        return PATTERNS[problem["ctx"]["pattern"]]
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "keys with their values"
    words = problem["msg"].replace(" after validation", "")
    return words.removeprefix("Input should be ").replace("List should have", "a list with")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
