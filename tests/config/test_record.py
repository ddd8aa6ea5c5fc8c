"""What may become the name of a file or a folder."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.record import is_name


@pytest.mark.parametrize("value", ["a", "7", "S2A_MSIL1C_20210908T042701.x-1", "n" * 100, "a..b"])
def test_names(value: str) -> None:
    assert is_name(value)


@pytest.mark.parametrize(
    "value",
    [
        "", ".", "..", "../x", "../../../x", "a/b", "a\\b", "/a", ".hidden", "-x", "_x", "n" * 101,
        "x<script>", "a b", "a\n", "\na", "a\0", "ä", "C:x", "~", None, 7, ["a"],
    ],
)  # fmt: skip
def test_what_is_no_name(value: Any) -> None:
    assert not is_name(value)
