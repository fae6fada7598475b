"""Errors of the API, all in one envelope: `code`, `message`, and `details` by field."""

import json
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Never

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
from kalshi_insights.middleware.statement_timeout import RETRY_AFTER_SECONDS, was_cancelled

# Codes and messages for responses that Django makes outside a view, as HTML pages.
MESSAGES = {
    400: ("bad_request", "The request is malformed, or meant for another host."),
    403: ("permission_denied", "This is not permitted."),
    404: ("not_found", "There is nothing at this address."),
    413: ("too_large", "The body is too large."),
    500: ("error", "The server failed. Its log has the reason under this request id."),
}


class TookTooLong(exceptions.APIException):
    status_code = 503
    default_code = "took_too_long"
    default_detail = (
        "The database stopped looking before it had the answer. Ask for less, or try again later."
    )
    wait = RETRY_AFTER_SECONDS


def api_exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Put DRF's error response into the envelope.

    Returns None for any other exception, which becomes a 500 that does not show its text.
    """
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    if isinstance(exc, exceptions.ParseError):
        exc = exceptions.ParseError("The body is not valid JSON.")
    if was_cancelled(exc):
        exc = TookTooLong()
    response = exception_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return response
    if isinstance(exc, exceptions.ValidationError):
        response.data = envelope("invalid", validation_message(exc.detail), details=exc.detail)
    else:
        response.data = envelope(exc.default_code, str(exc.detail))
    return response


def not_found(noun: str, name: str) -> Never:
    raise exceptions.NotFound(f"There is no {noun} {name}.")


def envelope(code: str, message: str, *, details: object = None) -> dict[str, object]:
    if isinstance(details, list):
        details = {"non_field_errors": details}
    return {"code": code, "message": message, "details": details or {}}


def validation_message(detail: Any) -> str:
    """All validation errors in one line, each with the name of its field."""
    if not isinstance(detail, dict):
        return " ".join(_texts(detail))
    return " ".join(f"{name}: {' '.join(_texts(errors))}" for name, errors in detail.items())


def _texts(detail: Any) -> Iterator[str]:
    if isinstance(detail, dict):
        # In a list of rows, a valid row has an empty dictionary.
        if detail:
            yield validation_message(detail)
    elif isinstance(detail, list | tuple):
        for part in detail:
            yield from _texts(part)
    else:
        yield str(detail)


@csrf_exempt
def unknown_route(request: HttpRequest) -> HttpResponse:
    """Answer 404 in the envelope, or redirect to the same address with a slash at its end."""
    if not request.path.endswith("/") and resolve(f"{request.path}/").func != unknown_route:
        return HttpResponsePermanentRedirect(
            request.get_full_path(force_append_slash=True),
            preserve_request=request.method not in ("GET", "HEAD"),
        )
    return JsonResponse(envelope("not_found", f"There is nothing at {request.path}."), status=404)


def api_envelopes(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that puts Django's own errors under `/api/` into the envelope, also in DEBUG."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/api/"):
            return get_response(request)
        if _is_too_large(request):
            return _in_envelope(request, HttpResponse(status=413))
        response = get_response(request)
        if response.status_code < 400 or _has_envelope(response):
            return response
        return _in_envelope(request, response)

    return middleware


def _is_too_large(request: HttpRequest) -> bool:
    """DRF reads a body however large, so its length is checked here.

    A request without Content-Length has no body.
    """
    length = request.META.get("CONTENT_LENGTH") or "0"
    return length.isdecimal() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def _has_envelope(response: HttpResponse) -> bool:
    return isinstance(response, Response | JsonResponse)


def _in_envelope(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Replace the body of a response; its cookies and other headers stay."""
    status = response.status_code
    phrase = HTTPStatus(status).phrase
    default = MESSAGES[500] if status >= 500 else (phrase.lower().replace(" ", "_"), f"{phrase}.")
    code, message = MESSAGES.get(status, default)
    details = {"request_id": request.META[request_id.META]} if status >= 500 else {}
    response.content = json.dumps(envelope(code, message, details=details)).encode()
    response.headers["Content-Type"] = "application/json"
    response.headers["Content-Length"] = str(len(response.content))
    return response


class HideAddresses(SafeExceptionReporterFilter):
    """Hides database and broker addresses, which hold passwords, on Django's debug pages."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL|LOCATION", flags=re.IGNORECASE
    )
