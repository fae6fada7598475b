"""Whether the site lives, and how fresh its data is."""

from datetime import UTC, datetime

from django.conf import settings
from django.db import models
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from markets.freshness import LATE_AFTER
from markets.models import Poll, Sweep, Tier


class RecordingStatus(models.TextChoices):
    OK = "ok"
    LATE = "late"
    SILENT = "silent", "Nothing was ever recorded"


class HealthSerializer(serializers.Serializer[dict[str, object]]):
    status = serializers.ChoiceField(RecordingStatus.choices)
    simulated = serializers.BooleanField(help_text="Recorded from the simulated exchange.")
    newest_poll_at = serializers.DateTimeField(allow_null=True)
    data_age_seconds = serializers.FloatField(
        allow_null=True, help_text="Since the last run of the recorder without an error ended."
    )
    universe_age_seconds = serializers.FloatField(
        allow_null=True, help_text="Since the last complete pass over all open markets began."
    )
    poll_interval_seconds = serializers.FloatField()


class HealthView(APIView):
    """Answers 200 while the site and its database answer; `status` speaks of the recording."""

    @extend_schema(responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        now = datetime.now(UTC)
        poll = Poll.objects.newest_finished()
        sweep = Sweep.objects.newest_complete(Tier.UNIVERSE)
        age = _seconds(now, poll.finished_at if poll else None)
        return Response(
            {
                "status": recording_status(age),
                "simulated": settings.SIMULATED,
                "newest_poll_at": poll.finished_at if poll else None,
                "data_age_seconds": age,
                "universe_age_seconds": _seconds(now, sweep.started_at if sweep else None),
                "poll_interval_seconds": settings.POLL_INTERVAL,
            }
        )


def recording_status(age: float | None) -> RecordingStatus:
    if age is None:
        return RecordingStatus.SILENT
    on_time = age <= LATE_AFTER * settings.POLL_INTERVAL
    return RecordingStatus.OK if on_time else RecordingStatus.LATE


def _seconds(now: datetime, since: datetime | None) -> float | None:
    return round((now - since).total_seconds(), 3) if since else None
