"""The rollup of midpoints by market and hour, and what has moved since."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from markets.models import ListedMarket, Market, MarketHour, PastPrice, Source
from markets.models.hours import HOUR, KEPT, hour_of, reference_hours, sparkline_hours
from markets.storage import retention
from markets.tests.factories import a_market, a_snapshot

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def quote(market: Market, at: datetime, bid: str | None, ask: str | None) -> None:
    prices = {
        side: None if price is None else Decimal(price)
        for side, price in (("yes_bid", bid), ("yes_ask", ask))
    }
    a_snapshot(market, at, **prices).save()


def rows() -> list[tuple[str, int, int, int, int, int]]:
    found = MarketHour.objects.order_by("market__ticker", "hour")
    return [
        (row.market.ticker, row.hour.hour, row.first, row.last, row.low, row.high)
        for row in found.select_related("market")
    ]


@pytest.mark.django_db
class TestRollUp:
    def test_an_hour_has_the_first_last_lowest_and_highest_midpoint(self):
        market = a_market("A-1")
        for minute, bid in enumerate(("0.40", "0.50", "0.30", "0.42")):
            quote(market, NOON + minute * MINUTE, bid, "0.60")
        MarketHour.objects.roll_up(now=NOON + 5 * MINUTE)
        assert rows() == [("A-1", 12, 50_000, 51_000, 45_000, 55_000)]

    def test_half_steps_of_the_finest_price_are_exact(self):
        quote(a_market("A-1"), NOON, "0.0001", "0.0002")
        MarketHour.objects.roll_up(now=NOON + MINUTE)
        assert rows()[0][2:4] == (15, 15)

    def test_a_quote_at_the_full_hour_belongs_to_the_hour_that_begins(self):
        market = a_market("A-1")
        quote(market, NOON - timedelta(microseconds=1), "0.10", "0.20")
        quote(market, NOON, "0.30", "0.40")
        MarketHour.objects.roll_up(now=NOON + MINUTE)
        assert [(row[1], row[3]) for row in rows()] == [(11, 15_000), (12, 35_000)]

    def test_an_hour_without_a_two_sided_quote_has_no_row(self):
        market = a_market("A-1")
        quote(market, NOON, "0.10", None)
        quote(market, NOON + MINUTE, None, "0.90")
        quote(market, NOON + 2 * MINUTE, None, None)
        MarketHour.objects.roll_up(now=NOON + HOUR)
        assert rows() == []

    def test_imported_quotes_do_not_count(self):
        market = a_market("A-1")
        imported = a_snapshot(market, NOON, yes_bid=Decimal("0.40"), yes_ask=Decimal("0.60"))
        imported.source, imported.sequence = Source.IMPORT, 1 << 36
        imported.save()
        MarketHour.objects.roll_up(now=NOON + MINUTE)
        assert rows() == []

    def test_a_running_hour_is_brought_up_to_date(self):
        market = a_market("A-1")
        quote(market, NOON, "0.40", "0.60")
        MarketHour.objects.roll_up(now=NOON + MINUTE)
        quote(market, NOON + 2 * MINUTE, "0.60", "0.80")
        MarketHour.objects.roll_up(now=NOON + 3 * MINUTE)
        assert rows() == [("A-1", 12, 50_000, 70_000, 50_000, 70_000)]

    def test_hours_that_maintenance_missed_are_made_up_for(self):
        market = a_market("A-1")
        quote(market, NOON, "0.40", "0.60")
        MarketHour.objects.roll_up(now=NOON + MINUTE)
        for hours in (3, 6, 9):
            quote(market, NOON + hours * HOUR, "0.40", "0.60")
        MarketHour.objects.roll_up(now=NOON + 10 * HOUR)
        assert [row[1] for row in rows()] == [12, 15, 18, 21]

    def test_what_is_too_old_is_forgotten(self):
        market = a_market("A-1")
        quote(market, NOON, "0.40", "0.60")
        MarketHour.objects.roll_up(now=NOON + MINUTE)
        MarketHour.objects.roll_up(now=NOON + KEPT)
        assert len(rows()) == 1
        MarketHour.objects.roll_up(now=NOON + KEPT + HOUR)
        assert rows() == []

    def test_the_command_makes_it_anew(self, time_machine, capsys):
        time_machine.move_to(NOON + MINUTE, tick=False)
        market = a_market("A-1")
        MarketHour.objects.create(hour=NOON, market=market, first=1, last=1, low=1, high=1)
        quote(market, NOON - 5 * HOUR, "0.40", "0.60")
        call_command("rolluphours")
        assert rows() == [("A-1", 7, 50_000, 50_000, 50_000, 50_000)]
        assert capsys.readouterr().out == "Rolled up 1 hours of markets.\n"

    def test_maintenance_does_it(self):
        now = datetime.now(UTC)
        quote(a_market("A-1"), now, "0.40", "0.60")
        retention.maintain(now=now + MINUTE)
        assert MarketHour.objects.count() == 1

    def test_a_sparkline_has_the_last_midpoint_of_each_hour(self):
        market = a_market("A-1")
        for hours, bid in ((1, "0.30"), (3, "0.40"), (24, "0.50")):
            quote(market, NOON - hours * HOUR, bid, "0.60")
        MarketHour.objects.roll_up(now=NOON)
        found = Market.objects.with_sparkline(sparkline_hours(NOON)).get()
        assert found.spark_hours == [NOON - 3 * HOUR, NOON - HOUR]
        assert found.spark_prices == [50_000, 45_000]


@pytest.mark.django_db
class TestPastPrices:
    def test_a_midpoint_stands_until_the_next(self):
        market = a_market("A-1")
        quote(market, NOON - 2 * HOUR - MINUTE, "0.30", "0.40")
        quote(market, NOON - 25 * HOUR, "0.10", "0.20")
        MarketHour.objects.roll_up(now=NOON)
        past = PastPrice.objects.get()
        assert (past.hour_ago, past.day_ago) == (35_000, 15_000)

    def test_one_that_is_too_old_is_unknown(self):
        quote(a_market("A-1"), NOON - 5 * HOUR, "0.30", "0.40")
        MarketHour.objects.roll_up(now=NOON)
        assert not PastPrice.objects.exists()

    def test_a_market_that_went_silent_is_forgotten(self):
        quote(a_market("A-1"), NOON - 2 * HOUR, "0.30", "0.40")
        MarketHour.objects.roll_up(now=NOON)
        assert PastPrice.objects.count() == 1
        MarketHour.objects.roll_up(now=NOON + 5 * HOUR)
        assert not PastPrice.objects.exists()

    def test_lists_go_by_the_move_in_either_direction(self):
        for ticker, bid in (("A-up", "0.30"), ("A-down", "0.70"), ("A-flat", "0.41")):
            quote(a_market(ticker), NOON - 2 * HOUR, bid, "0.72")
        a_market("A-unknown")
        MarketHour.objects.roll_up(now=NOON)
        ordered = ListedMarket.objects.ordered_by("-move_1h")
        # They stand at 42 to 45 cents now, and were at 51, 71 and 56.5.
        expected = ["A-down", "A-flat", "A-up", "A-unknown"]
        assert list(ordered.values_list("ticker", flat=True)) == expected

    def test_ids_of_several_lists_come_in_one_query(self, django_assert_num_queries):
        a, b = a_market("A-1", volume_24h=Decimal(5)), a_market("A-2", volume_24h=Decimal(0))
        listed = ListedMarket.objects
        with django_assert_num_queries(1):
            found = listed.firsts(
                {"-volume_24h": listed.open().traded(), "ticker": listed.all()}, 6
            )
        assert found["-volume_24h"] == [a.pk]
        assert sorted(found["ticker"]) == sorted([a.pk, b.pk])


@given(st.integers(0, 3 * 86_400 * 1_000_000))
def test_the_hours_to_compare_with_are_full_and_within_half_an_hour(microseconds):
    now = NOON + timedelta(microseconds=microseconds)
    hour_ago, day_ago = reference_hours(now)
    assert hour_of(hour_ago) == hour_ago
    assert day_ago == hour_ago - 23 * HOUR
    assert abs(now - HOUR - hour_ago) <= HOUR / 2
