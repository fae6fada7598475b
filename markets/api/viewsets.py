"""The API's reads of nouns. Every one is a named read of the querysets."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Never
from uuid import UUID

from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpResponseBase
from django_filters import FilterSet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from kalshi_insights.export import postgres
from kalshi_insights.rest.conditional import conditional
from kalshi_insights.rest.pagination import LimitSkip
from kalshi_insights.rest.parameters import KnownParameters
from markets.api import examples
from markets.api.serializers import (
    EVENT_ROW,
    MARKET_ROW,
    EventSerializer,
    MarketDetailSerializer,
    MarketSerializer,
    PollSerializer,
    SeriesSerializer,
    SnapshotSerializer,
)
from markets.api.timeseries import MarketHistory, in_words
from markets.api.timeseries_filters import asked
from markets.filters import (
    AS_OF,
    EventFilter,
    EventForm,
    EventsThenFilter,
    Filters,
    MarketListFilter,
    MarketsThenFilter,
    NestForm,
    PollFilter,
    SeriesFilter,
    ThenForm,
)
from markets.models import Event, Market, MarketSnapshot, Poll, Series

Row = dict[str, Any]

UUID_FORM = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
AS_OF_PARAMETER = OpenApiParameter("as_of", OpenApiTypes.DATETIME, description=AS_OF)
LIST_AS_OF = OpenApiParameter(
    "as_of",
    OpenApiTypes.DATETIME,
    description=(
        f"{AS_OF} With it, rows can be narrowed by q, category, series, event and status (of"
        " then) and ordered by ticker, and by nothing else. Words are searched in what is"
        " written today."
    ),
)
NESTED = OpenApiParameter(
    "markets",
    OpenApiTypes.BOOL,
    description=(
        "Each event with its markets, up their ladder of strikes; a page then holds at most 100"
        " events. Not together with as_of."
    ),
)


class Noun(KnownParameters, GenericViewSet[Any]):
    """Lists as plain rows, by limit and skip, and single things by what they are called."""

    pagination_class = LimitSkip
    filter_backends = [Filters]
    lookup_field = "ticker"
    lookup_value_regex = "[^/]+"
    # What a list can be asked for besides its filters, and what one thing; and what a list asked
    # for with `as_of` can be narrowed by instead.
    list_form: type[Form] | None = None
    single_form: type[Form] | None = None
    then_filter: type[FilterSet] | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.action == "retrieve":
            self.query_form = self.single_form
        elif self.action == "list" and self.is_then:
            self.filterset_class = self.then_filter
        elif self.action == "list":
            self.query_form = self.list_form
        super().initial(request, *args, **kwargs)

    @property
    def is_then(self) -> bool:
        """Whether a list is asked for as of an instant."""
        return bool(self.then_filter and self.request.query_params.get("as_of"))

    def page(
        self,
        pages: LimitSkip,
        read: Callable[[Any], Any],
        fetch: Callable[[Any], list[Any]] = list,
    ) -> list[Any]:
        """The page that is asked for of what is found, as `read` reads and `fetch` fetches it."""
        found = self.filter_queryset(self.get_queryset())
        return pages.paginate_queryset(found, self.request, read=read, fetch=fetch)

    def listed(self, pages: LimitSkip, fields: Sequence[str]) -> Response:
        """A page of rows that have these fields, written by PostgreSQL."""
        rows = self.page(pages, lambda found: found.rows(fields), postgres.json)
        return pages.get_paginated_response(rows)


def one(rows: QuerySet[Any, Row], noun: str, **key: str) -> Row:
    [name] = key.values()
    # PostgreSQL knows no text with a NUL in it.
    row = None if "\0" in name else rows.filter(**key).first()
    return row or missing(noun, name)


def missing(noun: str, name: str) -> Never:
    raise NotFound(f"There is no {noun} {name}.")


def unknown_then(noun: str, name: str) -> Never:
    raise NotFound(f"Nothing was known of the {noun} {name} then.")


def is_snapshot(name: str) -> bool:
    return re.fullmatch(UUID_FORM, name) is not None


def snapshot(id: str) -> Response:
    found = MarketSnapshot.objects.by_id(UUID(id))
    return Response(SnapshotSerializer(found or missing("snapshot", id)).data)


class NestedPages(LimitSkip):
    max_limit = 100


class PollPages(LimitSkip):
    """Without a total: there is a run every few seconds."""

    counts = False
    max_skip = 10_000


class SeriesViewSet(Noun):
    """Series: templates of events, with their fees as they are now."""

    queryset = Series.objects.order_by("ticker")
    lookup_described = {
        "description": "The series's ticker, as Kalshi writes it.",
        "example": "KXHIGHNY",
    }
    serializer_class = SeriesSerializer
    filterset_class = SeriesFilter

    @extend_schema(responses=SeriesSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Series by ticker."""
        return self.listed(LimitSkip(), SeriesSerializer.Meta.fields)

    @extend_schema(responses=SeriesSerializer)
    def retrieve(self, request: Request, ticker: str) -> Response:
        """One series."""
        rows = Series.objects.rows(SeriesSerializer.Meta.fields)
        return Response(in_words(one(rows, "series", ticker=ticker)))


