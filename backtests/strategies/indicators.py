"""Causal indicators: arrays whose value at a row depends on no later row and no other market.

No value reaches from one market into another. The value of a row is the same, to the last bit,
whatever comes later: sums are kept in integers, which lose nothing, or run over earlier rows of
the market alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

from backtests.data.universe import MISSING, SECOND, Bools, Floats, Ints, QuoteHistory
from kalshi_insights.arrays import np

T = TypeVar("T")

CARRIED_SECONDS = 3_600.0  # a price counts as current for so long after its last quote
UNITS = 20_000  # units of a dollar in which midpoints are integers
MAX_WINDOW = 2**31  # rows of a window times its largest value, whose square must be below 2**63
NEGLIGIBLE = 1e-17  # a weight too small to change a sum


def cached_per_history(function: Callable[[QuoteHistory], T]) -> Callable[[QuoteHistory], T]:
    """Cache an indicator for each `QuoteHistory`: a parameter search asks a thousand times."""
    cache: WeakKeyDictionary[QuoteHistory, T] = WeakKeyDictionary()

    def cached(history: QuoteHistory) -> T:
        if history not in cache:
            cache[history] = function(history)
        return cache[history]

    return cached


@cached_per_history
def first_rows(history: QuoteHistory) -> Ints:
    """The first row of each row's market."""
    return np.repeat(history.starts[:-1], np.diff(history.starts))


@cached_per_history
def rows_before(history: QuoteHistory) -> Ints:
    """The number of rows of the market before each row."""
    return np.arange(len(history)) - first_rows(history)


def previous(history: QuoteHistory, values: Floats, rows: int = 1) -> Floats:
    """The value `rows` rows before, NaN where there is none."""
    before = np.full(len(history), np.nan)
    before[rows:] = np.where(rows_before(history)[rows:] >= rows, values[:-rows], np.nan)
    return before


def _last_where(history: QuoteHistory, condition: Bools) -> Ints:
    """The newest row of the market in which a condition held, `MISSING` before the first."""
    rows = np.maximum.accumulate(np.where(condition, np.arange(len(history)), MISSING))
    return np.where(rows >= first_rows(history), rows, MISSING)


def rows_since(history: QuoteHistory, condition: Bools) -> Ints:
    """The number of rows since a condition last held in the market, `MISSING` before the first."""
    rows = _last_where(history, condition)
    return np.where(rows == MISSING, MISSING, np.arange(len(history)) - rows)


def first_where(history: QuoteHistory, values: Floats, condition: Bools) -> Floats:
    """The value at the first row of the market in which a condition held, NaN until then."""
    matching = np.append(np.flatnonzero(condition), len(history))
    firsts = matching[np.searchsorted(matching, history.starts[:-1])]
    # For a market without a match this is a row of a later market, which its own never reach.
    rows = np.repeat(firsts, np.diff(history.starts))
    first_values = np.append(values, np.nan)[rows]
    return np.where(np.arange(len(history)) >= rows, first_values, np.nan)


def carry_forward(
    history: QuoteHistory, values: Floats, seconds: float = CARRIED_SECONDS
) -> Floats:
    """The newest known value of the market, NaN once it is older than `seconds`."""
    rows = _last_where(history, ~np.isnan(values))
    old = history.at - history.at[rows] > seconds * SECOND
    return np.where(old | (rows == MISSING), np.nan, values[rows])


def exponential_mean(history: QuoteHistory, values: Floats, rows: int) -> Floats:
    """The exponential mean, in which each weight is 1 - 2 / (rows + 1) of the next row's.

    NaN before the first known value; an unknown value leaves the mean as it is.
    """
    known = ~np.isnan(values)
    sums, weights = np.where(known, values, 0.0), known.astype(np.float64)
    factor, reach = 1 - 2 / (rows + 1), 1
    # Each pass doubles how far back the sums reach.
    while factor > NEGLIGIBLE and reach < len(history):
        inside = np.where(rows_before(history)[reach:] >= reach, factor, 0.0)
        sums[reach:] += inside * sums[:-reach]
        weights[reach:] += inside * weights[:-reach]
        factor, reach = factor * factor, 2 * reach
    mean: Floats = np.divide(sums, weights, out=np.full(len(history), np.nan), where=weights > 0)
    return mean


@dataclass(frozen=True, slots=True)
class RollingWindows:
    """Means and standard deviations of a price over any number of rows, NaN until all are known.

    `units` is the price in 1/20,000 dollar, `known_for` the number of rows for which it has been
    known without a gap, and the sums are cumulative.
    """

    units: Ints
    known_for: Ints
    sums: Ints
    squares: Ints
    max_rows: int

    def mean(self, rows: int) -> Floats:
        return self._known(rows, self._within(self.sums, rows) / (rows * UNITS))

    def standard_deviation(self, rows: int) -> Floats:
        """The standard deviation of the population."""
        return self._known(rows, np.sqrt(self._scatter(rows)) / (rows * UNITS))

    def z_score(self, rows: int) -> Floats:
        """The standard deviations by which the price is above its mean; NaN if it never moved."""
        spread = np.sqrt(self._scatter(rows))
        spread[spread == 0] = np.nan
        above = rows * self.units[rows - 1 :]
        above -= self._within(self.sums, rows)
        return self._known(rows, np.divide(above, spread, out=spread))

    def _within(self, sums: Ints, rows: int) -> Ints:
        """The sum over each window, even across markets; `_known` discards those."""
        return sums[rows:] - sums[:-rows]

    def _scatter(self, rows: int) -> Ints:
        """The variance times the square of `rows`, as an exact integer."""
        if rows > self.max_rows:
            raise ValueError(f"a window of these values can have at most {self.max_rows:,} rows")
        # This works in place, since memory is most of what a search on a long record costs.
        scatter, sums = self._within(self.squares, rows), self._within(self.sums, rows)
        scatter *= rows
        sums *= sums
        scatter -= sums
        return scatter

    def _known(self, rows: int, values: Floats) -> Floats:
        whole = np.full(len(self.units), np.nan)
        np.copyto(whole[rows - 1 :], values, where=self.known_for[rows - 1 :] >= rows)
        return whole


def rolling_windows(history: QuoteHistory, values: Floats) -> RollingWindows:
    """Rolling windows over prices in dollars."""
    unknown = np.isnan(values)
    units = np.rint(np.where(unknown, 0.0, values) * UNITS).astype(np.int64)
    gap = _last_where(history, unknown)
    before = np.where(gap == MISSING, first_rows(history) - 1, gap)
    return RollingWindows(
        units=units,
        known_for=np.arange(len(history)) - before,
        sums=_summed(units),
        squares=_summed(units * units),
        max_rows=MAX_WINDOW // max(1, int(np.abs(units).max(initial=0))),
    )


def _summed(units: Ints) -> Ints:
    """Cumulative sums; beyond 64 bits they wrap around, and differences of two stay right."""
    return np.concatenate(([0], np.cumsum(units)))


@cached_per_history
def carried_mid(history: QuoteHistory) -> Floats:
    """The last known midpoint of each market, carried forward for at most an hour."""
    return carry_forward(history, history.mid)


@cached_per_history
def mid_windows(history: QuoteHistory) -> RollingWindows:
    return rolling_windows(history, carried_mid(history))


@cached_per_history
def two_sided(history: QuoteHistory) -> Bools:
    """Return whether a market trades and has both a bid and an ask."""
    return history.tradable & ~np.isnan(history.mid)
