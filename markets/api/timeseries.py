"""What is on record of one market over time, for whoever asks the API."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from kalshi_insights.export import parquet, postgres
from kalshi_insights.export.parquet import Columns
from kalshi_insights.export.postgres import Lists, Selection
from kalshi_insights.rest import renderers
from kalshi_insights.rest.conditional import conditional
from kalshi_insights.rest.pagination import Columnar, OnePage, SeriesOfTime
from kalshi_insights.rest.renderers import InFormats
from markets.api import candlesticks, timeseries_serializers
from markets.api.candlesticks import INTERVALS
from markets.api.serializers import SnapshotSerializer
from markets.api.timeseries_filters import (
    END,
    MOST_BUCKETS,
    MOST_COVERED,
    MOST_LEVELS,
    START,
    BookForm,
    CandlestickForm,
    CoverageForm,
    RevisionFilter,
    SnapshotFilter,
    TradeFilter,
    asked,
)
from markets.coverage.coverage import coverage
from markets.filters import AS_OF
from markets.models import (
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Source,
    Trade,
)


class Series(NamedTuple):
    """Rows of one kind: what many and one are called, their columns, and those a chart draws."""

    name: str
    word: str
    columns: Columns
    chart: Sequence[str]


SNAPSHOTS = Series(
    "snapshots", "Snapshot", timeseries_serializers.SNAPSHOTS, timeseries_serializers.SNAPSHOT_CHART
)
TRADES = Series(
    "trades", "Trade", timeseries_serializers.TRADES, timeseries_serializers.TRADE_CHART
)
REVISIONS = Series("revisions", "Revision", timeseries_serializers.REVISIONS, ())
CANDLESTICKS = Series(
    "candlesticks",
    "Candlestick",
    candlesticks.CANDLESTICKS,
    timeseries_serializers.CANDLESTICK_CHART,
)
WITHOUT_CHART = [each for each in renderers.SERIES if each is not renderers.Columns]


WHOLE = f"Buckets are whole, at most {MOST_BUCKETS:,} of them."


def in_words(row: dict[str, Any]) -> dict[str, Any]:
    """Decimals as strings: the renderer would make floats of them."""
    return {name: f"{x:f}" if isinstance(x, Decimal) else x for name, x in row.items()}


def described(rows_of: BaseSerializer[Any] | type[BaseSerializer[Any]], series: Series) -> Any:
    """The answers of a series in the schema, by media type."""
    answers: dict[tuple[int, str], Any] = {(200, "application/json"): rows_of}
    if series.chart:
        times = [name for name in series.chart if series.columns[name] == "timestamptz"]
        columns = renderers.columns_serializer(series.word, series.chart, times=times)
        answers[200, renderers.Columns.media_type] = columns
    answers[200, renderers.Csv.media_type] = OpenApiTypes.STR
    answers[200, renderers.Parquet.media_type] = OpenApiTypes.BINARY
    answers[200, renderers.Arrow.media_type] = OpenApiTypes.BINARY
    return answers


def instant(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.DATETIME, description=description)


class TimeSeries(InFormats, GenericViewSet[Any]):
    """Rows of time, in the form that the query asks for."""

    @property
    def form(self) -> str:
        return str(self.request.accepted_renderer.format)

    def answer(self, rows: QuerySet[Any, Any], series: Series, *, name: str) -> HttpResponseBase:
        """Of dictionaries the rows that the query asks for; `name` is what they are of."""
        listed = self.filter_queryset(rows)
        if self.form in renderers.FILES:
            whole = SeriesOfTime().whole(listed, self.request)
            return self.file(Selection.of(whole, series.columns), series, name=name)
        if self.form == renderers.Columns.format:
            return self.chart(listed, series)
        pages = SeriesOfTime()
        page = pages.paginate_queryset(
            listed, self.request, fetch=lambda page: Selection.of(page, series.columns).json()
        )
        return pages.get_paginated_response(page)

    def chart(self, listed: QuerySet[Any, Any], series: Series) -> Response:
        pages = Columnar()

        def drawn(page: QuerySet[Any, Any], first: int) -> Lists:
            found = Selection.of(page, series.columns)
            return found.lists(series.chart, first=first, place=pages.order)

        columns = pages.paginate_lists(listed, self.request, fetch=drawn)
        return Response({"columns": columns, "next": pages.next_link()})

    def file(self, found: Selection, series: Series, *, name: str) -> StreamingHttpResponse:
        content: Iterator[bytes] = iter(())
        if self.request.method != "HEAD":
            content = _file(found, self.form)
        return renderers.sent(content, self.request.accepted_renderer, name=f"{name}-{series.name}")


class MarketHistory(TimeSeries):
    """The resources under `markets/{ticker}/`; `get_object` gives the market."""

    query_form: type[Form] | None = None

    @extend_schema(responses=SnapshotSerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def latest(self, request: Request, ticker: str) -> HttpResponseBase:
        """The market's newest snapshot. Knows `If-None-Match` and `If-Modified-Since`."""
        market = self.get_object()
        snapshot = candlesticks.newest(market)
        if snapshot is None:
            raise NotFound(f"Nothing has been recorded of {ticker} yet.")
        snapshot.market = market
        answer = Response(SnapshotSerializer(snapshot).data)
        return conditional(request, answer, tag=str(snapshot.pk), modified=snapshot.timestamp)

    @extend_schema(responses=described(SnapshotSerializer(many=True), SNAPSHOTS))
    @action(
        detail=True,
        pagination_class=SeriesOfTime,
        filterset_class=SnapshotFilter,
        renderer_classes=renderers.SERIES,
    )
    def snapshots(self, request: Request, ticker: str) -> HttpResponseBase:
        """The market's snapshots, oldest first, from `start` on and before `end`."""
        market = self.get_object()
        found = MarketSnapshot.objects.for_market(market).oldest_first()
        return self.of_market(found, market, SNAPSHOTS)

    @extend_schema(responses=described(timeseries_serializers.TradeSerializer(many=True), TRADES))
    @action(
        detail=True,
        pagination_class=SeriesOfTime,
        filterset_class=TradeFilter,
        renderer_classes=renderers.SERIES,
    )
    def trades(self, request: Request, ticker: str) -> HttpResponseBase:
        """The market's public trades as far as they were backfilled, oldest first."""
        market = self.get_object()
        return self.of_market(Trade.objects.for_market(market).oldest_first(), market, TRADES)

    @extend_schema(
        responses=described(timeseries_serializers.RevisionSerializer(many=True), REVISIONS)
    )
    @action(
        detail=True,
        pagination_class=SeriesOfTime,
        filterset_class=RevisionFilter,
        renderer_classes=WITHOUT_CHART,
    )
    def revisions(self, request: Request, ticker: str) -> HttpResponseBase:
        """What was known of the market since when, oldest first."""
        market = self.get_object()
        return self.of_market(MarketRevision.objects.for_market(market), market, REVISIONS)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "interval",
                enum=list(INTERVALS),
                default="1m",
                description="The buckets' width; they begin at multiples of it since 1970, UTC.",
            ),
            instant("start", f"{START} Without it, a day before the end. {WHOLE}"),
            instant("end", f"{END} Without it, now. {WHOLE}"),
            OpenApiParameter(
                "source", enum=Source.values, description="How it was observed; else in any way."
            ),
        ],
        responses=described(timeseries_serializers.CandlestickSerializer(many=True), CANDLESTICKS),
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=OnePage,
        query_form=CandlestickForm,
        renderer_classes=renderers.SERIES,
    )
    def candlesticks(self, request: Request, ticker: str) -> HttpResponseBase:
        """Snapshots summed up by buckets of time, oldest first.

        A bucket without a snapshot is absent: nothing is carried into it. Kalshi's own
        candlesticks, where they were backfilled, are among the snapshots as their closes.
        """
        market = self.get_object()
        asked_for = asked(CandlestickForm, request).cleaned_data
        window, source = asked_for["window"], asked_for["source"] or None
        found = candlesticks.candlesticks(market, window, source=source)
        if self.form in renderers.FILES:
            return self.file(found, CANDLESTICKS, name=market.ticker)
        if self.form == renderers.Columns.format:
            drawn = found.lists(CANDLESTICKS.chart, first=MOST_BUCKETS)
            return Response({"columns": drawn.columns, "next": None})
        return Response({"next": None, "previous": None, "results": found.json()})

    @extend_schema(
        parameters=[
            instant("as_of", AS_OF),
            OpenApiParameter(
                "depth",
                {"type": "integer", "minimum": 1, "maximum": MOST_LEVELS},
                description="The best so many levels of each side; without it, all of them.",
            ),
        ],
        responses=timeseries_serializers.BookSerializer,
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=None,
        query_form=BookForm,
    )
    def orderbook(self, request: Request, ticker: str) -> Response:
        """The market's whole book as last seen; only the books of some hot markets are recorded."""
        asked_for = asked(BookForm, request).cleaned_data
        market = self.get_object()
        book = candlesticks.book(market, at=asked_for["as_of"])
        if book is None:
            raise NotFound(f"No order book of {ticker} has been recorded by then.")
        return Response(_told(book, market, depth=asked_for["depth"]))

    @extend_schema(
        parameters=[
            instant("start", f"{START} Without it, a day before the end."),
            instant("end", f"{END} Without it, now. At most {MOST_COVERED.days} days after start."),
        ],
        responses=timeseries_serializers.CoverageSerializer,
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=None,
        query_form=CoverageForm,
    )
    def coverage(self, request: Request, ticker: str) -> Response:
        """How well the market was observed, up to now: the gaps, each with its cause."""
        window = asked(CoverageForm, request).cleaned_data
        found = coverage(self.get_object(), window["start"], window["end"])
        return Response(timeseries_serializers.CoverageSerializer(found).data)

    def of_market(self, found: QuerySet[Any], market: Market, series: Series) -> HttpResponseBase:
        listed = postgres.of_market(found, market, series.columns)
        return self.answer(listed, series, name=market.ticker)


def _file(found: Selection, form: str) -> Iterator[bytes]:
    if form == renderers.Csv.format:
        return postgres.csv(found)
    write = renderers.parquet if form == renderers.Parquet.format else renderers.arrow
    return write(postgres.tables(found), parquet.schema(found.columns))


def _told(book: OrderBookSnapshot, market: Market, *, depth: int | None) -> dict[str, Any]:
    sides = {
        "bids": zip(book.bid_prices, book.bid_sizes, strict=True),
        "asks": zip(book.ask_prices, book.ask_sizes, strict=True),
    }
    levels = {
        side: [in_words({"price": price, "size": size}) for price, size in islice(pairs, depth)]
        for side, pairs in sides.items()
    }
    return {"ticker": market.ticker, "timestamp": book.timestamp, **levels}
