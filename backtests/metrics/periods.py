"""Equity at the same instants in many runs on one universe: what a search compares its points by.

`trace` has every instant at which a run's equity changed. Hundreds of runs need it at a few hundred
instants alone, from marks that are looked up once for all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

from backtests.data.universe import DAY, DOLLAR, SECOND, Ints, Universe
from backtests.metrics.events import pnl_by_event
from backtests.metrics.marks import (
    NEVER,
    Positions,
    at_sides,
    books_of,
    payouts,
    positions_of,
)
from backtests.metrics.ratios import excess_returns
from backtests.metrics.sharpe import SharpeSample
from backtests.rules.execution import JOURNAL_COLUMN, RunOutcome
from kalshi_insights.arrays import np

MINUTE = 60 * SECOND
# A period is a part of a UTC day, or one: the longest of which there are enough.
LENGTHS = tuple(minutes * MINUTE for minutes in (1440, 720, 360, 180, 60, 30, 15, 5, 1))
LEAST_PERIODS = 64
# The positions of so many markets are looked up at once.
BATCH_MARKETS = 1_000


def period_length(start: int, end: int) -> int:
    """The length of the periods of a window, in microseconds."""
    enough = (length for length in LENGTHS if end - start >= LEAST_PERIODS * length)
    return next(enough, LENGTHS[-1])


class PeriodInstants(NamedTuple):
    """The instants at which equity is computed: `at[periods]` are those between which a period
    lies, `at[days]` the start, each midnight and the end.

    The last period is what came after the window: results that were known later.
    """

    at: Ints
    periods: Ints
    days: Ints

    @classmethod
    def of(cls, universe: Universe, *, start: int, end: int) -> Self:
        paid = [settlement.paid_at for settlement in universe.settlements if settlement]
        last = max(end, *paid) if paid else end
        ends = _between(start, end, period_length(start, end))
        midnights = _between(start, last, DAY)
        at = np.unique(np.concatenate(([start, end, last], ends, midnights)))
        periods = np.unique(np.concatenate(([start, end, last], ends)))
        days = np.concatenate(([start], midnights, [last]))
        return cls(at, np.searchsorted(at, periods), np.searchsorted(at, days))


def _between(start: int, end: int, length: int) -> Ints:
    return np.arange((start // length + 1) * length, end, length)


class Moments(NamedTuple):
    """The Sharpe ratio of daily returns above the riskless rate, for a day and not for a year, with
    what its error depends on. None where daily equity did not vary, or fell to nothing."""

    periods: int
    sharpe: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None


@dataclass(frozen=True)
class PeriodMarks:
    """The marks of all markets of a universe at some instants, for any number of runs."""

    universe: Universe
    instants: PeriodInstants

    def equity(self, outcome: RunOutcome, *, cash: int) -> Ints:
        """The equity of a run at each instant, as `trace` has it."""
        at = self.instants.at
        lines = outcome.journal
        times = lines[:, JOURNAL_COLUMN["at"]]
        gained = np.diff(lines[:, JOURNAL_COLUMN["cash"]], prepend=cash)
        order = np.argsort(times, kind="stable")
        paid = np.append(0, np.cumsum(gained[order]))
        equity: Ints = cash + paid[np.searchsorted(times[order], at, side="right")]
        for held in _batches(positions_of(outcome)):
            equity += self._worth(held)
        return equity

    def pnl_by_event(self, outcome: RunOutcome, *, cash: int) -> dict[str, int]:
        """The P&L of a run in each event that it traded in, open positions at their last marks."""
        lines, listings = outcome.journal, self.universe.listings
        pnl = np.zeros(len(listings), np.int64)
        gained = np.diff(lines[:, JOURNAL_COLUMN["cash"]], prepend=cash)
        np.add.at(pnl, lines[:, JOURNAL_COLUMN["market"]], gained)
        held = positions_of(outcome)
        last = held.position[held.starts[1:] - 1]
        at_end = np.full(len(last), len(self.instants.at) - 1)
        pnl[held.markets] += self._marks(last, held.markets, at_end)
        by_market = zip(held.markets.tolist(), pnl[held.markets].tolist(), strict=True)
        return pnl_by_event(dict(by_market), listings)

    def _worth(self, held: Positions) -> Ints:
        """The worth of positions at each instant, of all these markets together."""
        width = len(self.instants.at) + 1
        line_keys = held.market * width + np.searchsorted(self.instants.at, held.at)
        count = len(held.markets)
        wanted = np.arange(count)[:, None] * width + np.arange(width - 1)
        line = np.searchsorted(line_keys, wanted.ravel(), side="right") - 1
        is_own = line >= np.repeat(held.starts[:-1], width - 1)
        position = np.where(is_own, held.position[line], 0)
        which = np.flatnonzero(position)
        market, instant = held.markets[which // (width - 1)], which % (width - 1)
        worth = np.zeros(width - 1, np.int64)
        np.add.at(worth, instant, self._marks(position[which], market, instant))
        return worth

    def _marks(self, position: Ints, market: Ints, instant: Ints) -> Ints:
        books, width = self._books, len(self.instants.at) + 1
        row = np.searchsorted(books.keys, market * width + instant, side="right") - 1
        has_book = books.keys[row] // width == market
        bid = np.where(has_book, books.bid[row], 0)
        ask = np.where(has_book, books.ask[row], DOLLAR)
        is_known = self.instants.at[instant] >= self._known_at[market]
        paid = payouts(position, self._values[market])
        return np.where(is_known, paid, at_sides(position, bid, ask))

    @cached_property
    def _books(self) -> "LastBooks":
        return LastBooks.of(self.universe, self.instants.at)

    @cached_property
    def _values(self) -> Ints:
        return np.array([s.value if s else 0 for s in self.universe.settlements], np.int64)

    @cached_property
    def _known_at(self) -> Ints:
        return np.array([s.known_at if s else NEVER for s in self.universe.settlements], np.int64)

    def changes(self, equity: Ints) -> Ints:
        """The change of equity in each period."""
        return np.diff(equity[self.instants.periods])

    def moments(self, equity: Ints, outcome: RunOutcome, *, end: int, rate: float) -> Moments:
        """The moments of daily returns until the end of the window, or the run's last payment."""
        last = int(positions_of(outcome).at.max(initial=end))
        days = self.instants.days
        days = days[: int(np.searchsorted(self.instants.at[days], last)) + 1]
        return moments(equity[days], rate=rate)


