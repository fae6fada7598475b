"""Moments of entry are compared with others of the same events, taken at random."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.analysis.entries import Entries, lots_of
from backtests.analysis.permutation import LEAST_EVENTS, significance_of
from backtests.analysis.tradable_time import SideClock, TradableTime, final_values
from backtests.data.gaps import MarketGaps
from backtests.data.universe import MISSING, Settlement, Terms, microseconds
from backtests.rules.execution import JOURNAL, JOURNAL_COLUMN, EntryKind, RunOutcome
from backtests.tests.journal_builders import CENT, DOLLARS, JournalBuilder, universe_of_rows
from backtests.tests.random_universes import random_universe, watched
from backtests.tests.simulated_universes import simulated_events, simulated_universe

CASH = 1_000_000 * DOLLARS


# --- entries --------------------------------------------------------------------------------------


def test_the_first_contracts_bought_are_the_first_sold():
    journal = JournalBuilder(CASH)
    journal.buy(10, 0, 3, cents=40)
    journal.buy(20, 0, 2, cents=41)
    journal.sell(50, 0, 4, cents=45)
    assert list(lots_of(journal.outcome().journal)) == [
        (0, 1, 300, 10, 40),
        (0, 1, 100, 20, 30),
        (0, 1, 100, 20, MISSING),
    ]


def test_a_sale_of_more_than_is_held_buys_the_other_side():
    journal = JournalBuilder(CASH)
    journal.buy(10, 0, 3, cents=40)
    journal.sell(30, 0, 5, cents=45)
    assert list(lots_of(journal.outcome().journal)) == [(0, 1, 300, 10, 20), (0, -1, 200, 30, -1)]


FILLS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from((1, -1)), st.integers(1, 9)),
    max_size=30)  # fmt: skip


@given(FILLS)
def test_what_is_never_sold_is_the_position_at_the_end(fills):
    journal = JournalBuilder(CASH)
    for at, (market, side, count) in enumerate(fills):
        journal.deal(at, market, side, count=count, price=50 * CENT, fee=0)
    outcome = journal.outcome()
    entries = Entries.of(outcome.journal)
    kept = entries.select(np.flatnonzero(entries.held == MISSING))
    held = {m: int((kept.side * kept.contracts)[kept.market == m].sum()) for m in range(3)}
    assert {m: each for m, each in held.items() if each} == outcome.positions
    assert entries.market.tolist() == sorted(entries.market.tolist())


# --- the time in which a market can be traded -----------------------------------------------------

BOOKS = [
    (100, 0, 40, 42, True),
    (200, 0, None, 45, True),
    (300, 0, 50, 55, False),
    (400, 0, 60, 62, True),
    (500, 0, 61, None, True),
    (900, 1, 10, 12, True),
]


def clocks(universe):
    markets = np.arange(len(universe.listings))
    rows = np.argsort(universe.quotes.market, kind="stable")
    time = TradableTime.of(universe, markets, rows)
    return time, {side: SideClock.of(time, side) for side in (1, -1)}


def test_a_clock_runs_while_the_market_trades_and_its_book_has_two_sides():
    universe = universe_of_rows(BOOKS, settlements=[Settlement(600, 700, 1_000_000), None])
    _, clock = clocks(universe)
    lengths = {side: clock[side].lengths(np.array([0, 1])).tolist() for side in (1, -1)}
    # From 100 to 200 and from 400 to 500.
    assert lengths == {1: [200, 0], -1: [200, 0]}
    market = np.zeros(6, np.int64)
    at = np.array([99, 100, 250, 350, 450, 550])
    for side in (1, -1):
        read = clock[side].read(market, at).tolist()
        assert read == [MISSING, 0, MISSING, MISSING, 150, MISSING]


def test_a_clock_stands_still_within_a_gap():
    gaps = MarketGaps(*(np.array(each) for each in ([0, 1, 1], [120], [260], [0])))
    universe = replace(universe_of_rows(BOOKS, settlements=[None, None]), gaps=gaps)
    _, clock = clocks(universe)
    assert clock[1].lengths(np.array([0])).tolist() == [20 + 100]
    at, offer = clock[1].moments(np.zeros(3, np.int64), np.array([0, 19, 20]))
    assert at.tolist() == [100, 119, 400]
    assert offer.tolist() == [42 * CENT, 42 * CENT, 62 * CENT]


def test_what_cannot_be_sold_at_once_is_sold_as_soon_as_it_can():
    universe = universe_of_rows(BOOKS, settlements=[Settlement(600, 700, 0), None])
    _, clock = clocks(universe)
    market = np.zeros(4, np.int64)
    sold = clock[1].sales(market, np.array([150, 250, 599, 600])).tolist()
    assert sold == [40 * CENT, 60 * CENT, 61 * CENT, MISSING]
    # Nobody offered YES any more, so nobody bought NO.
    assert clock[-1].sales(market[:1], np.array([550])).tolist() == [MISSING]


def test_at_the_end_a_contract_is_worth_its_payout_or_its_last_price():
    universe = universe_of_rows(BOOKS, settlements=[Settlement(600, 700, 250_000), None])
    _, clock = clocks(universe)
    assert final_values(clock[1], list(universe.settlements), 1).tolist()[0] == 250_000
    assert final_values(clock[-1], list(universe.settlements), -1).tolist()[0] == 750_000
    universe = universe_of_rows(BOOKS, settlements=[None, None])
    _, clock = clocks(universe)
    assert final_values(clock[1], [None, None], 1).tolist()[0] == 610_000
    assert final_values(clock[-1], [None, None], -1).tolist()[0] == 380_000


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_a_clock_reads_what_the_moment_it_shows_is(seed, is_watched):
    universe = random_universe(seed, rows=120)
    universe = watched(universe, seed) if is_watched else universe
    time, clock = clocks(universe)
    rng = np.random.default_rng(seed)
    for each in clock.values():
        lengths = each.lengths(np.arange(len(universe.listings)))
        market = np.flatnonzero(lengths)
        if not len(market):
            continue
        read = (rng.random(len(market)) * lengths[market]).astype(np.int64)
        at, offer = each.moments(market, read)
        assert each.read(market, at).tolist() == read.tolist()
        assert (offer != MISSING).all()
        assert (at < time.ends[market]).all()


# --- the test -------------------------------------------------------------------------------------

EVENTS, MARKETS, LIFE = 24, 2, 1_000
TERMS = (Terms(0, 7, 100, 0, 1),)


@pytest.fixture(scope="module")
def trending():
    """Events of two markets, each of which moves up or down by a random walk until its result."""
    rng = np.random.default_rng(3)
    rows, settlements = [], []
    for market in range(EVENTS * MARKETS):
        mids = np.clip(50 + np.cumsum(rng.integers(-4, 5, 40)), 3, 97).tolist()
        for step, mid in enumerate(mids):
            at = step * LIFE // 40
            rows.append((at, market, None if rng.random() < 0.1 else mid - 1, mid + 1, True))
        settlements.append(Settlement(LIFE, LIFE, int(rng.random() < mids[-1] / 100) * 1_000_000))
    rows.sort(key=lambda row: row[:2])
    events = [f"EVENT{market // MARKETS}" for market in range(EVENTS * MARKETS)]
    universe = universe_of_rows(rows, settlements=settlements, events=events)
    return replace(universe, terms=[TERMS] * len(settlements))


def entered(universe, moments, *, side=1, held=None):
    """The outcome of buying ten contracts in each market at its moment."""
    _, clock = clocks(universe)
    journal, deals = JournalBuilder(CASH), []
    for market, moment in moments.items():
        ((at,), (offer,)) = clock[side].moments(np.array([market]), np.array([moment]))
        price = int(offer if side > 0 else 100 * CENT - offer)
        deals.append((int(at), market, side, price))
        if held:
            deals.append((int(at) + held, market, -side, price))
    for at, market, each, price in sorted(deals):
        journal.deal(at, market, each, count=1_000, price=price, fee=0)
    return journal.outcome()


def at_random(universe, rng, *, side=1):
    """A moment for each market, taken at random from the time in which its book has two sides."""
    lengths = clocks(universe)[1][side].lengths(np.arange(EVENTS * MARKETS))
    return {m: int(rng.integers(length)) for m, length in enumerate(lengths.tolist())}


@pytest.mark.parametrize(("side", "held", "together"), [(1, None, False), (-1, 150, True)])
def test_entries_at_random_have_p_values_that_are_uniform(trending, side, held, together):
    rng, found = np.random.default_rng(7), []
    for _ in range(150):
        moments = at_random(trending, rng, side=side)
        if together:
            lengths = clocks(trending)[1][side].lengths(np.arange(EVENTS * MARKETS))
            shares = np.repeat(rng.random(EVENTS), MARKETS)
            moments = dict(enumerate((shares * lengths).astype(int).tolist()))
        outcome = entered(trending, moments, side=side, held=held)
        found.append(significance_of(trending, outcome, moves=99).p_value)
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.12


@pytest.fixture(scope="module")
def exchange():
    """A day of hourly markets of the simulated exchange at fair prices; most books lose a side."""
    start = microseconds(datetime(2026, 9, 1, tzinfo=UTC))
    events = simulated_events(("KXBTCD",), start=start, days=1)
    return simulated_universe(events, bias=False, step=240)


def test_entries_at_random_have_uniform_p_values_where_books_lose_their_sides(exchange):
    """An instant for each market, at random in its life; it is bought if its book has two sides."""
    _, clock = clocks(exchange)
    quotes, markets = exchange.quotes, np.arange(len(exchange.listings))
    first = np.array([quotes.at[quotes.market == market][0] for market in markets])
    last = np.array([quotes.at[quotes.market == market][-1] for market in markets])
    rng, found = np.random.default_rng(1), []
    for _ in range(100):
        at = first + (rng.random(len(markets)) * (last - first)).astype(np.int64)
        side = int(rng.choice((1, -1)))
        bought = np.flatnonzero(clock[side].read(markets, at) != MISSING)
        journal = np.zeros((len(bought), len(JOURNAL)), np.int64)
        values = {"at": at[bought], "kind": EntryKind.FILL, "market": bought, "side": side}
        for name, value in (values | {"count": 100}).items():
            journal[:, JOURNAL_COLUMN[name]] = value
        found.append(significance_of(exchange, RunOutcome(journal, 0, {}), moves=49).p_value)
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) <= 0.12


def cheapest(universe):
    """The moment of the lowest offer of each market, which only the future tells."""
    time, clock = clocks(universe)
    moments = {}
    for market in range(EVENTS * MARKETS):
        pieces = np.arange(time.starts[market], time.starts[market + 1] - 1)
        offers = clock[1].offer[pieces]
        best = pieces[np.argmin(np.where(offers == MISSING, 100 * CENT, offers))]
        moments[market] = int(clock[1].passed[best] - clock[1].passed[time.starts[market]])
    return moments


def test_foresight_of_the_best_moment_has_a_small_p_value(trending):
    found = significance_of(trending, entered(trending, cheapest(trending)), moves=199)
    assert found.p_value == 1 / 200
    assert (found.deviations or 0) > 3
    assert (found.effect or 0) > 0.05 * DOLLARS
    assert (found.entries, found.events, found.not_moved) == (EVENTS * MARKETS, EVENTS, 0)
    assert "its moments were better than chance explains" in found.words()


def test_its_own_gain_is_that_of_the_quotes_with_fees(trending):
    moments = at_random(trending, np.random.default_rng(1))
    outcome = entered(trending, moments)
    gained = 0
    for market, price in outcome.journal[outcome.journal[:, 1] == 1][:, [2, 6]].tolist():
        fee = 7 * 1_000 * price * (10_000 - price) // (100 * 10_000)
        gained += 10 * trending.settlements[market].value - 1_000 * price - fee
    assert significance_of(trending, outcome, moves=19).gained == gained


def test_the_same_seed_gives_the_same_figures_and_another_one_others(trending):
    outcome = entered(trending, at_random(trending, np.random.default_rng(2)))
    first, again = (significance_of(trending, outcome, moves=199) for _ in range(2))
    other = significance_of(trending, outcome, moves=199, seed=2)
    assert first == again
    assert first.moved_mean != other.moved_mean
    assert first.p_value == pytest.approx(other.p_value, abs=0.15)


def test_it_is_the_same_where_memory_allows_few_at_once(trending, monkeypatch):
    outcome = entered(trending, at_random(trending, np.random.default_rng(2)), held=100)
    whole = significance_of(trending, outcome, moves=49)
    monkeypatch.setattr("backtests.metrics.marks.BATCH_MARKETS", 7)
    monkeypatch.setattr("backtests.analysis.permutation.CELLS_AT_ONCE", 30)
    assert significance_of(trending, outcome, moves=49) == whole


def test_of_very_many_entries_some_are_tested(trending, monkeypatch):
    outcome = entered(trending, at_random(trending, np.random.default_rng(2)))
    monkeypatch.setattr("backtests.analysis.permutation.MOST_ENTRIES", 30)
    found = significance_of(trending, outcome, moves=19)
    assert found.entries == 30


def test_few_events_are_not_tested_and_say_so(trending):
    few = dict(list(at_random(trending, np.random.default_rng(2)).items())[: MARKETS * 3])
    found = significance_of(trending, entered(trending, few))
    assert found.p_value is None
    assert found.withheld.startswith("3 events had an entry")
    assert f"the test needs {LEAST_EVENTS}" in found.words()
    nothing = significance_of(trending, JournalBuilder(CASH).outcome())
    assert nothing.withheld.startswith("0 events")


def test_an_entry_where_nothing_was_offered_is_not_moved(trending):
    outcome = entered(trending, at_random(trending, np.random.default_rng(2)))
    outcome.journal[outcome.journal[:, 2] == 0, 0] = LIFE + 5
    found = significance_of(trending, outcome, moves=19)
    assert (found.entries, found.not_moved) == (EVENTS * MARKETS - 1, 1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_p_values_are_shares_above_zero(seed):
    universe = random_universe(seed, markets=40, rows=60)
    rng, journal = np.random.default_rng(seed), JournalBuilder(CASH)
    _, clock = clocks(universe)
    lengths = clock[1].lengths(np.arange(40))
    for market in np.flatnonzero(lengths).tolist():
        read = np.array([rng.integers(lengths[market])])
        (at,), (offer,) = clock[1].moments(np.array([market]), read)
        journal.deal(int(at), market, 1, count=100, price=int(offer), fee=0)
    found = significance_of(universe, journal.outcome(), moves=19)
    assert found.p_value is None or 1 / 20 <= found.p_value <= 1
    assert found.deviations is None or math.isfinite(found.deviations)
