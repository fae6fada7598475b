"""The universe of a backtest: its markets, and their quotes in the order in which they were known.

Everything is integers: prices in 1/10,000 dollar on the YES scale, counts in 1/100 contract,
money in 1/1,000,000 dollar, instants in microseconds since 1970, UTC. A missing side, an unknown
size and an unknown time are `MISSING`. Markets go by their index in the universe's listings.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from backtests.data import observations
from backtests.data.by_market import ByMarket
from backtests.data.candles import CandleRanges, no_candles
from backtests.data.further_record import FurtherRecord
from backtests.data.gaps import MarketGaps, no_gaps
from backtests.data.open_interest import OpenInterest
from backtests.data.origins import Origins
from backtests.data.recorded_books import RecordedBooks
from backtests.data.tape import TradeTape, no_tape
from kalshi_insights import arrays
from kalshi_insights.arrays import np
from markets.fees import MOST_COUNT
from markets.intervals import EPOCH
from markets.observed import ObservedInstants

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = -1
DOLLAR = 10_000  # in units of price
CONTRACT = 100  # in units of count
MONEY = 1_000_000  # units of money in a dollar
SECOND = 1_000_000  # units of time
DAY = 86_400 * SECOND
HISTORY_ROWS = 131_072  # rows of quotes that go into one `QuoteHistory`
EPOCH_DAY = EPOCH.toordinal()  # days since the year 1, as backtrader counts them

Ints = arrays.Ints
Floats = arrays.Floats
Bools = arrays.Bools
N = TypeVar("N", bound="np.generic")


def microseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def instant(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


class Terms(NamedTuple):
    """Fee rates of a market from an instant on, as fractions of count x price x (1 - price)."""

    since: int
    taker_numerator: int
    taker_denominator: int
    maker_numerator: int
    maker_denominator: int
    assumed: bool = False


class Grid(NamedTuple):
    """The price grid of a market from an instant on: start, end and step of each price range.

    A grid without ranges is unknown and refuses nothing.
    """

    since: int
    ranges: tuple[tuple[int, int, int], ...] = ()


class Settlement(NamedTuple):
    """The settlement of a market. Strategies never see it.

    The outcome was known at `known_at`, and the money paid at `paid_at`. `value` is the settlement
    value of a YES contract, in millionths of a dollar.
    """

    known_at: int
    paid_at: int
    value: int
    assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A market of a run: its event as known at the first quote, its strikes as on record now."""

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
    """Columns of equal length, with one row for each change of what was known, oldest first.

    `market` is an index of the listings; rows of one instant go by it. `volume` is the cumulative
    volume, `last` the price of the last trade, `close_at` the scheduled close as known then. A
    row that is not `tradable` ends trading until one that is.
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

    def select(self, rows: Ints | Bools | slice) -> Self:
        """Some of the rows, in the given order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in QUOTE_COLUMNS})

    def until(self, at: int) -> Self:
        """The rows up to an instant, that instant included."""
        return self.select(slice(0, int(np.searchsorted(self.at, at, side="right"))))


# The one list of a quote's columns; loading, fingerprints and the engines go by it.
QUOTE_COLUMNS = tuple(field.name for field in fields(Quotes))


