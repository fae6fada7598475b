"""The one shape of an API error: `code`, `message`, and `details` by field."""

import json
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponsePermanentRedirect,
    JsonResponse,
)
from django.urls import resolve
from django.views.debug import SafeExceptionReporterFilter
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from kalshi_insights.middleware import request_id

# What Django says by itself, before or after a view: its own words would be a page.
WORDS = {
    400: ("bad_request", "The request is malformed, or meant for another host."),
    403: ("permission_denied", "This is not permitted."),
    404: ("not_found", "There is nothing at this address."),
    413: ("too_large", "The body is too large."),
    500: ("error", "The request failed here. The log knows why, by the request id."),
}


def api_error(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's own answer in our envelope; None, and so a 500 without its text, for the rest."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    if isinstance(exc, exceptions.ParseError):
        exc = exceptions.ParseError("The body is not the JSON that it should be.")
    response = exception_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return response
    if isinstance(exc, exceptions.ValidationError):
        response.data = envelope("invalid", invalid_message(exc.detail), details=exc.detail)
    else:
        response.data = envelope(exc.default_code, str(exc.detail))
    return response


def envelope(code: str, message: str, *, details: object = None) -> dict[str, object]:
    if isinstance(details, list):
        details = {"non_field_errors": details}
    return {"code": code, "message": message, "details": details or {}}


def invalid_message(detail: Any) -> str:
    """Everything that is wrong in one line, each with the name of its field."""
    if not isinstance(detail, dict):
        return " ".join(_texts(detail))
    return " ".join(f"{name}: {' '.join(_texts(found))}" for name, found in detail.items())


def _texts(detail: Any) -> Iterator[str]:
    if isinstance(detail, dict):
        # Of a list of rows, those in order have an empty one.
        if detail:
            yield invalid_message(detail)
    elif isinstance(detail, list | tuple):
        for part in detail:
            yield from _texts(part)
    else:
        yield str(detail)


@csrf_exempt
def unknown_route(request: HttpRequest) -> HttpResponse:
    """A 404 in the envelope, or the way to the same address with its slash at the end."""
    if not request.path.endswith("/") and resolve(f"{request.path}/").func != unknown_route:
        return HttpResponsePermanentRedirect(
            request.get_full_path(force_append_slash=True),
            preserve_request=request.method not in ("GET", "HEAD"),
        )
    return JsonResponse(envelope("not_found", f"There is nothing at {request.path}."), status=404)


def api_envelopes(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Under `/api/`, Django's own refusals and failures in the envelope too, in DEBUG as well."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/api/"):
            return get_response(request)
        if _is_too_large(request):
            return _enveloped(request, HttpResponse(status=413))
        response = get_response(request)
        if response.status_code < 400 or _is_enveloped(response):
            return response
        return _enveloped(request, response)

    return middleware


def _is_too_large(request: HttpRequest) -> bool:
    """Asked here since DRF reads a body however large. Without a length there is no body."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    return length.isdecimal() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def _is_enveloped(response: HttpResponse) -> bool:
    return isinstance(response, Response | JsonResponse)


def _enveloped(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The same answer, cookies and headers included, with the envelope for its body."""
    status = response.status_code
    phrase = HTTPStatus(status).phrase
    fallback = WORDS[500] if status >= 500 else (phrase.lower().replace(" ", "_"), f"{phrase}.")
    code, message = WORDS.get(status, fallback)
    details = {"request_id": request.META[request_id.META]} if status >= 500 else {}
    response.content = json.dumps(envelope(code, message, details=details)).encode()
    response.headers["Content-Type"] = "application/json"
    response.headers["Content-Length"] = str(len(response.content))
    return response


ENVELOPE = {
    "type": "object",
    "description": "What went wrong.",
    "required": ["code", "message", "details"],
    "properties": {
        "code": {"type": "string", "description": "What kind of error, for programs."},
        "message": {"type": "string", "description": "The same for people, in one line."},
        "details": {
            "type": "object",
            "additionalProperties": {},
            "description": "By parameter or field, what is wrong with it.",
        },
    },
    "example": {
        "code": "invalid",
        "message": "limit: Must be a whole number from 1 to 1000.",
        "details": {"limit": ["Must be a whole number from 1 to 1000."]},
    },
}
READS, WRITES = (400, 401, 406, 429, 500), (403, 413, 415)
RETRY_AFTER = {"schema": {"type": "integer"}, "description": "Seconds to wait."}


def in_the_schema(result: dict[str, Any], **given: object) -> dict[str, Any]:
    """A hook of drf-spectacular: what every address may answer, besides what it says itself."""
    result["components"].setdefault("schemas", {})["Error"] = ENVELOPE
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            for status in _refusals(method, path):
                operation["responses"].setdefault(str(status), _described(status))
    return result


def _refusals(method: str, path: str) -> tuple[int, ...]:
    return READS + ((404,) if "{" in path else ()) + (() if method == "get" else WRITES)


def _described(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    described = {"description": HTTPStatus(status).phrase, "content": content}
    return described | ({"headers": {"Retry-After": RETRY_AFTER}} if status == 429 else {})


class WithoutAddresses(SafeExceptionReporterFilter):
    """Keeps the passwords in database and broker addresses out of development's error pages."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL|LOCATION", flags=re.IGNORECASE
    )
