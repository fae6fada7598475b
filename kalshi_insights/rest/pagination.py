"""Pagination: `limit` and `skip` on every list, and cursors on time series."""

import base64
import operator
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import Field, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from kalshi_insights.export.postgres import ColumnLists

# Exports are not paginated, but the number of their rows is capped.
MAX_EXPORT_ROWS = 999_999_999_999
MAX_SKIP = 10_000_000


def whole_number(request: Request, name: str, *, default: int, minimum: int, maximum: int) -> int:
    """Read a query parameter; raises ValidationError where it is not a whole number in range."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    is_plain = text.isascii() and text.isdigit() and len(text) <= 12
    if not is_plain or not minimum <= int(text) <= maximum:
        raise ValidationError({name: [f"Must be a whole number from {minimum} to {maximum}."]})
    return int(text)


def rows_of_file(request: Request, *, most: int = MAX_SKIP) -> slice:
    """The rows of a file: all of them, cut by `skip`, which is at most so many, and `limit`."""
    skip = whole_number(request, "skip", default=0, minimum=0, maximum=most)
    limit = whole_number(request, "limit", default=0, minimum=1, maximum=MAX_EXPORT_ROWS)
    return slice(skip, skip + limit if limit else None)


class OffsetPages(BasePagination):
    """Pages of `limit` rows after the first `skip`, with the total."""

    default_limit = 100
    max_limit = 1_000
    max_skip = MAX_SKIP
    has_total = True

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: APIView | None = None,
        *,
        cut: Callable[[Any, slice], Any] = operator.getitem,
        fetch: Callable[[Any], list[Any]] = list,
    ) -> list[Any]:
        """Return the rows of the requested page.

        `cut` takes the page's slice of the queryset, when its rows have been counted; `fetch` turns
        it into rows.
        """
        page_slice = self.page_slice(request)
        has_count = isinstance(queryset, QuerySet) and self.has_total
        self.count = queryset.count() if has_count else None  # type: ignore[call-arg]
        rows = fetch(cut(queryset, page_slice))
        self.has_next = len(rows) > self.limit
        return rows[: self.limit]

    def page_slice(self, request: Request) -> slice:
        """The rows of the requested page, and one more that tells whether a next page exists."""
        self.request = request
        self.limit = whole_number(
            request, "limit", default=self.default_limit, minimum=1, maximum=self.max_limit
        )
        self.skip = whole_number(request, "skip", default=0, minimum=0, maximum=self.max_skip)
        return slice(self.skip, self.skip + self.limit + 1)

    def get_paginated_response(self, data: Any) -> Response:
        total = {"count": self.count} if self.has_total else {}
        return Response(
            {**total, "next": self.next_link(), "previous": self.previous_link(), "results": data}
        )

    def next_link(self) -> str | None:
        next_skip = self.skip + self.limit
        if not self.has_next or next_skip > self.max_skip:
            return None
        return replace_query_param(self.request.build_absolute_uri(), "skip", next_skip)

    def previous_link(self) -> str | None:
        if self.skip == 0:
            return None
        address = self.request.build_absolute_uri()
        previous_skip = max(self.skip - self.limit, 0)
        if previous_skip == 0:
            return remove_query_param(address, "skip")
        return replace_query_param(address, "skip", previous_skip)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            _parameter(
                "limit",
                f"Rows on a page, at most {self.max_limit}.",
                default=self.default_limit,
                minimum=1,
                maximum=self.max_limit,
            ),
            _parameter(
                "skip",
                f"Rows to skip before the page, at most {self.max_skip}.",
                default=0,
                minimum=0,
                maximum=self.max_skip,
            ),
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True, "example": None}
        count = {"type": "integer", "description": "Rows on all pages.", "example": 1}
        total = {"count": count} if self.has_total else {}
        properties = {**total, "next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(properties), "properties": properties}


class CursorPages(OffsetPages):
    """Pages of a time series, oldest first, without a total and with a small `skip`.

    `next` holds a `cursor`, which is the position of the last row, so rows that arrive meanwhile
    move no row to another page. The queryset must be ordered by two fields, a time and a key that
    no two rows of the same time share; `fetch` must return JSON objects that have both.
    """

    max_skip = 10_000
    has_total = False

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: APIView | None = None,
        **how: Any,
    ) -> list[Any]:
        rows = super().paginate_queryset(self.after_cursor(queryset, request), request, view, **how)
        self.last_row = rows[-1] if self.has_next else None
        return rows

    def after_cursor(self, queryset: Any, request: Request) -> Any:
        self.cursor_fields: tuple[str, str] = queryset.query.order_by
        cursor = request.query_params.get("cursor")
        self.is_first = cursor is None
        if cursor is None:
            return queryset
        if "skip" in request.query_params:
            raise ValidationError({"skip": ["Cannot be combined with cursor."]})
        time, key = self.cursor_fields
        last_time, last_key = _decode_cursor(cursor, queryset.model._meta.get_field(key))
        # The index and the pruning of daily partitions need the plain condition on the time.
        return queryset.filter(
            Q(**{f"{time}__gt": last_time}) | Q(**{f"{key}__gt": last_key}),
            **{f"{time}__gte": last_time},
        )

    def all_rows(self, queryset: Any, request: Request) -> Any:
        """All rows, for a file: those after the cursor, cut by `skip` and `limit` where given."""
        return self.after_cursor(queryset, request)[rows_of_file(request, most=self.max_skip)]

    def next_link(self) -> str | None:
        if self.last_row is None:
            return None
        row = msgspec.json.decode(self.last_row)
        time, key = (row[name] for name in self.cursor_fields)
        address = remove_query_param(self.request.build_absolute_uri(), "skip")
        cursor = _encode_cursor(datetime.fromisoformat(time), key)
        return replace_query_param(address, "cursor", cursor)

    def previous_link(self) -> str | None:
        return super().previous_link() if self.is_first else None

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        limit, skip = super().get_schema_operation_parameters(view)
        limit["description"] = (
            f"Rows on a page: at most {self.max_limit} of JSON, by default {self.default_limit};"
            f" at most {ColumnPages.max_limit} of columns. Without it, csv, parquet and arrow"
            " have all rows."
        )
        limit["schema"] = {"type": "integer", "minimum": 1, "maximum": MAX_EXPORT_ROWS}
        return [limit, skip, CURSOR_PARAMETER]


class ColumnPages(CursorPages):
    """Pages large enough for a chart, with a list for each column."""

    default_limit = max_limit = 100_000

    def paginate_columns(
        self, queryset: QuerySet[Any], request: Request, *, fetch: Callable[[Any, int], ColumnLists]
    ) -> dict[str, msgspec.Raw]:
        """Return the columns of the requested page; `fetch` is given a queryset and a limit."""
        rows = self.after_cursor(queryset, request)
        page_slice = self.page_slice(request)
        columns, self.last_row = fetch(rows[page_slice], self.limit)
        return columns


class OnePage(OffsetPages):
    """A single page with all rows, in the shape of other pages, for rows computed together."""

    has_total = False

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return []


CURSOR_PARAMETER = {
    "name": "cursor",
    "in": "query",
    "required": False,
    "allowEmptyValue": False,
    "description": "Continues after the last row of a page; take it from that page's `next`."
    " Cannot be combined with `skip`.",
    "schema": {"type": "string", "minLength": 1},
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Microseconds, with digits enough for two hundred years, and a UUID or another key.
CURSOR_FORMAT = re.compile(r"([0-9]{1,16})\.([!-~]{1,100})")


def _encode_cursor(time: datetime, key: object) -> str:
    micros = (time - EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{micros}.{key}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str, field: "Field[Any, Any]") -> tuple[datetime, Any]:
    """Return the time and the key of the row that a cursor points at."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        match = CURSOR_FORMAT.fullmatch(text)
        key = field.clean(match[2], None) if match else None
    except (ValueError, DjangoValidationError):
        match = None
    if match is None:
        raise ValidationError({"cursor": ["Not a cursor of this API."]})
    return EPOCH + timedelta(microseconds=int(match[1])), key


def _parameter(name: str, description: str, **schema: int) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "integer", **schema},
    }
