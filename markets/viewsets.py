"""The API's reads. Every one is a named read of the querysets."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from kalshi_insights.pagination import LimitSkip, SeriesOfTime
from markets.filters import MarketFilter, SnapshotFilter
from markets.models import Market, MarketSnapshot
from markets.serializers import MarketDetailSerializer, MarketSerializer, SnapshotSerializer


class MarketViewSet(ListModelMixin, RetrieveModelMixin, GenericViewSet[Any]):
    """Markets with their newest quotes."""

    queryset = Market.objects.with_event().order_by("ticker")
    filterset_class = MarketFilter
    pagination_class = LimitSkip
    lookup_field = "ticker"
    lookup_value_regex = "[^/]+"

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return MarketDetailSerializer if self.action == "retrieve" else MarketSerializer

    def get_object(self) -> Market:
        ticker = self.kwargs["ticker"]
        market = Market.objects.with_event().filter(ticker=ticker).first()
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
        found = self.filter_queryset(MarketSnapshot.objects.for_market(market).oldest_first())
        page = self.paginate_queryset(found) or []
        for snapshot in page:
            snapshot.market = market
        return self.get_paginated_response(SnapshotSerializer(page, many=True).data)


class SnapshotViewSet(RetrieveModelMixin, GenericViewSet[MarketSnapshot]):
    """Single snapshots by their id."""

    queryset = MarketSnapshot.objects.select_related("market")
    serializer_class = SnapshotSerializer
    lookup_value_converter = "uuid"
    lookup_field = "pk"
    lookup_url_kwarg = "uuid"
    lookup_value_regex = "[0-9a-fA-F-]{36}"
