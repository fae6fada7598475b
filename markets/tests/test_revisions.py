"""What was known when."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from model_bakery import baker

from markets.models import Closure, EventRevision, FeeChange, Market, MarketRevision, Sweep
from markets.reference import refresh
from markets.tests.making import a_market, dollars
from markets.tests.test_recorder import tick

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def known(at: datetime):
    found = Market.objects.as_of(at)
    return found[0] if found else None


def test_nothing_is_known_of_a_market_before_it_was_seen(exchange):
    before = datetime.now(UTC)
    exchange.list("KXA-1-X")
    tick(exchange)
    assert known(before) is None
    assert known(datetime.now(UTC)).status == "active"


def test_a_result_is_invisible_until_it_was_seen(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    before = datetime.now(UTC)
    exchange.markets["KXA-1-X"] |= {
        "status": "finalized",
        "result": "yes",
        "settlement_value_dollars": "1.0000",
        "settlement_ts": "2026-11-01T00:00:00Z",
        "close_time": "2026-11-02T00:00:00Z",
    }
    tick(exchange)
    assert (known(before).result, known(before).settlement_value) == ("", None)
    assert known(before).close_time == datetime(2030, 1, 1, 15, tzinfo=UTC)
    now = known(datetime.now(UTC))
    assert (now.status, now.result, now.settlement_value) == ("finalized", "yes", 1)
    assert now.close_time == datetime(2026, 11, 2, tzinfo=UTC)


def test_an_amended_result_keeps_what_was_told_first(exchange):
    exchange.list("KXA-1-X", status="determined", result="yes")
    tick(exchange)
    told_first = datetime.now(UTC)
    exchange.markets["KXA-1-X"] |= {"status": "amended", "result": "no"}
    tick(exchange)
    assert (known(told_first).result, known(datetime.now(UTC)).result) == ("yes", "no")


def test_only_a_changed_definition_makes_a_revision(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.quote("KXA-1-X", "0.1000", "0.2000")
    tick(exchange)
    assert MarketRevision.objects.count() == 1
    assert EventRevision.objects.get().title == "What of KXA-1?"


def a_change(at: datetime, fee_type: str, multiplier: str | None, **owner: Any) -> None:
    baker.make(
        FeeChange,
        effective_at=at,
        fee_type=fee_type,
        fee_multiplier=dollars(multiplier),
        recorded_at=NOON,
        **owner,
    )


def test_terms_of_fees_hold_from_their_date_on():
    market = a_market()
    for at, multiplier in ((NOON, "1"), (NOON + HOUR, "0.5")):
        a_change(at, "quadratic", multiplier, series=market.event.series)
    in_force = FeeChange.objects.in_force
    assert in_force(market, NOON) == ("quadratic", 1, False, NOON)
    assert in_force(market, NOON + HOUR) == ("quadratic", Decimal("0.5"), False, NOON + HOUR)
    assert in_force(market, NOON - HOUR) == ("quadratic", 1, True, NOON - HOUR)


def test_an_events_own_terms_go_before_its_series_until_they_are_given_back():
    market = a_market()
    series: dict[str, Any] = {"series": market.event.series}
    event: dict[str, Any] = {"event": market.event}
    for owner, at, fee_type, multiplier in (
        (series, NOON - HOUR, "quadratic", "1"),
        (event, NOON, "flat", None),
        (event, NOON + HOUR, "", None),
    ):
        a_change(at, fee_type, multiplier, **owner)
    told = [FeeChange.objects.in_force(market, NOON + n * HOUR) for n in (-1, 0, 1)]
    assert [terms.fee_type for terms in told] == ["quadratic", "flat", "quadratic"]
    assert [terms.fee_multiplier for terms in told] == [1, 1, 1]


def test_without_a_record_terms_are_unknown():
    assert FeeChange.objects.in_force(a_market(), NOON) == ("", None, True, NOON)


def test_a_series_terms_are_on_record_from_when_they_were_seen(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    with exchange.client() as client:
        refresh(client)
        [seen] = FeeChange.objects.all()
        assert (seen.fee_type, seen.fee_multiplier) == ("quadratic", Decimal("0.5"))
        forget()
        refresh(client)
        assert FeeChange.objects.count() == 1
        exchange.fee_multiplier = 1.0
        forget()
        refresh(client)
    assert [change.fee_multiplier for change in FeeChange.objects.all()] == [Decimal("0.5"), 1]


def forget() -> None:
    """Let every tier be due again."""
    Sweep.objects.update(started_at=datetime.now(UTC) - 2 * HOUR)


def test_announced_changes_of_fees_are_known_before_they_hold(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.fee_changes = [
        {
            "id": "one",
            "series_ticker": "KXA",
            "fee_type": "quadratic",
            "fee_multiplier": 2,
            "scheduled_ts": "2030-01-01T00:00:00Z",
        }
    ]
    exchange.event_fee_changes = [
        {
            "id": "two",
            "event_ticker": "KXA-1",
            "series_ticker": "KXA",
            "fee_type_override": None,
            "fee_multiplier_override": 0,
            "scheduled_ts": "2026-01-01T00:00:00Z",
        }
    ]
    with exchange.client() as client:
        refresh(client)
    announced = FeeChange.objects.get(effective_at__year=2030)
    assert announced.known_at < announced.effective_at
    market = Market.objects.get()
    assert FeeChange.objects.in_force(market, datetime.now(UTC)).fee_multiplier == 0
    past = FeeChange.objects.get(event=market.event)
    assert past.known_at == past.effective_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_the_exchanges_weekly_rest_is_on_record_once(exchange):
    exchange.list("KXA-1-X")
    with exchange.client() as client:
        refresh(client)
        announced = list(Closure.objects.all())
        forget()
        refresh(client)
    assert len(announced) in (2, 3)
    assert all(each.end - each.start == 2 * HOUR for each in announced)
    assert all(each.start.weekday() == 3 for each in announced)
    assert list(Closure.objects.all()) == announced


def test_a_rest_that_is_no_longer_announced_excuses_nothing():
    soon = datetime.now(UTC) + HOUR
    Closure.objects.announce([(soon, soon + 2 * HOUR)], at=datetime.now(UTC))
    Closure.objects.announce([(soon, soon + HOUR)], at=datetime.now(UTC))
    assert [(each.start, each.end) for each in Closure.objects.all()] == [(soon, soon + HOUR)]
