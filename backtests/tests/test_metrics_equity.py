import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.universe import DAY, DOLLAR, MISSING, Settlement
from backtests.metrics import EquityPath, trace
from backtests.metrics.drawdown import deepest
from backtests.rules.execution import JOURNAL
from backtests.rules.ledger import payout
from backtests.tests.journal_builders import (
    DOLLARS,
    JournalBuilder,
    equity_at,
    random_outcome,
    universe_of_rows,
)
from backtests.tests.random_universes import START, random_universe

CASH = 1_000 * DOLLARS
HOUR = DAY // 24
YES, NO, TWO_THIRDS = 1_000_000, 0, 666_667


def worth(universe, desk, *instants):
    """Equity in dollars, above the starting cash of a thousand."""
    computed = equity_at(universe, desk.outcome(), instants, cash=CASH)
    return [(each - CASH) / DOLLARS for each in computed.tolist()]


def equity_row_by_row(universe, outcome, at, *, cash):
    """Equity at one instant, computed row by row."""
    positions = {}
    for line in outcome.journal.tolist():
        entry = dict(zip(JOURNAL, line, strict=True))
        if entry["at"] <= at:
            cash = entry["cash"]
            if entry["kind"] in (1, 4):
                positions[entry["market"]] = entry["position"]
    return cash + sum(mark(universe, m, held, at) for m, held in positions.items() if held)


def mark(universe, market, held, at):
    ended = universe.settlements[market]
    if ended and ended.known_at <= at:
        return payout(held, ended.value)
    quotes, last_bid, last_ask, bid, ask = universe.quotes, 0, DOLLAR, 0, DOLLAR
    for row in np.flatnonzero((quotes.market == market) & (quotes.at <= at) & quotes.tradable):
        shown_bid, shown_ask = int(quotes.bid[row]), int(quotes.ask[row])
        if shown_bid == MISSING and shown_ask == MISSING:
            continue
        last_bid = last_bid if shown_bid == MISSING else shown_bid
        last_ask = last_ask if shown_ask == MISSING else shown_ask
        bid = min(last_bid, shown_ask) if shown_bid == MISSING else shown_bid
        ask = max(last_ask, shown_bid) if shown_ask == MISSING else shown_ask
    return held * bid if held > 0 else -held * (DOLLAR - ask)


def a_path(*dollars, every=DAY):
    at = np.arange(len(dollars)) * every
    return EquityPath(at, np.array(dollars) * DOLLARS)


def test_yes_is_marked_at_the_bid():
    universe = universe_of_rows([(0, 0, 40, 42, True), (10, 0, 50, 53, True)])
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42, fee=1_710_000)

    assert worth(universe, desk, -1, 0, 9, 10) == [0, -3.71, -3.71, 6.29]


def test_no_is_marked_at_what_the_ask_leaves_of_a_dollar():
    universe = universe_of_rows([(0, 0, 40, 42, True), (10, 0, 50, 53, True)])
    desk = JournalBuilder(CASH)
    desk.sell(0, 0, 100, cents=40)

    assert worth(universe, desk, 0, 10) == [-2, -13]


def test_a_book_that_empties_at_the_close_leaves_the_mark_where_it_was():
    universe = universe_of_rows(
        [(0, 0, 40, 42, True), (5, 0, None, None, True), (10, 0, 1, 99, False)]
    )
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42)

    assert worth(universe, desk, 0, 5, 10, 99) == [-2, -2, -2, -2]


def test_a_bid_that_is_gone_is_worth_no_more_than_the_ask_beside_it():
    universe = universe_of_rows(
        [(0, 0, 40, 42, True), (5, 0, None, 41, True), (9, 0, None, 2, True)]
    )
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42)

    assert worth(universe, desk, 5, 9) == [-2, -40]


def test_an_ask_that_is_gone_leaves_no_less_than_the_bid_beside_it():
    universe = universe_of_rows([(0, 0, 40, 42, True), (9, 0, 98, None, True)])
    desk = JournalBuilder(CASH)
    desk.sell(0, 0, 100, cents=40)

    assert worth(universe, desk, 9) == [-58]


def test_a_side_that_was_never_seen_is_worth_nothing():
    universe = universe_of_rows([(0, 0, None, 42, True)])
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42)

    assert worth(universe, desk, 0) == [-42]


