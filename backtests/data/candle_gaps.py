"""Gaps of backfilled quotes: a candle is fresh for three of its own periods."""

from collections.abc import Sequence

from backtests.data.causes import CAUSES
from backtests.data.gaps import MarketGaps
from backtests.data.market_keys import first_rows
from backtests.data.observed_rows import QuotedInstants
from backtests.data.universe import MISSING, Ints
from kalshi_insights.arrays import np

FRESH_PERIODS = 3
NOT_COVERED = CAUSES.index("not covered")
# A market, the period of its candles, and the ends of the first and the last of them.
CandlePeriod = tuple[int, int, int, int]


def candle_gaps(quoted: QuotedInstants, periods: Sequence[CandlePeriod], ends: Ints) -> MarketGaps:
    """The gaps after backfilled quotes whose period is known; `ends` is when markets end.

    Times are in microseconds. Where a market has candles of several periods at a time, the
    shortest counts.
    """
    period = np.full(len(quoted.at), MISSING)
    for market, length, first, last in sorted(periods, key=lambda each: -each[1]):
        own = slice(quoted.starts[market], quoted.starts[market + 1])
        period[own][(quoted.at[own] >= first) & (quoted.at[own] <= last)] = length
    until = np.append(quoted.at[1:], MISSING)[: len(quoted.at)]
    final = np.append(quoted.market[1:] != quoted.market[:-1], True)[: len(until)]
    until[final] = ends[quoted.market[final]]
    stale = quoted.at + FRESH_PERIODS * period
    gaps = np.flatnonzero((period != MISSING) & quoted.backfilled & (stale < until))
    return MarketGaps(
        first_rows(quoted.market[gaps], len(quoted.starts) - 1),
        stale[gaps],
        until[gaps],
        np.full(len(gaps), NOT_COVERED),
    )
