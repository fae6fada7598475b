"""Public trades: the prints of takers' orders, one at each level that an order meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from markets.simulator.book import SimulatedBooks
from markets.simulator.cadence import iso
from markets.simulator.ladders import UNIT, Side
from markets.simulator.noise import ASK_SIZE, BID_SIZE, TRADE_ID, Bools, Ints, Keys, mix
from markets.simulator.orders import SECOND
from markets.simulator.render import PRICES, count_text

# The last bits of an id are the place of a print within its order, of at most so many prints.
PLACES = 16
LOW_HALF = 0x5DEECE66D


class SimulatedTrades(NamedTuple):
    """Columns of trades; those of one order share its instant in microseconds."""

    rows: Ints
    # The orders' numbers within their markets.
    numbers: Ints
    micros: Ints
    # Ascending within an order, so that they sort its trades as they happened.
    ids: Keys
    prices: Ints
    sizes: Ints
    buys: Bools
    blocks: Bools

    def pick(self, selected: Ints | Bools | slice) -> SimulatedTrades:
        return SimulatedTrades._make(column[selected] for column in self)

    def newest_first(self) -> SimulatedTrades:
        return self.pick(np.lexsort((self.ids, self.micros))[::-1])


class MetOrders(NamedTuple):
    """Columns of orders with what they meet. Prices are on the scale of the leg that is sold."""

    rows: Ints
    numbers: Ints
    micros: Ints
    buys: Bools
    # Agreed outside the book.
    blocks: Bools
    wanted: Ints
    # The best level as makers placed it, 0 where there is none, and what is gone from there on.
    best: Ints
    taken: Ints


class Prints(NamedTuple):
    """Takings of some orders: the order's index, the place of the level, its price and a size."""

    orders: Ints
    places: Ints
    prices: Ints
    sizes: Ints

    def pick(self, selected: Ints | Bools) -> Prints:
        return Prints(*(column[selected] for column in self))


def trades_of(books: SimulatedBooks, rows: Ints, numbers: Ints) -> SimulatedTrades:
    """The trades of orders, ascending by order and then as they happened."""
    met = meet(books, rows, numbers)
    found = fill(books, met)
    order = found.orders
    identity = mix(mix(books.prices.traits.key[rows], TRADE_ID), numbers)[order]
    return SimulatedTrades(
        rows[order],
        numbers[order],
        met.micros[order],
        identity // np.uint64(PLACES) * np.uint64(PLACES) + found.places.astype(np.uint64),
        yes_prices(books, met, found),
        found.sizes,
        met.buys[order],
        met.blocks[order],
    )


def meet(books: SimulatedBooks, rows: Ints, numbers: Ints) -> MetOrders:
    """Let orders meet the books that are shown just before them."""
    orders = books.orders
    micros = orders.times(rows, numbers)
    quotes = books.prices.quotes(rows, micros // SECOND)
    buys = books.buys(rows, numbers, quotes)
    best = np.where(buys, UNIT - quotes.ask, quotes.bid)
    first = books.first_missing(rows, numbers, micros)
    from_bids, from_asks = books.taken(rows, first, numbers, quotes)
    # Where nobody quotes, an order can only be agreed outside the book.
    blocks = orders.blocks(rows, numbers) | (best == 0)
    taken = np.where(buys, from_asks, from_bids)
    wanted = orders.sizes(rows, numbers)
    return MetOrders(rows, numbers, micros, buys, blocks, wanted, best, taken)


def fill(books: SimulatedBooks, met: MetOrders) -> Prints:
    """Return the prints of orders, ascending by order and then as it happened."""
    bids, _ = books.prices.sides(met.rows, met.micros // SECOND)
    side = bids._replace(stream=np.where(met.buys, ASK_SIZE, BID_SIZE))
    return joined([prints(side, met), agreed(met)])


def agreed(met: MetOrders) -> Prints:
    """Block trades, which take nothing from the book."""
    blocks = np.flatnonzero(met.blocks)
    return Prints(blocks, np.zeros_like(blocks), met.best[blocks], met.wanted[blocks])


def yes_prices(books: SimulatedBooks, met: MetOrders, found: Prints) -> Ints:
    """The prices of prints on the scale of YES; near the market's estimate where nobody quotes."""
    prices = np.where(met.buys[found.orders], UNIT - found.prices, found.prices)
    bare = np.flatnonzero(found.prices == 0)
    if len(bare):
        order = found.orders[bare]
        prices[bare] = books.prices.fair_prices(met.rows[order], met.micros[order] // SECOND)
    return prices


def prints(side: Side, met: MetOrders) -> Prints:
    """Fill orders from the best level on, each level as far as it goes."""
    price, taken = met.best.copy(), met.taken.copy()
    wanted = np.where(met.blocks, 0, met.wanted)
    parts: list[Prints] = []
    left, place = np.flatnonzero(wanted), 0
    while len(left):
        here = side.pick(left)
        size = here.sizes(price[left], place)
        part = np.minimum(np.maximum(size - taken[left], 0), wanted[left])
        level = Prints(left, np.full_like(left, place), price[left], part)
        parts.append(level.pick(part > 0))
        taken[left] = np.maximum(taken[left] - size, 0)
        wanted[left] -= part
        is_open = wanted[left] > 0
        price[left[is_open]] = here.below(price[left])[is_open]
        left, place = left[is_open], place + 1
    return joined(parts)


def joined(parts: Sequence[Prints]) -> Prints:
    """Put prints together, ascending by order and place."""
    nothing = Prints(*np.zeros((4, 0), dtype=np.int64))
    whole = Prints(*(np.concatenate(each) for each in zip(nothing, *parts, strict=True)))
    return whole.pick(np.lexsort((whole.places, whole.orders)))


def last_prices(books: SimulatedBooks, rows: Ints, count: Ints) -> Ints:
    """The price of the last trade of `count` orders, 0 where there was none."""
    prices = np.zeros(len(rows), dtype=np.int64)
    traded = np.flatnonzero(count > 0)
    if len(traded):
        met = meet(books, rows[traded], count[traded] - 1)
        found = fill(books, met)
        is_last = np.append(np.diff(found.orders) != 0, True)
        prices[traded] = yes_prices(books, met, found)[is_last]
    return prices


def trade_json(trades: SimulatedTrades, tickers: Sequence[str]) -> list[bytes]:
    columns = (trades.micros, trades.ids, trades.prices, trades.sizes, trades.buys, trades.blocks)
    fields = zip(*(column.tolist() for column in columns), strict=True)
    return [
        _encode(tickers[row], *each) for row, each in zip(trades.rows.tolist(), fields, strict=True)
    ]


def _encode(ticker: str, *fields: int) -> bytes:
    micros, identity, price, size, buys, is_block = fields
    high, low = f"{identity:016x}", f"{identity ^ LOW_HALF:016x}"
    side, book_side = ("yes", "bid") if buys else ("no", "ask")
    return (
        f'{{"trade_id":"{high[:8]}-{high[8:12]}-{high[12:]}-{low[:4]}-{low[4:]}",'
        f'"ticker":"{ticker}","count_fp":"{count_text(size)}",'
        f'"yes_price_dollars":"{PRICES[price]}","no_price_dollars":"{PRICES[UNIT - price]}",'
        f'"taker_side":"{side}","taker_outcome_side":"{side}","taker_book_side":"{book_side}",'
        f'"created_time":"{iso(micros / SECOND)}","is_block_trade":{str(bool(is_block)).lower()}}}'
    ).encode()
