"""Calibration of what is on record: which markets count, at which quote, and what it came to."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from model_bakery import baker

from kalshi_insights.bad_input import BadInput
from markets.calibration.anchors import Anchor, Exclusion
from markets.calibration.charges import buying_fees
from markets.calibration.markets import observed_markets
from markets.calibration.observations import read_observations
from markets.calibration.reading import used_markets
from markets.calibration.report import calibrate, within_bin
from markets.calibration.request import CalibrationRequest
from markets.models import (
    Event,
    FeeChange,
    Import,
    ImportedSpan,
    MarketRevision,
    MarketSnapshot,
    Source,
)
from markets.models.markets import Market
from markets.tests.factories import a_market, a_snapshot, an_event

pytestmark = pytest.mark.django_db
OPENED = datetime(2026, 9, 1, 12, tzinfo=UTC)
CLOSES = OPENED + timedelta(days=3)
HOUR = timedelta(hours=1)
DAY_BEFORE = CLOSES - 24 * HOUR


@pytest.fixture(autouse=True)
def nothing_kept():
    cache.clear()


def a_settled_market(
    number=1, *, result="no", quotes=(("0.10", "0.12"),), scheduled=True, event=None, **values
):
    """Make a market that was quoted a minute before the last day of its life, and was settled."""
    event = event or an_event(f"Rain on day {number}", ticker=f"KXRAIN-{number}")
    market = a_market(
        f"{event.ticker}-T{number}",
        event=event,
        **{
            "status": "finalized",
            "result": result,
            "settlement_ts": CLOSES + HOUR,
            "open_time": OPENED,
            "close_time": CLOSES,
            **values,
        },
    )
    if scheduled:
        a_known(market, OPENED, status="active", close_time=CLOSES)
    a_known(market, CLOSES, status="finalized", close_time=CLOSES, result=result)
    for minutes, (bid, ask) in enumerate(quotes, 1):
        quoted(market, DAY_BEFORE - timedelta(minutes=minutes), bid, ask)
    return market


def a_known(market, at, **values):
    MarketRevision.objects.create(market=market, known_at=at, recorded_at=at, **values)


def quoted(market, at, bid, ask, *, source=Source.POLL, **values):
    sides = {"yes_bid": bid and Decimal(bid), "yes_ask": ask and Decimal(ask)}
    snapshot = a_snapshot(market, at, **sides)
    snapshot.source = source
    for name, value in values.items():
        setattr(snapshot, name, value)
    snapshot.save()


def read(**request):
    return read_observations(CalibrationRequest(**request))


def the_one(**request):
    """Return bid, ask and reason of the only market; prices in 1/10,000 dollar."""
    found = read(**request)
    assert len(found) == 1
    return found.bid.tolist()[0], found.ask.tolist()[0], Exclusion(found.reason.tolist()[0])


# --- the quote ----------------------------------------------------------------------------------


def test_the_quote_in_force_at_the_instant_counts_and_no_later_one():
    market = a_settled_market(quotes=(("0.10", "0.12"), ("0.20", "0.22")))
    quoted(market, DAY_BEFORE + timedelta(seconds=1), "0.50", "0.52")
    assert the_one() == (1000, 1200, Exclusion.NONE)
    found = read()
    assert found.at.tolist() == [int(DAY_BEFORE.timestamp() * 1_000_000)]
    assert found.anchor.tolist() == [Anchor.SCHEDULED_CLOSE]


def test_a_quote_at_the_instant_itself_counts():
    quoted(a_settled_market(), DAY_BEFORE, "0.30", "0.32")
    assert the_one()[:2] == (3000, 3200)


def test_a_quote_that_is_too_old_is_none():
    quoted(a_settled_market(quotes=()), DAY_BEFORE - HOUR, "0.10", "0.12")
    assert the_one()[2] == Exclusion.NO_QUOTE
    assert the_one(max_age=61)[2] == Exclusion.NONE


def test_a_quote_of_a_paused_market_is_left_out():
    quoted(a_settled_market(quotes=()), DAY_BEFORE - HOUR / 2, "0.10", "0.12", quality=16)
    assert the_one()[2] == Exclusion.PAUSED


def test_a_missing_side_leaves_out_what_needs_it():
    a_settled_market(quotes=((None, "0.12"),))
    found = read()
    reasons = [
        Exclusion(found.reasons(price, 0.1).tolist()[0]) for price in ("mid", "ask-yes", "ask-no")
    ]
    assert reasons == [Exclusion.ONE_SIDED, Exclusion.NONE, Exclusion.ONE_SIDED]
    assert found.prices("ask-yes").tolist() == [0.12]


@pytest.mark.parametrize(
    ("bid", "ask", "reason"),
    [
        ("0.10", "0.20", Exclusion.NONE),
        ("0.10", "0.2001", Exclusion.WIDE),
        ("0.12", "0.12", Exclusion.NONE),
        ("0.13", "0.12", Exclusion.CROSSED),
    ],
)
def test_a_midpoint_needs_a_spread_within_the_limit(bid, ask, reason):
    a_settled_market(quotes=((bid, ask),))
    assert read().reasons("mid", 0.1).tolist() == [reason]


def test_an_ask_of_no_is_a_dollar_less_the_bid_and_pays_where_yes_does_not():
    a_settled_market(quotes=(("0.90", "0.95"),), result="no")
    found = read()
    assert found.prices("ask-no").tolist() == [0.1]
    assert (found.outcomes("ask-no").tolist(), found.outcomes("mid").tolist()) == ([1], [0])


# --- the instant --------------------------------------------------------------------------------


def test_a_postponed_close_moves_the_instant_only_if_it_was_known_before():
    market = a_settled_market(close_time=CLOSES + 48 * HOUR)
    a_known(market, CLOSES - HOUR, status="active", close_time=CLOSES + 48 * HOUR)
    assert the_one()[:2] == (1000, 1200)


def test_a_market_that_was_determined_a_day_early_has_no_observation_at_a_day():
    """What its book showed then is its result."""
    market = a_settled_market(quotes=(("0.01", "0.02"),))
    a_known(market, DAY_BEFORE - 2 * HOUR, status="determined", close_time=CLOSES, result="no")
    assert the_one()[2] == Exclusion.ENDED


def test_a_backfilled_market_counts_back_from_the_date_of_its_event():
    event = an_event("A game", ticker="KXGAME-1")
    Event.objects.filter(pk=event.pk).update(strike_date=CLOSES)
    market = a_settled_market(event=event, scheduled=False, quotes=())
    quoted(market, DAY_BEFORE, "0.40", "0.42", source=Source.BACKFILL)
    assert the_one(source="backfilled")[:2] == (4000, 4200)
    assert read(source="backfilled").anchor.tolist() == [Anchor.STRIKE_DATE]


def test_else_from_the_date_of_the_market_itself():
    at = CLOSES.isoformat().replace("+00:00", "Z")
    a_settled_market(scheduled=False, raw_data={"occurrence_datetime": at})
    a_settled_market(2, scheduled=False, raw_data={"occurrence_datetime": ""})
    found = read()
    assert found.anchor.tolist() == [Anchor.OCCURRENCE, Anchor.NONE]
    assert found.reason.tolist() == [Exclusion.NONE, Exclusion.SCHEDULE_UNKNOWN]


@pytest.mark.parametrize("text", ["TBD", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_date_that_is_no_instant_is_an_unknown_schedule(text):
    a_settled_market(scheduled=False, raw_data={"occurrence_datetime": text})
    assert the_one()[2] == Exclusion.SCHEDULE_UNKNOWN


def test_a_date_without_an_end_is_far_away():
    at = "9999-12-31T23:59:59-14:00"
    a_settled_market(scheduled=False, raw_data={"occurrence_datetime": at})
    assert the_one()[2] == Exclusion.ENDED


def test_the_final_close_counts_only_where_it_is_asked_for():
    a_settled_market(scheduled=False, can_close_early=False, expected_expiration_time=CLOSES)
    assert the_one()[2] == Exclusion.SCHEDULE_UNKNOWN
    assert the_one(anchor="final-close")[2] == Exclusion.NONE


def test_the_first_quote_is_the_first_with_both_sides_while_the_market_traded():
    market = a_settled_market(scheduled=False, quotes=())
    quoted(market, OPENED - HOUR, "0.01", "0.99")
    quoted(market, OPENED, None, "0.60")
    quoted(market, OPENED + HOUR, "0.30", "0.40", quality=16)
    quoted(market, OPENED + 2 * HOUR, "0.50", "0.55")
    quoted(market, OPENED + 3 * HOUR, "0.70", "0.75")
    assert the_one(moment="first")[:2] == (5000, 5500)
    assert the_one(moment="first", price="ask-yes")[:2] == (-1, 6000)


def test_a_first_quote_after_the_close_is_none():
    market = a_settled_market(scheduled=False, quotes=())
    quoted(market, CLOSES, "0.50", "0.55")
    assert the_one(moment="first")[2] == Exclusion.NO_QUOTE


def test_a_random_instant_is_the_same_every_time_and_another_for_each_market():
    for number in range(1, 6):
        market = a_settled_market(number, quotes=())
        for hour in range(73):
            quoted(market, OPENED + hour * HOUR, "0.50", "0.55")
    first, again = read(moment="random"), read(moment="random")
    assert first.at.tolist() == again.at.tolist()
    assert len(set(first.at.tolist())) == 5
    opened, closes = (int(at.timestamp() * 1_000_000) for at in (OPENED, CLOSES))
    assert all(opened <= at < closes for at in first.at.tolist())
    assert set(first.reason.tolist()) == {Exclusion.NONE}


# --- the markets --------------------------------------------------------------------------------


def test_only_settled_markets_count_and_combos_never():
    a_settled_market()
    a_market("KXRAIN-OPEN")
    a_settled_market(2, status="determined")
    combo = an_event("A parlay", ticker="KXPARLAY-1")
    combo.series.ticker = "KXMVEPARLAY"
    combo.series.save()
    a_settled_market(3, event=combo)
    assert len(read()) == 1


def test_combos_of_another_ticker_tell_by_their_payload():
    a_settled_market(raw_data={"mve_collection_ticker": ""})
    combos = an_event("Two games", ticker="KXBOTH-1")
    for number in (2, 3):
        a_settled_market(number, event=combos, raw_data={"mve_collection_ticker": "KXBOTH"})
    assert read().market.tolist() == [Market.objects.get(ticker="KXRAIN-1-T1").pk]


def test_a_market_without_a_date_of_settlement_is_counted_where_a_period_is_asked_for():
    a_settled_market()
    a_settled_market(2, scheduled=False, settlement_ts=None, close_time=None)
    assert read().reason.tolist() == [Exclusion.NONE, Exclusion.SCHEDULE_UNKNOWN]
    for period in ({"start": OPENED}, {"end": CLOSES + 48 * HOUR}):
        assert read(**period).reason.tolist() == [Exclusion.NONE, Exclusion.SETTLEMENT_UNDATED]


def test_a_scalar_result_counts_by_its_value():
    a_settled_market(result="scalar", settlement_value=Decimal("0.24"))
    a_settled_market(2, result="scalar")
    found = read()
    assert found.outcomes("mid").tolist()[0] == 0.24
    assert found.reason.tolist() == [Exclusion.NONE, Exclusion.VALUE_UNKNOWN]


def test_markets_are_narrowed_by_category_series_and_settlement():
    a_settled_market()
    other = an_event("A game", ticker="KXGAME-1", category="Sports")
    a_settled_market(2, event=other, settlement_ts=CLOSES + 48 * HOUR)
    assert len(read(category="Sports")) == len(read(series="SKXGAME-1")) == 1
    assert len(read(start=CLOSES + 48 * HOUR)) == len(read(end=CLOSES + 48 * HOUR)) == 1
    assert len(read()) == 2


def test_quotes_of_each_source_count_as_what_they_are():
    market = a_settled_market(quotes=())
    row = baker.make(Import, kind="quotes", state="finished", said={}, started_at=OPENED)
    at = DAY_BEFORE - HOUR / 2
    quoted(market, at, "0.10", "0.12")
    quoted(market, at, "0.20", "0.22", source=Source.BACKFILL, sequence=None)
    imported = {"source": Source.IMPORT, "sequence": row.first_sequence + 1}
    quoted(market, at + timedelta(minutes=1), "0.30", "0.32", **imported)
    baker.make(ImportedSpan, import_row=row, market=market, first_at=at, last_at=at, rows=1)
    assert the_one()[:2] == (1000, 1200)
    assert the_one(source="backfilled")[:2] == (2000, 2200)
    assert the_one(source="imported", imports=[row.pk])[:2] == (3000, 3200)
    assert len(read(source="imported", imports=[row.pk + 1])) == 0


def test_an_import_may_bring_the_result_of_a_market_that_nobody_else_knows():
    market = a_settled_market(quotes=(), status="", result="", settlement_ts=None)
    Market.objects.filter(pk=market.pk).update(is_placeholder=True)
    quotes, results = (
        baker.make(Import, kind=kind, state="finished", said={}, started_at=OPENED)
        for kind in ("quotes", "settlements")
    )
    a_known(market, CLOSES + HOUR, status="finalized", result="yes", import_row=results)
    imported = {"source": Source.IMPORT, "sequence": quotes.first_sequence + 1}
    quoted(market, DAY_BEFORE, "0.30", "0.32", **imported)
    spans = {"first_at": DAY_BEFORE, "last_at": DAY_BEFORE, "rows": 1, "market": market}
    baker.make(ImportedSpan, import_row=quotes, **spans)
    found = read(source="imported", imports=[quotes.pk, results.pk])
    assert (found.value.tolist(), found.reason.tolist()) == ([1_000_000], [Exclusion.NONE])
    assert len(read(source="imported", imports=[quotes.pk])) == 0


def test_any_number_of_markets_takes_the_same_few_statements():
    a_settled_market()
    a_fee(Event.objects.get().series)
    with CaptureQueriesContext(connection) as of_one:
        calibrate(CalibrationRequest())
    for number in range(2, 12):
        a_settled_market(number)
    cache.clear()
    with CaptureQueriesContext(connection) as of_many:
        calibrate(CalibrationRequest())
    assert len(of_one) == len(of_many) <= 9


# --- fees ---------------------------------------------------------------------------------------


def a_fee(series, since=OPENED - HOUR, **terms):
    baker.make(
        FeeChange,
        series=series,
        effective_at=since,
        known_at=since,
        recorded_at=since,
        **{"fee_type": "quadratic", "fee_multiplier": 1, **terms},
    )


def test_the_fee_is_that_of_a_taker_of_a_hundred_contracts_then():
    market = a_settled_market(quotes=(("0.10", "0.25"),))
    a_fee(market.event.series)
    a_fee(market.event.series, CLOSES, fee_multiplier=3)
    yes, no = buying_fees(read())
    # 0.07 x 100 x 0.25 x 0.75 is $1.3125, and 0.07 x 100 x 0.90 x 0.10 is $0.63.
    assert (yes.tolist(), no.tolist()) == ([pytest.approx(0.013125)], [pytest.approx(0.0063)])


def test_each_side_is_bought_wherever_it_was_offered_whatever_price_the_curve_is_of():
    """Were longshots without a bid left out, those bought would have been chosen by the others."""
    quotes = [("0.02", "0.03"), (None, "0.03"), ("0.02", "0.60"), ("0.97", None)]
    for number, quote in enumerate(quotes):
        a_fee(a_settled_market(number, quotes=(quote,)).event.series)
    by_price = [calibrate(CalibrationRequest(price=price)) for price in ("mid", "ask-yes")]
    assert [found.coverage.used for found in by_price] == [1, 3]
    for found in by_price:
        assert [each.count for each in found.returns_yes if each.count] == [2, 1]
        assert [each.count for each in found.returns_no if each.count] == [1, 2]
        assert found.fees_unknown == 0


def test_fees_that_nobody_knows_leave_a_market_out_of_the_returns():
    a_settled_market()
    found = calibrate(CalibrationRequest(minimum=2))
    assert found.fees_unknown == 1
    assert sum(each.count for each in found.returns_yes) == 0


# --- the report ---------------------------------------------------------------------------------


def twenty_markets():
    """Make 18 markets at 11 cents of which 2 came true, one at 80 and one that is not quoted."""
    for number in range(18):
        market = a_settled_market(number, result="yes" if number < 2 else "no")
        a_fee(market.event.series)
    a_settled_market(18, quotes=(("0.79", "0.81"),), result="yes")
    a_settled_market(19, quotes=())


def test_a_report_has_curve_coverage_and_returns():
    twenty_markets()
    found = calibrate(CalibrationRequest(minimum=18))
    coverage = found.coverage
    assert (coverage.eligible, coverage.used, coverage.events) == (20, 19, 19)
    assert coverage.share == 0.95
    assert coverage.left_out == {Exclusion.NO_QUOTE: 1}
    assert coverage.anchors == {Anchor.SCHEDULED_CLOSE: 19}
    second = found.curve[1]
    assert (second.count, second.price) == (18, pytest.approx(0.11))
    assert second.outcome == pytest.approx(2 / 18)
    assert (found.curve[8].count, found.curve[8].outcome) == (1, None)
    assert found.scores.brier == pytest.approx((2 * 0.89**2 + 16 * 0.11**2 + 0.2**2) / 19)
    bought = found.returns_yes[1]
    spent = 18 * (0.12 + 0.07 * 0.12 * 0.88)
    assert bought.net == pytest.approx((2 - spent) / spent, abs=1e-4)
    assert found.fees_unknown == 1
    assert len(found.trail.at) == 19


def test_the_markets_of_a_bin_are_named_with_what_was_seen_of_them():
    twenty_markets()
    request = CalibrationRequest()
    used = within_bin(request, used_markets(request), 8)
    (row,) = observed_markets(used)
    assert (row.ticker, row.event_ticker) == ("KXRAIN-18-T18", "KXRAIN-18")
    assert (row.series_ticker, row.category) == ("SKXRAIN-18", "Climate")
    assert (row.yes_bid, row.yes_ask, row.price, row.outcome) == ("0.7900", "0.8100", 0.8, 1)
    assert (row.observed_at, row.settled_at) == (DAY_BEFORE, CLOSES + HOUR)
    assert row.quoted_at == DAY_BEFORE - timedelta(minutes=1)
    assert row.anchor == "scheduled_close"
    assert len(within_bin(request, used_markets(request), None).prices) == 19


def test_what_was_read_is_kept_for_whatever_sorts_it_out_otherwise():
    twenty_markets()
    first = calibrate(CalibrationRequest())
    MarketSnapshot.objects.all().delete()
    again = calibrate(CalibrationRequest())
    assert again == first
    wide = calibrate(CalibrationRequest(max_spread=Decimal("0.01"), bins=5, price="mid"))
    assert wide.coverage.left_out[Exclusion.WIDE] == 19
    assert wide.read_at == first.read_at
    assert calibrate(CalibrationRequest(max_age=30)).coverage.used == 0


def test_who_asks_anew_gets_what_is_on_record_now_and_so_does_everybody_after():
    twenty_markets()
    calibrate(CalibrationRequest())
    MarketSnapshot.objects.all().delete()
    anew = calibrate(CalibrationRequest(), anew=True)
    assert anew.coverage.used == 0
    assert calibrate(CalibrationRequest()) == anew


# --- parts --------------------------------------------------------------------------------------


def broken_down(by, **request):
    found = calibrate(CalibrationRequest(by=by, minimum=2, **request)).breakdown
    assert found.by == by
    return found


def test_scores_are_told_of_each_category_and_series():
    twenty_markets()
    a_settled_market(30, event=an_event("A game", ticker="KXGAME-1", category="Sports"))
    climate, sports = broken_down("category").groups
    assert (climate.group, climate.count, climate.events) == ("Climate", 19, 19)
    assert climate.brier == pytest.approx((2 * 0.89**2 + 16 * 0.11**2 + 0.2**2) / 19)
    assert (sports.group, sports.count, sports.brier) == ("Sports", 1, None)
    of_series = broken_down("series", category="Sports")
    assert [each.group for each in of_series.groups] == ["SKXGAME-1"]
    assert calibrate(CalibrationRequest()).breakdown is None


def test_groups_beyond_the_most_are_counted(monkeypatch):
    monkeypatch.setattr("markets.calibration.breakdown.MOST_GROUPS", 3)
    twenty_markets()
    found = broken_down("series")
    assert [each.count for each in found.groups] == [1, 1, 1]
    assert found.left_out == 16


def test_months_of_settlement_come_newest_first():
    a_settled_market(1)
    a_settled_market(2, settlement_ts=CLOSES + timedelta(days=40))
    a_settled_market(3, settlement_ts=None, close_time=None, quotes=())
    quoted(Market.objects.get(ticker="KXRAIN-3-T3"), OPENED, "0.10", "0.12")
    found = broken_down("month", moment="first")
    assert [each.group for each in found.groups] == ["2026-10", "2026-09", "undated"]
    assert len(calibrate(CalibrationRequest(moment="first")).trail.at) == 2


def test_lead_times_are_observed_each_at_its_own_instant():
    market = a_settled_market(quotes=())
    for hours in (24, 6):
        quoted(market, CLOSES - hours * HOUR, "0.10", "0.12")
    found = broken_down("moment", moment="random")
    assert [(each.group, each.count) for each in found.groups] == [
        ("7d", 0), ("24h", 1), ("6h", 1), ("1h", 0), ("10m", 0)
    ]  # fmt: skip


@pytest.mark.parametrize("by", ["category", "series", "month", "moment"])
def test_without_markets_no_part_has_figures(by):
    assert {each.count for each in broken_down(by).groups} <= {0}


def test_without_any_settled_market_there_is_nothing_to_say():
    found = calibrate(CalibrationRequest())
    assert (found.coverage.eligible, found.coverage.share, found.scores) == (0, None, None)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"moment": "2h"}, "moment"),
        ({"price": "last"}, "price"),
        ({"source": "imported"}, "source"),
        ({"imports": [3]}, "imports"),
        ({"source": "imported", "imports": [3]}, "imports"),
        ({"start": CLOSES, "end": CLOSES}, "end"),
        ({"max_spread": Decimal(2)}, "max_spread"),
        ({"max_age": 0}, "max_age"),
        ({"bins": 7}, "bins"),
        ({"minimum": 1}, "minimum"),
        ({"by": "colour"}, "by"),
        ({"anchor": "close"}, "anchor"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(request_, field):
    with pytest.raises(BadInput) as caught:
        calibrate(CalibrationRequest(**request_))
    assert caught.value.field == field
