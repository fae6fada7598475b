"""Gaps of backfilled quotes: a candle or an imported row is fresh for three of its periods, or as
long as its import says."""

from collections.abc import Sequence

from backtests.data.causes import CAUSES
from backtests.data.gaps import MarketGaps
from backtests.data.market_keys import first_rows
from backtests.data.observed_rows import QuotedInstants
from backtests.data.universe import MISSING, Ints
from kalshi_insights.arrays import np

FRESH_PERIODS = 3
NOT_COVERED = CAUSES.index("not covered")
# A market, the period of its candles or of rows of research tables, and the first and the last.
RowPeriod = tuple[int, int, int, int]
# A market, the time for which its rows of an import are fresh, and the number of the import.
ImportedPeriod = tuple[int, int, int]


def candle_gaps(
    quoted: QuotedInstants,
    candles: Sequence[RowPeriod],
    ends: Ints,
    *,
    stated: Sequence[RowPeriod] = (),
    fresh_for: Sequence[ImportedPeriod] = (),
) -> MarketGaps:
    """The gaps after backfilled quotes whose period is known; `ends` is when markets end.

    Times are in microseconds. Of several periods at a time, the shortest counts; of those that
    research tables stated, the last one. Rows of imports have no periods; `fresh_for` tells of
    each import for how long they are fresh.
    """
    period = _periods(quoted, sorted(candles, key=lambda each: -each[1]))
    own = _periods(quoted, stated)
    is_shorter = (own != MISSING) & ((own < period) | (period == MISSING))
    period = np.where(is_shorter, own, period)
    until = np.append(quoted.at[1:], MISSING)[: len(quoted.at)]
    final = np.append(quoted.market[1:] != quoted.market[:-1], True)[: len(until)]
    until[final] = ends[quoted.market[final]]
    fresh = np.where(period == MISSING, MISSING, FRESH_PERIODS * period)
    fresh = np.where(quoted.imports != 0, _of_imports(quoted, fresh_for), fresh)
    stale = quoted.at + fresh
    gaps = np.flatnonzero((fresh != MISSING) & quoted.backfilled & (stale < until))
    return MarketGaps(
        first_rows(quoted.market[gaps], len(quoted.starts) - 1),
        stale[gaps],
        until[gaps],
        np.full(len(gaps), NOT_COVERED),
    )


def _periods(quoted: QuotedInstants, periods: Sequence[RowPeriod]) -> Ints:
    """The period of each quote: the last of those in whose time it lies."""
    found = np.full(len(quoted.at), MISSING)
    for market, length, first, last in periods:
        own = quoted.rows_of(market)
        found[own][(quoted.at[own] >= first) & (quoted.at[own] <= last)] = length
    return found


def _of_imports(quoted: QuotedInstants, periods: Sequence[ImportedPeriod]) -> Ints:
    """The time for which each quote of an import is fresh."""
    found = np.full(len(quoted.at), MISSING)
    for market, length, number in periods:
        own = quoted.rows_of(market)
        found[own][quoted.imports[own] == number] = length
    return found
