"""What a backtest may look at: every book that was known, in the order in which it was known.

Everything is integers: prices in 1/10,000 dollar on the YES scale, counts in 1/100 contract,
money in 1/1,000,000 dollar, instants in microseconds since 1970, UTC. A missing side, an unknown
size and an unknown time are `MISSING`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

MISSING = -1
DOLLAR = 10_000  # in units of price
CONTRACT = 100  # in units of count
MONEY = 1_000_000  # units of money in a dollar
SECOND = 1_000_000  # units of time
DAY = 86_400 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT_ONCE = 131_072  # rows
EPOCH_DAY = EPOCH.toordinal()  # days from the year 1 on, as backtrader counts them

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
N = TypeVar("N", bound=np.generic)


def microseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def instant(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


class Terms(NamedTuple):
    """A market's fee rates from an instant on, as fractions of count x price x (1 - price)."""

    since: int
    taker_numerator: int
    taker_denominator: int
    maker_numerator: int
    maker_denominator: int
    assumed: bool = False


class Grid(NamedTuple):
    """A market's price grid from an instant on: start, end and step of each of its stretches.

    Without any it is unknown, and refuses nothing.
    """

    since: int
    stretches: tuple[tuple[int, int, int], ...] = ()


class Settlement(NamedTuple):
    """How a market ended. Never in the hands of a strategy.

    The outcome was known from `known_at` on; the money was there at `paid_at`. `value` is what a
    YES contract got, in millionths of a dollar.
    """

    known_at: int
    paid_at: int
    value: int
    assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One market of a run: its event as known from the first quote on, its strikes as on record."""

    ticker: str
    event: str
    series: str = ""
    category: str = ""
    title: str = ""
    mutually_exclusive: bool = False
    strike_type: str = ""
    floor_strike: float | None = None
    cap_strike: float | None = None


@dataclass(frozen=True, slots=True)
class Quotes:
    """Columns of equal length, one row for each change of what was known, in the order of time.

    `market` is a place in the run's listings; rows of one instant are in its order. `volume` is
    all that traded until then, `last` the last trade's price, `close_at` when the market was to
    close as far as was known. A row that is not `tradable` ends trading until one that is.
    """

    at: Ints
    market: Ints
    bid: Ints
    ask: Ints
    bid_size: Ints
    ask_size: Ints
    last: Ints
    volume: Ints
    close_at: Ints
    tradable: Bools

    def __len__(self) -> int:
        return len(self.at)

    def taken(self, rows: Ints | Bools | slice) -> Self:
        """Some rows, in the order in which they are named."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def until(self, at: int) -> Self:
        """What was known at an instant, that instant included."""
        return self.taken(slice(0, int(np.searchsorted(self.at, at, side="right"))))


@dataclass(frozen=True, slots=True)
class Universe:
    """The markets of a run. `quotes.market` and what follows it go by place in `listings`.

    A market that had not ended when the data was read has no settlement. Of its terms and of its
    grids there is one at least: the first, which is in force until the next one is.
    """

    quotes: Quotes
    listings: Sequence[Listing]
    settlements: Sequence[Settlement | None]
    terms: Sequence[Sequence[Terms]]
    grids: Sequence[Sequence[Grid]]

    def of(self, places: Sequence[int]) -> "Universe":
        """Some of the markets, in the order in which they are named."""
        renamed = np.full(len(self.listings), MISSING)
        renamed[list(places)] = np.arange(len(places))
        market = renamed[self.quotes.market]
        kept = np.flatnonzero(market != MISSING)
        # Rows of one instant go by market, whose order may be another now.
        kept = kept[np.lexsort((market[kept], self.quotes.at[kept]))]
        return Universe(
            replace(self.quotes.taken(kept), market=market[kept]),
            [self.listings[place] for place in places],
            [self.settlements[place] for place in places],
            [self.terms[place] for place in places],
            [self.grids[place] for place in places],
        )

    def first_within(self, rows: int) -> "Universe":
        """As many of the markets, in their order, as have so many rows in all; one at least."""
        sizes = np.bincount(self.quotes.market, minlength=len(self.listings))
        fitting = int(np.searchsorted(np.cumsum(sizes), rows, side="right"))
        return self if fitting == len(sizes) else self.of(range(max(1, fitting)))

    def apart(self, at: int) -> "tuple[Universe, Universe]":
        """The markets that had been paid by an instant, and those first seen from it on.

        What was open across it belongs to neither: its outcome would tell of the other side.
        """
        first = np.full(len(self.listings), np.iinfo(np.int64).max)
        np.minimum.at(first, self.quotes.market, self.quotes.at)
        paid = [s is not None and s.paid_at <= at for s in self.settlements]
        return self.of(np.flatnonzero(paid).tolist()), self.of(np.flatnonzero(first >= at).tolist())


