"""Other futures of what is on record beside the quotes: open interest and whole order books.

They are changed market by market as a strategy asks for them, like the record itself.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from backtests.data.open_interest import OpenInterest
from backtests.data.recorded_books import RecordedBooks
from backtests.data.universe import DOLLAR, Ints, Universe


def mirrored(universe: Universe, at: int) -> Universe:
    """After an instant, YES and NO swap their sides, and open interest doubles and more."""
    interest = universe.interest and universe.interest.changed(
        lambda market, known: _later_interest(known, at, lambda later: 2 * later + 1)
    )
    books = universe.books and universe.books.changed(
        lambda market, known: _mirrored_books(known, at)
    )
    return replace(universe, interest=interest, books=books)


def shuffled(universe: Universe, at: int) -> Universe:
    """After an instant, each value and each book is another one of its market's."""
    interest = universe.interest and universe.interest.changed(
        lambda market, known: _later_interest(known, at, _dice(market, at).permutation)
    )
    books = universe.books and universe.books.changed(
        lambda market, known: _shuffled_books(known, at, _dice(market, at))
    )
    return replace(universe, interest=interest, books=books)


def _dice(market: int, at: int) -> np.random.Generator:
    """The dice of a market, which fall the same whenever it is asked for."""
    return np.random.default_rng([at, market])


def _later_interest(known: OpenInterest, at: int, change: Callable[[Ints], Ints]) -> OpenInterest:
    first = _first_after(known.at, at)
    later = change(known.contracts[first:])
    return known._replace(contracts=np.concatenate((known.contracts[:first], later)))


def _shuffled_books(known: RecordedBooks, at: int, dice: np.random.Generator) -> RecordedBooks:
    order = np.arange(len(known.at))
    dice.shuffle(order[_first_after(known.at, at) :])
    return known._replace(bids=known.bids.select(order), asks=known.asks.select(order))


def _mirrored_books(known: RecordedBooks, at: int) -> RecordedBooks:
    """A book's bids become asks at what a dollar exceeds them by, and its asks bids."""
    first = _first_after(known.at, at)
    bids = known.bids.until_then(first, known.asks.turned(DOLLAR))
    asks = known.asks.until_then(first, known.bids.turned(DOLLAR))
    return RecordedBooks(known.at, bids, asks)


def _first_after(instants: Ints, at: int) -> int:
    return int(np.searchsorted(instants, at, side="right"))
