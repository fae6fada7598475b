"""Fee terms in force over time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from model_bakery import baker

from markets.models import FeeChange, Market
from markets.tests.factories import a_market, dollars

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 9, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
HALF = Decimal("0.5")


def a_change(at: datetime, fee_type: str, multiplier: str | None, **values: Any) -> None:
    baker.make(
        FeeChange,
        **{
            "effective_at": at,
            "known_at": at,
            "recorded_at": at,
            "fee_type": fee_type,
            "fee_multiplier": dollars(multiplier),
            **values,
        },
    )


def a_series_change(market: Market, at: datetime, multiplier: str, **values: Any) -> None:
    a_change(at, "quadratic", multiplier, series=market.event.series, **values)


def an_event_change(market: Market, at: datetime, fee_type: str, multiplier: str | None) -> None:
    a_change(at, fee_type, multiplier, event=market.event)


def waived(until: str, **values: Any) -> Market:
    return a_market(raw_data={"fee_waiver_expiration_time": until}, **values)


def schedule(market: Market, start: datetime = NOON, end: datetime = NOON + 24 * HOUR) -> list:
    return FeeChange.objects.schedule([market.pk], start=start, end=end)[market.pk]


def schedule_of(market: Market, **span: datetime) -> list[tuple[datetime, str, Decimal | None]]:
    return [(each.since, each.fee_type, each.fee_multiplier) for each in schedule(market, **span)]


def test_the_terms_at_the_start_begin_with_the_start():
    market = a_market()
    a_series_change(market, NOON - 48 * HOUR, "0.5")
    a_series_change(market, NOON - HOUR, "1")
    assert schedule(market) == [("quadratic", 1, False, NOON)]


def test_a_change_in_the_middle_begins_at_its_own_instant():
    market = a_market()
    a_series_change(market, NOON - HOUR, "1")
    a_series_change(market, NOON + HOUR, "0.5")
    assert schedule_of(market) == [(NOON, "quadratic", 1), (NOON + HOUR, "quadratic", HALF)]


def test_both_ends_of_the_span_belong_to_it():
    market = a_market()
    a_series_change(market, NOON, "1")
    a_series_change(market, NOON + HOUR, "0.5")
    both = [(NOON, "quadratic", 1), (NOON + HOUR, "quadratic", HALF)]
    assert schedule_of(market, end=NOON + HOUR) == both
    assert schedule_of(market, end=NOON + HOUR - INSTANT) == both[:1]
    assert schedule_of(market, start=NOON + HOUR) == both[1:]


def test_terms_hold_from_when_they_were_charged_not_from_when_they_were_known():
    market = a_market()
    a_series_change(market, NOON - HOUR, "1")
    a_series_change(market, NOON + HOUR, "0.5", known_at=NOON + 1000 * HOUR)
    assert schedule_of(market) == [(NOON, "quadratic", 1), (NOON + HOUR, "quadratic", HALF)]


def test_before_the_oldest_terms_they_are_assumed_until_they_begin():
    market = a_market()
    a_series_change(market, NOON + HOUR, "1")
    assert schedule(market) == [
        ("quadratic", 1, True, NOON),
        ("quadratic", 1, False, NOON + HOUR),
    ]


def test_terms_whose_date_is_a_guess_are_assumed():
    market = a_market()
    a_series_change(market, NOON, "1", known_at_assumed=True)
    assert schedule(market) == [("quadratic", 1, True, NOON)]


def test_without_a_record_nothing_is_known():
    assert schedule(a_market()) == [("", None, True, NOON)]


def test_an_event_has_terms_of_its_own_until_it_gives_them_back():
    market = a_market()
    a_series_change(market, NOON - HOUR, "1")
    an_event_change(market, NOON + HOUR, "quadratic_with_maker_fees", "0.5")
    an_event_change(market, NOON + 2 * HOUR, "", None)
    assert schedule_of(market) == [
        (NOON, "quadratic", 1),
        (NOON + HOUR, "quadratic_with_maker_fees", HALF),
        (NOON + 2 * HOUR, "quadratic", 1),
    ]


def test_an_event_that_changes_one_term_follows_its_series_in_the_other():
    market = a_market()
    a_series_change(market, NOON - HOUR, "1")
    an_event_change(market, NOON, "quadratic_with_maker_fees", None)
    a_series_change(market, NOON + HOUR, "2")
    assert schedule_of(market) == [
        (NOON, "quadratic_with_maker_fees", 1),
        (NOON + HOUR, "quadratic_with_maker_fees", 2),
    ]


def test_a_change_that_an_event_does_not_follow_is_no_change():
    market = a_market()
    a_series_change(market, NOON - HOUR, "1")
    an_event_change(market, NOON - HOUR, "quadratic", "0.5")
    a_series_change(market, NOON + HOUR, "2")
    assert schedule_of(market) == [(NOON, "quadratic", HALF)]


def test_terms_that_an_event_sets_in_full_are_not_assumed():
    market = a_market()
    a_series_change(market, NOON + HOUR, "1")
    an_event_change(market, NOON, "quadratic", "0.5")
    [terms] = schedule(market)
    assert not terms.assumed


def test_a_waiver_ends_at_its_instant():
    market = waived("2026-09-10T13:00:00.5Z")
    a_series_change(market, NOON - HOUR, "1")
    expires = NOON + HOUR + timedelta(seconds=0.5)
    assert schedule_of(market) == [(NOON, "quadratic", 0), (expires, "quadratic", 1)]
    in_force = FeeChange.objects.in_force
    assert in_force(market, expires - INSTANT) == ("quadratic", 0, False, expires - INSTANT)
    assert in_force(market, expires).fee_multiplier == 1


def test_a_waiver_goes_before_the_terms_of_the_event():
    market = waived("2026-09-10T14:00:00Z")
    a_series_change(market, NOON - HOUR, "1")
    an_event_change(market, NOON + HOUR, "quadratic", "0.5")
    assert schedule_of(market) == [(NOON, "quadratic", 0), (NOON + 2 * HOUR, "quadratic", HALF)]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"fee_waiver_expiration_time": None},
        {"fee_waiver_expiration_time": "0001-01-01T00:00:00Z"},
        {"fee_waiver_expiration_time": ""},
        {"fee_waiver_expiration_time": "TBD"},
        {"fee_waiver_expiration_time": "2026-13-01T00:00:00Z"},
        {"fee_waiver_expiration_time": "2026-09-10T08:00:00-04:00"},
    ],
    ids=["none told", "null", "the zero time", "a blank", "a word", "no such month", "over"],
)
def test_a_market_without_a_waiver_pays(payload):
    market = a_market(raw_data=payload)
    a_series_change(market, NOON - HOUR, "1")
    assert schedule_of(market) == [(NOON, "quadratic", 1)]


@pytest.mark.parametrize("end", ["9999-12-31T00:00:00Z", "9999-12-31T23:59:59-14:00"])
def test_a_waiver_without_an_end_in_sight_waives_all(end):
    market = waived(end)
    a_series_change(market, NOON - HOUR, "1")
    a_series_change(market, NOON + HOUR, "0.5")
    assert schedule_of(market) == [(NOON, "quadratic", 0)]


def test_each_market_has_the_terms_of_its_own_event_and_series():
    plain, own = a_market("KXA-1-X"), a_market("KXA-2-X", event="Another")
    free = waived("2030-01-01T00:00:00Z", ticker="KXA-1-Y", event=plain.event)
    for series in {plain.event.series, own.event.series}:
        a_change(NOON - HOUR, "quadratic", "1", series=series)
    an_event_change(own, NOON - HOUR, "", "0.5")
    schedules = FeeChange.objects.schedule([plain.pk, own.pk, free.pk], start=NOON, end=NOON + HOUR)
    assert {pk: [terms.fee_multiplier for terms in each] for pk, each in schedules.items()} == {
        plain.pk: [1],
        own.pk: [HALF],
        free.pk: [0],
    }


@pytest.mark.parametrize("number", [1, 20])
def test_any_number_of_markets_costs_two_queries(number, django_assert_num_queries):
    markets = [a_market(f"KX{n}-1-X", event=f"Event {n}") for n in range(number)]
    for market in markets:
        a_series_change(market, NOON - HOUR, "1")
    with django_assert_num_queries(2):
        schedules = FeeChange.objects.schedule([m.pk for m in markets], start=NOON, end=NOON + HOUR)
    assert len(schedules) == number
