"""Loading a universe: what was known of each market, and when."""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest
from model_bakery import baker

from backtests.analysis.fingerprints import data_fingerprint
from backtests.data.universe import MISSING, MONEY, Quotes, microseconds
from backtests.tests.record_builders import (
    END,
    HOUR,
    MINUTE,
    START,
    load_universe,
    record_event_revision,
    record_market,
    record_quote,
    record_revision,
    record_settlement,
    selection_of,
)
from kalshi_insights.bad_input import BadInput
from markets.models import Closure, FeeChange, Market, MarketSnapshot, Poll, Source
from markets.models.snapshots import MAX_COUNT
from markets.prices import Quality
from markets.tests.factories import an_event

pytestmark = pytest.mark.django_db
NOON = START + timedelta(hours=12)


def rows(quotes: Quotes, *names: str) -> list[tuple]:
    return list(zip(*(getattr(quotes, name).tolist() for name in names), strict=True))


def hours(quotes: Quotes) -> list[tuple[float, bool]]:
    """The hour of each row since the start, and whether the market was tradable."""
    start, hour = microseconds(START), 3_600 * MONEY
    return [((at - start) / hour, tradable) for at, tradable in rows(quotes, "at", "tradable")]


def test_a_snapshot_becomes_integers():
    market = record_market()
    record_quote(
        market,
        NOON,
        "0.4210",
        "0.4500",
        yes_bid_size=Decimal("12.34"),
        last_price=Decimal("0.4300"),
        volume=Decimal("1000.50"),
    )
    quotes = load_universe(market).quotes
    names = ("at", "market", "bid", "ask", "bid_size", "ask_size", "last", "volume")
    assert rows(quotes, *names) == [
        (microseconds(NOON), 0, 4_210, 4_500, 1_234, 10_000, 4_300, 100_050)
    ]


def test_what_is_unknown_is_missing_and_what_would_not_fit_is_cut():
    market = record_market()
    record_quote(market, NOON, None, "0.0100", yes_ask_size=Decimal(10**12), yes_bid_size=None)
    quotes = load_universe(market).quotes
    names = ("bid", "ask", "bid_size", "ask_size", "last", "volume", "close_at")
    unknown = MISSING
    assert rows(quotes, *names) == [(unknown, 100, unknown, MAX_COUNT, unknown, unknown, unknown)]


def test_rows_come_by_time_and_those_of_one_instant_by_market():
    first, second = record_market("KXA-1"), record_market("KXB-1")
    for market, at in ((second, NOON), (first, NOON), (second, NOON - HOUR), (first, NOON + HOUR)):
        record_quote(market, at)
    universe = load_universe(second, first)
    assert [listing.ticker for listing in universe.listings] == ["KXA-1", "KXB-1"]
    expected = [(NOON - HOUR, 1), (NOON, 0), (NOON, 1), (NOON + HOUR, 0)]
    assert rows(universe.quotes, "at", "market") == [(microseconds(at), m) for at, m in expected]


def test_a_window_has_its_first_instant_and_not_its_last():
    market = record_market()
    for at in (START - MINUTE, START, END - MINUTE, END):
        record_quote(market, at)
    loaded = load_universe(market).quotes.at.tolist()
    assert loaded == [microseconds(START), microseconds(END - MINUTE)]


def test_of_a_stream_s_several_messages_of_one_instant_the_last_counts():
    market = record_market()
    for sequence, bid in ((7, "0.4000"), (9, "0.4200"), (8, "0.4100")):
        record_quote(market, NOON, bid, source=Source.WEBSOCKET, sequence=sequence)
    assert load_universe(market).quotes.bid.tolist() == [4_200]


def test_of_several_quotes_of_one_instant_the_same_one_counts_whatever_came_first():
    market = record_market()
    loaded = set()
    for bids in permutations(("0.4000", "0.4100", "0.4200")):
        MarketSnapshot.objects.all().delete()
        for bid in bids:
            record_quote(market, NOON, bid)
        record_quote(market, NOON - MINUTE)
        universe = load_universe(market)
        loaded.add((*universe.quotes.bid.tolist(), data_fingerprint(universe)["quotes"]))
    assert len(loaded) == 1
    last = MarketSnapshot.objects.newest()
    assert f"0.{next(iter(loaded))[1]}" == str(last.yes_bid)


