"""Documents about an evaluated model, made from one `RunSummary` by the templates in `templates/`.

Sentences that more than one document shows are macros of `sentences.j2`, rendered once as plain text;
a document places them. HTML and Markdown are escaped: titles of classes and names of scenes may be any
text.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.runtime import Macro
from markupsafe import Markup

from pipeline.learn.report.summary import RunSummary
from pipeline.learn.stats.applicability import SEASON_DAYS

MODEL_CARD = "model_card.md"
_OPTIONS: dict[str, Any] = {
    "loader": PackageLoader("pipeline.learn.report"),
    "undefined": StrictUndefined,
    "trim_blocks": True,
    "lstrip_blocks": True,
    "keep_trailing_newline": True,
}
_TEXT = Environment(autoescape=False, **_OPTIONS)
_HTML = Environment(autoescape=True, **_OPTIONS)
_MARKED = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")
"""What Markdown would take for emphasis, code, a link or a column; `_` only beside a word."""


def _as_text(value: object) -> str:
    """A value in Markdown, in which it is nothing but text; what is marked `safe` stays as it is."""
    if isinstance(value, Markup):
        return value
    text = _MARKED.sub(r"\\\g<0>", " ".join(str(value).split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_MARKDOWN = Environment(autoescape=False, finalize=_as_text, **_OPTIONS)


@dataclass(frozen=True)
class Champion:
    """How a model compares with the champion."""

    sentence: str
    uri: str = ""
    """Of the champion, where it is another model."""
    changes: Sequence[tuple[str, str, str]] = ()
    """Parameters that differ: name, the champion's value, this model's."""


def sentences(run: RunSummary, tags: Mapping[str, str] | None = None) -> dict[str, str]:
    """The text of each macro of `sentences.j2`, with a line a paragraph.

    Of the MLflow run, `git.commit`, `git.dirty` and `dvc.experiment` are used where the tags have them.
    """
    values = {"run": run, "tags": tags or {}, "season_days": SEASON_DAYS}
    module = _TEXT.get_template("sentences.j2").make_module(values)
    macros = {name: macro for name, macro in vars(module).items() if isinstance(macro, Macro)}
    return {name: _unwrapped(macro()) for name, macro in macros.items()}


def html_report(
    run: RunSummary,
    pictures: Mapping[str, bytes],
    tags: Mapping[str, str] | None = None,
    champion: Champion | None = None,
) -> str:
    """The report as one HTML page that stands on its own; maps are filled in by `learn.tracking`.

    Pictures are PNG files by caption, tags those of the MLflow run. Without a champion the registry was
    not asked.
    """
    return _HTML.get_template("report.html.j2").render(
        run=run,
        text=sentences(run, tags),
        pictures={caption: b64encode(png).decode() for caption, png in pictures.items()},
        champion=champion,
    )


def model_card(run: RunSummary) -> str:
    """The model card in Markdown, after Mitchell et al. 2019, Model Cards for Model Reporting."""
    return _MARKDOWN.get_template("model_card.md.j2").render(run=run, text=sentences(run))


def run_description(run: RunSummary, tags: Mapping[str, str]) -> str:
    """The description of the MLflow run in Markdown."""
    return _MARKDOWN.get_template("run_description.md.j2").render(run=run, text=sentences(run, tags))


def _unwrapped(text: str) -> str:
    """A text whose paragraphs are separated by empty lines, with each paragraph on one line."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return "\n".join(part for part in paragraphs if part)
