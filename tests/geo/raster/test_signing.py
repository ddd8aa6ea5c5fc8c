"""Addresses that are signed whenever they are read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from pipeline.errors import SceneError
from pipeline.geo.raster import remote, signing
from pipeline.geo.raster.grid import Window
from pipeline.geo.raster.raster_file import OpenFile
from pipeline.geo.raster.remote import look_up
from pipeline.geo.raster.signing import presigned, signed
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


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Amazon's example."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.mark.usefixtures("keys")
def test_the_signature_of_aws_own_example() -> None:
    """ "Authenticating Requests: Using Query Parameters" of the Amazon S3 API Reference, for a day."""
    href = presigned(
        "https://examplebucket.s3.amazonaws.com/test.txt",
        "us-east-1",
        datetime(2013, 5, 24, tzinfo=UTC),
        {"X-Amz-Expires": "86400"},
    )
    assert href.endswith(
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.usefixtures("keys")
def test_an_address_stays_the_same_for_an_hour() -> None:
    def at(hour: int, minute: int) -> str:
        return presigned("https://x.y/z", "r", datetime(2013, 5, 24, hour, minute, tzinfo=UTC))

    assert at(10, 0) == at(10, 59) != at(11, 0)
    assert "X-Amz-Date=20130524T100000Z&X-Amz-Expires=7200&" in at(10, 59)


@pytest.mark.usefixtures("keys")
def test_temporary_keys_have_a_token_which_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature is that of `S3SigV4QueryAuth` of botocore 1.44.8."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a/b+c=")
    href = presigned("https://x.y/z", "r", datetime(2013, 5, 24, 10, tzinfo=UTC))
    assert "&X-Amz-Expires=7200&X-Amz-Security-Token=a%2Fb%2Bc%3D&X-Amz-SignedHeaders=host&" in href
    assert href.endswith("a8fe48e61da46303dc4ef6590ff929a053298fb9c16df9525e3e0d12232a24d5")


class Clock(datetime):
    """It is a second later whenever it is looked at."""

    seconds = count()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2020, 1, 1, 10, tzinfo=tz) + timedelta(seconds=next(cls.seconds))


@pytest.mark.usefixtures("keys")
def test_an_open_file_of_an_object_store_is_not_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is a proxy for the storage of the Data Space."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "temporary")
    monkeypatch.setattr(signing, "datetime", Clock)
    write_raster(tmp_path / "eodata" / "B02.tif", positions(GRID), GRID)
    with serving(tmp_path) as server:
        monkeypatch.setenv("http_proxy", server.url())
        monkeypatch.setenv("no_proxy", "")
        server.allowed = lambda one: "X-Amz-Security-Token=temporary" in one.query
        href = "http://eodata.dataspace.copernicus.eu/eodata/B02.tif"
        assert look_up(href).href == href, "what is stored is not signed"
        pixels = OpenFile(href)
        for _ in range(2):
            assert np.array_equal(pixels.read(GRID.window), positions(GRID))
        pixels.close()
        assert len(server.requests) > 2
        assert len({one.query for one in server.requests}) == 1


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
        monkeypatch.setattr(signing, "_OPEN", {})
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


OTHER = "http://other.blob.core.windows.net/container/B02.tif"


def test_a_container_of_azure_that_is_open_to_all(azure: FileServer) -> None:
    azure.allowed = lambda _: True
    assert signed(OTHER) == OTHER
    assert np.array_equal(OpenFile(OTHER).read(GRID.window), positions(GRID))
    assert not [one for one in azure.requests if one.path.startswith("/token")]


def test_a_container_that_the_planetary_computer_does_not_know(azure: FileServer) -> None:
    """Its own server says that it may not be read, and the Planetary Computer is asked once."""
    azure.answers["/token/other/container"] = (404, "application/json", b"{}")
    for _ in range(2):
        with pytest.raises(SceneError, match=r"B02\.tif cannot be fetched: its server answers 403"):
            look_up(OTHER)
    assert len([one for one in azure.requests if one.path.startswith("/token")]) == 1


def test_an_address_of_azure_that_is_signed_already(azure: FileServer) -> None:
    assert signed(f"{OTHER}?sv=1&sig=own") == f"{OTHER}?sv=1&sig=own"
    assert not azure.requests