# --- snapshot sources ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "expected"),
    [("best", [1, 3, 5, 6]), ("recorded", [3, 5]), ("backfilled", [1, 4, 6])],
)
def test_what_was_backfilled_counts_only_outside_of_what_was_recorded_live(sources, expected):
    market = record_market()
    for hour in (3, 5):
        record_quote(market, START + hour * HOUR)
    for hour in (1, 4, 6):
        record_quote(market, START + hour * HOUR, source=Source.BACKFILL)
    loaded = load_universe(market, sources=sources).quotes
    assert [at for at, _ in hours(loaded)] == expected


# --- trading hours ----------------------------------------------------------------------------


def test_a_market_s_close_ends_trading_without_a_quote():
    market = record_market(close_time=NOON)
    record_revision(market, START)
    record_quote(market, START + HOUR)
    assert hours(load_universe(market).quotes) == [(1, True), (12, False)]


def test_a_close_that_moves_is_known_from_then_on():
    market = record_market(close_time=NOON)
    record_revision(market, START)
    record_revision(market, START + 3 * HOUR, close_time=NOON + HOUR)
    record_quote(market, START + HOUR)
    record_quote(market, START + 5 * HOUR)
    quotes = load_universe(market).quotes
    assert hours(quotes) == [(1, True), (3, True), (5, True), (13, False)]
    before, after = microseconds(NOON), microseconds(NOON + HOUR)
    assert quotes.close_at.tolist() == [before, after, after, after]
    assert quotes.bid.tolist() == [4_200] * 4


def test_nobody_trades_between_an_early_close_and_its_becoming_known():
    market = record_market(close_time=NOON)
    record_revision(market, START)
    record_revision(market, START + 4 * HOUR, status="closed", close_time=START + 3 * HOUR)
    for hour in (1, 3.5, 5):
        record_quote(market, START + hour * HOUR)
    quotes = load_universe(market).quotes
    assert hours(quotes) == [(1, True), (3, False), (3.5, False), (4, False), (5, False)]
    early, late = microseconds(START + 3 * HOUR), microseconds(NOON)
    assert quotes.close_at.tolist() == [late, late, late, early, early]


def test_what_nobody_had_told_yet_is_unknown():
    market = record_market()
    record_revision(market, START + 2 * HOUR)
    record_quote(market, START + HOUR)
    record_quote(market, START + 3 * HOUR)
    quotes = load_universe(market).quotes
    assert quotes.close_at.tolist()[:2] == [MISSING, microseconds(END)]
    assert hours(quotes) == [(1, True), (2, True), (3, True)]


def test_a_paused_market_trades_again_from_when_that_was_known():
    market = record_market()
    record_revision(market, START)
    record_revision(market, START + 2 * HOUR, status="inactive")
    record_revision(market, START + 4 * HOUR)
    record_quote(market, START + HOUR)
    record_quote(market, START + 3 * HOUR, quality=int(Quality.STALE))
    loaded = hours(load_universe(market).quotes)
    assert loaded == [(1, True), (2, False), (3, False), (4, True)]


def test_a_book_that_was_left_behind_is_not_traded_on():
    market = record_market()
    record_quote(market, START + HOUR, quality=int(Quality.STALE))
    assert hours(load_universe(market).quotes) == [(1, False)]


def test_an_announced_pause_ends_trading_until_a_book_is_seen_again():
    market = record_market()
    record_revision(market, START)
    Closure.objects.create(start=START + 2 * HOUR, end=START + 4 * HOUR, known_at=START)
    for hour in (1, 3, 5):
        record_quote(market, START + hour * HOUR)
    loaded = hours(load_universe(market).quotes)
    assert loaded == [(1, True), (2, False), (3, False), (5, True)]


def test_a_pause_that_was_heard_of_lasts_until_its_end_is_heard_of():
    market = record_market()
    record_revision(market, START)
    for hour, open_ in ((1, True), (2, False), (3, False), (4, True)):
        at = START + hour * HOUR
        baker.make(Poll, started_at=at, finished_at=at, exchange_active=True, trading_active=open_)
    for after in (1.5, 2.5, 3.5, 4.5):
        record_quote(market, START + after * HOUR)
    loaded = hours(load_universe(market).quotes)
    assert loaded == [(1.5, True), (2, False), (2.5, False), (3.5, False), (4.5, True)]


