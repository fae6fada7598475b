"""The API's viewsets of strategies and backtests."""

from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, cast

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

from backtests import catalogue
from backtests.api import examples, strategy_serializers
from backtests.api.deflation_serializers import DeflationSerializer
from backtests.api.serializers import (
    API_FIELDS,
    BRIEF_COLUMNS,
    DETAIL_COLUMNS,
    BacktestBriefSerializer,
    BacktestRequestSerializer,
    BacktestSerializer,
    flatten_errors,
)
from backtests.api.strategy_serializers import StrategySerializer
from backtests.api.timeseries_serializers import (
    EXECUTIONS,
    ChartedSeriesSerializer,
    EquitySerializer,
    ExecutionEntrySerializer,
)
from backtests.charted_series import ChartedSeries
from backtests.data.universe import MONEY
from backtests.filters import BacktestFilter, ChartedSeriesFilter, ExecutionFilter
from backtests.metrics.deflation import deflate
from backtests.models import RUN_BACKTESTS, BacktestExecution, BacktestResult, Trial
from backtests.requests import BacktestRequest, TooManyUnfinished, submit
from kalshi_insights.bad_input import BadInput
from kalshi_insights.export import postgres
from kalshi_insights.rest.errors import not_found
from kalshi_insights.rest.pagination import CursorPages, OffsetPages, OnePage
from kalshi_insights.rest.parameters import KnownParameters
from kalshi_insights.rest.permissions import Scope
from kalshi_insights.rest.renderers import TIME_SERIES_RENDERERS
from kalshi_insights.rest.schema import SeriesSpec, series_responses
from kalshi_insights.rest.viewsets import ResourceViewSet, TimeSeriesViewSet

EXECUTION_SERIES = SeriesSpec(
    "executions", "Execution", EXECUTIONS, ("at", "price", "count", "fee", "cash")
)
RETRY_AFTER_SECONDS = 10
LOCATION = OpenApiParameter(
    "Location",
    OpenApiTypes.URI,
    OpenApiParameter.HEADER,
    response=[202],
    description="The address of the run, which shows its progress.",
)

ACCEPTED = OpenApiExample(
    "An answer", value=examples.QUEUED, response_only=True, status_codes=["202"]
)

ALREADY_FINISHED = OpenApiResponse(
    {"$ref": "#/components/schemas/Error"}, description="The run is finished."
)


