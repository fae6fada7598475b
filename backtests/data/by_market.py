"""Values of the markets of a universe that are read when they are asked for first."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from kalshi_insights.arrays import Ints

T = TypeVar("T")


class ByMarket(Generic[T]):
    """One value for each market of a universe, by its index; a run that never asks reads none.

    `read` takes some markets and returns their values. It is asked for `at_once` neighbours, where
    reading many costs hardly more than reading one.
    """

    def __init__(
        self, read: Callable[[Sequence[int]], Sequence[T]], markets: int, *, at_once: int = 1
    ) -> None:
        self.markets = markets
        self._read = read
        self._at_once = at_once
        self._values: dict[int, T] = {}

    def of(self, market: int) -> T:
        if market not in self._values:
            first = market - market % self._at_once
            asked = range(first, min(first + self._at_once, self.markets))
            self._values.update(zip(asked, self._read(asked), strict=True))
        return self._values[market]

    def read_already(self) -> Iterator[tuple[int, T]]:
        """The markets that have been read, with their values."""
        yield from sorted(self._values.items(), key=lambda item: item[0])

    def select(self, markets: Ints) -> "ByMarket[T]":
        """The values of some of the markets, in the given order, which are read through these."""
        chosen = markets.tolist()
        return ByMarket(lambda places: [self.of(chosen[place]) for place in places], len(chosen))

    def changed(self, change: Callable[[int, T], T]) -> "ByMarket[T]":
        """Other values, each made of a market and its value here."""
        return ByMarket(lambda places: [change(m, self.of(m)) for m in places], self.markets)