# --- settlements ----------------------------------------------------------------------------------


def test_a_settlement_is_known_when_it_was_told_and_paid_when_it_was_final():
    market = record_market()
    record_quote(market, NOON)
    record_revision(market, END, status="determined", result="no")
    record_settlement(market, END + 2 * HOUR, "no")
    (settlement,) = load_universe(market).settlements
    assert settlement == (microseconds(END), microseconds(END + 2 * HOUR), 0, False)


def test_after_a_dispute_the_last_result_counts_from_when_it_was_told():
    market = record_market()
    record_quote(market, NOON)
    for hour, status, result in (
        (0, "determined", "yes"),
        (1, "disputed", "yes"),
        (2, "amended", "no"),
        (3, "determined", "no"),
    ):
        record_revision(market, END + hour * HOUR, status=status, result=result)
    record_settlement(market, END + 4 * HOUR, "no")
    (settlement,) = load_universe(market).settlements
    assert settlement == (microseconds(END + 2 * HOUR), microseconds(END + 4 * HOUR), 0, False)


def test_a_scalar_result_pays_its_value():
    market = record_market()
    record_quote(market, NOON)
    record_settlement(market, END, "scalar", settlement_value=Decimal("0.240000"))
    (settlement,) = load_universe(market).settlements
    assert settlement.value == 240_000


def test_without_a_value_a_scalar_result_pays_nothing_that_is_known():
    market = record_market()
    record_quote(market, NOON)
    record_settlement(market, END, "scalar")
    assert load_universe(market).settlements == [None]


def test_what_was_determined_and_not_paid_has_not_ended():
    market = record_market()
    record_quote(market, NOON)
    record_revision(market, END, status="determined", result="yes")
    assert load_universe(market).settlements == [None]


def test_an_assumed_time_stays_marked():
    market = record_market()
    record_quote(market, NOON)
    record_settlement(market, END, known_at_assumed=True)
    (settlement,) = load_universe(market).settlements
    assert settlement.assumed


def test_what_was_recorded_after_a_run_was_asked_for_is_not_part_of_it():
    market = record_market()
    record_revision(market, START)
    record_quote(market, NOON)
    record_settlement(market, END, recorded_at=END + HOUR)
    assert load_universe(market, known_by=END).settlements == [None]
    assert load_universe(market, known_by=END + HOUR).settlements != [None]


def test_quotes_that_were_recorded_after_a_run_was_asked_for_are_not_part_of_it():
    market = record_market()
    record_quote(market, NOON)
    record_quote(market, NOON - HOUR, source=Source.BACKFILL, recorded_at=END + HOUR)
    assert hours(load_universe(market, known_by=END).quotes) == [(12, True)]
    assert hours(load_universe(market, known_by=END + HOUR).quotes) == [(11, True), (12, True)]


def test_fees_that_were_recorded_after_a_run_was_asked_for_are_not_part_of_it():
    market = record_market()
    FeeChange.objects.create(
        series=market.event.series,
        fee_type="quadratic",
        fee_multiplier=Decimal("0.5"),
        effective_at=NOON,
        known_at=NOON,
        recorded_at=END + HOUR,
    )
    record_quote(market, NOON)
    assert [len(terms) for terms in load_universe(market, known_by=END).terms] == [1]
    assert [len(terms) for terms in load_universe(market, known_by=END + HOUR).terms] == [2]


def test_a_pause_that_became_known_after_a_run_was_asked_for_is_not_part_of_it():
    market = record_market()
    record_revision(market, START)
    Closure.objects.create(start=START + 2 * HOUR, end=START + 3 * HOUR, known_at=END + HOUR)
    for hour, open_ in ((5, False), (6, True)):
        at = START + hour * HOUR
        baker.make(
            Poll, started_at=at, finished_at=END + HOUR, exchange_active=True, trading_active=open_
        )
    record_quote(market, START + HOUR)
    record_quote(market, START + 7 * HOUR)
    assert hours(load_universe(market, known_by=END).quotes) == [(1, True), (7, True)]


