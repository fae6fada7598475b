"""The one shape of an API error: `code`, `message`, and `details` by field."""

import re
from typing import Any

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
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler


def api_error(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's own answer in our envelope; None, and so a 500 without its text, for the rest."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    response = exception_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return response
    if isinstance(exc, exceptions.ValidationError):
        response.data = envelope("invalid", invalid_message(exc.detail), details=exc.detail)
    else:
        response.data = envelope(exc.default_code, str(exc.detail))
    return response


def envelope(code: str, message: str, *, details: object = None) -> dict[str, object]:
    return {"code": code, "message": message, "details": details or {}}


def invalid_message(detail: Any) -> str:
    if not isinstance(detail, dict):
        return " ".join(map(str, detail))
    return " ".join(f"{name}: {' '.join(map(str, texts))}" for name, texts in detail.items())


def unknown_route(request: HttpRequest) -> HttpResponse:
    """A 404 in the envelope, or the way to the same address with its slash at the end."""
    if not request.path.endswith("/") and resolve(f"{request.path}/").func != unknown_route:
        return HttpResponsePermanentRedirect(request.get_full_path(force_append_slash=True))
    return JsonResponse(envelope("not_found", f"There is nothing at {request.path}."), status=404)


class WithoutAddresses(SafeExceptionReporterFilter):
    """Keeps the passwords in database and broker addresses out of development's error pages."""

    hidden_settings = re.compile(
        f"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL|LOCATION", flags=re.IGNORECASE
    )
