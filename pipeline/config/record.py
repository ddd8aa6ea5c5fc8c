"""What every conf is: a frozen, strict record; and the types of values that several share."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, TypeGuard

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
"""What may become the name of a file or a folder: it never leads out of the folder that it is in."""
NAMES_ARE = "letters, digits, '_', '.' and '-', a letter or digit first, 100 of them at most"
Name = Annotated[str, Field(pattern=NAME)]
Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Share = Annotated[float, Field(ge=0, le=1)]
PATTERNS = {
    NAME: NAMES_ARE,
    r"^#[0-9a-fA-F]{6}$": "a colour as '#rrggbb'",
    r"^\d\d\.\d\d$": "four digits as '05.09'",
    r"^models:/[^/@]+/\d+$": "'models:/<name>/<version>' (`lenscape pin` turns an alias into it)",
    r"^[0-9a-f]{64}$": "64 hexadecimal digits",
    r"^EPSG:\d{4,6}$": "a code as 'EPSG:3857'",
    r"^https?://": "an address that begins with http:// or https://",
}
Positive = Annotated[int, Field(gt=0)]
EpsgCode = Annotated[str, Field(pattern=r"^EPSG:\d{4,6}$")]


def _moment(value: Any) -> Any:
    """A moment from its text."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no time; write it as '2017-02-16T10:21:01Z'") from None
    if moment.tzinfo is None:
        raise ValueError(
            f"{value!r} has no time zone; write it as '{moment:%Y-%m-%dT%H:%M:%S}Z' where it is UTC"
        )
    if not 1 < moment.year < 9999:  # in another zone it would be no time any more
        raise ValueError(f"{value!r} is no time of a scene; correct the year")
    return moment


Moment = Annotated[datetime, BeforeValidator(_moment)]


def _moments(text: str) -> str:
    for moment in text.split("/", maxsplit=1):
        date.fromisoformat(moment[:10])
        _moment(moment)
    return text


Times = Annotated[str, AfterValidator(_moments)]
"""A time (RFC 3339), or two with a slash between them, as an output holds it."""


class Conf(BaseModel):
    """A frozen record without unknown keys and without silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def is_name(value: object) -> TypeGuard[str]:
    """Whether a value is a `Name`, which whatever is read must be before it becomes a path."""
    return isinstance(value, str) and re.fullmatch(NAME, value) is not None