# --- listings and grids ------------------------------------------------------------------------


def test_a_listing_tells_its_strikes_and_what_it_belongs_to():
    market = record_market(floor_strike=Decimal("71.5"), strike_type="greater")
    record_quote(market, NOON)
    (listing,) = load_universe(market).listings
    assert (listing.strike_type, listing.floor_strike, listing.cap_strike) == (
        "greater",
        71.5,
        None,
    )
    assert (listing.event, listing.series, listing.category) == ("KXRAIN", "SKXRAIN", "Climate")


def test_a_listing_has_what_was_known_of_its_event_at_its_first_quote():
    market = record_market()
    record_event_revision(market.event, START, title="Rain", mutually_exclusive=True)
    record_event_revision(market.event, NOON + HOUR, title="Rain or snow", mutually_exclusive=False)
    record_event_revision(market.event, START + HOUR, title="Hail", recorded_at=END + HOUR)
    record_quote(market, NOON)
    (listing,) = load_universe(market, known_by=END).listings
    assert (listing.title, listing.mutually_exclusive) == ("Rain: Yes", True)


def test_of_an_event_that_was_told_later_the_first_words_count():
    market = record_market()
    record_event_revision(market.event, NOON + HOUR, title="Rain", mutually_exclusive=True)
    record_event_revision(market.event, NOON + 2 * HOUR, title="Snow")
    record_quote(market, NOON)
    (listing,) = load_universe(market).listings
    assert (listing.title, listing.mutually_exclusive) == ("Rain: Yes", True)


def test_an_event_of_which_no_revision_tells_is_as_it_is_now():
    event = an_event("Rain")
    event.mutually_exclusive = True
    event.save()
    market = record_market(event=event)
    record_quote(market, NOON)
    (listing,) = load_universe(market).listings
    assert (listing.title, listing.mutually_exclusive) == ("Rain: Yes", True)


def stepped(step: str) -> list[dict[str, str]]:
    return [{"start": "0.0000", "end": "1.0000", "step": step}]


def steps(market: Market, **how: datetime) -> list[tuple[float, int]]:
    """The hour of each grid since the start, and its step."""
    (grids,) = load_universe(market, **how).grids
    start, hour = microseconds(START), 3_600 * MONEY
    return [((since - start) / hour, step) for since, ((_, _, step),) in grids]


def test_grids_change_when_they_were_told_to_and_the_first_holds_from_the_first_quote_on():
    market = record_market()
    record_revision(market, START, price_ranges=stepped("0.0500"))
    record_revision(market, START + HOUR, price_ranges=stepped("0.0100"))
    record_revision(market, NOON + HOUR, price_ranges=stepped("0.0100"), close_time=END + HOUR)
    record_revision(market, NOON + 2 * HOUR, price_ranges=stepped("0.0010"))
    record_quote(market, NOON)
    assert steps(market) == [(12, 100), (14, 10)]


def test_a_grid_of_several_stretches_becomes_integers():
    market = record_market()
    middle = [{"start": "0.1000", "end": "0.9000", "step": "0.0100"}]
    record_revision(
        market, START, price_ranges=[{"start": "0", "end": "0.1", "step": "0.001"}, *middle]
    )
    record_revision(market, NOON + HOUR, price_ranges=[])
    record_quote(market, NOON)
    ((tapered, unknown),) = load_universe(market).grids
    assert tapered == (microseconds(NOON), ((0, 1_000, 10), (1_000, 9_000, 100)))
    assert unknown == (microseconds(NOON + HOUR), ())


def test_a_grid_that_was_told_after_the_first_quote_is_taken_to_have_been_there_before():
    market = record_market()
    record_revision(market, NOON + HOUR, price_ranges=stepped("0.0100"))
    record_revision(market, NOON + 2 * HOUR, price_ranges=stepped("0.0010"))
    record_quote(market, NOON)
    assert steps(market) == [(12, 100), (14, 10)]


def test_a_market_of_which_no_revision_tells_has_the_grid_of_now():
    market = record_market(price_ranges=stepped("0.0100"))
    record_quote(market, NOON)
    assert steps(market) == [(12, 100)]


