"""The API's viewset of searches."""

from datetime import UTC, datetime
from typing import Any, cast

from django.contrib.auth.models import User
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, PermissionDenied, Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.serializers import BaseSerializer

from backtests.api import examples
from backtests.api.deflation_serializers import DeflationSerializer
from backtests.api.search_serializers import (
    SearchBriefSerializer,
    SearchPointSerializer,
    SearchRequestSerializer,
    SearchSerializer,
)
from backtests.api.serializers import API_FIELDS, flatten_errors
from backtests.api.viewsets import ALREADY_FINISHED, RETRY_AFTER_SECONDS, AlreadyFinished
from backtests.filters import ParameterSearchFilter, SearchPointFilter
from backtests.metrics.deflation import deflate
from backtests.models import RUN_BACKTESTS, Search, SearchPoint, Trial
from backtests.searches.requests import SearchRequest, TooManySearches, resume, submit
from kalshi_insights.bad_input import BadInput
from kalshi_insights.rest.errors import not_found
from kalshi_insights.rest.pagination import OffsetPages
from kalshi_insights.rest.permissions import Scope
from kalshi_insights.rest.viewsets import ResourceViewSet

LOCATION = OpenApiParameter(
    "Location",
    OpenApiTypes.URI,
    OpenApiParameter.HEADER,
    response=[202],
    description="The address of the search, which shows its progress.",
)
ACCEPTED = OpenApiExample(
    "An answer", value=examples.QUEUED_SEARCH, response_only=True, status_codes=["202"]
)
NOT_STOPPED = OpenApiResponse(
    {"$ref": "#/components/schemas/Error"},
    description="The search was neither cancelled nor has it failed.",
)


class SearchViewSet(ResourceViewSet):
    """Searches of the parameters of strategies."""

    write_scope = Scope.BACKTEST
    write_permission = RUN_BACKTESTS
    queryset = Search.objects.for_list()
    serializer_class: type[BaseSerializer[Any]] = SearchSerializer
    filterset_class = ParameterSearchFilter
    lookup_field = "id"
    lookup_schema = {"description": "The search's number.", "example": "3"}
    lookup_value_regex = "[0-9]{1,18}"

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return SearchRequestSerializer if self.action == "create" else self.serializer_class

    def get_object(self) -> Search:
        found = Search.objects.with_progress().filter(pk=self.kwargs["id"]).first()
        return found or not_found("search", self.kwargs["id"])

    @extend_schema(responses=SearchBriefSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Searches, the newest first."""
        paginator = OffsetPages()
        page = self.page(paginator)
        return paginator.get_paginated_response(SearchBriefSerializer(page, many=True).data)

    @extend_schema(
        parameters=[LOCATION],
        request=SearchRequestSerializer,
        responses={202: SearchSerializer},
        examples=[ACCEPTED],
    )
    def create(self, request: Request) -> Response:
        """Request a search, which is queued; its address shows the progress."""
        try:
            user = cast(User, request.user)
            found = submit(parse(request.data), user=user, now=datetime.now(UTC))
        except BadInput as fault:
            field = API_FIELDS.get(fault.field, fault.field)
            raise ValidationError({field: [fault.message]}) from None
        except TooManySearches as fault:
            raise Throttled(RETRY_AFTER_SECONDS, str(fault)) from None
        address = reverse("api:search-detail", [found.pk], request=request)
        return _accepted(found.pk, headers={"Location": address})

    @extend_schema(responses=SearchSerializer)
    def retrieve(self, request: Request, id: str) -> Response:
        """One search: its progress and its figures."""
        return Response(SearchSerializer(self.get_object()).data)

    @extend_schema(
        request=None,
        responses={202: SearchSerializer, 409: ALREADY_FINISHED},
        examples=[ACCEPTED],
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def cancel(self, request: Request, id: str) -> Response:
        """Cancel a search of one's own; points that are done keep their results."""
        found = self._own()
        if not Search.objects.cancel(found.pk, now=datetime.now(UTC)):
            raise AlreadyFinished(f"Search {id} is already {found.status}.")
        return _accepted(found.pk)

    @extend_schema(
        request=None,
        responses={202: SearchSerializer, 409: NOT_STOPPED},
        examples=[ACCEPTED],
    )
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def resume(self, request: Request, id: str) -> Response:
        """Go on with a search of one's own that was cancelled or has failed."""
        found = self._own()
        try:
            is_resumed = resume(found.pk, user=cast(User, request.user))
        except TooManySearches as fault:
            raise Throttled(RETRY_AFTER_SECONDS, str(fault)) from None
        if not is_resumed:
            raise AlreadyFinished(f"Search {id} is {found.status}.")
        return _accepted(found.pk)

    @extend_schema(responses=DeflationSerializer)
    @action(detail=True, filterset_class=None, pagination_class=None)
    def overfitting(self, request: Request, id: str) -> Response:
        """The best point beside the trials of its strategy so far: what luck alone would bring."""
        found = self.get_object()
        if not found.figures:
            raise NotFound(f"Search {id} has no result: it is {found.status}.")
        best = found.points.narrow().get(number=found.figures["best"])
        return Response(
            deflate(best.judged_figures(), Trial.objects.family(found.strategy)).as_json()
        )

    @extend_schema(responses=SearchPointSerializer(many=True))
    @action(detail=True, filterset_class=SearchPointFilter)
    def points(self, request: Request, id: str) -> Response:
        """The points of a search, in their order or by a figure."""
        paginator = OffsetPages()
        points = SearchPoint.objects.of_search(self.get_object().pk).narrow()
        page = paginator.paginate_queryset(self.filter_queryset(points), request)
        return paginator.get_paginated_response(SearchPointSerializer(page, many=True).data)

    def _own(self) -> Search:
        found = self.get_object()
        if not found.can_be_changed_by(self.request.user):
            raise PermissionDenied("This is somebody else's search.")
        return found


def parse(data: Any) -> SearchRequest:
    serializer = SearchRequestSerializer(data=data)
    if not serializer.is_valid():
        raise ValidationError(flatten_errors(serializer.errors))
    return serializer.search_request


def _accepted(id: int, **options: Any) -> Response:
    found = Search.objects.with_progress().get(pk=id)
    return Response(SearchSerializer(found).data, status.HTTP_202_ACCEPTED, **options)
