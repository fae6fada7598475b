"""Gaps of several sources put together, market by market."""

from backtests.data.gaps import MarketGaps
from backtests.data.market_keys import first_rows
from backtests.data.universe import Ints
from kalshi_insights.arrays import np


def outside(gaps: MarketGaps, start: Ints, end: Ints) -> MarketGaps:
    """The parts of gaps outside of a time of each market, from its start on and before its end."""
    market = _market(gaps)
    until = np.minimum(gaps.until, start[market])
    since = np.maximum(gaps.since, end[market])
    # Where the time is empty, the whole gap is kept once.
    is_empty = (start >= end)[market]
    before = gaps._replace(until=np.where(is_empty, gaps.until, until))
    after = gaps._replace(since=np.where(is_empty, gaps.until, since))
    return joined(*(each.only(each.since < each.until) for each in (before, after)))


def joined(one: MarketGaps, other: MarketGaps) -> MarketGaps:
    """The gaps of two sources for the same markets, which must be disjoint."""
    market = np.concatenate((_market(one), _market(other)))
    since, until, cause = (
        np.concatenate(columns) for columns in zip(one[1:], other[1:], strict=True)
    )
    order = np.lexsort((since, market))
    spans = first_rows(market[order], len(one.spans) - 1)
    return MarketGaps(spans, since[order], until[order], cause[order])


def _market(gaps: MarketGaps) -> Ints:
    return np.repeat(np.arange(len(gaps.spans) - 1), np.diff(gaps.spans))
