"""Opening a file: whatever goes wrong inside a library becomes one error of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from pipeline.errors import LenscapeError

_LONGEST = 200


@contextmanager
def opening(
    refusal: Callable[[str], LenscapeError], missing: LenscapeError | None = None
) -> Iterator[None]:
    """Turn the errors of a block that opens and checks a file into the one that `refusal` makes.

    No library promises which errors it raises over a damaged file: `KeyError`, `RecursionError` and
    `OverflowError` are among them, and errors of its own. So all are caught, and nothing but opening
    and checking may stand in the block. An error that is ours already stays as it is.

    Args:
        refusal: Makes the error from the reason, a text without a full stop.
        missing: Of a file that does not exist, the error in place of that.
    """
    try:
        yield
    except LenscapeError:
        raise
    except Exception as error:
        if missing is not None and isinstance(error, FileNotFoundError):
            raise missing from None
        raise refusal(reason(error)) from error


def reason(error: Exception) -> str:
    """What an error says, in one line: of a record the key and what is wrong there."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        said = "no keys with their values" if first["type"] == "model_type" else first["msg"]
        text = f"key '{key}': {said}" if key else said
    elif error.__cause__ is not None and (said := str(error.__cause__)):
        text = said  # of rasterio, what GDAL says
    else:
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
