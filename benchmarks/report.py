"""Figures as a table for people: printed, and written to RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import publish

RESULTS = Path(__file__).parent / "RESULTS.md"


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    item: str
    """Number of the target; empty for what has none."""
    what: str
    ours: str
    beside: str = ""
    """What it is held against, in the same run."""
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    """None where there is nothing to meet."""


@dataclass(frozen=True)
class Section:
    """The figures of one part and what must be known to read them."""

    title: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()


def with_target(
    item: str, what: str, ours: str, beside: str, verdict: tuple[float, str, float]
) -> Figure:
    """A figure whose ratio has a target.

    Args:
        item: Number of the target.
        what: What was measured.
        ours: Our side.
        beside: The other side.
        verdict: The ratio, `>=` or `<=`, and the bound.
    """
    ratio, sign, bound = verdict
    met = ratio >= bound if sign == ">=" else ratio <= bound
    word = "at least" if sign == ">=" else "at most"
    return Figure(item, what, ours, beside, f"{ratio:.3g}", f"{word} {bound:g}", met)


def render(
    sections: Sequence[Section], facts: Mapping[str, str], how: Sequence[str], failure: str = ""
) -> str:
    """The whole report as Markdown.

    Args:
        sections: In their order.
        facts: Of the machine.
        how: What was run, a sentence a line.
        failure: What broke the run off; empty where nothing did.
    """
    lines = ["# Benchmarks: results", ""]
    if failure:
        lines += [f"**Failed: {failure}**", ""]
    lines += [*how, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in facts.items()]
    for section in sections:
        lines += ["", f"## {section.title}", ""]
        lines += ["| # | figure | lenscape | beside it | ratio | target | met |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_row(figure) for figure in section.figures]
        lines += [""] * bool(section.notes) + [f"- {note}" for note in section.notes]
    return "\n".join(lines) + "\n"


def write(text: str, path: Path = RESULTS) -> None:
    """Write the report, whole or not at all."""
    with publish(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _row(figure: Figure) -> str:
    met = {None: "", True: "yes", False: "no"}[figure.met]
    parts = (figure.item, figure.what, figure.ours, figure.beside, figure.ratio, figure.target, met)
    return f"| {' | '.join(_cell(part) for part in parts)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
