"""Causal arrays for strategies: what a row knew of its own market until then.

Everything goes row by row through a `Seen` and never from one market into the next. A row's value
is the same, to the last bit, whatever came later: sums are kept in integers, in which nothing is
lost, or run over earlier rows of the market alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from backtests.data.universe import MISSING, SECOND, Bools, Floats, Ints, Seen

T = TypeVar("T")

CARRIED_FOR = 3_600.0  # seconds for which a price is still believed that nobody has seen since
UNITS = 20_000  # of a dollar, in which midpoints are whole
MOST = 2**31  # a window's rows times its largest value: the square stays below 2**63
FAINT = 1e-17  # a weight too small to change a sum


def once(function: Callable[[Seen], T]) -> Callable[[Seen], T]:
    """Computed once for each `Seen`, and forgotten with it: sweeps ask a thousand times."""
    kept: WeakKeyDictionary[Seen, T] = WeakKeyDictionary()

    def found(seen: Seen) -> T:
        if seen not in kept:
            kept[seen] = function(seen)
        return kept[seen]

    return found


@once
def begins(seen: Seen) -> Ints:
    """The first row of each row's market."""
    return np.repeat(seen.starts[:-1], np.diff(seen.starts))


@once
def age(seen: Seen) -> Ints:
    """How many rows of its market came before each row."""
    return np.arange(len(seen)) - begins(seen)


def previous(seen: Seen, values: Floats, rows: int = 1) -> Floats:
    """The value so many rows before, NaN where there was none."""
    before = np.full(len(seen), np.nan)
    before[rows:] = np.where(age(seen)[rows:] >= rows, values[:-rows], np.nan)
    return before


def _last_where(seen: Seen, condition: Bools) -> Ints:
    """The newest row of its market in which a condition held, `MISSING` before the first."""
    rows = np.maximum.accumulate(np.where(condition, np.arange(len(seen)), MISSING))
    return np.where(rows >= begins(seen), rows, MISSING)


def rows_since(seen: Seen, condition: Bools) -> Ints:
    """How many rows ago a condition held in this market, `MISSING` before the first."""
    rows = _last_where(seen, condition)
    return np.where(rows == MISSING, MISSING, np.arange(len(seen)) - rows)


def first(seen: Seen, values: Floats, condition: Bools) -> Floats:
    """The value at the first row of its market in which a condition held, NaN until then."""
    places = np.append(np.flatnonzero(condition), len(seen))
    firsts = places[np.searchsorted(places, seen.starts[:-1])]
    # Where a market has none, this is a row of a later one, which none of its own reaches.
    rows = np.repeat(firsts, np.diff(seen.starts))
    found = np.append(values, np.nan)[rows]
    return np.where(np.arange(len(seen)) >= rows, found, np.nan)


def carried(seen: Seen, values: Floats, seconds: float = CARRIED_FOR) -> Floats:
    """The newest known value of the market, NaN once it is older than so many seconds."""
    rows = _last_where(seen, ~np.isnan(values))
    old = seen.at - seen.at[rows] > seconds * SECOND
    return np.where(old | (rows == MISSING), np.nan, values[rows])


def exponential_mean(seen: Seen, values: Floats, rows: int) -> Floats:
    """The mean of all known values so far, each row's weight 1 - 2 / (rows + 1) of the next one's.

    NaN before the first known value; an unknown one leaves the mean as it was.
    """
    known = ~np.isnan(values)
    sums, weights = np.where(known, values, 0.0), known.astype(np.float64)
    factor, reach = 1 - 2 / (rows + 1), 1
    # Each turn doubles how far back the sums reach.
    while factor > FAINT and reach < len(seen):
        inside = np.where(age(seen)[reach:] >= reach, factor, 0.0)
        sums[reach:] += inside * sums[:-reach]
        weights[reach:] += inside * weights[:-reach]
        factor, reach = factor * factor, 2 * reach
    mean: Floats = np.divide(sums, weights, out=np.full(len(seen), np.nan), where=weights > 0)
    return mean


@dataclass(frozen=True, slots=True)
class Windows:
    """Means and deviations of a price over any number of rows, NaN until all of them are known.

    `units` is the price in 1/20,000 dollar, `known_for` for how many rows without a gap it has
    been known, and the sums run over all that came before.
    """

    units: Ints
    known_for: Ints
    sums: Ints
    squares: Ints
    most_rows: int

    def mean(self, rows: int) -> Floats:
        return self._known(rows, self._within(self.sums, rows) / (rows * UNITS))

    def deviation(self, rows: int) -> Floats:
        """The population's standard deviation."""
        return self._known(rows, np.sqrt(self._scatter(rows)) / (rows * UNITS))

    def score(self, rows: int) -> Floats:
        """By how many deviations the newest price lies above the mean; NaN where none moved."""
        spread = np.sqrt(self._scatter(rows))
        spread[spread == 0] = np.nan
        above = rows * self.units[rows - 1 :]
        above -= self._within(self.sums, rows)
        return self._known(rows, np.divide(above, spread, out=spread))

    def _within(self, sums: Ints, rows: int) -> Ints:
        """For each row that has enough before it, wherever they come from."""
        return sums[rows:] - sums[:-rows]

    def _scatter(self, rows: int) -> Ints:
        """The square of the deviation times that of `rows`, without a rounding."""
        if rows > self.most_rows:
            raise ValueError(f"a window of these values has at most {self.most_rows:,} rows")
        # In place: what a sweep of a long record costs is mostly memory.
        scatter, sums = self._within(self.squares, rows), self._within(self.sums, rows)
        scatter *= rows
        sums *= sums
        scatter -= sums
        return scatter

    def _known(self, rows: int, values: Floats) -> Floats:
        whole = np.full(len(self.units), np.nan)
        np.copyto(whole[rows - 1 :], values, where=self.known_for[rows - 1 :] >= rows)
        return whole


def windows(seen: Seen, values: Floats) -> Windows:
    """Of prices in dollars."""
    unknown = np.isnan(values)
    units = np.rint(np.where(unknown, 0.0, values) * UNITS).astype(np.int64)
    gap = _last_where(seen, unknown)
    before = np.where(gap == MISSING, begins(seen) - 1, gap)
    return Windows(
        units=units,
        known_for=np.arange(len(seen)) - before,
        sums=_summed(units),
        squares=_summed(units * units),
        most_rows=MOST // max(1, int(np.abs(units).max(initial=0))),
    )


def _summed(units: Ints) -> Ints:
    """Beyond 64 bits these sums wrap around, and the differences of two remain right."""
    return np.concatenate(([0], np.cumsum(units)))


@once
def mid(seen: Seen) -> Floats:
    """The last known midpoint of each market, for at most an hour."""
    return carried(seen, seen.mid)


@once
def mid_windows(seen: Seen) -> Windows:
    return windows(seen, mid(seen))


@once
def two_sided(seen: Seen) -> Bools:
    """Where a market trades and has a bid and an ask."""
    return seen.tradable & ~np.isnan(seen.mid)