class AlreadyFinished(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class StrategyViewSet(KnownParameters, GenericViewSet[Any]):
    """Strategies and their parameters."""

    queryset = BacktestResult.objects.none()  # strategies are code, but the schema asks for a model
    serializer_class = StrategySerializer
    pagination_class = OnePage
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    lookup_schema = {"description": "The strategy's name.", "example": "fade-longshots"}

    @extend_schema(responses=StrategySerializer(many=True))
    def list(self, request: Request) -> Response:
        """All strategies: the shipped ones, the yardsticks last of them, then one's own."""
        rows = [strategy_serializers.row(each) for each in catalogue.listing()]
        return Response({"next": None, "previous": None, "results": rows})

    @extend_schema(
        parameters=[OpenApiParameter("name", str, OpenApiParameter.PATH)],
        responses=StrategySerializer,
    )
    def retrieve(self, request: Request, name: str) -> Response:
        """One strategy."""
        found = catalogue.listed(name) or not_found("strategy", name)
        return Response(strategy_serializers.row(found))


class BacktestViewSet(ResourceViewSet, TimeSeriesViewSet):
    """Runs of strategies on recorded quotes."""

    write_scope = Scope.BACKTEST
    write_permission = RUN_BACKTESTS
    queryset = BacktestResult.objects.newest_first()
    serializer_class: type[BaseSerializer[Any]] = BacktestSerializer
    filterset_class = BacktestFilter
    lookup_field = "id"
    lookup_schema = {"description": "The run's number.", "example": "7"}
    lookup_value_regex = "[0-9]{1,18}"

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return BacktestRequestSerializer if self.action == "create" else self.serializer_class

    def get_object(self) -> BacktestResult:
        found = BacktestResult.objects.for_list().filter(pk=self.kwargs["id"]).first()
        return found or not_found("backtest", self.kwargs["id"])

    @extend_schema(responses=BacktestBriefSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Runs, the newest first."""
        paginator = OffsetPages()
        page = self.page(paginator, lambda runs: rows(runs, BRIEF_COLUMNS), postgres.json)
        return paginator.get_paginated_response(page)

    @extend_schema(
        parameters=[LOCATION],
        request=BacktestRequestSerializer,
        responses={202: BacktestSerializer},
        examples=[ACCEPTED],
    )
    def create(self, request: Request) -> Response:
        """Request a run, which is queued; its address shows the progress."""
        try:
            user = cast(User, request.user)
            result = submit(parse(request.data), user=user, now=datetime.now(UTC))
        except BadInput as fault:
            field = API_FIELDS.get(fault.field, fault.field)
            raise ValidationError({field: [fault.message]}) from None
        except TooManyUnfinished as fault:
            raise Throttled(RETRY_AFTER_SECONDS, str(fault)) from None
        address = reverse("api:backtest-detail", [result.pk], request=request)
        return Response(row(result.pk), status.HTTP_202_ACCEPTED, headers={"Location": address})

    @extend_schema(responses=BacktestSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        """One run: its progress and its results."""
        return Response(row(int(id)))

    @extend_schema(
        request=None,
        responses={202: BacktestSerializer, 409: ALREADY_FINISHED},
        examples=[ACCEPTED],
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def cancel(self, request: Request, id: str) -> Response:
        """Cancel a run of one's own; a running one stops within seconds."""
        result = self.get_object()
        if not result.can_be_cancelled_by(request.user):
            raise PermissionDenied("This is somebody else's backtest.")
        if not BacktestResult.objects.request_cancel(result.pk, now=datetime.now(UTC)):
            raise AlreadyFinished(f"Backtest {id} is already {result.status}.")
        return Response(row(result.pk), status.HTTP_202_ACCEPTED)

    @extend_schema(
        responses=series_responses(ExecutionEntrySerializer(many=True), EXECUTION_SERIES)
    )
    @action(
        detail=True,
        pagination_class=CursorPages,
        filterset_class=ExecutionFilter,
        renderer_classes=TIME_SERIES_RENDERERS,
    )
    def executions(self, request: Request, id: str) -> HttpResponseBase:
        """The journal of a run: every order, fill, refusal and settlement, oldest first."""
        entries = BacktestExecution.objects.for_result(self.get_object()).order_by("at", "number")
        return self.series_response(
            entries.values(*EXECUTIONS), EXECUTION_SERIES, name=f"backtest-{id}"
        )

    @extend_schema(responses=DeflationSerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def overfitting(self, request: Request, id: str) -> Response:
        """The result beside the trials of its strategy so far: what luck alone would bring."""
        done = BacktestResult.objects.filter(pk=id).values("strategy", "status", "figures").first()
        run = done or not_found("backtest", id)
        if not run["figures"]:
            raise NotFound(f"Backtest {id} has no result: it is {run['status']}.")
        family = Trial.objects.family(run["strategy"])
        return Response(deflate(run["figures"], family).as_json())

    @extend_schema(responses=ChartedSeriesSerializer(many=True))
    @action(detail=True, filterset_class=ChartedSeriesFilter)
    def series(self, request: Request, id: str) -> Response:
        """The series that the strategy drew, market by market, and the bids and asks there."""
        paginator, drawn = OffsetPages(), ChartedSeries.objects.of_result(self.get_object().pk)
        page = paginator.paginate_queryset(self.filter_queryset(drawn), request)
        return paginator.get_paginated_response(ChartedSeriesSerializer(page, many=True).data)

    @extend_schema(responses=EquitySerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def equity(self, request: Request, id: str) -> Response:
        """The run's equity and drawdown, in fewer than 1,000 points."""
        found = BacktestResult.objects.filter(pk=id).values_list("curve", "status").first()
        curve, run_status = found or not_found("backtest", id)
        if not curve:
            raise NotFound(f"Backtest {id} has no equity: it is {run_status}.")
        return Response({"columns": columns(curve), "next": None})


def parse(data: Any) -> BacktestRequest:
    serializer = BacktestRequestSerializer(data=data)
    if not serializer.is_valid():
        raise ValidationError(flatten_errors(serializer.errors))
    return serializer.backtest_request


def rows(runs: Any, names: "list[str]") -> QuerySet[Any, Any]:
    found: QuerySet[Any, Any] = runs.with_pnl().values(*names)
    return found


def row(id: int) -> Any:
    """A run with its results, as JSON that PostgreSQL writes."""
    found = postgres.json(rows(BacktestResult.objects.filter(pk=id), DETAIL_COLUMNS))
    return found[0] if found else not_found("backtest", str(id))


def columns(curve: dict[str, "list[int]"]) -> dict[str, "list[Any]"]:
    equity = curve["equity"]
    peaks = accumulate(equity, max)
    return {
        "t": curve["t"],
        "equity": [each / MONEY for each in equity],
        "drawdown": [(peak - each) / peak for peak, each in zip(peaks, equity, strict=True)],
    }