class Seen:
    """Quotes as arrays for strategies: market by market, each in the order of time.

    Prices are in dollars and sizes in contracts; NaN is unknown. `starts[m]` is the first row of
    market `m`, and `starts[m + 1]` the one after its last. What a row decides may rest on that
    row and on earlier ones of its market, and on nothing else.
    """

    def __init__(self, quotes: Quotes, listings: Sequence[Listing]) -> None:
        # Stable: rows of a market stay in the order of time.
        self.order: Ints = np.argsort(quotes.market, kind="stable")
        self.quotes = quotes.taken(self.order)
        self.listings = listings
        self.starts: Ints = np.searchsorted(self.quotes.market, np.arange(len(listings) + 1))

    def __len__(self) -> int:
        return len(self.order)

    @cached_property
    def market(self) -> Ints:
        return self.quotes.market

    @cached_property
    def at(self) -> Ints:
        """Microseconds since 1970."""
        return self.quotes.at

    @cached_property
    def bid(self) -> Floats:
        return known(self.quotes.bid, DOLLAR)

    @cached_property
    def ask(self) -> Floats:
        return known(self.quotes.ask, DOLLAR)

    @cached_property
    def mid(self) -> Floats:
        return self._of_both(self.quotes.bid + self.quotes.ask, 2 * DOLLAR)

    @cached_property
    def spread(self) -> Floats:
        return self._of_both(self.quotes.ask - self.quotes.bid, DOLLAR)

    @cached_property
    def bid_size(self) -> Floats:
        return known(self.quotes.bid_size, CONTRACT)

    @cached_property
    def ask_size(self) -> Floats:
        return known(self.quotes.ask_size, CONTRACT)

    @cached_property
    def last(self) -> Floats:
        return known(self.quotes.last, DOLLAR)

    @cached_property
    def volume(self) -> Floats:
        return known(self.quotes.volume, CONTRACT)

    @cached_property
    def seconds_to_close(self) -> Floats:
        """By the schedule of then; negative after it, NaN where it was unknown."""
        left = (self.quotes.close_at - self.quotes.at) / SECOND
        return np.where(self.quotes.close_at == MISSING, np.nan, left)

    @cached_property
    def tradable(self) -> Bools:
        return self.quotes.tradable

    def _of_both(self, units: Ints, dollar: int) -> Floats:
        """Divided once: so 15 and 20 cents are as far apart as a parameter of 0.05 says."""
        quotes = self.quotes
        unknown = (quotes.bid == MISSING) | (quotes.ask == MISSING)
        return np.where(unknown, np.nan, units / dollar)

    def in_time(self, values: NDArray[N]) -> NDArray[N]:
        """One value for each row here, put into the order of `Quotes`."""
        ordered = np.empty_like(values)
        ordered[self.order] = values
        return ordered


def parts_of(universe: Universe) -> Iterator[tuple[Ints, Seen]]:
    """Some markets at a time: their rows of the quotes, and what these look like to a strategy.

    What a strategy computes for a row takes ten times the room of the row; for this many, it
    stays in a processor's cache.
    """
    quotes, listings = universe.quotes, universe.listings
    order = np.argsort(quotes.market, kind="stable")
    starts = np.searchsorted(quotes.market[order], np.arange(len(listings) + 1))
    first = 0
    while first < len(listings):
        last = int(np.searchsorted(starts, starts[first] + AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), len(listings))
        rows = np.sort(order[starts[first] : starts[last]])
        yield rows, Seen(quotes.taken(rows), listings)
        first = last


def known(values: Ints, unit: int) -> Floats:
    """In dollars or contracts, NaN where unknown."""
    return np.where(values == MISSING, np.nan, values / unit)


def exact(values: Floats) -> Floats:
    """To the billionth: what floats say of 0.08 - 0.07 is not the 0.01 it is compared with."""
    return np.round(values, 9)
