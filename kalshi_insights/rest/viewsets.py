"""Viewsets: lists of resources with single ones by name, and time series in several formats."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpResponseBase, StreamingHttpResponse
from django_filters import FilterSet
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from kalshi_insights.export import postgres
from kalshi_insights.export.postgres import ColumnLists, ExportQuery
from kalshi_insights.rest.errors import not_found
from kalshi_insights.rest.filters import FilterBackend
from kalshi_insights.rest.pagination import ColumnPages, CursorPages, OffsetPages
from kalshi_insights.rest.parameters import KnownParameters
from kalshi_insights.rest.renderers import (
    ArrowRenderer,
    ColumnsRenderer,
    CsvRenderer,
    FileRenderer,
    FormatNegotiation,
    ParquetRenderer,
    file_response,
)
from kalshi_insights.rest.schema import SeriesSpec

FILE_WRITERS: dict[str, Callable[[ExportQuery], Iterator[bytes]]] = {
    CsvRenderer.format: ExportQuery.csv,
    ParquetRenderer.format: ExportQuery.parquet,
    ArrowRenderer.format: ExportQuery.arrow,
}


class ResourceViewSet(KnownParameters, GenericViewSet[Any]):
    """Lists as plain rows, by `limit` and `skip`, and single resources by their name."""

    pagination_class = OffsetPages
    filter_backends = [FilterBackend]
    lookup_field = "ticker"
    lookup_value_regex = "[^/]+"
    # The parameters of a list beside its filters, and those of a single resource.
    list_form: type[Form] | None = None
    single_form: type[Form] | None = None
    # The filters of a list that is requested `as_of` an instant, in place of the usual ones.
    as_of_filter: type[FilterSet] | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.action == "retrieve":
            self.query_form = self.single_form
        elif self.action == "list" and self.is_as_of:
            self.filterset_class = self.as_of_filter
        elif self.action == "list":
            self.query_form = self.list_form
        super().initial(request, *args, **kwargs)

    @property
    def is_as_of(self) -> bool:
        """True where a list is requested as of an instant."""
        return bool(self.as_of_filter and self.request.query_params.get("as_of"))

    def page(
        self,
        paginator: OffsetPages,
        read: Callable[[Any], Any] = lambda queryset: queryset,
        fetch: Callable[[Any], list[Any]] = list,
    ) -> list[Any]:
        """Return the filtered rows of the requested page, of which `read` chooses the columns."""

        def cut(queryset: Any, page: slice) -> Any:
            return read(queryset)[page]

        queryset = self.filter_queryset(self.get_queryset())
        return paginator.paginate_queryset(queryset, self.request, cut=cut, fetch=fetch)

    def list_response(self, paginator: OffsetPages, fields: Sequence[str]) -> Response:
        """A page of rows with these fields, as JSON that PostgreSQL writes."""
        rows = self.page(paginator, lambda queryset: queryset.rows(fields), postgres.json)
        return paginator.get_paginated_response(rows)


def row_or_404(rows: QuerySet[Any, dict[str, Any]], noun: str, name: str) -> dict[str, Any]:
    return rows.first() or not_found(noun, name)


class TimeSeriesViewSet(GenericViewSet[Any]):
    """Time series in the format that the query asks for; errors are always JSON."""

    content_negotiation_class = FormatNegotiation

    @property
    def format(self) -> str:
        return str(self.request.accepted_renderer.format)

    def series_response(
        self, rows: QuerySet[Any, Any], spec: SeriesSpec, *, name: str
    ) -> HttpResponseBase:
        """Answer with rows of a `values()` queryset; files are called by `name`."""
        filtered = self.filter_queryset(rows)
        if self.format in FILE_WRITERS:
            all_rows = CursorPages().all_rows(filtered, self.request)
            query = ExportQuery.from_queryset(all_rows, spec.columns)
            return self.file_response(query, spec, name=name)
        if self.format == ColumnsRenderer.format:
            return self.columns_response(filtered, spec)
        paginator = CursorPages()
        page = paginator.paginate_queryset(
            filtered,
            self.request,
            fetch=lambda rows: ExportQuery.from_queryset(rows, spec.columns).json(),
        )
        return paginator.get_paginated_response(page)

    def columns_response(self, rows: QuerySet[Any, Any], spec: SeriesSpec) -> Response:
        paginator = ColumnPages()

        def fetch(page: QuerySet[Any, Any], limit: int) -> ColumnLists:
            query = ExportQuery.from_queryset(page, spec.columns)
            return query.column_lists(
                spec.chart, limit=limit, cursor_fields=paginator.cursor_fields
            )

        columns = paginator.paginate_columns(rows, self.request, fetch=fetch)
        return Response({"columns": columns, "next": paginator.next_link()})

    def file_response(
        self, query: ExportQuery, spec: SeriesSpec, *, name: str
    ) -> StreamingHttpResponse:
        content: Iterator[bytes] = iter(())
        if self.request.method != "HEAD":
            content = FILE_WRITERS[self.format](query)
        renderer = self.request.accepted_renderer
        return file_response(content, renderer, name=f"{name}-{spec.name}")

    def handle_exception(self, exc: Exception) -> Response:
        self._fall_back_to_json()
        return super().handle_exception(exc)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        self._fall_back_to_json()
        return super().options(request, *args, **kwargs)

    def _fall_back_to_json(self) -> None:
        renderer = getattr(self.request, "accepted_renderer", None)
        if isinstance(renderer, FileRenderer | ColumnsRenderer):
            self.request.accepted_renderer = JSONRenderer()
            self.request.accepted_media_type = JSONRenderer.media_type
