"""Addresses that are signed whenever they are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SceneError
from pipeline.geo.raster import remote
from pipeline.geo.raster.grid import Window
from pipeline.geo.raster.raster_file import OpenFile
from pipeline.geo.raster.remote import look_up
from pipeline.geo.raster.signing import Keys, presigned, signed
from tests.support.servers import FileServer, Request, as_json, serving
from tests.support.worlds import GRID, positions, write_raster

with warnings.catch_warnings(action="ignore"):  # of what pydantic will change
    import planetary_computer.sas as library
    from planetary_computer.settings import Settings

AZURE = "http://account.blob.core.windows.net/container/B02.tif"
TOKENS = "/token/account/container"


def test_an_open_address_stays_as_it_is() -> None:
    for href in ("https://sentinel-cogs.s3.us-west-2.amazonaws.com/B02.tif", "data/B02.tif"):
        assert signed(href) == href


def test_the_signature_of_aws_own_example() -> None:
    """ "Authenticating Requests: Using Query Parameters" of the Amazon S3 API Reference, for a day."""
    keys = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
    href = presigned(
        "https://examplebucket.s3.amazonaws.com/test.txt",
        keys,
        datetime(2013, 5, 24, tzinfo=UTC),
        {"X-Amz-Expires": "86400"},
    )
    assert href.endswith(
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.parametrize(
    ("href", "part"),
    [
        ("https://eodata.dataspace.copernicus.eu/eodata/a/B02.jp2", "%2Fdefault%2Fs3%2F"),
        ("https://sentinel-s2-l1c.s3.amazonaws.com/tiles/B02.jp2", "x-amz-request-payer=requester"),
    ],
)
def test_stores_that_ask_who_reads(href: str, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(
        SceneError, match=r"jp2 needs the keys of an account; set AWS_ACCESS_KEY_ID and"
    ):
        signed(href)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert signed(href).startswith(f"{href}?")
    assert part in signed(href)
    assert "secret" not in signed(href)


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server that is a proxy for the storage of the Planetary Computer, and gives its tokens."""
    write_raster(tmp_path / "container" / "B02.tif", positions(GRID), GRID)
    with serving(tmp_path) as server:
        monkeypatch.setenv("http_proxy", server.url())
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("PC_SDK_SAS_URL", server.url("token"))
        monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "none")
        monkeypatch.setattr(remote, "TRIES", 1)
        Settings.get.cache_clear()
        library.TOKEN_CACHE.clear()
        grant(server, "first", "2999-01-01T00:00:00Z")
        yield server
        Settings.get.cache_clear()


def grant(server: FileServer, token: str, until: str) -> None:
    """From now on this token is given, and only this one opens files."""
    server.answers[TOKENS] = as_json({"token": f"sig={token}", "msft:expiry": until})

    def allowed(request: Request) -> bool:
        return request.query == f"sig={token}"

    server.allowed = allowed


def test_the_token_of_the_planetary_computer(azure: FileServer) -> None:
    assert signed(AZURE) == f"{AZURE}?sig=first"
    file = look_up(AZURE)
    assert file.href == AZURE, "what is stored is not signed"
    pixels = OpenFile(AZURE)
    assert np.array_equal(pixels.read(GRID.window), positions(GRID))
    pixels.close()
    assert len([one for one in azure.requests if one.path == TOKENS]) == 1, "one token for all"


def test_a_token_that_expires_while_a_file_is_open(azure: FileServer) -> None:
    grant(azure, "short", "2001-01-01T00:00:00Z")
    pixels = OpenFile(AZURE)
    grant(azure, "next", "2999-01-01T00:00:00Z")
    assert np.array_equal(pixels.read(Window(0, 0, 5, 5)), positions(GRID)[:5, :5])
    pixels.close()


def test_a_token_that_is_not_given(azure: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    del azure.answers[TOKENS]
    with pytest.raises(SceneError, match=r"B02\.tif cannot be signed by the Planetary Computer \(HTTP"):
        signed(AZURE)
