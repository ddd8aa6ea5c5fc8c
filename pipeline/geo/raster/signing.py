"""Addresses that a server answers only for a while: signed anew whenever they are read.

What is stored is the address without a signature. The signature of AWS is computed here: GDAL's
`/vsis3` signs what GDAL itself reads (tried: it does, session tokens too), but not the requests that
compare ETags and fetch whole JPEG 2000 files, which are all that these stores hold; rasterio's
`AWSSession` needs boto3, and rasterio does not expose `VSIGetSignedURL`. An address stays the same for
an hour, so that an open file stays open.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import os
import warnings
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import requests

from pipeline.errors import SceneError

_AZURE = ".blob.core.windows.net"
_COPERNICUS = ("eodata.dataspace.copernicus.eu", "eodata.cloudferro.com")
_PAYING = ("sentinel-s2-l1c", "sentinel-s2-l2a")
"""Buckets of AWS, in eu-central-1, whose readers pay for what they read."""
_WAIT_S = 30.0
"""How long a server may send nothing."""
_VALID_S = 7200
"""A signature is that of the last full hour, so it is valid for an hour or more."""


def signed(href: str) -> str:
    """The address under which a file can be read now.

    Files in Azure that are not open to all get the token of the Planetary Computer, if it has one for
    them; those of the Copernicus Data Space and of buckets whose readers pay get a signature by the
    keys in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where they are temporary,
    `AWS_SESSION_TOKEN`; any other address stays as it is.

    Raises:
        SceneError: when there are no keys, or the Planetary Computer gives no token.
    """
    host = urlsplit(href).hostname or ""
    if host.endswith(_AZURE) and not urlsplit(href).query:
        return _with_token(href)
    if host in _COPERNICUS:
        return presigned(href, "default", datetime.now(UTC))
    if host.endswith(".amazonaws.com") and host.split(".")[0] in _PAYING:
        pays = {"x-amz-request-payer": "requester"}
        return presigned(href, "eu-central-1", datetime.now(UTC), pays)
    return href


def presigned(href: str, region: str, now: datetime, extra: dict[str, str] | None = None) -> str:
    """An address of an object store, signed in its query (AWS Signature Version 4).

    `href` has no query yet; `extra` are further parameters of it; `now` is UTC.

    Raises:
        SceneError: when there are no keys.
    """
    access, secret = (os.environ.get(f"AWS_{name}") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    if not access or not secret:
        raise SceneError(
            f"{href} needs the keys of an account; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    parts = urlsplit(href)
    moment, day = f"{now:%Y%m%dT%H0000Z}", f"{now:%Y%m%d}"
    scope = f"{day}/{region}/s3/aws4_request"
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{access}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(_VALID_S),
        "X-Amz-SignedHeaders": "host",
    } | (extra or {})
    if token := os.environ.get("AWS_SESSION_TOKEN"):
        query["X-Amz-Security-Token"] = token
    text = urlencode(sorted(query.items()), quote_via=quote, safe="")
    request = f"GET\n{parts.path}\n{text}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"{href}?{text}&X-Amz-Signature={signature}"


_OPEN: dict[str, bool] = {}
"""By container of Azure, whether anyone may read it, or the Planetary Computer does not know it."""
_UNKNOWN = (400, 404, 422)
"""Answers of the Planetary Computer about a container that is not its own."""


def _with_token(href: str) -> str:
    """An address in Azure with the token of the Planetary Computer, where it needs one and has one."""
    container = "/".join(href.split("/", 4)[:4])
    try:
        if container not in _OPEN:
            with requests.get(
                href, headers={"Range": "bytes=0-0"}, timeout=_WAIT_S, stream=True
            ) as answer:
                _OPEN[container] = answer.ok
        return href if _OPEN[container] else str(_planetary_computer().sign(href))
    except (OSError, ValueError, KeyError) as error:  # what requests raises is an OSError
        response = error.response if isinstance(error, requests.HTTPError) else None
        if response is not None and response.status_code in _UNKNOWN:
            _OPEN[container] = True  # its own server is the one to refuse it
            return href
        raise SceneError(
            f"{href} cannot be signed by the Planetary Computer ({type(error).__name__}); check the "
            "connection and run it again."
        ) from error


@cache
def _planetary_computer() -> Any:
    # slow to import, and it warns of what pydantic will change
    with warnings.catch_warnings(action="ignore"):
        return importlib.import_module("planetary_computer")