def test_grids_that_were_recorded_after_a_run_was_asked_for_are_not_part_of_it():
    market = record_market()
    record_revision(market, START, price_ranges=stepped("0.0100"))
    later = stepped("0.0010")
    record_revision(market, NOON + HOUR, price_ranges=later, recorded_at=END + HOUR)
    record_quote(market, NOON)
    assert steps(market, known_by=END) == [(12, 100)]
    assert steps(market, known_by=END + HOUR) == [(12, 100), (13, 10)]


def test_fees_change_when_they_changed():
    market = record_market()
    FeeChange.objects.create(
        series=market.event.series,
        fee_type="quadratic_with_maker_fees",
        fee_multiplier=Decimal("0.5"),
        effective_at=NOON,
        known_at=NOON,
        recorded_at=NOON,
    )
    record_quote(market, NOON)
    ((first, second),) = load_universe(market).terms
    assert first == (microseconds(START), 7, 100, 0, 1, False)
    assert second == (microseconds(NOON), 7, 200, 7, 800, False)


def test_unknown_fees_refuse_a_run_and_name_the_series():
    market = record_market()
    FeeChange.objects.all().delete()
    record_quote(market, NOON)
    with pytest.raises(BadInput, match="SKXRAIN") as caught:
        load_universe(market)
    assert caught.value.field == "fees"


def test_markets_are_found_by_series_by_event_and_by_ticker_together():
    by_series, by_event, by_ticker = (
        record_market("KXA-1"),
        record_market("KXB-1"),
        record_market("KXC-1"),
    )
    other = record_market("KXD-1")
    for market in (by_series, by_event, by_ticker, other):
        record_quote(market, NOON)
    loaded = load_universe(
        series=[by_series.event.series.ticker],
        events=[by_event.event.ticker],
        tickers=[by_ticker.ticker],
    ).listings
    assert [listing.ticker for listing in loaded] == ["KXA-1", "KXB-1", "KXC-1"]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"start": END + HOUR}, "end"),
        ({"start": START.replace(year=2126), "end": END.replace(year=2126)}, "start"),
        ({"end": END.replace(year=2126)}, "end"),
        ({"end": END.replace(tzinfo=None)}, "end"),
        ({"tickers": ["KXNONE-1"]}, "ticker"),
        ({"tickers": [], "series": ["KXNONE"]}, "series"),
        ({"tickers": [], "events": ["KXNONE-26"]}, "event"),
        ({"tickers": []}, "ticker"),
        ({"tickers": ["KX\0"]}, "ticker"),
        ({"sources": "hearsay"}, "sources"),
    ],
)
def test_what_makes_no_sense_names_its_field(values, field):
    market = record_market()
    with pytest.raises(BadInput) as caught:
        selection_of(market, **values).check(now=END + 9 * HOUR)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("hours", "field", "words"),
    [
        ((-3,), "start", "the last quote before it is of 2026-09-30 21:00 UTC."),
        ((60,), "end", "the first quote after it is of 2026-10-03 12:00 UTC."),
        (
            (-5, -3, 60, 61),
            "start",
            "the last quote before it is of 2026-09-30 21:00 UTC,"
            " the first quote after it is of 2026-10-03 12:00 UTC.",
        ),
    ],
)
def test_a_window_in_which_nothing_was_observed_says_when_there_was_something(hours, field, words):
    market = record_market()
    for hour in hours:
        record_quote(market, START + hour * HOUR)
    with pytest.raises(BadInput) as caught:
        load_universe(market)
    assert caught.value.field == field
    assert caught.value.message == f"Nothing was observed in this window; {words}"


def test_a_market_of_which_nothing_is_recorded_says_so():
    with pytest.raises(BadInput, match="No quotes are recorded for it") as caught:
        load_universe(record_market())
    assert caught.value.field == "ticker"


def test_more_than_fits_is_refused_before_it_is_loaded(monkeypatch):
    monkeypatch.setattr("backtests.requests.MAX_SNAPSHOTS", 1)
    market = record_market()
    for hour in (1, 2):
        record_quote(market, START + hour * HOUR)
    with pytest.raises(BadInput, match="More than 1 snapshots"):
        load_universe(market)
