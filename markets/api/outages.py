"""The recorder's outages."""

from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from kalshi_insights.rest.filters import BoundsForm, InstantField
from kalshi_insights.rest.pagination import OffsetPages
from kalshi_insights.rest.parameters import KnownParameters, read_query
from kalshi_insights.rest.schema import instant_parameter, with_example
from markets.api import examples
from markets.coverage.causes import Cause, outages
from markets.models import Poll

START = "Only outages that end after this instant, with its offset."
END = "Only outages that begin before this instant, with its offset."


class OutageForm(BoundsForm):
    start = InstantField(required=False, label=START)
    end = InstantField(required=False, label=END)


@with_example(examples.OUTAGE)
class OutageSerializer(serializers.Serializer[Any]):
    """A time in which the recorder observed nothing: from the last observation to the next.

    An outage with several causes is several rows, of which each begins where another ends.
    """

    start = serializers.DateTimeField(help_text="The end of the last run that observed anything.")
    end = serializers.DateTimeField(
        help_text="The start of the next run that did; the present, where there was none yet."
    )
    cause = serializers.ChoiceField(choices=[(cause.value, cause.value) for cause in Cause])
    detail = serializers.CharField()
    seconds = serializers.FloatField(help_text="From start to end.")


class OutageViewSet(KnownParameters, GenericViewSet[Any]):
    """Outages of the recorder."""

    queryset = Poll.objects.none()
    serializer_class = OutageSerializer
    filter_backends = ()
    pagination_class = OffsetPages
    query_form = OutageForm

    @extend_schema(
        parameters=[instant_parameter("start", START), instant_parameter("end", END)],
        responses=OutageSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """Outages of the recorder, whole, the newest first."""
        query = read_query(OutageForm, request).cleaned_data
        start = query["start"] or datetime.min.replace(tzinfo=UTC)
        found = outages(start, query["end"] or max(start, datetime.now(UTC)))
        paginator = OffsetPages()
        page = paginator.paginate_queryset(found[::-1], request)
        paginator.count = len(found)
        return paginator.get_paginated_response(OutageSerializer(page, many=True).data)
