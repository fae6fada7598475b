"""The candlesticks behind the rows of a universe: their volumes, and how far prices went."""

from typing import NamedTuple

from kalshi_insights.arrays import Bools, Ints, first_from, np


class CandleRanges(NamedTuple):
    """Candlesticks of several markets, each known by its index.

    Those of market `m` are the entries from `spans[m]` on and before `spans[m + 1]`, in the order
    of their ends. From `since` to `at`, where a row has the closing quote, `contracts` traded at
    prices from `low` to `high`. In the same time the best ask fell to `ask_low`, and the best bid
    rose to `bid_high`; where one did not go beyond its opening, it is MISSING. A candlestick that
    tells none of this has no entry.
    """

    spans: Ints
    since: Ints
    at: Ints
    low: Ints
    high: Ints
    contracts: Ints
    ask_low: Ints
    bid_high: Ints

    def select(self, markets: Ints) -> "CandleRanges":
        """Return the candlesticks of some of the markets, in the given order."""
        counts = self.spans[markets + 1] - self.spans[markets]
        spans = np.concatenate(([0], np.cumsum(counts)))
        places = np.arange(spans[-1]) - np.repeat(spans[:-1] - self.spans[markets], counts)
        return CandleRanges(spans, *(column[places] for column in self[1:]))

    def only(self, kept: Bools) -> "CandleRanges":
        """Return the candlesticks that a mask keeps, for the same markets."""
        before = np.concatenate(([0], np.cumsum(kept)))
        return CandleRanges(before[self.spans], *(column[kept] for column in self[1:]))

    def known_at(self, at: int) -> "CandleRanges":
        """Return the candlesticks that had ended by an instant."""
        return self.only(self.at <= at)


def no_candles(markets: int) -> CandleRanges:
    nothing = np.empty(0, np.int64)
    return CandleRanges(np.zeros(markets + 1, np.int64), *[nothing] * 7)


def candle_ending(candles: CandleRanges, market: int, at: int) -> int:
    """Return the place of a market's candlestick that ends at an instant; -1 if none does.

    It takes plain arrays: the kernel compiles it.
    """
    end = candles.spans[market + 1]
    place = first_from(candles.at, candles.spans[market], end, at)
    return place if place < end and candles.at[place] == at else -1
