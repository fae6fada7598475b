"""Simulated prices, which follow from one latent path for each event."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from markets.simulator.board import Board, Listings
from markets.simulator.cadence import DAY, HOUR, STEP, Every, Monthly, Weekdays
from markets.simulator.ladders import UNIT
from markets.simulator.noise import brownian, normal
from markets.simulator.orders import SECOND
from markets.simulator.prices import Prices, SimulatedQuotes
from markets.simulator.series import GRIDS
from markets.simulator.universe import SimulatedEvent, SimulatedUniverse

NOW = int(datetime(2026, 11, 20, 20, 0, tzinfo=UTC).timestamp())
MANY = 3000


@pytest.fixture(scope="module")
def board() -> Board:
    return Listings(SimulatedUniverse(markets=MANY)).live(NOW)


def quotes_at(board: Board, at: int) -> SimulatedQuotes:
    rows = np.arange(len(board))
    return board.books.best(rows, np.full(len(rows), at * SECOND))


def open_events(board: Board, at: int) -> Iterator[tuple[int, SimulatedEvent]]:
    for i, event in enumerate(board.events):
        if event.opened <= at < event.ended:
            yield i, event


def settled_prices(*, bias: bool, markets: int = 4000) -> tuple[Prices, np.ndarray]:
    """The markets of the last weeks, and True where they ended in YES."""
    universe = SimulatedUniverse(markets=markets)
    listings = Listings(universe, bias=bias, history=20 * DAY)
    past = listings.past(NOW)
    wins = [e.wins(outcome) and not e.void for e in past.events for outcome in e.outcomes]
    return past.prices, np.array(wins)


def test_brownian_paths_have_the_right_spread_and_end_in_their_draw():
    keys = np.arange(1, 40_001, dtype=np.uint64) * np.uint64(7919)
    for share in (0.1, 0.5, 0.9):
        path = brownian(keys, np.full(len(keys), share))
        assert np.var(path) == pytest.approx(share, rel=0.04)
    assert np.allclose(brownian(keys, np.ones(len(keys))), normal(keys, 0))


def test_about_as_many_markets_are_open_as_were_asked_for():
    for pace in (400, 3000, 20_000):
        board = Listings(SimulatedUniverse(markets=pace)).live(NOW)
        count = sum(len(e.outcomes) for _, e in open_events(board, NOW) if not e.legs)
        assert count == pytest.approx(pace, rel=0.12)


def test_every_kind_of_event_goes_on_for_ever():
    universe = SimulatedUniverse(markets=400)
    for line in universe.lines:
        for at in (NOW, NOW + 400 * DAY, NOW + 4000 * DAY):
            period = (line.parent or line).series.cadence.period
            assert line.numbers(at, at + 2 * period)


def test_events_live_their_lives_in_order():
    universe = SimulatedUniverse(markets=400)
    for line in universe.lines:
        for number in line.numbers(NOW - 9 * DAY, NOW):
            e = universe.event(line, number)
            lives = (
                e.created,
                e.opened,
                e.calm_end,
                e.late_start,
                e.ended,
                e.determined,
                e.settled,
            )
            assert list(lives) == sorted(lives)
            assert e.opened < e.ended < e.settled <= e.anchor + e.series.tail + HOUR * 8
            assert all(at % STEP == 0 for at in lives)


def test_cadences_list_each_anchor_once():
    for cadence in (
        Every(HOUR, 7),
        Weekdays(5 * HOUR),
        Monthly(12, HOUR),
        Monthly(28, 0, months=3),
    ):
        bounds = range(NOW, NOW + 300 * DAY, 17 * DAY)
        whole = cadence.numbers(bounds[0], bounds[-1])
        parts = [n for a, b in pairwise(bounds) for n in cadence.numbers(a, b)]
        assert parts == whole
        assert whole


def test_quotes_lie_on_the_markets_grid_and_never_cross(board):
    quotes, traits = quotes_at(board, NOW), board.prices.traits
    for row, (bid, ask) in enumerate(zip(quotes.bid.tolist(), quotes.ask.tolist(), strict=True)):
        edge, edge_step, step = GRIDS[board.events[traits.event[row]].series.structure]
        assert 0 <= bid < ask <= UNIT
        for price in (bid, ask):
            assert price % (edge_step if price < edge or price > UNIT - edge else step) == 0


def test_a_missing_side_has_no_size_and_a_quoted_one_has(board):
    quotes = quotes_at(board, NOW)
    assert ((quotes.bid == 0) == (quotes.bid_size == 0)).all()
    assert ((quotes.ask == UNIT) == (quotes.ask_size == 0)).all()
    assert ((quotes.bid_size % 100) != 0).any()


def test_some_markets_are_quoted_on_one_side_only(board):
    rows = [row for i, _ in open_events(board, NOW) for row in board.rows(i)]
    quotes = quotes_at(board, NOW)
    one = ((quotes.bid > 0) != (quotes.ask < UNIT))[rows]
    assert 0.15 < one.mean() < 0.5


def test_higher_strikes_are_never_worth_more(board):
    quotes = quotes_at(board, NOW)
    ladders = 0
    for i, event in open_events(board, NOW):
        if event.series.exclusive or len(event.outcomes) < 2:
            continue
        ladders += 1
        for lower, higher in pairwise(board.rows(i)):
            assert quotes.bid[higher] <= quotes.ask[lower]
            assert (
                event.outcomes[lower - board.starts[i]].low
                <= event.outcomes[higher - board.starts[i]].low
            )
    assert ladders > 20


def test_the_chances_of_exclusive_outcomes_add_up(board):
    rows = np.arange(len(board))
    at = np.full(len(rows), NOW)
    chances, beliefs = board.prices.chances(rows, at), board.prices.beliefs(rows, at)
    quote_changes = 0
    for i, event in open_events(board, NOW):
        if not event.series.exclusive or event.legs:
            continue
        quote_changes += 1
        inside = list(board.rows(i))
        exhaustive = "between" in {o.strike_type for o in event.outcomes} or event.series.teams
        assert chances[inside].sum() <= 1.0 + 1e-6
        assert chances[inside].sum() > (0.999 if exhaustive else 0.3)
        assert beliefs[inside].sum() < 1.0 + 0.025 * len(inside)
    assert quote_changes > 30


def test_exactly_one_of_exclusive_outcomes_wins_at_most():
    board = Listings(SimulatedUniverse(markets=MANY)).past(NOW)
    for event in board.events:
        wins = sum(event.wins(outcome) for outcome in event.outcomes)
        if event.series.exclusive and not event.legs:
            assert wins <= 1
            if event.series.teams:
                assert wins == 1


def test_prices_converge_to_the_result_by_the_close():
    prices, wins = settled_prices(bias=True)
    lives, traits = prices.lives, prices.traits
    known = np.flatnonzero(lives.reveal[traits.event] == 1.0)
    just_before = lives.ended[traits.event[known]] - STEP
    believed = prices.beliefs(known, just_before)
    error = np.abs(believed - wins[known])
    assert np.mean(error) < 0.02
    assert np.mean(error > 0.5) < 0.01
    day_before = prices.beliefs(known, just_before - 2 * HOUR)
    assert np.mean(np.abs(day_before - wins[known])) > 2 * np.mean(error)


def calibration(*, bias: bool) -> tuple[float, float]:
    """Measure the excess of price over frequency for longshots and favourites, late in trading."""
    prices, wins = settled_prices(bias=bias, markets=12_000)
    event = prices.traits.event
    played = prices.lives.reveal[event] > prices.lives.known[event]
    rows = np.flatnonzero(played)
    believed = prices.beliefs(rows, prices.lives.late_start[event[rows]])
    wins = wins[rows]
    rare = (believed > 0.03) & (believed < 0.2)
    sure = (believed > 0.8) & (believed < 0.97)
    return (
        float(np.mean(believed[rare] - wins[rare])),
        float(np.mean(believed[sure] - wins[sure])),
    )


def test_longshots_cost_more_than_they_are_worth():
    longshots, favourites = calibration(bias=True)
    assert longshots > 0.01
    assert favourites < -0.005


def test_without_the_bias_prices_are_fair():
    longshots, favourites = calibration(bias=False)
    assert abs(longshots) < 0.008
    assert abs(favourites) < 0.015


def test_volume_only_ever_grows_and_never_without_a_trade(board):
    orders = board.books.orders
    rows = np.arange(0, len(board), 11)
    before = np.zeros(len(rows))
    for at in range(NOW - DAY, NOW + 1, 2 * HOUR):
        volume = orders.volume(rows, orders.count(rows, np.full(len(rows), at * SECOND)))
        assert (volume >= before).all()
        before = volume
    count = orders.count(rows, np.full(len(rows), NOW * SECOND))
    assert (orders.sizes(rows[count > 0], count[count > 0] - 1) > 0).all()


def test_only_a_small_share_of_a_large_universe_changes_at_a_time():
    listings = Listings(SimulatedUniverse(markets=20_000))
    before = listings.live(NOW)
    active = np.flatnonzero(before.visible[before.prices.traits.event])
    stamps = before.stamps(active)
    changed = (listings.live(NOW + 30).stamps(active) != stamps).mean()
    assert 0.01 < changed < 0.12


def test_a_quote_stands_still_between_its_changes(board):
    prices = board.prices
    i = next(i for i, e in open_events(board, NOW) if e.series.ticker == "KXCPIYOY")
    row = board.rows(i)[3]
    moves = prices.changes(i, NOW - DAY, NOW)
    grid = np.arange(NOW - DAY + STEP, NOW + STEP, STEP)
    quotes = prices.quotes(np.full(len(grid), row), grid)
    moved = np.flatnonzero(np.diff(quotes.bid) | np.diff(quotes.ask) | np.diff(quotes.bid_size))
    assert set(grid[moved + 1].tolist()) <= set(moves.tolist())
    assert len(moves) > 20


def test_the_same_event_has_the_same_prices_in_every_universe():
    small, large = (Listings(SimulatedUniverse(markets=n)).live(NOW) for n in (400, 3000))
    row, other = (b.row_of["KXFEDDECISION-26DEC16-H0"] for b in (small, large))
    assert small.market(row) == large.market(other)


def test_another_seed_is_another_world():
    one, two = (Listings(SimulatedUniverse(seed=s, markets=400)).live(NOW) for s in (1, 2))
    ticker = "KXFEDDECISION-26DEC16-H0"
    assert one.market(one.row_of[ticker]) != two.market(two.row_of[ticker])
