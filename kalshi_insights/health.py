"""Whether the site lives, and how fresh its data is."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kalshi_insights.rest.parameters import KnownParameters
from markets.api.examples import shown
from markets.coverage.freshness import STATES, recording
from markets.models import Drift, Poll, Sweep, Tier
from markets.storage import partitions

HEALTHY = {
    "status": "recording",
    "simulated": False,
    "newest_poll_at": "2026-11-20T12:00:02.918872Z",
    "data_age_seconds": 1.9,
    "universe_age_seconds": 31.4,
    "poll_interval_seconds": 5.0,
    "tiers": {"hot": {"p50": 5.0, "p95": 5.2, "max": 5.4}},
    "exchange_active": True,
    "trading_active": True,
    "drift_last_day": 0,
    "days_without_partition": [],
}


@shown(HEALTHY)
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
    tiers = serializers.DictField(
        child=serializers.DictField(child=serializers.FloatField()),
        help_text=(
            "By tier, how old in seconds what was known of its markets had become when the newest"
            " run that saw any of them observed them again: p50, p95, max."
        ),
    )
    exchange_active = serializers.BooleanField(
        allow_null=True, help_text="As the exchange last said; null where it did not."
    )
    trading_active = serializers.BooleanField(allow_null=True)
    drift_last_day = serializers.IntegerField(
        help_text="Kinds of unknown fields, words and shapes met in payloads within a day."
    )
    days_without_partition = serializers.ListField(
        child=serializers.DateField(),
        help_text="Days whose rows lie in the default partition: the maintenance task is late.",
    )


class HealthView(KnownParameters):
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
                "tiers": Poll.objects.newest_ages(),
                "exchange_active": poll.exchange_active if poll else None,
                "trading_active": poll.trading_active if poll else None,
                "drift_last_day": Drift.objects.since(now - timedelta(days=1)).count(),
                "days_without_partition": partitions.days_without_partition(),
            }
        )


def _seconds(now: datetime, since: datetime | None) -> float | None:
    return round((now - since).total_seconds(), 3) if since else None
