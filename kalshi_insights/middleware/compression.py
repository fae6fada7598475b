"""Compression of text: pages by gzip, JSON and static files by Brotli or gzip.

A page can hold a secret, its CSRF token, beside words of the request. Whoever can make a browser
ask for it again and again could guess the secret from the compressed lengths (BREACH). So the
length of a page is blurred by up to a hundred random bytes, as Django's own middleware does it,
and the token is masked anew in every page. JSON and static files hold no secrets.

Streams are not compressed, so that none of their chunks is held back. Static files come as
streams too, and those from the source folders are read and compressed here; collected ones were
compressed when they were collected.
"""

import gzip
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import brotli  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.text import compress_string
from whitenoise.middleware import WhiteNoiseFileResponse

MIN_BYTES = 1_000
MAX_RANDOM_BYTES = 100


def compress(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        method = method_for(response)
        if method is None:
            return response
        patch_vary_headers(response, ("Accept-Encoding",))
        if isinstance(response, WhiteNoiseFileResponse):
            response = read_file(response)
        accepted = accepted_encodings(request.headers.get("Accept-Encoding", ""))
        encoding = next((each for each in method.encodings if each in accepted), None)
        if encoding and len(response.content) >= MIN_BYTES:
            set_encoded(response, method.encode(response.content, encoding), encoding)
        return response

    return middleware


# --- Methods --------------------------------------------------------------------------------------


def encode_page(body: bytes, encoding: str) -> bytes:
    encoded: bytes = compress_string(body, max_random_bytes=MAX_RANDOM_BYTES)
    return encoded


def encode_json(body: bytes, encoding: str) -> bytes:
    # The quickest level of each yields a fifth of the size in at most a millisecond a megabyte.
    if encoding == "gzip":
        return gzip.compress(body, compresslevel=1, mtime=0)
    encoded: bytes = brotli.compress(body, quality=1)
    return encoded


@lru_cache(maxsize=64)
def encode_file(body: bytes, encoding: str) -> bytes:
    """Compress a static file, once for all its readers; a file that was changed is another one."""
    if encoding == "gzip":
        return gzip.compress(body, mtime=0)
    encoded: bytes = brotli.compress(body, quality=9)
    return encoded


class Method(NamedTuple):
    """A way to compress one kind of content, by the best encoding first."""

    content_type: re.Pattern[str]
    encodings: tuple[str, ...]
    encode: Callable[[bytes, str], bytes]


# Django pads gzip alone.
PAGES = Method(re.compile("text/html"), ("gzip",), encode_page)
JSON = Method(
    re.compile(r"application/([a-z.-]+\+)?json|application/vnd\.oai\.openapi"),
    ("br", "gzip"),
    encode_json,
)
FILES = Method(
    re.compile(r"text/|image/svg\+xml|application/(json|javascript)"), ("br", "gzip"), encode_file
)


def method_for(response: HttpResponse) -> Method | None:
    """The method by which a response may be compressed; None for what is sent as it is."""
    if "Content-Encoding" in response.headers:
        return None
    if isinstance(response, WhiteNoiseFileResponse):
        # The head of a file, or a part of it, tells the length of what is on disk.
        is_whole = response.status_code == 200 and response.file_to_stream is not None
        methods: tuple[Method, ...] = (FILES,) if is_whole else ()
    else:
        methods = () if response.streaming else (PAGES, JSON)
    kind = response.headers.get("Content-Type", "")
    return next((method for method in methods if method.content_type.match(kind)), None)


# --- Responses ------------------------------------------------------------------------------------


def read_file(response: WhiteNoiseFileResponse) -> HttpResponse:
    """A static file in memory, with its headers."""
    with response.file_to_stream as file:
        whole = HttpResponse(file.read())
    whole.headers = response.headers
    # WhiteNoise would not know its tag again once it is weak; by the date it knows the file.
    del whole.headers["ETag"]
    return whole


def set_encoded(response: HttpResponse, body: bytes, encoding: str) -> None:
    response.content = body
    response.headers["Content-Encoding"] = encoding
    response.headers["Content-Length"] = str(len(body))
    # A strong tag would promise the bytes of the uncompressed response.
    if (tag := response.headers.get("ETag", "")).startswith('"'):
        response.headers["ETag"] = f"W/{tag}"


def accepted_encodings(header: str) -> set[str]:
    """The encodings in an Accept-Encoding header, without those that it refuses."""
    offers = [offer.replace(" ", "").lower().partition(";q=") for offer in header.split(",")]
    return {name for name, _, weight in offers if not weight or weight.strip("0.")}
