"""`limit` and `skip`, the same on every list of the API."""

import base64
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

# JSON lists by column, and a row as JSON.
Drawn = tuple[dict[str, msgspec.Raw], msgspec.Raw | None]


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
        *,
        read: Callable[[Any], Any] = lambda found: found,
        fetch: Callable[[Any], list[Any]] = list,
    ) -> list[Any]:
        """`read` tells what is selected of the rows found; they are counted without it.

        `fetch` makes rows of the part of these that makes the page.
        """
        window = self.window(request)
        self.count = queryset.count() if isinstance(queryset, QuerySet) and self.counts else None
        rows = fetch(read(queryset)[window])
        self.has_next = len(rows) > self.limit
        return rows[: self.limit]

    def window(self, request: Request) -> slice:
        """The rows of the page asked for, and one more, which tells that there is a next."""
        self.request = request
        self.limit = whole_number(
            request, "limit", default=self.default_limit, least=1, most=self.max_limit
        )
        self.skip = whole_number(request, "skip", default=0, least=0, most=self.max_skip)
        return slice(self.skip, self.skip + self.limit + 1)

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
            _parameter(
                "limit",
                f"Rows on a page, at most {self.max_limit}.",
                default=self.default_limit,
                minimum=1,
                maximum=self.max_limit,
            ),
            _parameter(
                "skip",
                f"Rows to leave out first, at most {self.max_skip}.",
                default=0,
                minimum=0,
                maximum=self.max_skip,
            ),
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True, "example": None}
        count = {"type": "integer", "description": "Rows on all pages.", "example": 1}
        total = {"count": count} if self.counts else {}
        properties = {**total, "next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(properties), "properties": properties}


class SeriesOfTime(LimitSkip):
    """As above for rows that keep arriving, oldest first: no total, and not too deep.

    `next` goes on by a `cursor`, which is the place of the last row: what arrives meanwhile moves
    no row to another page. To be given a queryset in an order of two fields, a time and a key
    that no two rows of the same time share, and to fetch JSON objects that have both.
    """

    max_skip = 10_000
    counts = False

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: APIView | None = None,
        *,
        read: Callable[[Any], Any] = lambda found: found,
        fetch: Callable[[Any], list[Any]] = list,
    ) -> list[Any]:
        found = self.beyond_cursor(queryset, request)
        rows = super().paginate_queryset(found, request, view, read=read, fetch=fetch)
        self.last = rows[-1] if self.has_next else None
        return rows

    def beyond_cursor(self, queryset: Any, request: Request) -> Any:
        self.order: tuple[str, str] = queryset.query.order_by
        text = request.query_params.get("cursor")
        self.is_first = text is None
        if text is None:
            return queryset
        if "skip" in request.query_params:
            raise ValidationError({"skip": ["Cannot be combined with cursor."]})
        time, key = self.order
        at, last = _place(text, queryset.model._meta.get_field(key))
        # The first of these conditions is the one that an index and the days' pieces understand.
        return queryset.filter(
            Q(**{f"{time}__gt": at}) | Q(**{f"{key}__gt": last}), **{f"{time}__gte": at}
        )

    def whole(self, queryset: Any, request: Request) -> Any:
        """All rows, for a file: from the cursor on, and cut by `skip` and `limit` if given."""
        found = self.beyond_cursor(queryset, request)
        skip = whole_number(request, "skip", default=0, least=0, most=self.max_skip)
        limit = whole_number(request, "limit", default=0, least=1, most=MOST_OF_A_FILE)
        return found[skip : skip + limit if limit else None]

    def next_link(self) -> str | None:
        if self.last is None:
            return None
        last = msgspec.json.decode(self.last)
        time, key = (last[name] for name in self.order)
        address = remove_query_param(self.request.build_absolute_uri(), "skip")
        return replace_query_param(address, "cursor", _cursor(datetime.fromisoformat(time), key))

    def previous_link(self) -> str | None:
        return super().previous_link() if self.is_first else None

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        limit, skip = super().get_schema_operation_parameters(view)
        limit["description"] = (
            f"Rows on a page: at most {self.max_limit} of JSON, where {self.default_limit} are the"
            f" default, and {Columnar.max_limit} of columns. csv, parquet and arrow have all rows"
            " without it."
        )
        limit["schema"] = {"type": "integer", "minimum": 1, "maximum": MOST_OF_A_FILE}
        return [limit, skip, CURSOR]


class Columnar(SeriesOfTime):
    """Rows enough for a chart, as a list for each column."""

    default_limit = max_limit = 100_000

    def paginate_lists(
        self, queryset: QuerySet[Any], request: Request, *, fetch: Callable[[Any, int], Drawn]
    ) -> dict[str, msgspec.Raw]:
        """`fetch` makes lists of so many rows, and tells the last of them if there are more."""
        found = self.beyond_cursor(queryset, request)
        window = self.window(request)
        columns, self.last = fetch(found[window], self.limit)
        return columns


class OnePage(LimitSkip):
    """For rows that are computed together: whatever there is, in the shape of other pages."""

    counts = False

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return []


# Of a file there are no pages, but the number has an end.
MOST_OF_A_FILE = 999_999_999_999
CURSOR = {
    "name": "cursor",
    "in": "query",
    "required": False,
    "allowEmptyValue": False,
    "description": "Goes on after the last row of a page; taken from its `next`. Not with `skip`.",
    "schema": {"type": "string", "minLength": 1},
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Digits enough for the next two hundred years, and a UUID, an id, or an exchange's own id.
PLACE = re.compile(r"([0-9]{1,16})\.([!-~]{1,100})")


def _cursor(at: datetime, key: object) -> str:
    micros = (at - EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{micros}.{key}".encode()).decode().rstrip("=")


def _place(cursor: str, field: "Field[Any, Any]") -> tuple[datetime, Any]:
    """The time and the key of the row that a cursor was made of."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        found = PLACE.fullmatch(text)
        key = field.clean(found[2], None) if found else None
    except (ValueError, DjangoValidationError):
        found = None
    if found is None:
        raise ValidationError({"cursor": ["Not a cursor that was given out here."]})
    return EPOCH + timedelta(microseconds=int(found[1])), key


def _parameter(name: str, description: str, **schema: int) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "integer", **schema},
    }
