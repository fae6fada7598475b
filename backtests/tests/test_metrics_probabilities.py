"""Scores of stated probabilities, beside those of the market's midpoint."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.annotations.probabilities import FirstStatement, StatedProbabilities
from backtests.data.universe import Settlement
from backtests.metrics.probabilities import log_loss, score_probabilities
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind
from backtests.tests.journal_builders import DOLLARS, JournalBuilder, universe_of_rows

YES, NO = 1_000_000, 0
NO_JOURNAL = np.empty((0, 13), np.int64)


def scored(*markets, events=()):
    """The figures of markets, each its first probability, its midpoint and its outcome."""
    settlements = [None if value is None else Settlement(9, 9, value) for _, _, value in markets]
    universe = universe_of_rows(
        [(0, m, 40, 42, True) for m in range(len(markets))], settlements=settlements, events=events
    )
    first = {
        m: FirstStatement(0, stated, midpoint) for m, (stated, midpoint, _) in enumerate(markets)
    }
    return score_probabilities(universe, NO_JOURNAL, StatedProbabilities(first))


def fills_of(journal):
    """The number of each fill's order."""
    kind, order = JOURNAL_COLUMN["kind"], JOURNAL_COLUMN["order"]
    return journal[journal[:, kind] == EntryKind.FILL, order].tolist()


def test_each_market_is_scored_once_beside_its_midpoint():
    figures = scored((0.9, 0.8, YES), (0.4, 0.5, NO), (0.5, 0.5, 500_000))

    assert figures.markets == 3
    assert figures.brier == pytest.approx((0.01 + 0.16 + 0) / 3)
    assert figures.midpoint_brier == pytest.approx((0.04 + 0.25 + 0) / 3)
    assert figures.advantage == pytest.approx(figures.midpoint_brier - figures.brier)
    assert figures.log_loss == pytest.approx(-(math.log(0.9) + math.log(0.6) + math.log(0.5)) / 3)
    assert figures.midpoint_log_loss == pytest.approx(
        -(math.log(0.8) + math.log(0.5) + math.log(0.5)) / 3
    )


def test_markets_without_an_outcome_are_counted_apart():
    figures = scored((0.9, 0.8, YES), (0.4, 0.5, None))
    assert (figures.markets, figures.unsettled) == (1, 1)
    assert figures.brier == pytest.approx(0.01)


def test_nothing_is_scored_where_nothing_has_an_outcome():
    figures = scored((0.9, 0.8, None))
    assert figures.brier is figures.log_loss is figures.advantage is figures.stated_edge is None


def test_without_a_statement_there_are_no_scores():
    universe = universe_of_rows([(0, 0, 40, 42, True)])
    figures = score_probabilities(universe, NO_JOURNAL, None)
    assert (figures.markets, figures.unsettled, figures.brier) == (0, 0, None)


def test_what_was_certain_and_wrong_is_counted_and_its_log_loss_withheld():
    figures = scored((0, 0.1, YES), (1, 0.9, YES), (1, 0.6, NO))
    assert (figures.certain_misses, figures.log_loss) == (2, None)
    assert figures.brier == pytest.approx(2 / 3)
    assert figures.midpoint_log_loss is not None


def test_markets_of_one_event_are_one_observation_of_the_error():
    markets = [(0.9, 0.8, YES), (0.1, 0.2, NO), (0.6, 0.5, NO)]
    alone, together = scored(*markets), scored(*markets, events=("A", "A", "B"))
    assert (alone.events, together.events) == (3, 2)
    # Two gain 0.03 and one loses 0.11; the two of A are summed before they are squared.
    mean = (0.03 + 0.03 - 0.11) / 3
    squares = (0.06 - 2 * mean) ** 2 + (-0.11 - mean) ** 2
    assert together.advantage_error == pytest.approx(math.sqrt(squares / 9 * 2))
    assert scored(*markets, events=("A", "A", "A")).advantage_error is None


def test_the_edges_are_those_of_fills_whose_orders_had_a_probability():
    universe = universe_of_rows(
        [(0, m, 40, 42, True) for m in range(3)],
        settlements=[Settlement(9, 9, YES), Settlement(9, 9, NO), None],
    )
    desk = JournalBuilder(1_000 * DOLLARS)
    for market in (0, 1, 2):
        desk.buy(0, market, 10, cents=42, fee=100_000)
    desk.sell(1, 0, 4, cents=60, fee=50_000)
    journal = desk.outcome().journal
    bought, _, unsettled, sold = fills_of(journal)
    of_orders = {bought: 0.5, sold: 0.55, unsettled: 0.9}

    figures = score_probabilities(universe, journal, StatedProbabilities({}, of_orders))

    # Ten bought at 42 cents, four sold at 60.
    assert figures.fills == 2
    assert figures.stated_edge == 10 * 80_000 - 100_000 + 4 * 50_000 - 50_000
    assert figures.settled_edge == 10 * 580_000 - 100_000 - 4 * 400_000 - 50_000


@given(st.floats(0.001, 0.999), st.floats(0, 1))
def test_no_other_probability_has_a_smaller_log_loss_than_the_outcome_itself(stated, outcome):
    assert log_loss(stated, outcome) >= log_loss(outcome, outcome) - 1e-9
