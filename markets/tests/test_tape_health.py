"""Health of the tape: how far it is whole, and how much of it is open."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from markets.intervals import Interval
from markets.models import TapeSpan
from markets.models.tape_scope import TapeScope

NOW = datetime.now(UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    """Let the tape be as old as its test, however long after the others that runs."""
    monkeypatch.setattr(f"{__name__}.NOW", datetime.now(UTC))


def test_health_tells_how_far_the_tape_is_whole(client, settings):
    unknown = {"whole_until": None, "age_seconds": None, "open_spans": 0, "open_seconds": 0.0}
    assert health(client)["tape"] == unknown
    whole = TapeSpan(is_whole=True, **TapeScope.of_settings()._asdict())
    with transaction.atomic():
        TapeSpan.objects.mark(Interval(NOW - HOUR, NOW - 5 * SECOND), whole)
        TapeSpan.objects.mark_open(Interval(NOW - 3 * HOUR, NOW - 2 * HOUR))
        TapeSpan.objects.mark_open(Interval(NOW - 5 * HOUR, NOW - 4 * HOUR))
    told = health(client)["tape"]
    assert told["whole_until"] == f"{NOW - 5 * SECOND:%FT%T.%fZ}"
    assert 5 <= told["age_seconds"] < 60
    assert (told["open_spans"], told["open_seconds"]) == (2, 7200.0)
    settings.RECORD_TRADES = "none"
    assert health(client)["tape"] is None


def test_health_tells_of_the_tape_of_the_markets_that_are_recorded_now(client, settings):
    scope = TapeScope(series=("KXA",))
    with transaction.atomic():
        for start in (NOW - 2 * HOUR, NOW - HOUR):
            TapeSpan.objects.mark_open(Interval(start, start + SECOND))
        TapeSpan.objects.mark(
            Interval(NOW - 3 * HOUR / 2, NOW), TapeSpan(is_whole=True, **scope._asdict())
        )
    assert health(client)["tape"]["whole_until"] is None
    assert health(client)["tape"]["open_spans"] == 2
    settings.RECORD_SERIES = frozenset({"KXA"})
    assert health(client)["tape"]["whole_until"] is not None
    assert health(client)["tape"]["open_spans"] == 1


def test_a_tape_from_the_future_has_no_age(client):
    whole = TapeSpan(is_whole=True, **TapeScope.of_settings()._asdict())
    with transaction.atomic():
        TapeSpan.objects.mark(Interval(NOW, NOW + HOUR), whole)
    assert health(client)["tape"]["age_seconds"] is None


def health(client):
    return client.get("/api/v1/health/").json()
