"""The record beside the quotes of a universe, as it was known at each of their rows.

Everything is integers, as in a universe. Rows go market by market, and each of them by time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from backtests.data.by_market import ByMarket
from backtests.data.gaps import MarketGaps
from backtests.data.open_interest import OpenInterest
from backtests.data.recorded_books import RecordedBooks
from backtests.data.tape import KnownTrades, TradeTape
from kalshi_insights.arrays import Array, Floats, Ints, np
from markets import fees
from markets.intervals import EPOCH
from markets.observed import ObservedInstants, first_observation

UNKNOWN = -1
TermRow = tuple[int, int, int, int, int, bool]
# Columns of terms and of roundings.
SINCE, TAKER, MAKER = 0, slice(1, 3), slice(3, 5)
PRICE_UNITS = 10_000


@dataclass(frozen=True)
class FurtherRecord:
    """All that a universe has beside its quotes and outcomes, by the index of a market."""

    terms: Sequence[Sequence[TermRow]]
    observations: Callable[[], ObservedInstants]
    gaps: MarketGaps | None
    tape: TradeTape | None
    interest: ByMarket[OpenInterest] | None
    books: ByMarket[RecordedBooks] | None

    @cached_property
    def observed(self) -> ObservedInstants:
        return self.observations()

    @cached_property
    def trades(self) -> KnownTrades | None:
        return None if self.tape is None else KnownTrades(self.tape)

    def open_interest(self, market: Ints, at: Ints) -> Ints:
        interest = self.interest
        if interest is None:
            return np.full(len(at), UNKNOWN)
        return _for_each(market, lambda m, rows: interest.of(m).at_instants(at[rows]))

    def contracts_within(self, market: Ints, at: Ints, *, side: int, distance: int) -> Ints:
        """The contracts of the newest recorded book on a side, at prices so far from its best."""
        books = self.books
        if books is None:
            return np.full(len(at), UNKNOWN)
        return _for_each(
            market, lambda m, rows: books.of(m).contracts_within(side, distance, at[rows])
        )

    def book_ages(self, market: Ints, at: Ints) -> Floats:
        """The microseconds since the newest book was recorded, NaN where none was yet."""
        books = self.books
        if books is None:
            return np.full(len(at), np.nan)
        return _for_each(market, lambda m, rows: books.of(m).ages(at[rows]))

    def fees(self, market: Ints, at: Ints, order: tuple[Ints, Ints], *, maker: bool) -> Ints:
        """The fees of orders of so many contracts, below zero for sold ones, at these prices."""
        rate = self._rates(market, at, MAKER if maker else TAKER)
        return _charges(*order, rate, _roundings(at))

    def observed_shares(self, market: Ints, at: Ints, *, time: int) -> Floats:
        """The share of the time up to each instant in which a market was observed."""
        return _for_each(market, lambda m, rows: self.observed_share(m, at[rows], time=time))

    def observed_share(self, market: int, at: Ints, *, time: int) -> Floats:
        """The same for one market. The time before its first observation was not observed."""
        begun = first_observation(self.observed, market, 0)
        begin = np.minimum(np.maximum(at - time, begun), at)
        missed = self._unobserved(market, at) - self._unobserved(market, begin)
        seen: Floats = (np.maximum(at - begin, 0) - missed) / time
        return seen

    def _unobserved(self, market: int, at: Ints) -> Ints:
        """The time in gaps up to each instant."""
        if self.gaps is None:
            return np.zeros(len(at), np.int64)
        own = slice(*self.gaps.spans[market : market + 2])
        return _covered(self.gaps.since[own], self.gaps.until[own], at)

    def taken(self, market: Ints, at: Ints, *, taker: int) -> Ints:
        """The contracts that takers of a side traded, by what became known since the row before;
        -1 for the first row of a market, and where the tape since then is not whole."""
        trades = self.trades
        if trades is None:
            return np.full(len(at), UNKNOWN)
        return _for_each(market, lambda m, rows: trades.taken(m, at[rows], taker=taker))

    def _rates(self, market: Ints, at: Ints, columns: slice) -> Ints:
        """Numerator and denominator of the fee rate in force at each row."""
        return _for_each(
            market, lambda m, rows: np.array(self.terms[m])[self._in_force(m, at[rows]), columns]
        )

    def _in_force(self, market: int, at: Ints) -> Ints:
        since = np.array([terms[SINCE] for terms in self.terms[market]])
        # The first terms hold until the second begin.
        return np.maximum(np.searchsorted(since, at, side="right") - 1, 0)


def _for_each(market: Ints, values_of: Callable[[int, slice], Array]) -> Array:
    """Put together the values of each market's rows."""
    parts = [values_of(m, rows) for m, rows in _markets(market)]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _markets(market: Ints) -> Iterator[tuple[int, slice]]:
    begins = np.flatnonzero(np.diff(market, prepend=-1))
    for first, end in zip(begins.tolist(), [*begins[1:].tolist(), len(market)], strict=False):
        yield int(market[first]), slice(first, end)


def _covered(since: Ints, until: Ints, at: Ints) -> Ints:
    """The time that sorted and disjoint gaps cover up to each instant; the last may never end."""
    if not len(since):
        return np.zeros(len(at), np.int64)
    newest = np.searchsorted(since, at, side="right") - 1
    before = np.concatenate(([0], np.cumsum(until[:-1] - since[:-1])))
    covered = before[newest] + np.minimum(until[newest], at) - since[newest]
    return np.where(newest < 0, 0, covered)


def _roundings(at: Ints) -> Ints:
    """The rounding units of fees in force at each row, of a member without a broker."""
    eras = fees.roundings(broker=False)
    since = np.array([(era.since - EPOCH) // timedelta(microseconds=1) for era in eras])
    units: Ints = np.array([era[1:] for era in eras])
    return units[np.searchsorted(since, at, side="right") - 1]


def _charges(count: Ints, price: Ints, rate: Ints, rounding: Ints) -> Ints:
    """The net fee of an order that fills at once, as `fees.charge` computes it."""
    numerator, denominator = rate.T
    step, grid, rebate = rounding.T
    size = np.abs(count)
    exact = numerator * size * price * (PRICE_UNITS - price)
    fee = -(-exact // (denominator * PRICE_UNITS * step)) * step
    paid = np.where(count > 0, size * price, size * (PRICE_UNITS - price))
    rounded = (-paid - fee) % grid
    net: Ints = fee + rounded - np.minimum(rounded, fee + rounded) // rebate * rebate
    return net