class EventViewSet(Noun):
    """Events, on request with their markets."""

    queryset = Event.objects.order_by("ticker")
    lookup_described = {
        "description": "The event's ticker, as Kalshi writes it.",
        "example": "KXHIGHNY-26NOV20",
    }
    serializer_class = EventSerializer
    filterset_class = EventFilter
    then_filter = EventsThenFilter
    list_form = single_form = EventForm

    @extend_schema(parameters=[LIST_AS_OF, NESTED], responses=EventSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Events by ticker."""
        if self.is_then:
            return self.list_then(request)
        nested = asked(NestForm, request).cleaned_data["markets"]
        pages = NestedPages() if nested else LimitSkip()
        rows = self.page(pages, lambda found: found.rows(EVENT_ROW))
        return pages.get_paginated_response(events(rows, nested=nested))

    def list_then(self, request: Request) -> Response:
        pages = LimitSkip()
        rows = self.page(pages, lambda found: found.rows(EVENT_ROW))
        at = asked(ThenForm, request).cleaned_data["as_of"]
        return pages.get_paginated_response(events(Event.objects.rewind(rows, at)))

    @extend_schema(parameters=[AS_OF_PARAMETER, NESTED], responses=EventSerializer)
    def retrieve(self, request: Request, ticker: str) -> Response:
        """One event."""
        said = asked(EventForm, request).cleaned_data
        rows = [one(Event.objects.rows(EVENT_ROW), "event", ticker=ticker)]
        if said["as_of"]:
            rows = Event.objects.rewind(rows, said["as_of"]) or unknown_then("event", ticker)
        return Response(events(rows, nested=said["markets"])[0])


def events(rows: Sequence[Row], *, nested: bool | None = False) -> list[Row]:
    """Rows of events as they are told, `nested` with their markets in one query more."""
    ids = [row.pop("id") for row in rows]
    told = [in_words(row) for row in rows]
    if nested:
        markets = defaultdict(list)
        for market in Market.objects.of_events(ids).rows(MARKET_ROW):
            markets[market["event_ticker"]].append(in_words(market))
        told = [row | {"markets": markets[row["ticker"]]} for row in told]
    return told


class MarketViewSet(Noun, MarketHistory):
    """Markets with their newest quotes."""

    queryset = Market.objects.order_by("ticker")
    lookup_described = {
        "description": "The market's ticker, as Kalshi writes it.",
        "example": "KXHIGHNY-26NOV20-B52.5",
    }
    serializer_class = MarketSerializer
    filterset_class = MarketListFilter
    then_filter = MarketsThenFilter
    list_form: type[Form] | None = ThenForm
    single_form: type[Form] | None = ThenForm

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if is_snapshot(kwargs.get("ticker", "")):
            self.single_form = None  # it is of one instant already
        super().initial(request, *args, **kwargs)

    @extend_schema(parameters=[LIST_AS_OF], responses=MarketSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Markets by ticker, each with its newest quote."""
        if self.is_then:
            return self.list_then(request)
        return self.listed(LimitSkip(), MARKET_ROW)

    def list_then(self, request: Request) -> Response:
        pages = LimitSkip()
        markets = self.page(pages, lambda found: found.with_event())
        at = asked(ThenForm, request).cleaned_data["as_of"]
        then = Market.objects.rewind(markets, at)
        return pages.get_paginated_response(MarketSerializer(then, many=True).data)

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
        """One market. A snapshot's id in the ticker's place answers with that snapshot."""
        if is_snapshot(ticker):
            return snapshot(ticker)
        at = asked(ThenForm, request).cleaned_data["as_of"]
        market = self.get_object()
        if at:
            [market] = Market.objects.rewind([market], at) or unknown_then("market", ticker)
            return Response(MarketDetailSerializer(market).data)
        answer = Response(MarketDetailSerializer(market).data)
        return conditional(request, answer, tag=tag(market), modified=told_at(market))

    def get_object(self) -> Market:
        """The market: whole for what tells of it, else as much as its series need."""
        ticker, told = self.kwargs["ticker"], self.action in ("retrieve", "coverage")
        markets = Market.objects.with_event() if told else Market.objects.in_brief()
        return markets.by_ticker(ticker) or missing("market", ticker)


def told_at(market: Market) -> datetime:
    """The instant of the newest thing that is told of a market, its event and its series."""
    event = market.event
    times = (market.quoted_at, market.recorded_at, event.recorded_at, event.series.refreshed_at)
    return max(filter(None, times))


def tag(market: Market) -> str:
    event = market.event
    told = (
        market.quoted_at,
        market.recorded_at,
        event.recorded_at,
        event.series.refreshed_at,
        market.is_hot,
    )
    return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()


class SnapshotViewSet(KnownParameters, GenericViewSet[MarketSnapshot]):
    """Single snapshots by their id."""

    queryset = MarketSnapshot.objects.all()
    serializer_class = SnapshotSerializer
    lookup_url_kwarg = "uuid"
    lookup_described = {
        "description": "The snapshot's id.",
        "example": "019aa02f-6c00-7c2e-9a41-0f5a3a1d6b77",
    }
    lookup_value_regex = UUID_FORM

    @extend_schema(
        parameters=[OpenApiParameter("uuid", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        responses=SnapshotSerializer,
    )
    def retrieve(self, request: Request, uuid: str) -> Response:
        """One snapshot."""
        return snapshot(uuid)


class PollViewSet(Noun):
    """Runs of the recorder."""

    queryset = Poll.objects.order_by("-started_at")
    serializer_class = PollSerializer
    filterset_class = PollFilter
    pagination_class = PollPages
    lookup_field = "id"
    lookup_described = {"description": "The run's number.", "example": "12"}
    lookup_value_regex = "[0-9]{1,18}"

    @extend_schema(responses=PollSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Runs of the recorder, the newest first."""
        return self.listed(PollPages(), PollSerializer.Meta.fields)

    @extend_schema(responses=PollSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        """One run of the recorder."""
        return Response(one(Poll.objects.rows(PollSerializer.Meta.fields), "poll", id=id))
