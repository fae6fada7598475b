"""Offers that cross an order of ours while it comes to rest."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.engine.event_driven import cerebro
from backtests.rules.execution import JOURNAL, ExecutionModel, FillModel
from backtests.strategies.base import bt
from backtests.tests.scripted import Scripted, clocked, lines_of, scripted
from backtests.tests.test_decision_points import observed_at
from backtests.tests.test_execution import MAKE, book, fills_of, run_both, universe_of
from backtests.tests.test_gaps import gaps_of
from backtests.tests.test_makers import moment
from backtests.tests.test_makers_bounds import CASH, fills_over_time, worlds

FEWEST, EXPECTED, MOST = FillModel


def bid_fills(universe, fill_model, *, cents=42, contracts=10):
    """The second and the contracts of each fill of a bid that is sent at 0."""
    finished = scripted(universe, {0: lambda s: s.bid(contracts, cents)}, fill_model)
    return [(at, count) for at, kind, _, count, _ in lines_of(finished) if kind == "FILL"]


class TestAnOfferThatCrossedABidOnItsWayToRest:
    @pytest.mark.parametrize("ask", [41, 42])
    def test_fills_it_in_the_fewest_once_a_later_observation_shows_it_too(self, ask):
        universe = clocked(book(40, 45, at=0), book(38, ask, at=5), looks=[10, 15])
        assert [bid_fills(universe, each) for each in FillModel] == [
            [(10, 10)], [(5, 10)], [(5, 10)],
        ]  # fmt: skip

    def test_does_not_if_it_is_gone_by_then(self):
        universe = clocked(book(40, 45, at=0), book(38, 41, at=5), book(40, 45, at=10))
        assert bid_fills(universe, FEWEST) == []

    def test_fills_no_more_than_still_stands(self):
        rows = book(40, 45, at=0), book(38, 41, at=5), book(38, 41, at=10, ask_size=3)
        assert bid_fills(clocked(*rows), FEWEST) == [(10, 3)]

    def test_fills_no_more_than_the_book_of_the_others_did(self):
        rows = book(40, 42, at=0, ask_size=4), book(38, 41, at=5, ask_size=5)
        universe = clocked(*rows, looks=[10])
        assert [bid_fills(universe, each, contracts=20) for each in FillModel] == [
            [(5, 4), (10, 1)], [(5, 5)], [(5, 5)],
        ]  # fmt: skip

    def test_is_gone_where_trading_ended(self):
        rows = book(40, 45, at=0), book(38, 41, at=5), book(38, 41, at=10, tradable=False)
        assert bid_fills(clocked(*rows), FEWEST) == []

    def test_does_not_fill_what_was_cancelled_meanwhile(self):
        universe = clocked(book(40, 45, at=0), book(38, 41, at=5), looks=[30])
        script = {0: lambda s: s.bid(10, 42), 20: lambda s: s.cancel(s.sent[0])}
        assert lines_of(scripted(universe, script, FEWEST)) == [(21, "CANCELLED", 0, 10, "ASKED")]

    def test_does_not_where_a_gap_ends_with_that_observation(self):
        universe = clocked(book(40, 45, at=0), book(38, 41, at=5), looks=[30])
        universe = replace(universe, gaps=gaps_of([(moment(20), moment(30))], []))
        assert [bid_fills(universe, each) for each in FillModel] == [[], [(5, 10)], [(5, 10)]]

    def test_fills_an_amendment_that_keeps_the_place(self):
        universe = clocked(book(40, 45, at=0), book(38, 41, at=5), looks=[30])
        script = {
            0: lambda s: s.bid(10, 42),
            10: lambda s: s.sent.append(s.amend(s.sent[0], size=4)),
        }
        assert lines_of(scripted(universe, script, FEWEST)) == [
            (11, "CANCELLED", 0, 10, "REPLACED"), (30, "FILL", 1, 4, "NONE"),
        ]  # fmt: skip

    def test_fills_in_the_most_what_the_earlier_book_left(self):
        rows = book(40, 42, at=0, ask_size=10), book(38, 41, at=5, ask_size=5)
        assert bid_fills(clocked(*rows), MOST, contracts=20) == [(5, 10), (5, 5)]

    def test_fills_a_post_only_order_in_the_most_for_it_came_to_rest_before(self):
        universe = observed_at(universe_of(book(42, 45, at=0), book(38, 41, at=5, ask_size=7)))
        runs = [run_both(universe, [10, None], MAKE, fills=each) for each in FillModel]
        assert [fills_of(run) for run in runs] == [[], [], [(7, 42)]]


class TestSizesThatAreUnknown:
    """`assumed_size` is for takers alone."""

    ASSUMED = replace(MAKE, assumed_size=25)

    def test_new_offers_of_unknown_size_fill_no_resting_order(self):
        rows = [book(42, 45, at=at, size=None) for at in (0, 5)]
        universe = universe_of(*rows, book(38, 41, at=10, size=None))
        runs = [run_both(universe, [10, None, None], self.ASSUMED, fills=f) for f in FillModel]
        assert [fills_of(run) for run in runs] == [[], [], []]

    def test_nor_do_those_of_which_nobody_knows_whether_they_are_new(self):
        rows = [book(42, 45, at=at) for at in (0, 5)]
        rows += [book(40, 41, at=10, ask_size=None), book(40, 41, at=15, ask_size=30)]
        universe = universe_of(*rows)
        runs = [run_both(universe, [10, *[None] * 3], MAKE, fills=f) for f in FillModel]
        assert [fills_of(run) for run in runs] == [[], [], []]

    def test_takers_get_what_is_assumed(self):
        rows = [book(42, 45, size=None)] * 2
        taking = ExecutionModel(assumed_size=25)
        assert fills_of(run_both(universe_of(*rows), [30, None], taking)) == [(25, 45)]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    row=st.integers(0, 30),
    side=st.sampled_from(["buy", "sell"]),
    contracts=st.integers(1, 60),
    distance=st.integers(-6, 6),
    post_only=st.booleans(),
    latency=st.sampled_from([0.0, 1.0, 700.0]),
    tolerance=st.sampled_from([0.0, 1.0, 400.0]),
    has_tape=st.booleans(),
    has_candles=st.booleans(),
    is_watched=st.booleans(),
)
def test_one_limit_order_fills_in_the_fewest_at_most_as_in_the_expected_and_in_the_most(
    *,
    seed,
    row,
    side,
    contracts,
    distance,
    post_only,
    latency,
    tolerance,
    has_tape,
    has_candles,
    is_watched,
):
    """Up to every instant: alone in its market, sent once, and with ample cash."""
    world = {"has_tape": has_tape, "has_candles": has_candles, "is_watched": is_watched}
    universe = worlds(seed, markets=1, **world)

    class Once(Scripted):
        def next(self):
            if len(self) > row and self.fresh and not self.sent:
                price = round(min(0.99, max(0.01, self.data.close[0] + distance / 100)), 2)
                how = {"exectype": bt.Order.Limit, "post_only": post_only}
                self.sent.append(getattr(self, side)(self.data, contracts, price, **how))

    execution = ExecutionModel(latency_seconds=latency, clock_tolerance=tolerance)
    runs = [
        fills_over_time(
            dict(zip(JOURNAL, line, strict=True))
            for line in cerebro.run(
                universe, Once, execution, each, cash=CASH
            ).outcome.journal.tolist()
        )
        for each in FillModel
    ]
    for instant in np.unique([at for fills in runs for at, _ in fills]):
        fewest, expected, most = (
            sum(count for at, count in fills if at <= instant) for fills in runs
        )
        assert fewest <= expected <= most
