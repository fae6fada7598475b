"""The time series of one market: snapshots, trades, revisions, candlesticks, coverage, its book."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.db.models import QuerySet, Value
from django.forms import Form
from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from kalshi_insights.rest.conditional import conditional
from kalshi_insights.rest.filters import END, START
from kalshi_insights.rest.pagination import CursorPages, OnePage
from kalshi_insights.rest.parameters import read_query
from kalshi_insights.rest.renderers import (
    TIME_SERIES_RENDERERS,
    ColumnsRenderer,
    decimals_as_text,
)
from kalshi_insights.rest.schema import SeriesSpec, instant_parameter, series_responses
from kalshi_insights.rest.viewsets import FILE_WRITERS, TimeSeriesViewSet
from markets.api import candlesticks, timeseries_serializers
from markets.api.candlesticks import INTERVALS
from markets.api.serializers import LatestSerializer, SnapshotSerializer
from markets.api.timeseries_filters import (
    MAX_BUCKETS,
    MAX_COVERAGE,
    MAX_LEVELS,
    UNNAMED_SOURCE,
    BookForm,
    CandlestickForm,
    CoverageForm,
    OrderBookFilter,
    RevisionFilter,
    SnapshotFilter,
    TradeFilter,
    recorded_unless_named,
)
from markets.api.timeseries_serializers import (
    BookSerializer,
    CoverageSerializer,
    OrderBookSerializer,
    RevisionSerializer,
)
from markets.coverage import freshness
from markets.coverage.coverage import coverage
from markets.coverage.freshness import QuoteEvidence
from markets.filters import AS_OF, IMPORT_NUMBER
from markets.models import (
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Source,
    Trade,
)

SNAPSHOTS = SeriesSpec(
    "snapshots", "Snapshot", timeseries_serializers.SNAPSHOTS, timeseries_serializers.SNAPSHOT_CHART
)
TRADES = SeriesSpec(
    "trades", "Trade", timeseries_serializers.TRADES, timeseries_serializers.TRADE_CHART
)
TRADE_RESPONSES = series_responses(timeseries_serializers.TradeSerializer(many=True), TRADES)
REVISIONS = SeriesSpec("revisions", "Revision", timeseries_serializers.REVISIONS, ())
ORDER_BOOKS = SeriesSpec("orderbooks", "OrderBook", timeseries_serializers.ORDER_BOOKS, ())
CANDLESTICKS = SeriesSpec(
    "candlesticks",
    "Candlestick",
    candlesticks.CANDLESTICKS,
    timeseries_serializers.CANDLESTICK_CHART,
)
WITHOUT_COLUMNS = [each for each in TIME_SERIES_RENDERERS if each is not ColumnsRenderer]
DEFAULT_START = "Without it, the range begins with the first snapshot on record."
DEFAULT_END = "Without it, the range ends now, or with the close of a market that is over."
LONGEST_COVERAGE = f"At most {MAX_COVERAGE.days} days after start."
LATEST_COVERAGE = f"{DEFAULT_START[:-1]}, and at most {MAX_COVERAGE.days} days before the end."
WHOLE_BUCKETS = f"Buckets are whole; a page has {MAX_BUCKETS:,} of them, a file all."


class MarketTimeSeries(TimeSeriesViewSet):
    """The resources under `markets/{ticker}/`; `get_object` returns the market."""

    query_form: type[Form] | None = None

    @extend_schema(responses=LatestSerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def latest(self, request: Request, ticker: str) -> HttpResponseBase:
        """The market's newest snapshot, and whether its quote still stands.

        Supports `If-None-Match` and, while the market is being observed, `If-Modified-Since`: a
        304 says that the quote and `being_observed` are as they were.
        """
        market = self.get_object()
        snapshot = candlesticks.newest(market)
        if snapshot is None:
            raise NotFound(f"No snapshot of {ticker} has been recorded yet.")
        snapshot.market = market
        market.quoted_at = snapshot.timestamp
        [evidence] = freshness.quote_evidence([market], datetime.now(UTC))
        vars(snapshot).update(evidence._asdict())
        answer = Response(LatestSerializer(snapshot).data)
        return conditional_on(
            evidence, request, answer, tag=str(snapshot.pk), modified=snapshot.timestamp
        )

    @extend_schema(responses=series_responses(SnapshotSerializer(many=True), SNAPSHOTS))
    @action(
        detail=True,
        pagination_class=CursorPages,
        filterset_class=SnapshotFilter,
        renderer_classes=TIME_SERIES_RENDERERS,
    )
    def snapshots(self, request: Request, ticker: str) -> HttpResponseBase:
        """The market's snapshots, oldest first, from `start` on and before `end`."""
        market = self.get_object()
        rows = recorded_unless_named(MarketSnapshot.objects.for_market(market), request)
        return self.market_response(rows.with_prices().oldest_first(), market, SNAPSHOTS)

    @extend_schema(responses=TRADE_RESPONSES)
    @action(
        detail=True,
        pagination_class=CursorPages,
        filterset_class=TradeFilter,
        renderer_classes=TIME_SERIES_RENDERERS,
    )
    def trades(self, request: Request, ticker: str) -> HttpResponseBase:
        """The market's public trades, oldest first."""
        market = self.get_object()
        trades = recorded_unless_named(Trade.objects.for_market(market), request)
        rows = trades.oldest_first().rows(TRADES.columns, ticker=Value(market.ticker))
        return self.series_response(rows, TRADES, name=market.ticker)

    @extend_schema(responses=series_responses(RevisionSerializer(many=True), REVISIONS))
    @action(
        detail=True,
        pagination_class=CursorPages,
        filterset_class=RevisionFilter,
        renderer_classes=WITHOUT_COLUMNS,
    )
    def revisions(self, request: Request, ticker: str) -> HttpResponseBase:
        """The market's revisions, each with the instant it was known from, oldest first."""
        market = self.get_object()
        return self.market_response(MarketRevision.objects.for_market(market), market, REVISIONS)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "interval",
                enum=list(INTERVALS),
                default="1m",
                description="The width of a bucket. Buckets begin at its multiples since 1970 UTC.",
            ),
            instant_parameter("start", f"{START} {DEFAULT_START} {WHOLE_BUCKETS}"),
            instant_parameter("end", f"{END} {DEFAULT_END} {WHOLE_BUCKETS}"),
            OpenApiParameter(
                "source",
                enum=Source.values,
                description=f"The source of the observation; {UNNAMED_SOURCE}",
            ),
            OpenApiParameter(
                "import", {"type": "integer", "minimum": 1}, description=IMPORT_NUMBER
            ),
        ],
        responses=series_responses(
            timeseries_serializers.CandlestickSerializer(many=True), CANDLESTICKS
        ),
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=OnePage,
        query_form=CandlestickForm,
        renderer_classes=TIME_SERIES_RENDERERS,
    )
    def candlesticks(self, request: Request, ticker: str) -> HttpResponseBase:
        """Candlesticks computed from the market's snapshots, oldest first.

        Nothing is carried forward into a bucket without a snapshot; its `state` tells whether it
        was quiet or unobserved. Kalshi's own candlesticks, where they were backfilled, count as
        one snapshot each, at their close.
        """
        market = self.get_object()
        query = read_query(CandlestickForm, request).cleaned_data
        interval = INTERVALS[query["interval"] or "1m"]
        chosen = {"source": query["source"] or None, "import_id": query["import"]}
        if query["import"]:
            span = candlesticks.imported_range(
                market, query["import"], query["start"], query["end"]
            )
            window = candlesticks.Window.around(*span, interval)
        else:
            span = candlesticks.recorded_range(market, query["start"], query["end"])
            window = candlesticks.Window.of_market(market, span, interval)
        if self.format in FILE_WRITERS:
            export = candlesticks.candlesticks(market, window, **chosen)
            return self.file_response(export, CANDLESTICKS, name=market.ticker)
        page = window.first(MAX_BUCKETS)
        export = candlesticks.candlesticks(market, page, **chosen)
        following = self.following_range(page.end, span.end) if page.end < window.end else None
        if self.format == ColumnsRenderer.format:
            lists = export.column_lists(CANDLESTICKS.chart, limit=MAX_BUCKETS)
            return Response({"columns": lists.columns, "next": following})
        return Response({"next": following, "previous": None, "results": export.json()})

    def following_range(self, start: datetime, end: datetime) -> str:
        """The address of this request for another range."""
        address = self.request.build_absolute_uri()
        for name, instant in (("start", start), ("end", end)):
            address = replace_query_param(address, name, f"{instant:%Y-%m-%dT%H:%M:%S.%fZ}")
        return address

    @extend_schema(
        parameters=[
            instant_parameter("as_of", AS_OF),
            OpenApiParameter(
                "depth",
                {"type": "integer", "minimum": 1, "maximum": MAX_LEVELS},
                description="The number of best levels of each side; without it, all levels.",
            ),
        ],
        responses=BookSerializer,
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=None,
        query_form=BookForm,
    )
    def orderbook(self, request: Request, ticker: str) -> Response:
        """The market's newest order book. Only the books of some hot markets are recorded."""
        query = read_query(BookForm, request).cleaned_data
        market = self.get_object()
        book = candlesticks.book(market, as_of=query["as_of"])
        if book is None:
            raise NotFound(f"No order book of {ticker} was recorded by that instant.")
        at = query["as_of"] or datetime.now(UTC)
        known = Market.objects.rewind([market], at) if query["as_of"] else [market]
        evidence = freshness.quote_evidence(known, at)
        return Response(
            _book_row(book, market, depth=query["depth"])
            | {
                "evidence_age_seconds": (at - book.timestamp).total_seconds(),
                "being_observed": any(each.being_observed for each in evidence),
            }
        )

    @extend_schema(responses=series_responses(OrderBookSerializer(many=True), ORDER_BOOKS))
    @action(
        detail=True,
        pagination_class=CursorPages,
        filterset_class=OrderBookFilter,
        renderer_classes=WITHOUT_COLUMNS,
    )
    def orderbooks(self, request: Request, ticker: str) -> HttpResponseBase:
        """The market's order books, oldest first, each written when it changed."""
        market = self.get_object()
        books = recorded_unless_named(OrderBookSnapshot.objects.for_market(market), request)
        return self.market_response(books.oldest_first(), market, ORDER_BOOKS)

    @extend_schema(
        parameters=[
            instant_parameter("start", f"{START} {LATEST_COVERAGE}"),
            instant_parameter("end", f"{END} {DEFAULT_END} {LONGEST_COVERAGE}"),
        ],
        responses=CoverageSerializer,
    )
    @action(
        detail=True,
        filterset_class=None,
        pagination_class=None,
        query_form=CoverageForm,
    )
    def coverage(self, request: Request, ticker: str) -> Response:
        """The coverage of the market: the gaps in its record, each with its cause."""
        query = read_query(CoverageForm, request).cleaned_data
        market = self.get_object()
        start, end = candlesticks.recorded_range(market, query["start"], query["end"])
        if query["start"] is None:
            start = max(start, end - MAX_COVERAGE)
        covered = coverage(market, start, max(start, end))
        return Response(CoverageSerializer(covered).data)

    def market_response(
        self, rows: QuerySet[Any], market: Market, spec: SeriesSpec
    ) -> HttpResponseBase:
        # All rows have the ticker of this market, so no join has to find it.
        named = rows.annotate(ticker=Value(market.ticker)).values(*spec.columns)
        return self.series_response(named, spec, name=market.ticker)


def conditional_on(
    evidence: QuoteEvidence, request: Request, answer: Response, *, tag: str, modified: datetime
) -> HttpResponseBase:
    """Return the answer, or a 304 where the client has it and the evidence is as good as it was.

    No date says since when a market is not observed, so that such an answer has none.
    """
    return conditional(
        request,
        answer,
        tag=f"{tag}-{evidence.being_observed:d}",
        modified=modified if evidence.being_observed else None,
    )


def _book_row(book: OrderBookSnapshot, market: Market, *, depth: int | None) -> dict[str, Any]:
    sides = {
        "bids": islice(zip(book.bid_prices, book.bid_sizes, strict=True), depth),
        "asks": islice(zip(book.ask_prices, book.ask_sizes, strict=True), depth),
    }
    levels = {
        side: [
            decimals_as_text({"price": price, "size": size}) for price, size in islice(pairs, depth)
        ]
        for side, pairs in sides.items()
    }
    return {"ticker": market.ticker, "timestamp": book.timestamp, **levels}