def test_before_its_first_book_a_position_is_worth_nothing():
    universe = universe_of_rows([(5, 0, 40, 42, True)])
    for buy, cost in ((True, -42), (False, -60)):
        desk = JournalBuilder(CASH)
        (desk.buy if buy else desk.sell)(0, 0, 100, cents=42 if buy else 40)

        assert worth(universe, desk, 0, 5) == [cost, -2]


def test_a_known_result_is_the_mark_until_it_is_paid():
    ended = Settlement(known_at=20, paid_at=30, value=YES)
    universe = universe_of_rows([(0, 0, 40, 42, True)], settlements=[ended])
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42)
    desk.settle(0, ended)

    assert worth(universe, desk, 19, 20, 29, 30, 99) == [-2, 58, 58, 58, 58]


def test_what_is_bought_after_its_result_was_known_is_marked_at_once():
    ended = Settlement(known_at=5, paid_at=30, value=YES)
    universe = universe_of_rows([(0, 0, 40, 42, True)], settlements=[ended])
    desk = JournalBuilder(CASH)
    desk.buy(10, 0, 100, cents=42)

    assert worth(universe, desk, 5, 9, 10, 29) == [0, 0, 58, 58]


def test_markets_in_which_nothing_was_traded_are_worth_nothing():
    universe = universe_of_rows(
        [(0, 0, 40, 42, True), (0, 1, 10, 12, True), (1, 1, 20, 22, True)],
        settlements=[None, Settlement(2, 3, YES)],
    )
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42)

    assert worth(universe, desk, 0, 1, 2, 3) == [-2, -2, -2, -2]


@given(st.integers(0, 10_000))
def test_marks_are_those_entry_row_by_row(seed):
    universe = random_universe(seed, markets=3, rows=40)
    outcome = random_outcome(universe, seed=seed, cash=CASH)
    instants = np.unique(np.concatenate((universe.quotes.at[::7], outcome.journal[:, 0])))

    computed = equity_at(universe, outcome, instants, cash=CASH)

    slowly = [equity_row_by_row(universe, outcome, at, cash=CASH) for at in instants.tolist()]
    assert computed.tolist() == slowly


@given(st.integers(0, 10_000))
def test_a_path_holds_every_change_of_equity(seed):
    universe = random_universe(seed, markets=3, rows=60)
    outcome = random_outcome(universe, seed=seed, cash=CASH)
    path = trace(universe, outcome, cash=CASH, start=START, end=START + DAY)
    instants = np.random.default_rng(seed).integers(START, path.at[-1] + DAY, 50)

    assert path.equity[0] == CASH
    assert path.equity_at(instants).tolist() == [
        equity_row_by_row(universe, outcome, at, cash=CASH) for at in instants.tolist()
    ]


@given(st.integers(0, 10_000))
def test_once_all_is_paid_equity_is_cash(seed):
    universe = random_universe(seed, markets=3, rows=40, ended=1)
    outcome = random_outcome(universe, seed=seed, cash=CASH)
    path = trace(universe, outcome, cash=CASH, start=START, end=START + DAY)

    assert path.equity[-1] == outcome.cash


def test_a_path_without_trades_is_flat_and_lasts_as_long_as_its_window():
    path = trace(
        universe_of_rows([]), JournalBuilder(CASH).outcome(), cash=CASH, start=HOUR, end=DAY
    )

    assert (path.at.tolist(), path.equity.tolist()) == ([HOUR, DAY], [CASH, CASH])


def test_a_run_lasts_until_its_last_payment():
    ended = Settlement(known_at=2 * DAY, paid_at=3 * DAY, value=NO)
    universe = universe_of_rows([(0, 0, 40, 42, True)], settlements=[ended])
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42)
    desk.settle(0, ended)

    path = trace(universe, desk.outcome(), cash=CASH, start=0, end=DAY)

    assert path.equity[-1] == CASH - 42 * DOLLARS
    assert path.daily().at.tolist() == [0, DAY, 2 * DAY, 3 * DAY]


