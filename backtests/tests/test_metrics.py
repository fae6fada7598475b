import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.universe import DAY, Settlement
from backtests.metrics import figures as figures_module
from backtests.metrics import measure, trace
from backtests.metrics.events import pnl_by_event
from backtests.metrics.figures import (
    LEAST_DAYS,
    LEAST_EVENTS,
    replay_journal,
    too_few,
    traded_value,
)
from backtests.rules.execution import EntryKind, RunOutcome
from backtests.tests.journal_builders import (
    DOLLARS,
    JournalBuilder,
    equity_at,
    random_outcome,
    universe_of_rows,
)
from backtests.tests.random_universes import START, random_universe

CASH = 10_000 * DOLLARS
YES, NO = 1_000_000, 0


def figures_of(universe, outcome, *, cash=CASH, start=0, end=10 * DAY, **options):
    path = trace(universe, outcome, cash=cash, start=start, end=end)
    return measure(universe, outcome, path, **options)


def one_trade():
    """100 YES at 42 cents and $1.71, half of them sold on the next day at 50 cents and $0.88, the
    rest settled YES on the fourth."""
    ended = Settlement(known_at=3 * DAY, paid_at=4 * DAY, value=YES)
    universe = universe_of_rows([(0, 0, 40, 42, True), (DAY, 0, 50, 53, True)], settlements=[ended])
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42, fee=1_710_000)
    desk.sell(DAY, 0, 50, cents=50, fee=880_000)
    desk.settle(0, ended)
    return universe, desk.outcome()


def test_p_and_l_is_told_apart_into_price_settlement_and_fees():
    money = figures_of(*one_trade()).money

    assert (money.realised, money.unrealised) == (4 * DOLLARS, 0)
    assert money.settlement == 29 * DOLLARS
    assert money.fees == 2_590_000
    assert money.pnl == 30_410_000
    assert money.final_equity == money.final_cash == CASH + 30_410_000


def test_a_long_journal_is_replayed_part_by_part(monkeypatch):
    whole = figures_of(*one_trade())
    monkeypatch.setattr(figures_module, "ENTRIES_AT_ONCE", 2)
    assert figures_of(*one_trade()) == whole


def test_what_is_open_at_the_end_counts_at_its_mark():
    universe = universe_of_rows([(0, 0, 40, 42, True), (DAY, 0, 50, 53, True)])
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42)

    figures = figures_of(universe, desk.outcome())

    assert (figures.money.realised, figures.money.unrealised) == (0, 8 * DOLLARS)
    assert (figures.money.price, figures.money.settlement) == (8 * DOLLARS, 0)
    assert figures.activity.open_positions == 1
    assert figures.events.won == 1


@given(st.integers(0, 10_000), st.sampled_from([0, 0.5, 1]))
def test_p_and_l_adds_up_to_the_millionth_of_a_dollar(seed, ended):
    universe = random_universe(seed, markets=4, rows=60, ended=ended)
    outcome = random_outcome(universe, seed=seed, cash=CASH)
    figures = figures_of(universe, outcome, start=START, end=START + DAY)
    money = figures.money

    last = np.array([START + 99 * DAY])
    assert money.final_equity == equity_at(universe, outcome, last, cash=CASH)[0]
    assert money.price + money.settlement - money.fees == money.final_equity - CASH == money.pnl
    events = figures.events
    assert abs(events.mean_pnl * events.traded - money.pnl) <= events.traded
    for share in (figures.capital.time_exposed, figures.capital.share_locked):
        assert 0 <= share <= 1
    json.dumps(figures.as_json(), allow_nan=False)


@given(st.integers(0, 10_000))
def test_the_p_and_l_of_events_adds_up_as_well(seed):
    universe = random_universe(seed, markets=6, rows=40, ended=1)
    outcome = random_outcome(universe, seed=seed, cash=CASH)
    account = replay_journal(outcome, cash=CASH, start=START, end=START + DAY)

    by_event = pnl_by_event(account.pnl, universe.listings)

    assert len(by_event) <= 2
    assert sum(by_event.values()) == outcome.cash - CASH


def test_a_journal_that_does_not_add_up_is_refused():
    universe, outcome = one_trade()
    wrong = RunOutcome(outcome.journal, outcome.cash + 1, outcome.positions)

    with pytest.raises(ValueError, match="adds up"):
        figures_of(universe, wrong)


def test_capital_is_locked_at_cost_for_as_long_as_it_is_held():
    """42 dollars for a day and 21 for three, of ten days."""
    capital = figures_of(*one_trade(), bill_rate=0.0365).capital

    assert capital.dollar_days == 105
    assert capital.time_exposed == 0.4
    # Of 9,998.29 for a day, 10,001.41 for three and 10,030.41 for six.
    assert capital.share_locked == pytest.approx(105 / 100_184.98)
    # 105 dollar-days at a hundredth of a cent a day.
    assert capital.bills_earned == 10_500
    assert capital.annual_return is None


def test_lines_are_counted_and_contracts_and_dollars_added_up():
    universe, _ = one_trade()
    desk = JournalBuilder(CASH)
    desk.buy(0, 0, 100, cents=42)
    desk.order(1, 0)
    desk.write(1, EntryKind.REFUSED, 0)
    desk.order(2, 0)
    desk.write(2, EntryKind.CANCELLED, 0)
    desk.sell(DAY, 0, 150, cents=50)

    done = figures_of(universe, desk.outcome()).activity

    assert (done.orders, done.fills, done.refusals, done.cancellations) == (4, 2, 1, 1)
    assert (done.settlements, done.contracts) == (0, 250 * 100)
    # 100 at 42 cents, 100 of them sold at 50, and 50 NO at 50.
    assert done.traded == (42 + 50 + 25) * DOLLARS


