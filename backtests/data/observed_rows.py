"""Rows as observations: each proves an instant of its market, beside those that pages prove."""

from collections.abc import Sequence
from typing import NamedTuple, Self

from backtests.data.first_observations import first_observations
from backtests.data.market_keys import first_rows
from backtests.data.timeline import IMPORT, ColumnArrays, Pauses, is_backfilled
from backtests.data.universe import Bools, Ints
from kalshi_insights.arrays import np
from markets.observed import AFTER_ALL, ObservedInstants


class QuotedInstants(NamedTuple):
    """The instants of the markets' quotes, market by market and each by time.

    Imported ones count as backfilled, too; `imports` has the number of the import of each, and 0
    for others.
    """

    market: Ints
    at: Ints
    backfilled: Bools
    imports: Ints
    starts: Ints

    @classmethod
    def of(cls, parts: Sequence[ColumnArrays], markets: Sequence[int]) -> Self:
        """Put the quotes of several parts of the markets after each other."""
        before = np.cumsum([0, *markets[:-1]])
        market = np.concatenate(
            [part["market"] + first for part, first in zip(parts, before, strict=True)]
        )
        at = np.concatenate([part["at"] for part in parts])
        backfilled = np.concatenate([is_backfilled(part) for part in parts])
        return cls(market, at, backfilled, _imports(parts), first_rows(market, sum(markets)))

    def rows_of(self, market: int) -> slice:
        return slice(self.starts[market], self.starts[market + 1])

    @property
    def first(self) -> Ints:
        return self.at[self.starts[:-1]]

    def backfilled_times(self) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
        """For each market, when its quotes were backfilled: before it was recorded live, and after
        that. For a market that was never recorded live, that is always."""
        markets = len(self.starts) - 1
        first_live, last_live = np.full(markets, AFTER_ALL), np.full(markets, AFTER_ALL)
        live = ~self.backfilled
        np.minimum.at(first_live, self.market[live], self.at[live])
        last_live[self.market[live]] = self.at[live]  # the last one of each stays
        first_after = np.full(markets, AFTER_ALL)
        after = self.backfilled & (self.at > last_live[self.market])
        np.minimum.at(first_after, self.market[after], self.at[after])
        begun = np.where(first_live == AFTER_ALL, 0, self.first)
        return (begun, first_live), (first_after, np.full(markets, AFTER_ALL))


def _imports(parts: Sequence[ColumnArrays]) -> Ints:
    """Return the import of each quote; where none was read, the arrays need not have it."""
    if all(IMPORT in part for part in parts):
        return np.concatenate([part[IMPORT] for part in parts])
    return np.broadcast_to(np.int64(0), (sum(len(part["at"]) for part in parts),))


def with_rows(observed: ObservedInstants, quoted: QuotedInstants, runs: Ints) -> ObservedInstants:
    """Add the instants of quotes as a stream of its own for each market, in which it is always."""
    markets, streams = observed.markets, len(observed.starts) - 1
    ends = observed.spans[1:]
    return ObservedInstants(
        instants=np.concatenate((observed.instants, quoted.at)),
        runs=np.concatenate((observed.runs, runs)),
        starts=np.concatenate((observed.starts[:-1], quoted.starts + observed.starts[-1])),
        spans=observed.spans + np.arange(markets + 1),
        since=np.insert(observed.since, ends, 0),
        until=np.insert(observed.until, ends, AFTER_ALL - 1),
        streams=np.insert(observed.streams, ends, streams + np.arange(markets)),
    )


def pauses_of(observed: ObservedInstants, intervals: Sequence[tuple[int, int]]) -> Pauses:
    """Make pauses of sorted and disjoint intervals, for all markets."""
    every = np.arange(observed.markets)
    resumed = [
        first_observations(observed, every, np.full(len(every), end)) for _, end in intervals
    ]
    starts = np.array([start for start, _ in intervals], np.int64)
    return Pauses(starts, np.array(resumed, np.int64).reshape(len(intervals), len(every)).T)
