"""One YAML file -> one record; an error names the file, the key and the value.

YAML is parsed as DVC parses it (YAML 1.2), so that `1e-3` is a number on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.config.record import PATTERNS, Conf
from pipeline.errors import ConfigError


def load[C: Conf](path: Path, model: type[C]) -> C:
    """Read a YAML file into its record.

    Raises:
        ConfigError: when the file is missing, is no YAML, or does not fit the record; the message
            names the file, the key and the value.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; create it or name another file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); it must be a UTF-8 text file.") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {_position(error)}; correct it there.") from error
    return parse({} if raw is None else raw, model, str(path))


def parse[C: Conf](raw: Any, model: type[C], file: str) -> C:
    """The record that parsed YAML describes; the name of its `file` begins the message of an error.

    Raises:
        ConfigError: when it does not fit the record.
    """
    for key, value in _leaves(raw):
        if isinstance(value, date):  # DVC stops at a YAML timestamp: it cannot write it to dvc.lock
            raise ConfigError(f"{file}: key '{_dotted(key)}' is {_shown(value)}; put it in quotes.")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_sentence(file, error, model, raw)) from None


def _position(error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem and error.problem_mark:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(error.problem.split())}"
    return " ".join(str(error).split())


type _Key = tuple[int | str, ...]


def _leaves(raw: Any, key: _Key = ()) -> Iterator[tuple[_Key, Any]]:
    """The values of a parsed file that hold no others, with their keys."""
    if isinstance(raw, dict | list):
        for part, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from _leaves(value, (*key, part))
    else:
        yield key, raw


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
    text = repr(value) if not isinstance(value, date) else value.isoformat()
    return text if len(text) <= 80 else text[:77] + "..."
