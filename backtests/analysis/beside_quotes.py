"""Other futures of what is on record beside the quotes: open interest and whole order books.

They are changed market by market as a strategy asks for them, like the record itself.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from backtests.data.by_market import ByMarket
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


def shuffled(universe: Universe, at: int, rng: np.random.Generator) -> Universe:
    """After an instant, each value and each book is another one of its market's."""
    return replace(
        universe,
        interest=universe.interest and _shuffled_interest(universe.interest, at, rng),
        books=universe.books and _shuffled_books(universe.books, at, rng),
    )


def _shuffled_interest(
    interest: ByMarket[OpenInterest], at: int, rng: np.random.Generator
) -> ByMarket[OpenInterest]:
    seed = int(rng.integers(2**31))
    return interest.changed(
        lambda market, known: _later_interest(
            known, at, np.random.default_rng([seed, market]).permutation
        )
    )


def _shuffled_books(
    books: ByMarket[RecordedBooks], at: int, rng: np.random.Generator
) -> ByMarket[RecordedBooks]:
    seed = int(rng.integers(2**31))

    def change(market: int, known: RecordedBooks) -> RecordedBooks:
        first = _first_after(known.at, at)
        order = np.arange(len(known.at))
        np.random.default_rng([seed, market]).shuffle(order[first:])
        return known._replace(bids=known.bids.select(order), asks=known.asks.select(order))

    return books.changed(change)


def _later_interest(known: OpenInterest, at: int, change: Callable[[Ints], Ints]) -> OpenInterest:
    first = _first_after(known.at, at)
    later = change(known.contracts[first:])
    return known._replace(contracts=np.concatenate((known.contracts[:first], later)))


def _mirrored_books(known: RecordedBooks, at: int) -> RecordedBooks:
    """A book's bids become asks at what a dollar exceeds them by, and its asks bids."""
    first = _first_after(known.at, at)
    bids = known.bids.until_then(first, known.asks.turned(DOLLAR))
    asks = known.asks.until_then(first, known.bids.turned(DOLLAR))
    return RecordedBooks(known.at, bids, asks)


def _first_after(instants: Ints, at: int) -> int:
    return int(np.searchsorted(instants, at, side="right"))
