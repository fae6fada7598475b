"""Simulated markets with outages: the record has what a look showed, and nothing else."""

import numpy as np
import pytest

from backtests.data.universe import MONEY, SECOND, microseconds
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import STRATEGIES
from backtests.tests.record_builders import START as FIRST_DAY
from backtests.tests.simulated_outages import BOOK, FRESH, with_outages
from backtests.tests.simulated_universes import recorded_universe, simulated_events
from backtests.tests.test_parity import same
from markets.observed import is_observed

START = microseconds(FIRST_DAY)
MINUTE = 60 * SECOND
# One of them is over before a market's freshness is; the others last for minutes.
OUTAGES = [
    (START + minute * MINUTE, START + minute * MINUTE + length)
    for minute, length in ((50, 10 * SECOND), (118, 5 * MINUTE), (200, 20 * MINUTE), (600, MINUTE))
]


@pytest.fixture(scope="module")
def whole():
    events = simulated_events(("KXBTCD",), start=START, days=1)[:6]
    return recorded_universe(events, bias=True)


@pytest.fixture(scope="module")
def broken(whole):
    return with_outages(whole, OUTAGES)


def of_market(quotes, market):
    return quotes.select(np.flatnonzero(quotes.market == market))


def within(instants):
    return np.any([(instants >= start) & (instants < end) for start, end in OUTAGES], axis=0)


def test_nobody_looks_during_an_outage_and_every_other_look_stays(whole, broken):
    for market in range(len(whole.listings)):
        before, after = (each.observations().of_market(market) for each in (whole, broken))
        assert after.tolist() == before[~within(before)].tolist()


def test_a_look_shows_the_book_of_its_instant(whole, broken):
    for market in range(len(whole.listings)):
        rows, kept = of_market(whole.quotes, market), of_market(broken.quotes, market)
        looks = broken.observations().of_market(market)
        for name in (*BOOK, "tradable", "close_at"):
            expected, found = (
                getattr(each, name)[np.searchsorted(each.at, looks, side="right") - 1]
                for each in (rows, kept)
            )
            assert expected.tolist() == found.tolist()


def test_a_row_that_nobody_saw_ends_a_market_with_the_book_before(broken):
    ends = 0
    for market in range(len(broken.listings)):
        rows = of_market(broken.quotes, market)
        unseen = [at for at in rows.at if not is_observed(broken.observations(), market, at)]
        if unseen:
            ends += 1
            assert unseen == [rows.at[-1]]
            assert not rows.tradable[-1]
            assert all(getattr(rows, name)[-1] == getattr(rows, name)[-2] for name in BOOK)
    assert ends


def test_a_gap_lasts_from_where_the_last_look_went_stale_to_the_next_one(broken):
    gaps, found = broken.known_gaps(), 0
    for market in range(len(broken.listings)):
        looks = broken.observations().of_market(market)
        end = of_market(broken.quotes, market).at[-1]
        for gap in range(gaps.spans[market], gaps.spans[market + 1]):
            found += 1
            last = looks[looks < gaps.since[gap]][-1]
            assert gaps.since[gap] == last + FRESH
            assert gaps.until[gap] in (end, *looks)
    lengths = gaps.until - gaps.since
    assert found == len(gaps.since) > 0
    assert lengths.max() <= 20 * MINUTE


@pytest.mark.parametrize("across_gaps", ["expire", "wait"])
@pytest.mark.parametrize("fills", FillModel)
@pytest.mark.parametrize("name", ["random-entry", "momentum"])
def test_both_engines_keep_the_same_journal_across_outages(broken, name, fills, across_gaps):
    execution = ExecutionModel(across_gaps=across_gaps)
    outcome = same(broken, STRATEGIES[name](), execution, fills, cash=10_000 * MONEY)
    assert len(outcome.journal)


def test_without_outages_nothing_changes(whole):
    again = with_outages(whole, [])
    assert again.quotes.at.tolist() == whole.quotes.at.tolist()
    assert not len(again.known_gaps().since)
