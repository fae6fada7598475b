"""Public trades of any time span, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np

from markets.simulator.cadence import iso
from markets.simulator.noise import Bools, Ints, Keys, mix, uniform
from markets.simulator.prices import Prices
from markets.simulator.render import PRICES, Json, count_text

SECOND = 1_000_000
TRADE_ID, BLOCK = 12 << 48, 13 << 48
BLOCKS = 0.002


class Tape(NamedTuple):
    """Columns of trades: market row, number within the market, microseconds and id."""

    rows: Ints
    numbers: Ints
    micros: Ints
    ids: Keys

    def pick(self, selected: Ints | Bools) -> Tape:
        return Tape(
            self.rows[selected], self.numbers[selected], self.micros[selected], self.ids[selected]
        )


class TradeCursor(NamedTuple):
    """The last trade of a page, from which the next page continues."""

    micros: int
    identity: int


def between(prices: Prices, rows: Ints, start: int, end: int) -> Tape:
    """The trades in (start, end], in seconds, unordered."""
    first = prices.trade_count(rows, np.full(len(rows), start, dtype=np.int64))
    counts = prices.trade_count(rows, np.full(len(rows), end, dtype=np.int64)) - first
    repeated = np.repeat(rows, counts)
    offsets = np.arange(len(repeated)) - np.repeat(np.cumsum(counts) - counts, counts)
    numbers = np.repeat(first, counts) + offsets
    return Tape(
        repeated,
        numbers,
        prices.trade_times(repeated, numbers),
        mix(mix(prices.traits.key[repeated], TRADE_ID), numbers),
    )


def newest(
    prices: Prices, rows: Ints, span: tuple[int, int], *, after: TradeCursor | None, most: int
) -> Tape:
    """Up to `most` trades in (start, end], newest first, starting after a cursor."""
    start, end = span
    if after is not None:
        end = min(end, -(-after.micros // SECOND))
    width = 30
    while True:
        found = sort(between(prices, rows, max(start, end - width), end), after)
        if len(found.rows) >= most or end - width <= start:
            return found.pick(np.arange(min(most, len(found.rows))))
        width *= 4


def sort(tape: Tape, after: TradeCursor | None) -> Tape:
    if after is not None:
        older = tape.micros < after.micros
        same = (tape.micros == after.micros) & (tape.ids < np.uint64(after.identity))
        tape = tape.pick(older | same)
    return tape.pick(np.lexsort((tape.ids, tape.micros))[::-1])


def blocks(prices: Prices, tape: Tape) -> Bools:
    """Mark the block trades, which are agreed outside the order book."""
    return np.asarray(uniform(mix(prices.traits.key[tape.rows], BLOCK), tape.numbers) < BLOCKS)


def trade_json(prices: Prices, tape: Tape, tickers: Sequence[str]) -> list[Json]:
    if not len(tape.rows):
        return []
    level, buys = prices.trades(tape.rows, tape.numbers)
    size = prices.volume(tape.rows, tape.numbers + 1) - prices.volume(tape.rows, tape.numbers)
    columns = (tape.rows, tape.micros, tape.ids, level, buys, size, blocks(prices, tape))
    return [
        {
            "trade_id": str(UUID(int=identity << 64 | identity ^ 0x5DEECE66D)),
            "ticker": tickers[row],
            "count_fp": count_text(count),
            "yes_price_dollars": PRICES[price],
            "no_price_dollars": PRICES[10_000 - price],
            "taker_side": "yes" if bought else "no",
            "taker_outcome_side": "yes" if bought else "no",
            "taker_book_side": "bid" if bought else "ask",
            "created_time": iso(micros / SECOND),
            "is_block_trade": block,
        }
        for row, micros, identity, price, bought, count, block in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]
