"""Reading a tape in the order of time, for the markets in which orders rest."""

from collections.abc import Collection, Iterator

import numpy as np

from backtests.data.tape import TapeTrade, TradeTape
from kalshi_insights.arrays import first_from
from markets.observed import AFTER_ALL

# Trades converted at once: a Python list takes more memory than an array.
CHUNK = 65_536


class TapeCursor:
    """Moves along a tape; it skips the trades of markets in which no order rests."""

    def __init__(self, tape: TradeTape) -> None:
        self._tape = tape
        self._next = 0
        self._first = 0
        self._trades: list[TapeTrade] = []

    def next_at(self, markets: Collection[int], until: int) -> int:
        """Return the instant of the next trade in some markets; `AFTER_ALL` if none comes until
        then, that instant included."""
        if not markets:
            self._next = max(self._next, self._first_from(min(until, AFTER_ALL - 1) + 1))
        while (trade := self._at(self._next)) and trade.at <= until:
            if trade.market in markets:
                return trade.at
            self._next += 1
        return AFTER_ALL

    def read(self, until: int) -> Iterator[tuple[int, TapeTrade]]:
        """Read on until an instant: each trade with its place on the tape."""
        while (trade := self._at(self._next)) and trade.at <= until:
            yield self._next, trade
            self._next += 1

    def between(self, market: int, since: int, until: int) -> Iterator[tuple[int, TapeTrade]]:
        """The trades of a market from an instant to another, both included, wherever it is."""
        first, end = self._first_from(since), self._first_from(until + 1)
        places = np.flatnonzero(self._tape.market[first:end] == market) + first
        trades = self._tape.trades(places).as_trades(0, len(places))
        return zip(places.tolist(), trades, strict=True)

    def _first_from(self, at: int) -> int:
        return first_from(self._tape.at, 0, len(self._tape.at), at)

    def _at(self, place: int) -> TapeTrade | None:
        if place >= len(self._tape.at):
            return None
        if not self._first <= place < self._first + len(self._trades):
            self._first = place
            self._trades = self._tape.as_trades(place, place + CHUNK)
        return self._trades[place - self._first]
