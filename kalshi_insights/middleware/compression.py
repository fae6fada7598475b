"""Compression of the API's JSON, by Brotli or gzip.

Pages are not compressed. They carry a CSRF token, and an attacker who can place text of his own
beside a secret could guess the secret from the compressed length. The API's JSON has no secrets.
Streams are not compressed either, so that none of their chunks is held back.
"""

import gzip
import re
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

MIN_BYTES = 1_000
JSON = re.compile(r"application/([a-z.-]+\+)?json|application/vnd\.oai\.openapi")


def compress(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path.startswith("/api/") and not response.streaming:
            patch_vary_headers(response, ("Accept-Encoding",))
            if _is_compressible(response):
                _encode(response, accepted_encodings(request.headers.get("Accept-Encoding", "")))
        return response

    return middleware


def accepted_encodings(header: str) -> set[str]:
    """The encodings in an Accept-Encoding header, without those that it refuses."""
    offers = [offer.replace(" ", "").lower().partition(";q=") for offer in header.split(",")]
    return {name for name, _, weight in offers if not weight or weight.strip("0.")}


def _is_compressible(response: HttpResponse) -> bool:
    kind = response.headers.get("Content-Type", "")
    return (
        JSON.match(kind) is not None
        and len(response.content) >= MIN_BYTES
        and "Content-Encoding" not in response.headers
    )


def _encode(response: HttpResponse, encodings: set[str]) -> None:
    # The quickest level of each yields a fifth of the size in at most a millisecond a megabyte.
    if "br" in encodings:
        response.content = brotli.compress(response.content, quality=1)
        response.headers["Content-Encoding"] = "br"
    elif "gzip" in encodings:
        response.content = gzip.compress(response.content, compresslevel=1, mtime=0)
        response.headers["Content-Encoding"] = "gzip"
    else:
        return
    response.headers["Content-Length"] = str(len(response.content))
    # A strong tag would promise the bytes of the uncompressed response.
    if (tag := response.headers.get("ETag", "")).startswith('"'):
        response.headers["ETag"] = f"W/{tag}"
