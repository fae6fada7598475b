"""Whether the site lives, and how fresh its data is."""

from datetime import UTC, datetime

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from markets.freshness import STATES, recording
from markets.models import Poll, Sweep, Tier


class HealthSerializer(serializers.Serializer[dict[str, object]]):
    status = serializers.ChoiceField(
        STATES, help_text="By the newest run that recorded quotes: late, then stopped."
    )
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
        state, age = recording(poll, now=now, interval=settings.POLL_INTERVAL)
        return Response(
            {
                "status": state,
                "simulated": settings.SIMULATED,
                "newest_poll_at": poll.finished_at if poll else None,
                "data_age_seconds": age.total_seconds() if age is not None else None,
                "universe_age_seconds": _seconds(now, sweep.started_at if sweep else None),
                "poll_interval_seconds": settings.POLL_INTERVAL,
            }
        )


def _seconds(now: datetime, since: datetime | None) -> float | None:
    return round((now - since).total_seconds(), 3) if since else None
