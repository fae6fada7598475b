"""The health of the site and the freshness of its data."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kalshi_insights.rest.parameters import KnownParameters
from kalshi_insights.rest.schema import with_example
from markets.coverage.freshness import SKEW_TOLERATED, STATES, clock_fault, problem, recording
from markets.models import Drift, Poll, Sweep, TapeSpan, Tier
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
    "tape": {
        "whole_until": "2026-11-20T12:00:01.370412Z",
        "age_seconds": 3.5,
        "open_spans": 0,
        "open_seconds": 0.0,
    },
    "exchange_active": True,
    "trading_active": True,
    "drift_last_day": 0,
    "days_without_partition": [],
}


class TapeHealthSerializer(serializers.Serializer[dict[str, object]]):
    whole_until = serializers.DateTimeField(
        allow_null=True,
        help_text=(
            "Up to here, by the exchange's clock, all trades are on record, but for open spans:"
            " the instant of the newest trade that was read. Null where none was."
        ),
    )
    age_seconds = serializers.FloatField(
        allow_null=True,
        help_text="The age of that instant; it grows also while nobody trades.",
    )
    open_spans = serializers.IntegerField(
        help_text="The number of times of which trades may be missing."
    )
    open_seconds = serializers.FloatField(help_text="How long they last in all.")


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
    tape = TapeHealthSerializer(
        allow_null=True,
        help_text=(
            "How far the trades of the markets that are recorded now are whole; null where"
            " `RECORD_TRADES` is `none`."
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
                "tape": tape_health(now) if settings.RECORD_TRADES != "none" else None,
                "exchange_active": poll.exchange_active if poll else None,
                "trading_active": poll.trading_active if poll else None,
                "drift_last_day": Drift.objects.since(now - timedelta(days=1)).count(),
                "days_without_partition": partitions.days_without_partition(),
            }
        )


def tape_health(now: datetime) -> dict[str, object]:
    """Return how far the tape is whole and how much of it is open, as `TapeHealthSerializer`."""
    until = TapeSpan.objects.newest_whole(until=now + SKEW_TOLERATED)
    open_times = TapeSpan.objects.open_times()
    return {
        "whole_until": until,
        # The exchange's clock may be a little ahead of ours.
        "age_seconds": in_seconds(max(now - until, timedelta())) if until else None,
        "open_spans": len(open_times),
        "open_seconds": in_seconds(sum((time.length for time in open_times), timedelta())),
    }


def _seconds(now: datetime, since: datetime | None) -> float | None:
    return in_seconds(now - since) if since else None


def in_seconds(time: timedelta | None) -> float | None:
    return round(time.total_seconds(), 3) if time is not None else None
