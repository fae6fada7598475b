"""Order books whose best levels are those of the quote."""

from __future__ import annotations

import numpy as np

from markets.simulator.noise import Ints, mix, uniform
from markets.simulator.prices import ASK_SIZE, BID_SIZE, UNIT, Prices
from markets.simulator.render import PRICES, count_text

Levels = list[list[str]]
DEEPEST = 12
DEPTH = 11 << 48


def orderbook(prices: Prices, row: int, at: int, *, depth: int) -> dict[str, Levels]:
    """The bids of both sides, each on its own scale, the best last. Depth 0 means all levels."""
    rows, instants = np.array([row]), np.array([at])
    quotes = prices.quotes(rows, instants)
    deep = int(1 + DEEPEST * float(uniform(mix(prices.traits.key[rows], DEPTH), 0)[0]))
    count = min(depth, deep) if depth else deep
    bids = ladder(prices, rows, quotes.bid, stream=BID_SIZE, count=count)
    asks = ladder(prices, rows, quotes.ask, stream=ASK_SIZE, count=count)
    clock = prices.size_clock(rows, instants)
    yes = [level(prices, rows, p, clock=clock, stream=BID_SIZE) for p in bids]
    no = [level(prices, rows, p, clock=clock, stream=ASK_SIZE) for p in asks]
    return {
        "yes_dollars": [[PRICES[price], size] for price, size in yes],
        "no_dollars": [[PRICES[UNIT - price], size] for price, size in no],
    }


def ladder(prices: Prices, rows: Ints, best: Ints, *, stream: int, count: int) -> list[int]:
    """The prices of the levels from the worst to the best; empty where nothing is offered."""
    down = stream == BID_SIZE
    found: list[int] = []
    price = best
    while len(found) < count and 0 < price[0] < UNIT:
        found.append(int(price[0]))
        gap = 1 + int(4 * float(uniform(mix(prices.traits.key[rows], DEPTH), price)[0]) ** 3)
        for _ in range(gap):
            beyond = (price - 1 if down else price + 1) / UNIT
            price = prices.on_grid(rows, beyond, up=not down)
    return found[::-1]


def level(prices: Prices, rows: Ints, price: int, *, clock: Ints, stream: int) -> tuple[int, str]:
    size = prices.sizes(rows, np.array([price]), clock, stream=stream)
    return price, count_text(int(size[0]))
