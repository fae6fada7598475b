"""Simulated markets with a tape: prints, volumes and books agree, and outages leave holes."""

import numpy as np
import pytest

from backtests.data.tape import is_whole
from backtests.data.universe import MONEY, SECOND, microseconds
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import STRATEGIES
from backtests.tests.record_builders import START as FIRST_DAY
from backtests.tests.simulated_outages import with_outages
from backtests.tests.simulated_tapes import taped_universe, without_tape_in
from backtests.tests.simulated_universes import simulated_events
from backtests.tests.test_parity import same

START = microseconds(FIRST_DAY)
MINUTE = 60 * SECOND
OUTAGES = [
    (START + 118 * MINUTE, START + 123 * MINUTE),
    (START + 200 * MINUTE, START + 220 * MINUTE),
]


@pytest.fixture(scope="module")
def whole():
    events = simulated_events(("KXBTCD",), start=START, days=1)[:4]
    return taped_universe(events, bias=True)


@pytest.fixture(scope="module")
def broken(whole):
    return without_tape_in(with_outages(whole, OUTAGES), OUTAGES)


def test_the_volume_between_two_rows_is_that_of_the_tape_but_for_block_trades(whole):
    rows, tape, shares = whole.quotes, whole.known_tape(), []
    for market in range(len(whole.listings)):
        own, trades = rows.select(rows.market == market), tape.trades(tape.market == market)
        known = np.append(0, np.cumsum(trades.contracts))
        traded = np.diff(known[np.searchsorted(trades.at, own.at, side="right")])
        volume = np.diff(own.volume)
        assert (traded <= volume).all()
        shares.append((traded == volume).mean())
    # Where nobody quotes, all trades are agreed outside the book.
    assert np.median(shares) > 0.99


def test_the_tape_is_whole_but_for_the_outages(whole, broken):
    for each, expected in ((whole, True), (broken, False)):
        tape = each.known_tape()
        for market in range(tape.markets):
            since, until = int(whole.tape.since[market]), int(whole.tape.until[market])
            for start, end in OUTAGES:
                lived = since < start and end < until
                assert not lived or is_whole(tape, market, start, end) == expected
                assert not lived or is_whole(tape, market, end, end + 1)
    at = broken.known_tape().at
    assert 0 < len(at) < len(whole.known_tape().at)
    assert not any(((at >= start) & (at < end)).any() for start, end in OUTAGES)


@pytest.mark.parametrize("fills", FillModel)
def test_both_engines_rest_orders_alike_where_the_tape_has_holes(broken, fills):
    execution = ExecutionModel(make=True)
    outcome = same(broken, STRATEGIES["random-entry"](), execution, fills, cash=10_000 * MONEY)
    assert len(outcome.journal)
