"""Quotes as backtrader reads them: one feed for each market."""

import math
from collections.abc import Iterator
from typing import Any

import backtrader as bt

from backtests.data.universe import (
    CONTRACT,
    DAY,
    DOLLAR,
    EPOCH_DAY,
    MISSING,
    QUOTE_COLUMNS,
    SECOND,
    Listing,
    Quotes,
)
from backtests.engine.event_driven.book_top import BookTop

# Rows converted at once: a Python list takes five times the memory of an array.
CHUNK = 65_536


class Feed(bt.feed.DataBase):
    """One market. Prices in dollars, sizes in contracts, times in seconds; NaN is unknown.

    `close` is the last midpoint, so that an indicator never meets a NaN, and a feed begins with
    its first two-sided book. Bars are appended as they become known, so a feed holds no future.
    `datetime` is backtrader's own and too coarse to tell instants apart; the exact instant is the
    strategy's `now`.
    """

    linesoverride = True
    lines = ("close", "bid", "ask", "bid_size", "ask_size", "time_to_close", "datetime")

    def __init__(self, listing: Listing, market: int) -> None:
        self.listing = listing
        self.market = market
        self.has_begun = False
        super().__init__()

    def start(self) -> None:
        super().start()
        self._columns = [getattr(self.lines, name) for name in self.getlinealiases()]

    def append(self, at: int, top: BookTop, close_at: int) -> None:
        """Append a bar of a book, if the book is two-sided or the feed has begun."""
        bid, ask = top.bid, top.ask
        if bid >= 0 and ask >= 0:
            close = (bid + ask) / (2 * DOLLAR)
            self.has_begun = True
        elif self.has_begun:
            close = self.close[0]
        else:
            return
        bar = (
            close,
            bid / DOLLAR if bid >= 0 else math.nan,
            ask / DOLLAR if ask >= 0 else math.nan,
            top.bid_shown / CONTRACT if top.bid_shown else math.nan,
            top.ask_shown / CONTRACT if top.ask_shown else math.nan,
            math.nan if close_at == MISSING else (close_at - at) / SECOND,
            EPOCH_DAY + at / DAY,
        )
        for line, value in zip(self._columns, bar, strict=True):
            line.forward(value)


def quote_rows(quotes: Quotes) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Each row as its number, its instant and its values."""
    for first in range(0, len(quotes), CHUNK):
        columns = [getattr(quotes, name)[first : first + CHUNK].tolist() for name in QUOTE_COLUMNS]
        for row, values in enumerate(zip(*columns, strict=True), first):
            yield row, values[0], values