def test_days_go_from_midnight_to_midnight_and_idle_ones_count():
    path = EquityPath(np.array([6 * HOUR, 30 * HOUR, 100 * HOUR]), np.array([10, 30, 20]) * DOLLARS)

    daily = path.daily()

    hours = [6, 24, 48, 72, 96, 100]
    assert daily.at.tolist() == [hour * HOUR for hour in hours]
    assert daily.equity.tolist() == [dollar * DOLLARS for dollar in (10, 10, 30, 30, 30, 20)]


def test_a_day_that_begins_with_the_run_begins_with_its_cash():
    universe = universe_of_rows([(DAY, 0, 40, 42, True)])
    desk = JournalBuilder(CASH)
    desk.buy(DAY, 0, 100, cents=42)

    path = trace(universe, desk.outcome(), cash=CASH, start=DAY, end=2 * DAY)

    assert path.daily().equity.tolist() == [CASH, CASH - 2 * DOLLARS]


WALKS = st.lists(st.integers(-40, 40), min_size=1, max_size=300).map(
    lambda steps: np.abs(np.cumsum([100, *steps]))
)


@given(WALKS, st.integers(1, 20))
def test_a_curve_is_small_and_its_drawdown_is_the_true_one(walk, intervals):
    path = EquityPath(np.cumsum(walk % 7 + 1), walk)
    curve = path.curve(intervals)

    assert len(curve.at) <= 3 * intervals + 7
    assert curve.drawdown().share == path.drawdown().share
    assert curve.drawdown().amount == path.drawdown().amount
    assert (np.diff(curve.at) >= 0).all()
    assert curve.equity.tolist() == path.equity_at(curve.at).tolist()
    for end in (0, -1):
        assert (curve.at[end], curve.equity[end]) == (path.at[end], path.equity[end])
    for extreme in (np.min, np.max):
        assert extreme(curve.equity) == extreme(path.equity)


def test_a_curve_of_a_long_run_has_fewer_than_a_thousand_points():
    walk = 10**9 + np.cumsum(np.random.default_rng(1).integers(-99, 100, 50_000))

    curve = EquityPath(np.arange(50_000) * HOUR, walk).curve().as_json()

    assert 900 < len(curve["t"]) == len(curve["equity"]) < 1_000
    assert curve["t"][-1] == 49_999 * 3_600_000


def test_a_curve_keeps_what_happened_in_the_instant_of_the_start():
    path = EquityPath(np.array([0, 0, 9]), np.array([100, 90, 90]))

    assert path.curve(3).at.tolist() == [0, 0, 3, 6, 9]
    assert path.curve(3).equity.tolist() == [100, 90, 90, 90, 90]


def test_the_deepest_drawdown_is_measured_from_leaving_the_peak_until_it_is_reached_again():
    fall = a_path(100, 120, 120, 90, 108, 119, 121, 110).drawdown()

    assert (fall.amount, fall.share) == (30 * DOLLARS, 0.25)
    assert (fall.start, fall.bottom, fall.end) == (3 * DAY, 3 * DAY, 6 * DAY)
    assert fall.days == 3


def test_a_drawdown_that_was_not_made_good_lasts_until_the_end():
    fall = a_path(100, 80, 60, 99).drawdown()

    assert (fall.bottom, fall.end, fall.days) == (2 * DAY, None, 2)


def test_where_equity_never_fell_there_is_no_drawdown_to_date():
    fall = a_path(100, 100, 130).drawdown()

    assert (fall.amount, fall.share) == (0, 0)
    assert fall.start is fall.bottom is fall.end is fall.days is None


def test_the_deepest_drawdown_is_the_largest_share_not_the_largest_amount():
    fall = a_path(10, 5, 1_000, 900).drawdown()

    assert (fall.share, fall.amount) == (0.5, 5 * DOLLARS)


@given(WALKS)
def test_a_drawdown_is_a_share_of_the_peak(walk):
    fall = deepest(np.arange(len(walk)), walk)

    assert 0 <= fall.share <= 1
    assert 0 <= fall.amount <= walk.max()
    dates = [at for at in (fall.start, fall.bottom, fall.end) if at is not None]
    assert dates == sorted(dates)
    assert len(dates) == (0 if not fall.amount else 2 if fall.end is None else 3)


@pytest.mark.parametrize("walk", [[100, 0], [100, 0, 50]])
def test_a_total_loss_is_a_drawdown_of_all(walk):
    assert a_path(*walk).drawdown().share == 1
