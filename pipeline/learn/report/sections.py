"""Sections of the report that are filled in later, by those who know.

The maps, once there are any; and what changed since the champion, which is the registry's affair and
not the model's.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Literal

from jinja2 import Environment

REPORT = "report.html"
Section = Literal["maps", "champion"]
_MOST_MAPS = 6
_MAPS = """{% for name, data in maps %}<figure><img alt="Map of {{ name }}" \
src="data:image/png;base64,{{ data }}"><figcaption>{{ name }}</figcaption></figure>
{% endfor %}{% if more %}<p>and {{ more }} more, in the folder maps of the run.</p>{% endif %}"""
_CHAMPION = """<p>{{ sentence }}</p>{% if changes %}
<table><tr><th>parameter</th><th>{{ champion }}</th><th>this model</th></tr>
{% for name, theirs, ours in changes %}<tr><td>{{ name }}</td><td>{{ theirs }}</td><td>{{ ours }}</td>\
</tr>
{% endfor %}</table>{% endif %}"""


def maps_section(previews: Mapping[str, bytes]) -> str:
    """The pictures of maps (PNG by name) as a section."""
    shown = list(previews.items())[:_MOST_MAPS]
    maps = [(name, embedded(png)) for name, png in shown]
    return render(_MAPS, maps=maps, more=len(previews) - len(shown))


def champion_section(
    sentence: str, champion: str = "", changes: Sequence[tuple[str, str, str]] = ()
) -> str:
    """How the model stands to the champion as a section.

    Args:
        sentence: How they compare.
        champion: What the champion is called.
        changes: Parameters that differ: name, the champion's, this model's.
    """
    return render(_CHAMPION, sentence=sentence, champion=champion, changes=changes)


def fill(page: str, section: Section, content: str) -> str:
    """A page with what a section holds replaced."""
    pattern = re.compile(f"(<!--{section}-->).*?(<!--/{section}-->)", re.DOTALL)
    return pattern.sub(lambda found: found[1] + content + found[2], page)


def embedded(png: bytes) -> str:
    """A picture as text that a page can hold."""
    return b64encode(png).decode("ascii")


def render(template: str, **values: object) -> str:
    """A page of a template; values are escaped."""
    return Environment(autoescape=True, trim_blocks=False).from_string(template).render(**values)
