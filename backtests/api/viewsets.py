"""The API's doors to backtests: what can be run, what is run, and what came of it."""

from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import (
    APIException,
    NotFound,
    PermissionDenied,
    Throttled,
    ValidationError,
)
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from backtests.api import examples, serializers
from backtests.api.serializers import (
    BRIEF,
    EXECUTIONS,
    FIELDS,
    WHOLE,
    AskedSerializer,
    BacktestBriefSerializer,
    BacktestSerializer,
    EquitySerializer,
    ExecutionLineSerializer,
    StrategySerializer,
)
from backtests.choosing import BadInput
from backtests.data.universe import MONEY
from backtests.filters import BacktestFilter, ExecutionFilter
from backtests.models import BacktestExecution, BacktestResult
from backtests.reads import GAINED
from backtests.requests import Asked
from backtests.strategies import STRATEGIES
from backtests.submitting import TooMany, may_cancel, submit
from kalshi_insights.export import postgres
from kalshi_insights.rest.errors import not_found
from kalshi_insights.rest.pagination import CursorPages, OffsetPages, OnePage
from kalshi_insights.rest.parameters import KnownParameters
from kalshi_insights.rest.renderers import TIME_SERIES_RENDERERS
from kalshi_insights.rest.schema import SeriesSpec, series_responses
from kalshi_insights.rest.viewsets import ResourceViewSet, TimeSeriesViewSet

LINES = SeriesSpec("executions", "Execution", EXECUTIONS, ("at", "price", "count", "fee", "cash"))
ADDED = {"pnl": GAINED}
AGAIN = 10  # seconds, after which there may be room for another run
LOCATION = OpenApiParameter(
    "Location",
    OpenApiTypes.URI,
    OpenApiParameter.HEADER,
    response=[202],
    description="Where the run tells how far it is.",
)

ACCEPTED = OpenApiExample(
    "An answer", value=examples.QUEUED, response_only=True, status_codes=["202"]
)

ENDED = OpenApiResponse({"$ref": "#/components/schemas/Error"}, description="It has ended.")


class Ended(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class StrategyViewSet(KnownParameters, GenericViewSet[Any]):
    """Strategies, and what each can be told."""

    queryset = BacktestResult.objects.none()  # strategies are code; the schema asks for a table
    serializer_class = StrategySerializer
    pagination_class = OnePage
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    lookup_schema = {"description": "The strategy's name.", "example": "fade-longshots"}

    @extend_schema(responses=StrategySerializer(many=True))
    def list(self, request: Request) -> Response:
        """Everything that can be run, the yardsticks last."""
        rows = [serializers.told(name) for name in STRATEGIES]
        return Response({"next": None, "previous": None, "results": rows})

    @extend_schema(
        parameters=[OpenApiParameter("name", str, OpenApiParameter.PATH)],
        responses=StrategySerializer,
    )
    def retrieve(self, request: Request, name: str) -> Response:
        """One strategy."""
        if name not in STRATEGIES:
            not_found("strategy", name)
        return Response(serializers.told(name))


class BacktestViewSet(ResourceViewSet, TimeSeriesViewSet):
    """Runs of strategies on what is recorded."""

    queryset = BacktestResult.objects.newest_first()
    serializer_class: type[BaseSerializer[Any]] = BacktestSerializer
    filterset_class = BacktestFilter
    lookup_field = "id"
    lookup_schema = {"description": "The run's number.", "example": "7"}
    lookup_value_regex = "[0-9]{1,18}"

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return AskedSerializer if self.action == "create" else self.serializer_class

    def get_object(self) -> BacktestResult:
        found = BacktestResult.objects.for_list().filter(pk=self.kwargs["id"]).first()
        return found or not_found("backtest", self.kwargs["id"])

    @extend_schema(responses=BacktestBriefSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Runs, the newest first."""
        paginator = OffsetPages()
        rows = self.page(paginator, lambda found: rows_of(found, BRIEF), postgres.json)
        return paginator.get_paginated_response(rows)

    @extend_schema(
        parameters=[LOCATION],
        request=AskedSerializer,
        responses={202: BacktestSerializer},
        examples=[ACCEPTED],
    )
    def create(self, request: Request) -> Response:
        """Ask for a run. The answer comes before it is done: ask its address how far it is."""
        try:
            user = cast(User, request.user)
            made = submit(asked(request.data), user=user, now=datetime.now(UTC))
        except BadInput as fault:
            field = FIELDS.get(fault.field, fault.field)
            raise ValidationError({field: [fault.message]}) from None
        except TooMany as fault:
            raise Throttled(AGAIN, str(fault)) from None
        place = reverse("api:backtest-detail", [made.pk], request=request)
        return Response(row(made.pk), status.HTTP_202_ACCEPTED, headers={"Location": place})

    @extend_schema(responses=BacktestSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        """One run: how far it is, and what came of it."""
        return Response(row(int(id)))

    @extend_schema(
        request=None,
        responses={202: BacktestSerializer, 409: ENDED},
        examples=[ACCEPTED],
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def cancel(self, request: Request, id: str) -> Response:
        """End a run of one's own. One that is running ends within seconds."""
        found = self.get_object()
        if not may_cancel(request.user, found):
            raise PermissionDenied("This is somebody else's backtest.")
        if not BacktestResult.objects.request_cancel(found.pk, now=datetime.now(UTC)):
            raise Ended(f"Backtest {id} has ended: it is {found.status}.")
        return Response(row(found.pk), status.HTTP_202_ACCEPTED)

    @extend_schema(responses=series_responses(ExecutionLineSerializer(many=True), LINES))
    @action(
        detail=True,
        pagination_class=CursorPages,
        filterset_class=ExecutionFilter,
        renderer_classes=TIME_SERIES_RENDERERS,
    )
    def executions(self, request: Request, id: str) -> HttpResponseBase:
        """The run's journal: every order, fill, refusal and settlement, oldest first."""
        found = BacktestExecution.objects.for_result(self.get_object()).order_by("at", "number")
        return self.series_response(found.values(*EXECUTIONS), LINES, name=f"backtest-{id}")

    @extend_schema(responses=EquitySerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def equity(self, request: Request, id: str) -> Response:
        """The run's equity and drawdown, in fewer than 1,000 points."""
        state = BacktestResult.objects.filter(pk=id).values_list("curve", "status").first()
        curve, stage = state or not_found("backtest", id)
        if not curve:
            raise NotFound(f"Backtest {id} has no equity: it is {stage}.")
        return Response({"columns": columns(curve), "next": None})


def asked(data: Any) -> Asked:
    read = AskedSerializer(data=data)
    if not read.is_valid():
        raise ValidationError(serializers.flat(read.errors))
    return read.asked


def rows_of(found: QuerySet[BacktestResult], names: "list[str]") -> QuerySet[Any, Any]:
    rows: QuerySet[Any, Any] = found.annotate(**ADDED).values(*names)
    return rows


def row(id: int) -> Any:
    """A run with all that is told of it, as PostgreSQL writes it."""
    found = postgres.json(rows_of(BacktestResult.objects.filter(pk=id), WHOLE))
    return found[0] if found else not_found("backtest", str(id))


def columns(curve: dict[str, "list[int]"]) -> dict[str, "list[Any]"]:
    equity = np.array(curve["equity"])
    peaks = np.maximum.accumulate(equity)
    return {
        "t": curve["t"],
        "equity": (equity / MONEY).tolist(),
        "drawdown": ((peaks - equity) / peaks).tolist(),
    }
