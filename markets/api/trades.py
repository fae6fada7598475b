"""The trades of all markets, and how whole their record is."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from kalshi_insights.rest.filters import BoundsForm, FilterBackend, InstantField
from kalshi_insights.rest.pagination import CursorPages, OffsetPages
from kalshi_insights.rest.parameters import KnownParameters, read_query
from kalshi_insights.rest.renderers import TIME_SERIES_RENDERERS
from kalshi_insights.rest.schema import instant_parameter, with_example
from kalshi_insights.rest.viewsets import TimeSeriesViewSet
from markets.api import examples, timeseries_serializers
from markets.api.timeseries import TRADE_RESPONSES, TRADES
from markets.api.timeseries_filters import AllTradesFilter, recorded_unless_named
from markets.intervals import Interval
from markets.models import TapeDay, TapeSpan, Trade

START = "Only spans that end after this instant, with its offset."
END = "Only spans that begin before this instant, with its offset."


class TradeViewSet(KnownParameters, TimeSeriesViewSet):
    """Public trades of all markets."""

    queryset = Trade.objects.oldest_first()
    serializer_class = timeseries_serializers.TradeSerializer
    filter_backends = [FilterBackend]
    filterset_class = AllTradesFilter
    pagination_class = CursorPages
    renderer_classes = TIME_SERIES_RENDERERS

    @extend_schema(responses=TRADE_RESPONSES)
    def list(self, request: Request) -> HttpResponseBase:
        """The public trades of all markets, oldest first, from `start` on and before `end`."""
        trades = recorded_unless_named(Trade.objects.oldest_first(), request)
        rows = trades.rows(TRADES.columns)
        return self.series_response(rows, TRADES, name="all")


class SpanForm(BoundsForm):
    start = InstantField(required=False, label=START)
    end = InstantField(required=False, label=END)


@with_example(examples.TAPE_SPAN)
class TapeSpanSerializer(serializers.ModelSerializer[TapeSpan]):
    """A time from `start` on and before `end` in which all trades are on record, or not all."""

    seconds = serializers.SerializerMethodField(help_text="From start to end.")

    class Meta:
        model = TapeSpan
        fields = [
            "start",
            "end",
            "seconds",
            "is_whole",
            "proof",
            "extent",
            "with_combos",
            "series",
            "categories",
            "known_at",
        ]

    def get_seconds(self, span: TapeSpan) -> float:
        return (span.end - span.start).total_seconds()


@with_example(examples.TAPE_DAY)
class TapeDaySerializer(serializers.ModelSerializer[TapeDay]):
    """A day's trades beside the change of the same markets' volumes, the second proof of them."""

    contracts = serializers.DecimalField(
        source="traded", max_digits=21, decimal_places=2, help_text="By the trades."
    )
    volume = serializers.DecimalField(
        source="grown",
        max_digits=21,
        decimal_places=2,
        help_text="By how much the volumes of the same markets grew.",
    )

    class Meta:
        model = TapeDay
        fields = ["day", "share", "markets", "agreeing", "contracts", "volume", "compared_at"]


class TapeViewSet(KnownParameters, GenericViewSet[Any]):
    """The spans of the tape: when the trades of the exchange were read whole."""

    queryset = TapeSpan.objects.none()
    serializer_class = TapeSpanSerializer
    filter_backends = ()
    pagination_class = OffsetPages
    query_form = SpanForm

    @extend_schema(
        parameters=[instant_parameter("start", START), instant_parameter("end", END)],
        responses=TapeSpanSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """The spans of the tape, the newest first; outside of them nothing was read."""
        query = read_query(SpanForm, request).cleaned_data
        start = query["start"] or datetime.min.replace(tzinfo=UTC)
        window = Interval(start, query["end"] or datetime.max.replace(tzinfo=UTC))
        paginator = OffsetPages()
        spans = TapeSpan.objects.within(window).order_by("-start")
        page = paginator.paginate_queryset(spans, request)
        return paginator.get_paginated_response(TapeSpanSerializer(page, many=True).data)

    @extend_schema(operation_id="tape_days_list", responses=TapeDaySerializer(many=True))
    @action(detail=False, query_form=None)
    def days(self, request: Request) -> Response:
        """Each day's trades beside the change of volumes, the newest first.

        A market agrees if its trades add up to its volume. A day is compared once it is over, and
        again after more of it was read.
        """
        paginator = OffsetPages()
        page = paginator.paginate_queryset(TapeDay.objects.all(), request)
        return paginator.get_paginated_response(TapeDaySerializer(page, many=True).data)