class LastBooks(NamedTuple):
    """The last book of each market before or at each instant, where it had another one since the
    instant before. `keys` go by market and instant."""

    keys: Ints
    bid: Ints
    ask: Ints

    @classmethod
    def of(cls, universe: Universe, instants: Ints) -> Self:
        books = books_of(universe, np.arange(len(universe.listings)))
        keys = books.market * (len(instants) + 1) + np.searchsorted(instants, books.at)
        last = np.append(np.diff(keys) != 0, True)[: len(keys)]
        # A market without any book before it finds this one, which is nobody's.
        nobody = np.array([-1])
        columns = (each[last] for each in (keys, books.bid, books.ask))
        return cls(*(np.concatenate((nobody, column)) for column in columns))


def moments(daily: Ints, *, rate: float) -> Moments:
    """The moments of daily equity; `rate` is the riskless rate for a year."""
    excess = excess_returns(daily, rate=rate)
    sample = None if excess is None else SharpeSample.of(excess)
    if sample is None:
        return Moments(len(daily) - 1)
    return Moments(sample.periods, sample.sharpe, sample.skewness, sample.kurtosis)


def _batches(held: Positions) -> Iterator[Positions]:
    for first in range(0, len(held.markets), BATCH_MARKETS):
        yield held.within(first, min(first + BATCH_MARKETS, len(held.markets)))
