"""The tape of a universe: trades in order, and the stretches in which none is missing."""

import numpy as np
import pytest

from backtests.data.tape import is_whole, no_tape, tape_of


def trade(at, market, price=4_200):
    return (at, market, price, 100, 1, at + 3)


TAPE = tape_of(
    [trade(20, 1), trade(10, 1, price=4_100), trade(20, 0), trade(60, 0)],
    [[(0, 30), (50, 90)], [(5, 20)]],
)


def trades_of(tape):
    return list(zip(tape.at.tolist(), tape.market.tolist(), tape.price.tolist(), strict=True))


def test_trades_go_by_time_and_then_by_market():
    assert trades_of(TAPE) == [(10, 1, 4_100), (20, 0, 4_200), (20, 1, 4_200), (60, 0, 4_200)]


@pytest.mark.parametrize(
    ("market", "since", "until", "whole"),
    [
        (0, 0, 30, True),
        (0, 10, 31, False),
        (0, 31, 49, False),
        (0, 25, 55, False),
        (0, 50, 90, True),
        (1, 4, 10, False),
        (1, 5, 20, True),
    ],
)
def test_a_stretch_is_whole_if_one_span_covers_it(market, since, until, whole):
    assert is_whole(TAPE, market, since, until) is whole


def test_markets_can_be_selected_in_another_order():
    turned = TAPE.select(np.array([1, 0]))
    assert trades_of(turned) == [(10, 0, 4_100), (20, 0, 4_200), (20, 1, 4_200), (60, 1, 4_200)]
    assert turned.known_at.tolist() == [13, 23, 23, 63]
    assert is_whole(turned, 0, 5, 20)
    assert is_whole(turned, 1, 50, 90)


def test_one_market_keeps_its_own_trades_and_stretches():
    alone = TAPE.select(np.array([0]))
    assert trades_of(alone) == [(20, 0, 4_200), (60, 0, 4_200)]
    assert (alone.since.tolist(), alone.until.tolist()) == ([0, 50], [30, 90])


@pytest.mark.parametrize(
    ("at", "trades", "spans"),
    [(60, 4, [(0, 30), (50, 60), (5, 20)]), (19, 1, [(0, 19), (5, 19)]), (2, 0, [(0, 2)])],
)
def test_a_cut_tape_ends_at_its_instant(at, trades, spans):
    cut = TAPE.cut(at)
    assert len(cut.at) == trades
    assert list(zip(cut.since.tolist(), cut.until.tolist(), strict=True)) == spans
    assert cut.markets == 2


def test_without_a_tape_no_stretch_is_whole():
    assert not is_whole(no_tape(2), 1, 0, 0)
    assert no_tape(2).select(np.array([1])).markets == 1
    assert no_tape(2).cut(5).markets == 2
