"""XML files that GIS programs read, from the Jinja templates of this package."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any
from xml.sax import saxutils

from affine import Affine
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.geo.style.colors import rgb


def render(template: str, **values: Any) -> str:
    """Fill a template; values are escaped."""
    return _ENVIRONMENT.get_template(template).render(values)


def readable(text: str) -> str:
    """Text on one line, without the characters that XML cannot hold."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+", " ", text)


def _escaped(value: Any) -> Markup:
    """A value as text of XML: Jinja would escape quotes too, as HTML needs them in attributes."""
    return value if isinstance(value, Markup) else Markup(saxutils.escape(str(value)))


def _quoteattr(text: str, entities: Mapping[str, str] | None = None) -> Markup:
    """Text as the value of an attribute, with its quotes; and further characters that are escaped."""
    return Markup(saxutils.quoteattr(text, dict(entities or {})))


def _geotransform(transform: Affine) -> str:
    """The six numbers of GDAL's geotransform, as exact as floats are."""
    return ",".join(repr(float(value)) for value in transform.to_gdal())


_ENVIRONMENT = Environment(
    autoescape=True,
    finalize=_escaped,
    loader=PackageLoader("pipeline.geo.style"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters |= {
    "readable": readable,
    "rgb": rgb,
    "quoteattr": _quoteattr,
    "geotransform": _geotransform,
    "inverse": operator.invert,
}