@dataclass(frozen=True, slots=True)
class Universe:
    """The markets of a run; quotes, settlements, terms and grids go by index in `listings`.

    A market that was not settled when the data was read has no settlement. Each market has at
    least one entry in `terms` and in `grids`; the first one holds until the second begins.
    Without `observed`, each row is an observation and there is no other; without `gaps`, none
    are known. `interest` and `books` are read where a strategy asks for them.
    """

    quotes: Quotes
    listings: Sequence[Listing]
    settlements: Sequence[Settlement | None]
    terms: Sequence[Sequence[Terms]]
    grids: Sequence[Sequence[Grid]]
    observed: ObservedInstants | None = None
    gaps: MarketGaps | None = None
    tape: TradeTape | None = None
    candles: CandleRanges | None = None
    interest: ByMarket[OpenInterest] | None = None
    books: ByMarket[RecordedBooks] | None = None
    origins: Origins = field(default_factory=Origins)

    def observations(self) -> ObservedInstants:
        """The observations of each market."""
        if self.observed is not None:
            return self.observed
        quotes = self.quotes
        return observations.of_rows(quotes.market, quotes.at, markets=len(self.listings))

    def known_tape(self) -> TradeTape:
        """The trades that are on record; none without a tape."""
        return no_tape(len(self.listings)) if self.tape is None else self.tape

    def known_candles(self) -> CandleRanges:
        """The candlesticks behind its rows; none where no row is one's close."""
        return no_candles(len(self.listings)) if self.candles is None else self.candles

    def known_gaps(self) -> MarketGaps:
        return no_gaps(len(self.listings)) if self.gaps is None else self.gaps

    def further(self) -> FurtherRecord:
        """The part of the record that strategies may see beside the quotes."""
        return FurtherRecord(
            self.terms, self.observations, self.gaps, self.tape, self.interest, self.books
        )

    def last_instant(self) -> int:
        """The end of a run: its last row, observation or trade, or the last gap's begin."""
        columns = (
            self.quotes.at,
            self.observations().instants,
            self.known_tape().at,
            self.known_gaps().since,
        )
        return max(int(column.max(initial=0)) for column in columns)

    def subset(self, markets: Sequence[int]) -> "Universe":
        """Some of the markets, in the given order."""
        new_index = np.full(len(self.listings), MISSING)
        new_index[list(markets)] = np.arange(len(markets))
        market = new_index[self.quotes.market]
        kept = np.flatnonzero(market != MISSING)
        # Rows of one instant go by market, and the markets may be in another order now.
        kept = kept[np.lexsort((market[kept], self.quotes.at[kept]))]
        return Universe(
            replace(self.quotes.select(kept), market=market[kept]),
            [self.listings[market] for market in markets],
            [self.settlements[market] for market in markets],
            [self.terms[market] for market in markets],
            [self.grids[market] for market in markets],
            self.observed and self.observed.select(np.array(markets, np.int64)),
            self.gaps and self.gaps.select(np.array(markets, np.int64)),
            self.tape and self.tape.select(np.array(markets, np.int64)),
            self.candles and self.candles.select(np.array(markets, np.int64)),
            self.interest and self.interest.select(np.array(markets, np.int64)),
            self.books and self.books.select(np.array(markets, np.int64)),
            self.origins,
        )

    def first_markets_within(self, rows: int) -> "Universe":
        """The first markets that have at most `rows` rows together, and at least one market."""
        sizes = np.bincount(self.quotes.market, minlength=len(self.listings))
        fitting = int(np.searchsorted(np.cumsum(sizes), rows, side="right"))
        return self if fitting == len(sizes) else self.subset(range(max(1, fitting)))

    def split_at(self, at: int) -> "tuple[Universe, Universe]":
        """The markets that were paid by an instant, and those first quoted at it or later.

        A market that was open across the instant is in neither part: its outcome would leak from
        one to the other.
        """
        first = np.full(len(self.listings), np.iinfo(np.int64).max)
        np.minimum.at(first, self.quotes.market, self.quotes.at)
        paid = [s is not None and s.paid_at <= at for s in self.settlements]
        earlier, later = np.flatnonzero(paid), np.flatnonzero(first >= at)
        return self.subset(earlier.tolist()), self.subset(later.tolist())


