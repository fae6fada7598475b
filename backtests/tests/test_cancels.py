"""Cancellations of orders that are on their way, and orders of a run's last moments."""

from dataclasses import replace

import pytest

from backtests.data.universe import SECOND
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.tests.scripted import clocked, lines_of, scripted
from backtests.tests.test_decision_points import observed_at
from backtests.tests.test_execution import NOW, book, ends_of, run_both, universe_of
from backtests.tests.test_gaps import gaps_of
from markets.observed import AFTER_ALL

# Sent at 0, an order arrives at 1 and meets its first observation at 30.
LATE = clocked(book(42, 45, at=0), book(40, 41, at=30))


@pytest.mark.parametrize("fills", FillModel)
class TestCancelledOnTheWay:
    def cancelled_at(self, second, fills, universe=LATE, **how):
        script = {0: lambda s: s.bid(10, 45, **how), second: lambda s: s.cancel(s.sent[0])}
        return lines_of(scripted(universe, script, fills))

    def test_an_order_whose_cancel_arrives_before_it_met_a_book_never_fills(self, fills):
        assert self.cancelled_at(5, fills) == [(6, "CANCELLED", 0, 10, "ASKED")]

    def test_nor_does_one_whose_cancel_arrives_with_the_book(self, fills):
        assert self.cancelled_at(29, fills) == [(30, "CANCELLED", 0, 10, "ASKED")]

    def test_nor_one_that_takes_at_once_or_never(self, fills):
        assert self.cancelled_at(5, fills, tif="ioc") == [(6, "CANCELLED", 0, 10, "ASKED")]

    def test_the_first_observation_after_its_arrival_may_come_before_the_cancel(self, fills):
        looked = clocked(book(42, 45, at=0), book(40, 41, at=30), looks=[4])
        assert self.cancelled_at(5, fills, looked) == [(4, "FILL", 0, 10, "NONE")]

    def test_what_is_sent_and_cancelled_at_once_does_not_fill(self, fills):
        universe = clocked(book(42, 45, at=0), book(42, 45, at=1))

        def both(strategy):
            strategy.bid(10, 45)
            strategy.cancel(strategy.sent[0])

        assert lines_of(scripted(universe, {0: both}, fills)) == [(1, "CANCELLED", 0, 10, "ASKED")]


class TestTheEndOfARun:
    """An order that the end of the record overtakes is unfinished, not unobserved."""

    def test_an_order_of_the_last_second_is_unfinished(self):
        universe = observed_at(universe_of(book(42, 45, at=0), book(42, 45, at=60)), [30])
        for fills in FillModel:
            lines = run_both(universe, [None, 10], fills=fills)
            assert ends_of(lines) == [("CANCELLED", "RUN_ENDED")]
            assert lines[-1]["at"] == NOW + 60 * SECOND + 1

    def test_so_is_one_whose_patience_lasts_longer_than_the_run(self):
        rows = book(42, 45, at=0), book(42, 45, at=60, market=1)
        universe = universe_of(*rows, markets=2)
        assert ends_of(run_both(universe, [10, None])) == [("CANCELLED", "RUN_ENDED")]
        hasty = ExecutionModel(patience_seconds=59)
        lines = run_both(universe, [10, None], hasty)
        assert ends_of(lines) == [("CANCELLED", "EXPIRED")]
        assert lines[-1]["at"] == NOW + 60 * SECOND

    def test_a_gap_that_begins_after_the_last_observation_is_within_the_run(self):
        universe = universe_of(book(42, 45, at=0))
        gap = gaps_of([(NOW + 15 * SECOND, AFTER_ALL)])
        assert ends_of(run_both(replace(universe, gaps=gap), [10])) == [("CANCELLED", "GAP")]


def test_other_orders_of_that_instant_meet_their_book():
    universe = clocked(book(42, 45, at=0), book(42, 45, at=30))

    def two(strategy):
        strategy.bid(10, 45)
        strategy.bid(5, 45)

    lines = lines_of(scripted(universe, {0: two, 29: lambda s: s.cancel(s.sent[1])}))
    assert lines == [(30, "FILL", 0, 10, "NONE"), (30, "CANCELLED", 1, 5, "ASKED")]
