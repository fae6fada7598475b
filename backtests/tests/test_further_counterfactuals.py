"""Open interest and order books have the same past in other futures, and another future."""

import numpy as np
import pytest

from backtests.analysis.counterfactuals import mirrored, shuffled, truncated, without_some_markets
from backtests.data.universe import DOLLAR
from backtests.tests.further_records import with_further_record
from backtests.tests.random_universes import random_universe

WORLD = with_further_record(random_universe(4, markets=3, rows=80), 4)
AT = int(WORLD.quotes.at[120])


def books_until(universe, market, at, *, dollar=DOLLAR):
    books = universe.books.of(market)
    return [books.newest(then, dollar=dollar, contract=100) for then in books.at[books.at <= at]]


def interest_until(universe, market, at):
    interest = universe.interest.of(market).until(at)
    return list(zip(interest.at.tolist(), interest.contracts.tolist(), strict=True))


@pytest.mark.parametrize("another_future", [mirrored, shuffled])
def test_another_future_has_other_books_and_open_interest_and_the_same_past(another_future):
    other = another_future(WORLD, AT, np.random.default_rng(1)).universe
    end = int(WORLD.quotes.at[-1])
    for market in range(3):
        for until in (books_until, interest_until):
            assert until(other, market, AT) == until(WORLD, market, AT)
            assert until(other, market, end) != until(WORLD, market, end)
            assert until(other, market, end) == until(other, market, end)


def test_in_a_mirrored_book_the_bids_are_asks_of_the_other_side():
    other = mirrored(WORLD, AT, np.random.default_rng(1)).universe
    mine, theirs = (books_until(u, 1, 2**62)[-1] for u in (WORLD, other))
    assert [(round(1 - p, 4), size) for p, size in mine.bids] == list(theirs.asks)
    assert [(round(1 - p, 4), size) for p, size in mine.asks] == list(theirs.bids)


def test_a_record_that_is_cut_off_has_no_later_books_and_open_interest():
    cut = truncated(WORLD, AT)
    for place, market in enumerate(cut.markets.tolist()):
        for until in (books_until, interest_until):
            assert until(cut.universe, place, 2**62) == until(WORLD, market, AT)


def test_among_others_each_market_keeps_its_books_and_open_interest():
    other = without_some_markets(WORLD, np.random.default_rng(2))
    for place, market in enumerate(other.markets.tolist()):
        for until in (books_until, interest_until):
            assert until(other.universe, place, 2**62) == until(WORLD, market, 2**62)