class QuoteHistory:
    """Quotes as arrays for strategies: market by market, each oldest first.

    Prices are in dollars and sizes in contracts; NaN is unknown. `starts[m]` is the first row of
    market `m`, and `starts[m + 1]` the row after its last. A decision at a row may depend on that
    row and on earlier rows of its market, and on nothing else.
    """

    def __init__(
        self, quotes: Quotes, listings: Sequence[Listing], further: FurtherRecord | None = None
    ) -> None:
        # Stable: rows of a market stay in the order of time.
        self.order: Ints = np.argsort(quotes.market, kind="stable")
        self.quotes = quotes.select(self.order)
        self.listings = listings
        self._further = further
        self.starts: Ints = np.searchsorted(self.quotes.market, np.arange(len(listings) + 1))

    @classmethod
    def of(cls, universe: Universe) -> Self:
        return cls(universe.quotes, universe.listings, universe.further())

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
        return to_floats(self.quotes.bid, DOLLAR)

    @cached_property
    def ask(self) -> Floats:
        return to_floats(self.quotes.ask, DOLLAR)

    @cached_property
    def mid(self) -> Floats:
        return self._two_sided(self.quotes.bid + self.quotes.ask, 2 * DOLLAR)

    @cached_property
    def spread(self) -> Floats:
        return self._two_sided(self.quotes.ask - self.quotes.bid, DOLLAR)

    @cached_property
    def bid_size(self) -> Floats:
        return to_floats(self.quotes.bid_size, CONTRACT)

    @cached_property
    def ask_size(self) -> Floats:
        return to_floats(self.quotes.ask_size, CONTRACT)

    @cached_property
    def last(self) -> Floats:
        return to_floats(self.quotes.last, DOLLAR)

    @cached_property
    def volume(self) -> Floats:
        return to_floats(self.quotes.volume, CONTRACT)

    @cached_property
    def seconds_to_close(self) -> Floats:
        """Seconds to the close as scheduled then; negative after it, NaN where unknown."""
        left = (self.quotes.close_at - self.quotes.at) / SECOND
        return np.where(self.quotes.close_at == MISSING, np.nan, left)

    @cached_property
    def tradable(self) -> Bools:
        return self.quotes.tradable

    # What is read or computed where a strategy asks for it; NaN without a record to read it from.

    @cached_property
    def open_interest(self) -> Floats:
        """Contracts that are open, by the newest row of the record."""
        return self._asked(
            lambda record: to_floats(record.open_interest(self.market, self.at), CONTRACT)
        )

    def bids_within(self, distance: float) -> Floats:
        """Contracts bid at most so many dollars below the best bid, by the newest book."""
        return self._depth(1, distance)

    def asks_within(self, distance: float) -> Floats:
        """Contracts offered at most so many dollars above the best ask, by the newest book."""
        return self._depth(-1, distance)

    @cached_property
    def book_age(self) -> Floats:
        """Seconds since the newest whole book was recorded: one is when it changes."""
        return self._asked(lambda record: record.book_ages(self.market, self.at) / SECOND)

    @cached_property
    def bought(self) -> Floats:
        """Contracts of YES that takers bought, by the trades that became known since the row
        before; NaN where the tape since then is not whole."""
        return self._taken(1)

    @cached_property
    def sold(self) -> Floats:
        """Contracts of YES that takers sold, as `bought`."""
        return self._taken(-1)

    def observed_share(self, seconds: float) -> Floats:
        """The share of the last so many seconds in which the market was observed; the time before
        its first observation was not."""
        time = max(1, round(seconds * SECOND))
        return self._asked(lambda record: record.observed_shares(self.market, self.at, time=time))

    def taker_fee(self, contracts: Floats | float, price: Floats | float) -> Floats:
        """The fee in dollars of taking so many contracts of YES at a price, by the terms in force
        for a member without a broker; of selling YES, or buying NO, where they are below zero."""
        return self._fee(contracts, price, maker=False)

    def maker_fee(self, contracts: Floats | float, price: Floats | float) -> Floats:
        """The fee of an order that is filled at rest, as `taker_fee`."""
        return self._fee(contracts, price, maker=True)

    def _depth(self, side: int, distance: float) -> Floats:
        units = round(distance * DOLLAR)
        return self._asked(
            lambda record: to_floats(
                record.contracts_within(self.market, self.at, side=side, distance=units), CONTRACT
            )
        )

    def _taken(self, taker: int) -> Floats:
        return self._asked(
            lambda record: to_floats(record.taken(self.market, self.at, taker=taker), CONTRACT)
        )

    def _fee(self, contracts: Floats | float, price: Floats | float, *, maker: bool) -> Floats:
        count, units = (
            np.rint(np.broadcast_to(np.multiply(given, unit), len(self)))
            for given, unit in ((contracts, CONTRACT), (price, DOLLAR))
        )
        known = (np.abs(count) <= MOST_COUNT) & (units >= 0) & (units <= DOLLAR)
        count, units = (np.where(known, each, 0).astype(np.int64) for each in (count, units))
        fee = self._asked(
            lambda record: record.fees(self.market, self.at, (count, units), maker=maker) / MONEY
        )
        return np.where(known, fee, np.nan)

    def _asked(self, read: Callable[[FurtherRecord], Floats]) -> Floats:
        return np.full(len(self), np.nan) if self._further is None else read(self._further)

    def _two_sided(self, units: Ints, dollar: int) -> Floats:
        """Dollars, NaN where a side is missing.

        Integers are divided once, so that 15 and 20 cents differ by exactly a parameter of 0.05.
        """
        quotes = self.quotes
        unknown = (quotes.bid == MISSING) | (quotes.ask == MISSING)
        return np.where(unknown, np.nan, units / dollar)

    def to_quote_order(self, values: "NDArray[N]") -> "NDArray[N]":
        """One value for each row of this history, in the order of `Quotes`."""
        ordered = np.empty_like(values)
        ordered[self.order] = values
        return ordered


def quote_histories(universe: Universe) -> Iterator[tuple[Ints, QuoteHistory]]:
    """The universe some markets at a time: their rows of the quotes, and their history.

    The arrays that a strategy computes take ten times the memory of its quotes; with this many
    rows they stay in the processor's cache.
    """
    quotes, listings, further = universe.quotes, universe.listings, universe.further()
    order = np.argsort(quotes.market, kind="stable")
    starts = np.searchsorted(quotes.market[order], np.arange(len(listings) + 1))
    first = 0
    while first < len(listings):
        last = int(np.searchsorted(starts, starts[first] + HISTORY_ROWS, side="right")) - 1
        last = min(max(last, first + 1), len(listings))
        rows = np.sort(order[starts[first] : starts[last]])
        yield rows, QuoteHistory(quotes.select(rows), listings, further)
        first = last


def to_floats(values: Ints, unit: int) -> Floats:
    """Dollars or contracts, NaN where unknown."""
    return np.where(values == MISSING, np.nan, values / unit)


def exact(values: Floats) -> Floats:
    """Round to the billionth: in floats, 0.08 - 0.07 differs from the 0.01 it is compared with."""
    return np.round(values, 9)
