"""The tape: the trades of many markets in order. Each part of it is computed once and kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from markets.simulator.book import SimulatedBooks
from markets.simulator.cadence import HOUR, STEP
from markets.simulator.noise import Bools, Ints
from markets.simulator.orders import SECOND
from markets.simulator.trades import SimulatedTrades, trades_of

# Parts have about so many orders, but are no longer than an hour.
ORDERS = 500
LONGEST = HOUR // STEP
PARTS_KEPT = 32


class TradeCursor(NamedTuple):
    """The last trade of a page, from which the next page continues."""

    micros: int
    identity: int

    def older(self, trades: SimulatedTrades) -> Bools:
        same = (trades.micros == self.micros) & (trades.ids < np.uint64(self.identity))
        return np.asarray((trades.micros < self.micros) | same)


class Tape:
    """The trades of a board's markets. Spans are of microseconds, and both ends belong to them."""

    def __init__(self, books: SimulatedBooks, withdrawn: Ints, at: int) -> None:
        self.books = books
        self.withdrawn = withdrawn
        lives = books.prices.lives
        self.first, self.last = int(lives.opened.min()), int(lives.ended.max())
        self.seconds = STEP * min(max(int(ORDERS / self._orders_a_step(at)), 1), LONGEST)
        self._parts: dict[int, SimulatedTrades] = {}

    def _orders_a_step(self, at: int) -> float:
        """The mean number of orders in the last hour of trading."""
        hours, clock = self.books.prices.hours, self.books.orders.clock
        rows = np.arange(len(self.withdrawn))
        end = np.array(at)
        start = hours.instant(hours.trading_time(end) - HOUR)
        due = clock(rows, end * SECOND) - clock(rows, start * SECOND)
        return max(float(due.sum()) * STEP / HOUR, 1e-9)

    def newest(
        self, start: int, end: int, *, after: TradeCursor | None, most: int
    ) -> SimulatedTrades:
        """Up to `most` trades of all markets, newest first, starting after a cursor."""
        found, count = [self._nothing()], 0
        end = min(end, after.micros) if after else end
        for part in self._backwards(start // SECOND, end // SECOND):
            inside = (part.micros >= start) & (part.micros <= end)
            found.append(part.pick(inside & after.older(part) if after else inside))
            count += len(found[-1].rows)
            if count >= most:
                break
        whole = SimulatedTrades._make(np.concatenate(each) for each in zip(*found, strict=True))
        return whole.pick(slice(most))

    def of_market(
        self, row: int, start: int, end: int, *, after: TradeCursor | None, most: int
    ) -> SimulatedTrades:
        """Up to `most` trades of one market, newest first, starting after a cursor."""
        end = min(end, after.micros) if after else end
        bounds = self.books.orders.count(np.array([row, row]), np.array([start - 1, end]))
        # The cursor may stand within the newest order.
        first = max(int(bounds[0]), int(bounds[1]) - most - 1)
        numbers = np.arange(first, int(bounds[1]))
        trades = trades_of(self.books, np.full(len(numbers), row), numbers).newest_first()
        return trades.pick(after.older(trades) if after else slice(None)).pick(slice(most))

    def _nothing(self) -> SimulatedTrades:
        none = np.zeros(0, dtype=np.int64)
        return trades_of(self.books, none, none)

    def _backwards(self, start: int, end: int) -> Iterator[SimulatedTrades]:
        """The parts that hold trades of a span in seconds, newest first, without the closures."""
        number = min(end, self.last) // self.seconds
        while (number + 1) * self.seconds > max(start, self.first):
            begin = number * self.seconds
            closure = self.books.prices.hours.closure_at(begin)
            if closure and closure[1] >= begin + self.seconds:
                # Trades may still have come in the part in which the closure begins.
                number = min(number - 1, closure[0] // self.seconds)
                continue
            yield self._part(number)
            number -= 1

    def _part(self, number: int) -> SimulatedTrades:
        part = self._parts.pop(number, None)
        if part is None:
            part = self._compute(number * self.seconds, (number + 1) * self.seconds)
        # The part that was used last is kept longest.
        self._parts[number] = part
        if len(self._parts) > PARTS_KEPT:
            del self._parts[next(iter(self._parts))]
        return part

    def _compute(self, start: int, end: int) -> SimulatedTrades:
        """The trades in [start, end), in seconds; no order comes on a whole second."""
        orders = self.books.orders
        rows = self._trading_rows(start, end)
        first, last = (orders.count(rows, np.array(at * SECOND)) for at in (start, end))
        counts = last - first
        repeated = np.repeat(rows, counts)
        offsets = np.arange(len(repeated)) - np.repeat(np.cumsum(counts) - counts, counts)
        return trades_of(self.books, repeated, np.repeat(first, counts) + offsets).newest_first()

    def _trading_rows(self, start: int, end: int) -> Ints:
        """The markets in which orders may come in a span."""
        lives, event = self.books.prices.lives, self.books.prices.traits.event
        trading = (lives.opened < end) & (lives.ended > start)
        # A market is withdrawn only if it has not traded by then.
        rows = np.flatnonzero(trading[event] & (self.withdrawn >= end))
        may_come = self.books.orders.may_come
        return rows[may_come(rows, np.array(start * SECOND), np.array(end * SECOND))]
