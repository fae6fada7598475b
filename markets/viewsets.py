"""The API's reads. Every one is a named read of the querysets."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from kalshi_insights.pagination import LimitSkip, SeriesOfTime
from markets.filters import MarketFilter, SnapshotFilter
from markets.models import Market, MarketSnapshot
from markets.serializers import MarketDetailSerializer, MarketSerializer, SnapshotSerializer


def _in_words(row: dict[str, Any]) -> dict[str, Any]:
    """Decimals as strings: the renderer would make floats of them."""
    return {name: f"{x:f}" if isinstance(x, Decimal) else x for name, x in row.items()}


class MarketViewSet(RetrieveModelMixin, GenericViewSet[Any]):
    """Markets with their newest quotes."""

    queryset = Market.objects.order_by("ticker")
    filterset_class = MarketFilter
    pagination_class = LimitSkip
    lookup_field = "ticker"
    lookup_value_regex = "[^/]+"

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return MarketDetailSerializer if self.action == "retrieve" else MarketSerializer

    @extend_schema(responses=MarketSerializer(many=True))
    def list(self, request: Request) -> Response:
        rows = Market.objects.rows(MarketSerializer.Meta.fields).order_by("ticker")
        page = self.paginate_queryset(self.filter_queryset(rows)) or []
        return self.get_paginated_response([_in_words(row) for row in page])

    def get_object(self) -> Market:
        ticker = self.kwargs["ticker"]
        market = Market.objects.with_event().by_ticker(ticker)
        if market is None:
            raise NotFound(f"There is no market {ticker}.")
        return market

    @extend_schema(responses=SnapshotSerializer)
    @action(detail=True, filterset_class=None)
    def latest(self, request: Request, ticker: str) -> Response:
        """The market's newest snapshot."""
        market = self.get_object()
        snapshot = MarketSnapshot.objects.for_market(market).newest()
        if snapshot is None:
            raise NotFound(f"Nothing has been recorded of {ticker} yet.")
        snapshot.market = market
        return Response(SnapshotSerializer(snapshot).data)

    @extend_schema(responses=SnapshotSerializer(many=True))
    @action(detail=True, pagination_class=SeriesOfTime, filterset_class=SnapshotFilter)
    def snapshots(self, request: Request, ticker: str) -> Response:
        """The market's snapshots, oldest first, from `start` on and before `end`."""
        market = self.get_object()
        fields = [name for name in SnapshotSerializer.Meta.fields if name != "ticker"]
        rows = MarketSnapshot.objects.for_market(market).oldest_first().values(*fields)
        page = self.paginate_queryset(self.filter_queryset(rows)) or []
        named = {"ticker": market.ticker}
        return self.get_paginated_response([named | _in_words(row) for row in page])


class SnapshotViewSet(RetrieveModelMixin, GenericViewSet[MarketSnapshot]):
    """Single snapshots by their id."""

    queryset = MarketSnapshot.objects.select_related("market")
    serializer_class = SnapshotSerializer
    lookup_value_converter = "uuid"
    lookup_field = "pk"
    lookup_url_kwarg = "uuid"
    lookup_value_regex = "[0-9a-fA-F-]{36}"
