"""Folds of a walk-forward: nothing of a test was there while parameters were chosen."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.analysis.folds import MarketLives, lives_of, walk
from backtests.data.universe import MISSING
from backtests.tests.random_universes import random_universe
from kalshi_insights.bad_input import BadInput


def lives(*markets: tuple[int, int], events=None) -> MarketLives:
    first, over = (np.array(column, np.int64) for column in zip(*markets, strict=True))
    event = np.arange(len(markets)) if events is None else np.array(events, np.int64)
    return MarketLives(first, over, event)


# One market after the other, each of them three instants long.
IN_TURN = lives(*((4 * n, 4 * n + 3) for n in range(8)))


@st.composite
def any_lives(draw):
    count = draw(st.integers(1, 40))
    instants = st.integers(0, 60)
    first = draw(st.lists(instants, min_size=count, max_size=count))
    length = draw(st.lists(st.integers(0, 20) | st.none(), min_size=count, max_size=count))
    over = [MISSING if n is None else f + n for f, n in zip(first, length, strict=True)]
    events = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    return lives(*zip(first, over, strict=True), events=events)


@settings(max_examples=200)
@given(any_lives(), st.integers(1, 5), st.integers(0, 8))
def test_no_market_of_a_test_was_open_in_the_time_of_its_training(markets, folds, embargo):
    try:
        made = walk(markets, folds=folds, embargo=embargo)
    except BadInput:
        return
    assert len(made.folds) == folds
    for fold in made.folds:
        assert (markets.over[fold.train] <= fold.begins - embargo).all()
        assert (markets.over[fold.train] != MISSING).all()
        assert (markets.first[fold.test] >= fold.begins).all()
        assert (markets.over[fold.test] <= fold.ends).all()
        assert not set(markets.event[fold.train]) & set(markets.event[fold.test])


@settings(max_examples=100)
@given(any_lives(), st.integers(1, 5))
def test_a_market_is_tested_once_at_most_and_later_folds_know_all_that_earlier_ones_knew(
    markets, folds
):
    try:
        made = walk(markets, folds=folds)
    except BadInput:
        return
    tested = np.concatenate([fold.test for fold in made.folds])
    assert len(set(tested.tolist())) == len(tested)
    assert made.untested >= 0
    for before, after in zip(made.folds, made.folds[1:], strict=False):
        assert before.ends == after.begins


def test_markets_in_turn_fall_into_equal_folds_in_their_order():
    made = walk(IN_TURN, folds=3)
    assert [fold.train.tolist() for fold in made.folds] == [
        [0, 1],
        [0, 1, 2, 3],
        [0, 1, 2, 3, 4, 5],
    ]
    assert [fold.test.tolist() for fold in made.folds] == [[2, 3], [4, 5], [6, 7]]
    assert (made.untested, made.unresolved) == (0, 0)


def test_a_market_that_is_open_across_a_boundary_is_in_neither_part():
    made = walk(lives((0, 3), (1, 9), (4, 6), (7, 10), (9, 12)), folds=1)
    [fold] = made.folds
    assert fold.begins == 6
    assert (fold.train.tolist(), fold.test.tolist()) == ([0, 2], [3, 4])
    assert made.untested == 1


def test_an_embargo_takes_the_markets_that_were_over_shortly_before_out_of_training():
    [fold] = walk(IN_TURN, folds=1, embargo=5).folds
    assert fold.begins == 15
    assert fold.train.tolist() == [0, 1]


def test_an_event_with_a_market_in_the_test_has_none_in_training():
    events = [7, 1, 2, 3, 4, 7, 5, 6]
    [fold] = walk(IN_TURN._replace(event=np.array(events)), folds=1).folds
    assert 5 in fold.test.tolist()
    assert 0 not in fold.train.tolist()


@pytest.mark.parametrize(
    ("markets", "words"),
    [
        (lives((0, 3)), "1 of the markets have a result: too few for 1 folds"),
        (lives((0, 3), (0, 4), (0, 5)), "Fold 1 has no market to test on"),
    ],
)
def test_folds_without_markets_are_refused_by_name(markets, words):
    with pytest.raises(BadInput, match=words) as fault:
        walk(markets, folds=1)
    assert fault.value.field == "folds"


def test_a_market_is_over_once_it_is_paid_and_quoted_no_more():
    universe = random_universe(3, rows=120)
    found = lives_of(universe)
    for market, settlement in enumerate(universe.settlements):
        at = universe.quotes.at[universe.quotes.market == market]
        assert found.first[market] == at.min()
        over = max(settlement.paid_at, at.max()) if settlement else MISSING
        assert found.over[market] == over


def test_markets_without_an_event_are_not_of_one_event():
    universe = random_universe(3, rows=120)
    alone = replace(universe, listings=[replace(each, event="") for each in universe.listings])
    assert len(set(lives_of(alone).event.tolist())) == len(universe.listings)
