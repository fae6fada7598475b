"""Open interest and whole order books for universes, around their quotes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backtests.data.by_market import ByMarket
from backtests.data.open_interest import OpenInterest
from backtests.data.recorded_books import BookSide, RecordedBooks
from backtests.data.universe import Ints, Universe


def with_open_interest(universe: Universe, *changes: Sequence[tuple[int, int]]) -> Universe:
    """Add the open interest of each market: the instants and the values of its changes."""
    values = [OpenInterest.of(rows) for rows in changes]
    return replace(
        universe, interest=ByMarket(lambda asked: [values[m] for m in asked], len(values))
    )


Levels = Sequence[tuple[int, int]]


def books_of(*books: tuple[int, Levels, Levels]) -> RecordedBooks:
    """The books of a market: the instant of each, its bids and its asks, in units."""
    return RecordedBooks(
        np.array([at for at, _, _ in books], np.int64),
        BookSide.of([bids for _, bids, _ in books]),
        BookSide.of([asks for _, _, asks in books]),
    )


def with_books(universe: Universe, *values: RecordedBooks) -> Universe:
    """Add the recorded order books of each market."""
    return replace(universe, books=ByMarket(lambda asked: [values[m] for m in asked], len(values)))


def with_further_record(universe: Universe, seed: int) -> Universe:
    """Add random open interest and order books, at about half of the instants of the rows."""
    rng = np.random.default_rng(seed)
    instants = [
        universe.quotes.at[universe.quotes.market == market]
        for market in range(len(universe.listings))
    ]
    interest = [
        list(zip(at.tolist(), rng.integers(0, 10**6, len(at)).tolist(), strict=True))
        for at in map(np.unique, instants)
    ]
    books = [_random_books(rng, np.unique(at)) for at in instants]
    return with_books(with_open_interest(universe, *interest), *books)


def _random_books(rng: np.random.Generator, at: Ints) -> RecordedBooks:
    recorded = at[rng.random(len(at)) < 0.5].tolist()
    return books_of(*((instant, _levels(rng, -100), _levels(rng, 100)) for instant in recorded))


def _levels(rng: np.random.Generator, step: int) -> list[tuple[int, int]]:
    """Up to five levels from the best price on, which is under or over the middle."""
    best = 5_000 + step * int(rng.integers(1, 20))
    count = int(rng.integers(0, 6))
    return [(best + n * step, int(rng.integers(1, 50_000))) for n in range(count)]