def test_selling_yes_that_is_not_held_costs_what_no_costs():
    desk = JournalBuilder(CASH)
    desk.sell(0, 0, 100, cents=5)
    desk.buy(1, 0, 100, cents=10)

    fills = desk.outcome().journal
    fills = fills[fills[:, 1] == EntryKind.FILL]

    assert traded_value(fills) == (95 + 90) * DOLLARS


def test_turnover_is_what_was_traded_over_mean_equity():
    figures = figures_of(*one_trade(), end=4 * DAY)

    # 42 dollars bought and 25 sold; equity at the start and on the four midnights after it.
    days = [10_000, 10_005.41, 10_005.41, 10_030.41, 10_030.41]
    assert figures.activity.turnover == pytest.approx(67 / np.mean(days), rel=1e-6)


def test_a_run_without_trades_says_nothing_it_does_not_know():
    figures = figures_of(universe_of_rows([]), JournalBuilder(CASH).outcome())

    assert figures.total_return == 0
    assert figures.events.win_rate is figures.events.mean_pnl is None
    assert figures.ratios.sharpe is figures.capital.annual_return is figures.brier.score is None
    assert figures.ratios.withheld == "0 independent events: too few to annualise"


def many_trades():
    """One event after the other, bought at 42 cents for a quarter of a day; two of three gain."""
    times = [place * LEAST_DAYS * DAY // LEAST_EVENTS for place in range(LEAST_EVENTS)]
    paid = [at + DAY // 4 for at in times]
    ends = [Settlement(at, at, YES if place % 3 else NO) for place, at in enumerate(paid)]
    rows = [(at, place, 40, 42, True) for place, at in enumerate(times)]
    desk = JournalBuilder(CASH)
    for place, at in enumerate(times):
        desk.buy(at, place, 100, cents=42)
        desk.settle(place, ends[place])
    return universe_of_rows(rows, settlements=ends), desk.outcome()


def test_enough_days_and_events_are_told_for_a_year():
    figures = figures_of(*many_trades(), end=LEAST_DAYS * DAY)

    assert figures.ratios.withheld == ""
    assert figures.ratios.sharpe_low < figures.ratios.sharpe < figures.ratios.sharpe_high
    growth = 1 + figures.total_return
    assert figures.ratios.annual_return == pytest.approx(growth ** (365 / 30) - 1)
    earned = figures.money.pnl / DOLLARS
    # 42 dollars for a quarter of a day, a hundred times.
    assert figures.capital.annual_return == pytest.approx(earned / (42 * 25) * 365)


@pytest.mark.parametrize(
    ("days", "events", "reason"),
    [
        (LEAST_DAYS, LEAST_EVENTS, ""),
        (400, LEAST_EVENTS - 1, "99 independent events: too few to annualise"),
        (400, 1, "1 independent event: too few to annualise"),
        (29.9, LEAST_EVENTS, "29 days: too few to annualise"),
    ],
)
def test_too_little_is_not_stretched_to_a_year(days, events, reason):
    assert too_few(days, events) == reason


def test_markets_of_one_event_are_one_observation():
    ends = [Settlement(DAY, DAY, value) for value in (YES, NO, NO)]
    rows = [(0, market, 40, 42, True) for market in range(3)]
    universe = universe_of_rows(rows, settlements=ends, events=["CPI", "CPI", "FED"])
    desk = JournalBuilder(CASH)
    for market in range(3):
        desk.buy(0, market, 100, cents=42)
    for market, end in enumerate(ends):
        desk.settle(market, end)

    events = figures_of(universe, desk.outcome()).events

    # CPI: 58 - 42; FED: -42.
    assert (events.traded, events.won, events.win_rate) == (2, 1, 0.5)
    assert events.mean_pnl == -13 * DOLLARS
    # Halves of the distance of 58 dollars; two series, so two clusters.
    assert (events.mean_pnl_error, events.clusters) == (29 * DOLLARS, 2)


def test_events_of_one_series_and_day_are_one_cluster():
    universe = universe_of_rows(
        [(0, m, 40, 42, True) for m in range(3)], settlements=[None] * 3, events=["A", "B", "C"]
    )
    listings = [replace(listing, series="BTC") for listing in universe.listings]
    desk = JournalBuilder(CASH)
    for market, day in enumerate((0, 0, 1)):
        desk.buy(day * DAY, market, 100, cents=42)

    events = figures_of(replace(universe, listings=listings), desk.outcome()).events

    assert (events.traded, events.clusters) == (3, 2)


def stating(*outcomes):
    universe = universe_of_rows(
        [(at, m, 40, 42, True) for at in (0, 1) for m in range(len(outcomes))],
        settlements=[None if value is None else Settlement(9, 9, value) for value in outcomes],
    )
    desk = JournalBuilder(CASH)
    for row, market in enumerate([*range(len(outcomes))] * 2):
        desk.order(int(universe.quotes.at[row]), market, row=row)
    return universe, desk.outcome()


def test_the_brier_score_is_that_of_each_market_s_first_decision():
    universe, outcome = stating(YES, NO, 500_000)

    brier = figures_of(universe, outcome, probabilities=np.array([0.9, 0.4, 0.5, 0, 1, 0])).brier

    # 0.1, 0.4 and 0, squared.
    assert brier.score == pytest.approx(0.17 / 3)
    assert brier.markets == 3


def test_nothing_is_scored_without_a_statement_or_an_outcome():
    universe, outcome = stating(YES, None)

    brier = figures_of(universe, outcome, probabilities=np.array([np.nan, 0.4, 1, 1])).brier

    assert (brier.score, brier.markets) == (None, 0)
