"""Refusal of requests whose text nobody could store or read.

PostgreSQL stores no NUL. No form field, parser or view behind this has to think of one in a path,
a header or a cookie, and none has to decode what is not UTF-8.
"""

import codecs
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse

from kalshi_insights.rest.errors import envelope

NUL = "%00"


def refuse_unreadable(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        if "\0" in request.path:
            raise Http404("There is nothing at this address.")
        # Django's admin passes the words of its filters to the database as they are.
        if (
            request.path.startswith(f"/{settings.ADMIN_URL}")
            and NUL in request.META["QUERY_STRING"]
        ):
            raise BadRequest("The query contains a NUL character.")
        for name, value in request.headers.items():
            if "\0" in value:
                return _refusal(name, "Contains a NUL character.", status=400)
        if not is_utf_8((request.content_params or {}).get("charset") or "utf-8"):
            return _refusal("Content-Type", "The charset must be utf-8.", status=415)
        # A cookie can hide one behind backslashes. Without it, the visitor has no session.
        request.COOKIES = {name: v for name, v in request.COOKIES.items() if "\0" not in v}
        return get_response(request)

    return middleware


def is_utf_8(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name == "utf-8"
    except LookupError:
        return False


def _refusal(header: str, message: str, *, status: int) -> HttpResponse:
    code = "invalid" if status == 400 else "unsupported_media_type"
    details = {header: [message]}
    return JsonResponse(envelope(code, f"{header}: {message}", details=details), status=status)
