"""Whole order books as recorded, beside the quotes of a universe."""

from collections.abc import Sequence
from typing import NamedTuple

from kalshi_insights.arrays import Floats, Ints, np

UNKNOWN = -1


class DepthLevel(NamedTuple):
    """The contracts at one price of a book, in dollars on the YES scale."""

    price: float
    contracts: float


class Depth(NamedTuple):
    """A whole book as it was recorded at `at`; each side has its best price first.

    A book is recorded when it changes, so an old one may still stand.
    """

    at: int
    bids: tuple[DepthLevel, ...]
    asks: tuple[DepthLevel, ...]


class BookSide(NamedTuple):
    """One side of several books: the levels of book `b` go from `starts[b]` to `starts[b + 1]`.

    Prices are in 1/10,000 dollar and the best comes first; sizes are in 1/100 contract.
    """

    starts: Ints
    price: Ints
    contracts: Ints

    @classmethod
    def of(cls, levels: Sequence[Sequence[tuple[int, int]]]) -> "BookSide":
        """Make it of the levels of each book."""
        starts = np.concatenate(([0], np.cumsum([len(each) for each in levels], dtype=np.int64)))
        table = np.array([level for each in levels for level in each], np.int64).reshape(-1, 2)
        # Half the width holds them, and books are many.
        return cls(starts, table[:, 0].astype(np.int32), table[:, 1].astype(np.int32))

    def first(self, books: int) -> "BookSide":
        """The first books."""
        levels = self.starts[books]
        return BookSide(self.starts[: books + 1], self.price[:levels], self.contracts[:levels])

    def select(self, books: Ints) -> "BookSide":
        """Some of the books, in the given order."""
        counts = self.starts[books + 1] - self.starts[books]
        starts = np.concatenate(([0], np.cumsum(counts)))
        places = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[books], counts)
        return BookSide(starts, self.price[places], self.contracts[places])

    def turned(self, dollar: int) -> "BookSide":
        """The same side as somebody sees it who counts prices of NO."""
        return self._replace(price=dollar - self.price)

    def until_then(self, books: int, other: "BookSide") -> "BookSide":
        """These books, but for the others from one of them on."""
        levels, others = self.starts[books], other.starts[books]
        return BookSide(
            np.concatenate((self.starts[:books], other.starts[books:] + levels - others)),
            np.concatenate((self.price[:levels], other.price[others:])),
            np.concatenate((self.contracts[:levels], other.contracts[others:])),
        )

    def levels(self, book: int) -> list[tuple[int, int]]:
        own = slice(*self.starts[book : book + 2])
        return list(zip(self.price[own].tolist(), self.contracts[own].tolist(), strict=True))

    def within(self, distance: int) -> Ints:
        """The contracts of each book at prices at most so far from its best one."""
        best = np.append(self.price, 0)[self.starts[:-1]]
        books = np.diff(self.starts)
        near = np.abs(self.price - np.repeat(best, books)) <= distance
        sums = np.concatenate(([0], np.cumsum(np.where(near, self.contracts, 0), dtype=np.int64)))
        return sums[self.starts[1:]] - sums[self.starts[:-1]]


class RecordedBooks(NamedTuple):
    """The order books of a market, by the instants at which they were recorded."""

    at: Ints
    bids: BookSide
    asks: BookSide

    def columns(self) -> tuple[Ints, ...]:
        return (self.at, *self.bids, *self.asks)

    def until(self, at: int) -> "RecordedBooks":
        """The books that were known at an instant."""
        known = int(np.searchsorted(self.at, at, side="right"))
        return RecordedBooks(self.at[:known], self.bids.first(known), self.asks.first(known))

    def newest(self, at: int, *, dollar: int, contract: int) -> Depth | None:
        """The newest book at an instant, in dollars and contracts; None if there is none yet."""
        book = int(np.searchsorted(self.at, at, side="right")) - 1
        if book < 0:
            return None
        bids, asks = (
            tuple(DepthLevel(price / dollar, size / contract) for price, size in side.levels(book))
            for side in (self.bids, self.asks)
        )
        return Depth(int(self.at[book]), bids, asks)

    def ages(self, at: Ints) -> Floats:
        """The microseconds since the newest book at each instant, NaN where there is none yet."""
        newest = np.searchsorted(self.at, at, side="right") - 1
        recorded = np.append(self.at, 0)[newest]
        return np.where(newest < 0, np.nan, at - recorded)

    def contracts_within(self, side: int, distance: int, at: Ints) -> Ints:
        """The contracts of the newest book at each instant, on the bids' side (1) or the asks' (-1)
        and at prices at most so far from its best; -1 where there is no book yet."""
        newest = np.searchsorted(self.at, at, side="right") - 1
        found = (self.bids if side > 0 else self.asks).within(distance)
        return np.append(found, UNKNOWN)[newest]
