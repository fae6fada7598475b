"""Series, events, markets, snapshots and polls of the API, each by a named read of its queryset."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Never
from uuid import UUID

from django.forms import Form
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from kalshi_insights.export import postgres
from kalshi_insights.export.postgres import ExportQuery
from kalshi_insights.rest.errors import not_found
from kalshi_insights.rest.pagination import OffsetPages, rows_of_file
from kalshi_insights.rest.parameters import KnownParameters, read_query
from kalshi_insights.rest.renderers import decimals_as_text
from kalshi_insights.rest.schema import SeriesSpec, instant_parameter, series_responses
from kalshi_insights.rest.viewsets import FILE_WRITERS, ResourceViewSet, row_or_404
from markets.api import examples
from markets.api.serializers import (
    EVENT_ROW,
    MARKET_FILE,
    MARKET_ROW,
    EventSerializer,
    MarketDetailSerializer,
    MarketSerializer,
    PollSerializer,
    SeriesSerializer,
    SnapshotSerializer,
)
from markets.api.timeseries import WITHOUT_COLUMNS, MarketTimeSeries, conditional_on
from markets.coverage import freshness
from markets.filters import (
    AS_OF,
    AsOfForm,
    EventAsOfFilter,
    EventFilter,
    EventForm,
    MarketAsOfFilter,
    MarketListFilter,
    NestForm,
    PollFilter,
    SeriesFilter,
)
from markets.models import Event, ListedMarket, Market, MarketSnapshot, Poll, Series
from markets.models.fields import Quote
from markets.models.listed_markets import ListedMarketQuerySet
from markets.models.markets import MarketQuerySet

Row = dict[str, Any]
Renderers = list[BaseRenderer]

# The reads of actions that need few of a market's fields.
READS: dict[str, Callable[[], MarketQuerySet]] = {
    "latest": Market.objects.with_observation,
    "snapshots": Market.objects.in_brief,
    "trades": Market.objects.in_brief,
    "revisions": Market.objects.in_brief,
    "orderbooks": Market.objects.in_brief,
}
MARKETS = SeriesSpec("markets", "Market", MARKET_FILE, ())
UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
AS_OF_PARAMETER = instant_parameter("as_of", AS_OF)
LIST_AS_OF = instant_parameter(
    "as_of",
    f"{AS_OF} With it, rows can be filtered by q, category, series, event and status (at that"
    " instant) and ordered by ticker, and by nothing else. Words are searched in today's texts.",
)
NESTED = OpenApiParameter(
    "markets",
    OpenApiTypes.BOOL,
    description=(
        "Include the markets of each event, in the order of their strikes; a page then holds at"
        " most 100 events. Cannot be combined with as_of."
    ),
)


def unknown_as_of(noun: str, name: str) -> Never:
    raise NotFound(f"Nothing was known of the {noun} {name} at that instant.")


def is_snapshot(name: str) -> bool:
    return re.fullmatch(UUID_PATTERN, name) is not None


def snapshot_response(id: str) -> Response:
    snapshot = MarketSnapshot.objects.by_id(UUID(id))
    return Response(SnapshotSerializer(snapshot or not_found("snapshot", id)).data)


class NestedPages(OffsetPages):
    max_limit = 100


class PollPages(OffsetPages):
    """Pages without a total, since a run is added every few seconds."""

    has_total = False
    max_skip = 10_000


class SeriesViewSet(ResourceViewSet):
    """Series, the templates of events, with their current fees."""

    queryset = Series.objects.described().order_by("ticker")
    lookup_schema = {
        "description": "The ticker of the series, in upper or lower case.",
        "example": "KXHIGHNY",
    }
    serializer_class = SeriesSerializer
    filterset_class = SeriesFilter

    @extend_schema(responses=SeriesSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Series by ticker."""
        return self.list_response(OffsetPages(), SeriesSerializer.Meta.fields)

    @extend_schema(responses=SeriesSerializer)
    def retrieve(self, request: Request, ticker: str) -> Response:
        """One series."""
        rows = Series.objects.named(ticker).rows(SeriesSerializer.Meta.fields)
        return Response(decimals_as_text(row_or_404(rows, "series", ticker)))


