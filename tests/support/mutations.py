"""Changes to files that nobody would make on purpose, drawn from a seed."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

_BIG = '"a number of many digits"'
VALUES: list[Any] = [
    None, True, False, -1, 0, 0.5, 1e300, float("inf"), float("nan"), 2**70, json.loads(_BIG), "", "x",
    "\n", "a\nb", "\x00", "\ud800", "-1", "1e309", "..", "x" * 300, "<b>", "2017-02-30", [], {}, [0.0],
    ["x"], [[]], {"x": 1},
]  # fmt: skip
SCALARS = [
    "!!bool maybe",
    "!!int x",
    "!!float y",
    "!!set {a}",
    "!!binary x",
    "!!timestamp never",
    "&a [*a]",
    "*nowhere",
    "2017-02-30",
    "2017-02-16T25:00:00Z",
    ".inf",
    "-.nan",
    "9" * 5000,
    f"0x{'f' * 5000}",
    "~",
    "''",
    '"\\0"',
    '"\\ud800"',
    '"a\\nb"',
    "[[[[]]]]",
    "{a: b}",
    "{[a]: b}",
    "- x",
    "? x",
    "<<: *a",
    "yes",
    "-1",
    "1e309",
    "[" * 3000,
    "%",
    "\t",
    "|",
    "x" * 300,
    "!!python/name:os.system x",
]


def changed_json(content: Any, draw: random.Random) -> str:
    """JSON in which one to three values are others, missing, or stand under another key."""
    content = json.loads(json.dumps(content))
    for _ in range(draw.randint(1, 3)):
        holder, key = draw.choice(list(_places(content)))
        if isinstance(holder, dict) and draw.random() < 0.2:
            value = holder.pop(key)
            if draw.random() < 0.5:
                holder["other"] = value
        elif isinstance(holder, list) and draw.random() < 0.2:
            del holder[key]
        else:
            holder[key] = deepcopy(draw.choice(VALUES))
        if not content:
            break
    return json.dumps(content).replace(_BIG, "9" * 5000)


def _places(content: Any) -> Any:
    """Every place of a value: what holds it, and its key there."""
    for key in list(content) if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from _places(content[key])


def changed_yaml(text: str, draw: random.Random) -> str:
    """YAML in which a value, a key or a line is another one."""
    lines = text.splitlines()
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(lines))
        key, colon, _ = lines[at].partition(": ")
        match draw.randrange(5):
            case 0 | 1 | 2 if colon:
                lines[at] = f"{key}: {draw.choice(SCALARS)}"
            case 3:
                lines[at] = lines[draw.randrange(len(lines))]
            case _:
                lines[at] = changed_text(lines[at], draw)
    return "\n".join(lines) + "\n"


def changed_text(text: str, draw: random.Random) -> str:
    """A text without a piece, or with something else in its place."""
    start = draw.randrange(len(text) + 1)
    return (
        text[:start]
        + draw.choice(["", "x", ">", "<", '"', "\x01", "1e309"])
        + text[start + draw.randint(0, 4) :]
    )


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes of which a few are others, or the end is missing."""
    if draw.random() < 0.2:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        # the ends of a file say what it is
        near = draw.choice([len(content), min(len(content), 200)])
        at = draw.randrange(near)
        changed[at if draw.random() < 0.5 else -1 - at] = draw.randrange(256)
    return bytes(changed)
