"""The page that stands for one whose statement PostgreSQL cancelled.

A session of the web has a `statement_timeout` and a `lock_timeout`, so that no request holds the
database for long. Whoever runs into one is told so: the request can succeed later, or with less.
"""

from collections.abc import Callable

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from psycopg import errors

RETRY_AFTER_SECONDS = 10


def was_cancelled(fault: BaseException) -> bool:
    """True for a statement that took too long, or waited too long for a lock."""
    cause = fault.__cause__ if isinstance(fault, OperationalError) else None
    return isinstance(cause, errors.QueryCanceled | errors.LockNotAvailable)


class PageStatementTimeout:
    """Answers 503 where a page's statement was cancelled; the API has an answer of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, fault: Exception) -> HttpResponse | None:
        if not was_cancelled(fault):
            return None
        response = render(request, "503.html", status=503)
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