class EventViewSet(ResourceViewSet):
    """Events, with their markets on request."""

    queryset = Event.objects.described().order_by("ticker")
    lookup_schema = {
        "description": "The ticker of the event, in upper or lower case.",
        "example": "KXHIGHNY-26NOV20",
    }
    serializer_class = EventSerializer
    filterset_class = EventFilter
    as_of_filter = EventAsOfFilter
    list_form = single_form = EventForm

    @extend_schema(parameters=[LIST_AS_OF, NESTED], responses=EventSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Events by ticker."""
        if self.is_as_of:
            return self.list_as_of(request)
        nested = read_query(NestForm, request).cleaned_data["markets"]
        paginator = NestedPages() if nested else OffsetPages()
        rows = self.page(paginator, lambda events: events.rows(EVENT_ROW))
        return paginator.get_paginated_response(event_rows(rows, nested=nested))

    def list_as_of(self, request: Request) -> Response:
        paginator = OffsetPages()
        rows = self.page(paginator, lambda events: events.rows(EVENT_ROW))
        as_of = read_query(AsOfForm, request).cleaned_data["as_of"]
        return paginator.get_paginated_response(event_rows(Event.objects.rewind(rows, as_of)))

    @extend_schema(parameters=[AS_OF_PARAMETER, NESTED], responses=EventSerializer)
    def retrieve(self, request: Request, ticker: str) -> Response:
        """One event."""
        query = read_query(EventForm, request).cleaned_data
        rows = [row_or_404(Event.objects.named(ticker).rows(EVENT_ROW), "event", ticker)]
        if query["as_of"]:
            rows = Event.objects.rewind(rows, query["as_of"]) or unknown_as_of("event", ticker)
        return Response(event_rows(rows, nested=query["markets"])[0])


def event_rows(rows: Sequence[Row], *, nested: bool | None = False) -> list[Row]:
    """Rows of events for the response; `nested` adds their markets, by one more query."""
    ids = [row.pop("id") for row in rows]
    events = [decimals_as_text(row) for row in rows]
    if nested:
        markets = defaultdict(list)
        for market in Market.objects.of_events(ids).rows(MARKET_ROW):
            markets[market["event_ticker"]].append(decimals_as_text(market))
        events = [event | {"markets": markets[event["ticker"]]} for event in events]
    return events


class MarketViewSet(ResourceViewSet, MarketTimeSeries):
    """Markets with their newest quotes."""

    queryset = ListedMarket.objects.order_by("ticker")
    lookup_schema = {
        "description": "The ticker of the market, in upper or lower case.",
        "example": "KXHIGHNY-26NOV20-B52.5",
    }
    serializer_class = MarketSerializer
    filterset_class = MarketListFilter
    as_of_filter = MarketAsOfFilter
    list_form: type[Form] | None = AsOfForm
    single_form: type[Form] | None = AsOfForm

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if is_snapshot(kwargs.get("ticker", "")):
            self.single_form = None  # a snapshot is of one instant already
        super().initial(request, *args, **kwargs)

    def get_renderers(self) -> Renderers:
        # A method that there is not has no action, and its refusal is no fault of the format.
        if self.action in ("list", None):
            return [renderer() for renderer in WITHOUT_COLUMNS]
        return super().get_renderers()

    @extend_schema(
        parameters=[LIST_AS_OF], responses=series_responses(MarketSerializer(many=True), MARKETS)
    )
    def list(self, request: Request) -> HttpResponseBase:
        """Markets by ticker, each with its newest quote.

        A file has all of them, or those of `skip` and `limit`, in the order of their tickers.
        """
        if self.format in FILE_WRITERS:
            return self.list_file(request)
        if self.is_as_of:
            return self.list_as_of(request)
        paginator = OffsetPages()

        def cut(listed: ListedMarketQuerySet, page: slice) -> MarketQuerySet:
            size = page.stop - page.start
            return listed.page(first=page.start, size=size, count=paginator.count or 0)

        listed = self.filter_queryset(self.get_queryset())
        rows = paginator.paginate_queryset(listed, request, cut=cut, fetch=market_rows)
        return paginator.get_paginated_response(rows)

    def list_file(self, request: Request) -> HttpResponseBase:
        for name in ("as_of", "ordering"):
            if request.query_params.get(name):
                raise ValidationError({name: ["Cannot be combined with the format of a file."]})
        listed: Any = self.filter_queryset(self.get_queryset())
        rows = listed.by_ticker(rows_of_file(request)).rows(list(MARKET_FILE))
        export = ExportQuery.from_queryset(rows, MARKET_FILE)
        return self.file_response(export, MARKETS, name="all")

    def list_as_of(self, request: Request) -> Response:
        paginator = OffsetPages()
        markets = self.page(paginator, fetch=lambda listed: list(listed.markets().with_event()))
        as_of = read_query(AsOfForm, request).cleaned_data["as_of"]
        known = freshness.as_of(markets, as_of)
        return paginator.get_paginated_response(MarketSerializer(known, many=True).data)

    @extend_schema(
        parameters=[AS_OF_PARAMETER],
        responses=PolymorphicProxySerializer(
            component_name="MarketOrSnapshot",
            serializers=[MarketDetailSerializer, SnapshotSerializer],
            resource_type_field_name=None,
        ),
        examples=[
            OpenApiExample("A market", value=examples.MARKET_DETAIL, response_only=True),
            OpenApiExample("A snapshot", value=examples.SNAPSHOT, response_only=True),
        ],
    )
    def retrieve(self, request: Request, ticker: str) -> HttpResponseBase:
        """One market. With a snapshot's id in place of the ticker, that snapshot."""
        if is_snapshot(ticker):
            return snapshot_response(ticker)
        as_of = read_query(AsOfForm, request).cleaned_data["as_of"]
        market = self.get_object()
        if as_of:
            [market] = freshness.as_of([market], as_of) or unknown_as_of("market", ticker)
            return Response(MarketDetailSerializer(market).data)
        [evidence] = freshness.quote_evidence([market], datetime.now(UTC))
        vars(market).update(evidence._asdict())
        response = Response(MarketDetailSerializer(market).data)
        return conditional_on(
            evidence, request, response, tag=tag(market), modified=changed_at(market)
        )

    def get_object(self) -> Market:
        """The market, with all of its fields only where the response needs them."""
        ticker = self.kwargs["ticker"]
        markets = READS.get(self.action, Market.objects.with_event)()
        return markets.by_ticker(ticker) or not_found("market", ticker)


def market_rows(markets: MarketQuerySet) -> list[Any]:
    """The rows of markets, as JSON that PostgreSQL writes."""
    return postgres.json(markets.rows(MARKET_ROW))


def changed_at(market: Market) -> datetime:
    """The instant of the last change to a market, its event or its series."""
    event = market.event
    times = (market.quoted_at, market.recorded_at, event.recorded_at, event.series.refreshed_at)
    return max(filter(None, times))


def tag(market: Market) -> str:
    event = market.event
    versions = (
        market.quoted_at,
        *(getattr(market, name) for name in Quote._fields),  # two quotes may share an instant
        market.recorded_at,
        event.recorded_at,
        event.series.refreshed_at,
        market.is_hot,
    )
    return hashlib.blake2b(repr(versions).encode(), digest_size=8).hexdigest()


class SnapshotViewSet(KnownParameters, GenericViewSet[MarketSnapshot]):
    """Single snapshots by their id."""

    queryset = MarketSnapshot.objects.all()
    serializer_class = SnapshotSerializer
    lookup_url_kwarg = "uuid"
    lookup_schema = {
        "description": "The id of the snapshot.",
        "example": "019aa02f-6c00-7c2e-9a41-0f5a3a1d6b77",
    }
    lookup_value_regex = UUID_PATTERN

    @extend_schema(
        parameters=[OpenApiParameter("uuid", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        responses=SnapshotSerializer,
    )
    def retrieve(self, request: Request, uuid: str) -> Response:
        """One snapshot."""
        return snapshot_response(uuid)


class PollViewSet(ResourceViewSet):
    """Runs of the recorder."""

    queryset = Poll.objects.order_by("-started_at")
    serializer_class = PollSerializer
    filterset_class = PollFilter
    pagination_class = PollPages
    lookup_field = "id"
    lookup_schema = {"description": "The number of the run.", "example": "12"}
    lookup_value_regex = "[0-9]{1,18}"

    @extend_schema(responses=PollSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Runs of the recorder, the newest first."""
        return self.list_response(PollPages(), PollSerializer.Meta.fields)

    @extend_schema(responses=PollSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        """One run of the recorder."""
        rows = Poll.objects.filter(pk=id).rows(PollSerializer.Meta.fields)
        return Response(row_or_404(rows, "poll", id))
