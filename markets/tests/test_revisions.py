"""Revisions: definitions and results as they were known at an instant."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from model_bakery import baker

from markets.kalshi.errors import KalshiError
from markets.models import (
    Closure,
    Event,
    EventRevision,
    FeeChange,
    Market,
    MarketRevision,
    Series,
    Sweep,
)
from markets.recording.reference import refresh
from markets.tests.factories import a_market, dollars
from markets.tests.test_recorder import tick

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def known(at: datetime):
    rows = Market.objects.as_of(at)
    return rows[0] if rows else None


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


def test_a_settlement_without_an_instant_is_known_since_it_was_seen(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    before = datetime.now(UTC)
    settled = {"status": "finalized", "result": "yes", "settlement_ts": "0001-01-01T00:00:00Z"}
    exchange.markets["KXA-1-X"] |= settled
    tick(exchange)
    assert known(before - 100_000 * HOUR) is None
    assert (known(before).status, known(before).result) == ("active", "")
    assert known(datetime.now(UTC)).settlement_ts is None
    assert known(datetime.now(UTC)).result == "yes"


def test_a_clock_that_stepped_back_hides_no_result(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    ahead = datetime.now(UTC) + 5 * HOUR
    MarketRevision.objects.update(known_at=ahead)
    exchange.markets["KXA-1-X"] |= {"status": "finalized", "result": "yes"}
    tick(exchange)
    assert known(ahead).status == "active"
    facts = known(ahead + timedelta(microseconds=1))
    assert (facts.status, facts.result) == ("finalized", "yes")


def test_of_what_is_known_from_one_instant_on_what_was_written_last_is_the_newest():
    market, other = a_market("KXA-1-X"), a_market("KXA-1-Y")
    for status in ("active", "closed"):
        Market.objects.update(status=status)
        MarketRevision.objects.append_current({market.pk: NOON, other.pk: NOON}, at=NOON)
    facts = [(each.known_at, each.status) for each in MarketRevision.objects.for_market(other)]
    assert facts == [(NOON, "active"), (NOON + timedelta(microseconds=1), "closed")]


def test_a_clock_that_stepped_back_hides_no_change_of_an_event():
    event = a_market().event
    for title, at in (("Rain", NOON + 5 * HOUR), ("Rain at last", NOON)):
        Event.objects.update(title=title)
        EventRevision.objects.append_current([event.pk], at=at)
    assert [each.title for each in EventRevision.objects.all()] == ["Rain", "Rain at last"]


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
    facts = [FeeChange.objects.in_force(market, NOON + n * HOUR) for n in (-1, 0, 1)]
    assert [terms.fee_type for terms in facts] == ["quadratic", "flat", "quadratic"]
    assert [terms.fee_multiplier for terms in facts] == [1, 1, 1]


def test_without_a_record_terms_are_unknown():
    assert FeeChange.objects.in_force(a_market(), NOON) == ("", None, True, NOON)


def test_a_series_terms_are_on_record_from_when_they_were_seen(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    with exchange.client() as client:
        refresh(client)
        [observed] = FeeChange.objects.all()
        assert (observed.fee_type, observed.fee_multiplier) == ("quadratic", Decimal("0.5"))
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
    assert rests() == [(soon, soon + HOUR)]


def rests() -> list[tuple[datetime, datetime]]:
    return list(Closure.objects.values_list("start", "end"))


def test_a_rest_that_is_withdrawn_in_its_middle_ends_when_that_was_heard():
    Closure.objects.announce([(NOON, NOON + 3 * HOUR)], at=NOON - HOUR)
    Closure.objects.announce([], at=NOON + HOUR)
    assert rests() == [(NOON, NOON + HOUR)]
    assert Closure.objects.get().known_at == NOON - HOUR


def test_a_rest_whose_beginning_is_no_longer_told_keeps_it():
    Closure.objects.announce([(NOON, NOON + 3 * HOUR)], at=NOON - HOUR)
    Closure.objects.announce([(NOON + HOUR, NOON + 3 * HOUR)], at=NOON + 2 * HOUR)
    assert rests() == [(NOON, NOON + 2 * HOUR), (NOON + HOUR, NOON + 3 * HOUR)]


@pytest.mark.parametrize("heard_at", [NOON - HOUR, NOON + HOUR])
def test_a_rest_that_gets_longer_is_on_record_once(heard_at):
    Closure.objects.announce([(NOON, NOON + 2 * HOUR)], at=NOON - 2 * HOUR)
    Closure.objects.announce([(NOON, NOON + 3 * HOUR)], at=heard_at)
    assert rests() == [(NOON, NOON + 3 * HOUR)]


def test_a_rest_that_crosses_midnight_stays_as_it_was_announced(exchange):
    now = datetime.now(UTC).replace(microsecond=0)
    # Longer than a day: whatever the time is now, a midnight lies between.
    start, end = now - 26 * HOUR, now + HOUR
    exchange.maintenance = [{"start_datetime": start.isoformat(), "end_datetime": end.isoformat()}]
    with exchange.client() as client:
        refresh(client)
        rows = Closure.objects.get(start__lte=start, end__gte=end)
        assert rows.end - rows.start < 30 * HOUR
        forget()
        refresh(client)
    assert list(Closure.objects.within(now, end)) == [rows]


@pytest.mark.parametrize("gone", ["/series/fee_changes", "/series"])
def test_an_endpoint_that_is_gone_keeps_no_other_from_being_read(exchange, gone):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.failing[gone] = httpx.Response(404, json={"code": "not_found"})
    with exchange.client() as client, pytest.raises(KalshiError, match="refused with status 404"):
        refresh(client)
    assert Series.objects.unread().exists() == (gone == "/series")
    assert Closure.objects.exists()


def test_of_all_endpoints_that_are_gone_is_told(exchange):
    for gone in ("/series/fee_changes", "/exchange/schedule"):
        exchange.failing[gone] = httpx.Response(404, json={"code": "not_found"})
    with exchange.client() as client, pytest.raises(KalshiError, match=r"fees: .*; hours: "):
        refresh(client)
