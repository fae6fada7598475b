"""The health of the site and the freshness of its data."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kalshi_insights.rest.parameters import KnownParameters
from kalshi_insights.rest.schema import with_example
from markets.coverage.freshness import STATES, clock_fault, problem, recording
from markets.models import Drift, Poll, Sweep, Tier
from markets.storage import partitions

EXAMPLE = {
    "status": "recording",
    "problem": "",
    "simulated": False,
    "newest_poll_at": "2026-11-20T12:00:02.918872Z",
    "data_age_seconds": 1.9,
    "universe_age_seconds": 31.4,
    "poll_interval_seconds": 5.0,
    "clock_ahead_seconds": None,
    "record_ahead_seconds": None,
    "tiers": {"hot": {"p50": 5.0, "p95": 5.2, "max": 5.4}},
    "exchange_active": True,
    "trading_active": True,
    "drift_last_day": 0,
    "days_without_partition": [],
}


@with_example(EXAMPLE)
class HealthSerializer(serializers.Serializer[dict[str, object]]):
    status = serializers.ChoiceField(
        STATES, help_text="By the age of the newest run that recorded quotes."
    )
    problem = serializers.CharField(
        allow_blank=True,
        help_text=(
            "Why the newest run failed, such as `no network`, `name not found`, `connection"
            " refused`, `no answer`, `TLS`, `clock` or `key`; empty where it did not. `manage.py"
            " checkkalshi` tells more."
        ),
    )
    simulated = serializers.BooleanField(help_text="True for data of the simulated exchange.")
    newest_poll_at = serializers.DateTimeField(allow_null=True)
    data_age_seconds = serializers.FloatField(
        allow_null=True, help_text="Since the end of the last run of the recorder without an error."
    )
    universe_age_seconds = serializers.FloatField(
        allow_null=True, help_text="Since the start of the last complete sweep of all open markets."
    )
    poll_interval_seconds = serializers.FloatField()
    clock_ahead_seconds = serializers.FloatField(
        allow_null=True,
        help_text=(
            "By how much the recorder's clock is wrong, by the exchange's; negative where it is"
            " behind. Null while they agree within ten seconds, or where nothing is known."
        ),
    )
    record_ahead_seconds = serializers.FloatField(
        allow_null=True,
        help_text=(
            "How far runs on record lie in the future: the clock was set back. They count for no"
            " age here. Null where none do."
        ),
    )
    tiers = serializers.DictField(
        child=serializers.DictField(child=serializers.FloatField()),
        help_text=(
            "By tier, the age in seconds of its markets' quotes when the newest run that observed"
            " any of them observed them again: p50, p95, max."
        ),
    )
    exchange_active = serializers.BooleanField(
        allow_null=True, help_text="As the exchange last said; null if unknown."
    )
    trading_active = serializers.BooleanField(allow_null=True)
    drift_last_day = serializers.IntegerField(
        help_text="Number of kinds of unknown fields, words and shapes in payloads of a day."
    )
    days_without_partition = serializers.ListField(
        child=serializers.DateField(),
        help_text="Days whose rows are in the default partition: maintenance is late.",
    )


class HealthView(KnownParameters):
    """The health of the site: 200 while its database answers; `status` is the recorder's."""

    @extend_schema(responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        now = datetime.now(UTC)
        poll = Poll.objects.newest_finished(at=now)
        sweep = Sweep.objects.newest_complete_of(Tier.UNIVERSE, at=now).get(Tier.UNIVERSE)
        state, age = recording(poll, now=now, interval=settings.POLL_INTERVAL)
        clock = clock_fault(poll, now=now)
        return Response(
            {
                "status": state,
                "problem": problem(now=now, interval=settings.POLL_INTERVAL),
                "simulated": settings.SIMULATED,
                "newest_poll_at": poll.finished_at if poll else None,
                "data_age_seconds": age.total_seconds() if age is not None else None,
                "universe_age_seconds": _seconds(now, sweep.started_at if sweep else None),
                "poll_interval_seconds": settings.POLL_INTERVAL,
                "clock_ahead_seconds": in_seconds(clock.ahead_of_exchange),
                "record_ahead_seconds": in_seconds(clock.record_ahead),
                "tiers": Poll.objects.newest_ages(at=now),
                "exchange_active": poll.exchange_active if poll else None,
                "trading_active": poll.trading_active if poll else None,
                "drift_last_day": Drift.objects.since(now - timedelta(days=1)).count(),
                "days_without_partition": partitions.days_without_partition(),
            }
        )


def _seconds(now: datetime, since: datetime | None) -> float | None:
    return in_seconds(now - since) if since else None


def in_seconds(time: timedelta | None) -> float | None:
    return round(time.total_seconds(), 3) if time is not None else None
