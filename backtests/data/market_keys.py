"""Keys of rows of several markets: numbers that go by market, then by time."""

from typing import NamedTuple

from backtests.data.universe import Ints
from kalshi_insights.arrays import np


class MarketKeys(NamedTuple):
    """Makes keys of pairs of a market and an instant, from `first` to `last`.

    Earlier instants count as just before, later ones as just after. The number of markets times
    the time must fit into 64 bits: ten thousand markets may have twenty years.
    """

    first: int
    last: int

    def of(self, market: Ints, at: Ints) -> Ints:
        width = self.last - self.first + 3
        return market * width + np.clip(at, self.first - 1, self.last + 1) - self.first + 1

    def newest(self, rows: Ints, market: Ints, at: Ints) -> Ints:
        """Return the newest of sorted keys for each pair, up to its instant.

        It belongs to an earlier market where the pair's own has none; -1 where there is none.
        """
        return np.searchsorted(rows, self.of(market, at), side="right") - 1


def first_rows(market: Ints, markets: int) -> Ints:
    """Return where each market's rows begin, and where the last one's end; rows go by market."""
    return np.searchsorted(market, np.arange(markets + 1))
