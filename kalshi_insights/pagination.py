"""`limit` and `skip`, the same on every list of the API."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView


def whole_number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    """A query parameter; ValidationError naming it where it is not a number in range."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    plain = text.isascii() and text.isdigit() and len(text) <= 12
    if not plain or not least <= int(text) <= most:
        raise ValidationError({name: [f"Must be a whole number from {least} to {most}."]})
    return int(text)


class LimitSkip(BasePagination):
    """Pages of `limit` rows after the first `skip`, with the total."""

    default_limit = 100
    max_limit = 1_000
    max_skip = 10_000_000
    counts = True

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: APIView | None = None,
    ) -> list[Any]:
        self.request = request
        self.limit = whole_number(
            request, "limit", default=self.default_limit, least=1, most=self.max_limit
        )
        self.skip = whole_number(request, "skip", default=0, least=0, most=self.max_skip)
        self.count = queryset.count() if isinstance(queryset, QuerySet) and self.counts else None
        # One more than asked for tells whether there is a next page.
        rows = list(queryset[self.skip : self.skip + self.limit + 1])
        self.has_next = len(rows) > self.limit
        self.rows = rows[: self.limit]
        return self.rows

    def get_paginated_response(self, data: Any) -> Response:
        total = {"count": self.count} if self.counts else {}
        return Response(
            {**total, "next": self.next_link(), "previous": self.previous_link(), "results": data}
        )

    def next_link(self) -> str | None:
        following = self.skip + self.limit
        if not self.has_next or following > self.max_skip:
            return None
        return replace_query_param(self.request.build_absolute_uri(), "skip", following)

    def previous_link(self) -> str | None:
        if self.skip == 0:
            return None
        address = self.request.build_absolute_uri()
        before = max(self.skip - self.limit, 0)
        if before == 0:
            return remove_query_param(address, "skip")
        return replace_query_param(address, "skip", before)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            _parameter("limit", f"Rows on a page, at most {self.max_limit}.", self.default_limit),
            _parameter("skip", f"Rows to leave out first, at most {self.max_skip}.", 0),
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        total = {"count": {"type": "integer"}} if self.counts else {}
        results = {"type": "array", "items": schema["items"]} if "items" in schema else schema
        properties = {**total, "next": link, "previous": link, "results": results}
        return {"type": "object", "required": list(properties), "properties": properties}


class SeriesOfTime(LimitSkip):
    """As above for rows that keep arriving, oldest first: no total, and not too deep.

    Where `skip` may go no deeper, `next` goes on by `start` instead, from the last row's own
    time on, so that this row comes twice rather than one that shares its time not at all.
    """

    max_skip = 10_000
    counts = False

    def next_link(self) -> str | None:
        if self.has_next and self.skip + self.limit > self.max_skip:
            start = self.rows[-1]["timestamp"].isoformat()
            address = remove_query_param(self.request.build_absolute_uri(), "skip")
            return replace_query_param(address, "start", start)
        return super().next_link()


def _parameter(name: str, description: str, default: int) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "integer", "default": default},
    }
