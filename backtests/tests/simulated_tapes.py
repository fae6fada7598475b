"""Simulated markets with their public trades: prints, volumes and books that agree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from backtests.data.stretches import Stretches
from backtests.data.tape import TradeTape, tape_of
from backtests.data.universe import MISSING, SECOND, Ints, Universe
from backtests.tests.simulated_universes import HOURS, columns_of_books, observed_universe
from markets.simulator import universe as exchange
from markets.simulator.book import SimulatedBooks
from markets.simulator.cadence import STEP
from markets.simulator.prices import Prices
from markets.simulator.trades import SimulatedTrades, trades_of


def taped_universe(selected: Sequence[exchange.SimulatedEvent], *, bias: bool) -> Universe:
    """The markets of events observed every five seconds, and a tape of all their trades."""
    prices = Prices.of(selected, bias=bias, hours=HOURS)
    shown = ShownMarkets(SimulatedBooks.of(prices))
    universe = observed_universe(prices, selected, shown.columns)
    return replace(universe, tape=shown.tape())


@dataclass(frozen=True, slots=True)
class ShownMarkets:
    """Markets as their books show them, less what takers have taken."""

    books: SimulatedBooks

    def columns(self, rows: Ints, at: Ints) -> dict[str, Ints]:
        """The columns of one market's quotes at instants in seconds."""
        quotes = self.books.best(rows, at * SECOND)
        count = self.books.orders.count(rows, at * SECOND)
        trades = self.trades(int(rows[0]))
        newest = np.searchsorted(trades.micros, at * SECOND, side="right")
        return columns_of_books(self.books.prices, quotes, rows, at) | {
            "last": np.append(MISSING, trades.prices)[newest],
            "volume": self.books.orders.volume(rows, count),
        }

    def trades(self, market: int) -> SimulatedTrades:
        """All trades of a market, oldest first, those agreed outside the book included."""
        ended = self._life(market)[1]
        count = int(self.books.orders.count(np.array([market]), np.array([ended]))[0])
        return trades_of(self.books, np.full(count, market), np.arange(count))

    def tape(self) -> TradeTape:
        markets = range(len(self.books.prices.traits.event))
        rows = [row for market in markets for row in self._tape_rows(market)]
        return tape_of(rows, [[self._life(market)] for market in markets])

    def _tape_rows(self, market: int) -> list[Sequence[int]]:
        """A market's trades in the order of `TRADE_COLUMNS`, known from the next look on."""
        trades = self.trades(market)
        trades = trades.pick(~trades.blocks)
        step = STEP * SECOND
        known_at = -(-trades.micros // step) * step
        taker = np.where(trades.buys, 1, -1)
        columns = (trades.micros, trades.rows, trades.prices, trades.sizes, taker, known_at)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _life(self, market: int) -> tuple[int, int]:
        event, lives = self.books.prices.traits.event[market], self.books.prices.lives
        return int(lives.opened[event]) * SECOND, int(lives.ended[event]) * SECOND


def without_tape_in(universe: Universe, outages: Sequence[tuple[int, int]]) -> Universe:
    """The same markets if the trades of outages had never been read."""
    tape = universe.known_tape()
    since, until = (
        np.tile(edge, tape.markets) for edge in np.array(outages, np.int64).reshape(-1, 2).T
    )
    market = np.repeat(np.arange(tape.markets), len(outages))
    whole = Stretches(tape.spans, tape.since, tape.until).without(market, since, until)
    kept = whole.covering(tape.market, tape.at) >= 0
    return replace(universe, tape=tape.trades(kept)._replace(**whole._asdict()))
