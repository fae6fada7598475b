"""Order books: what makers have placed, less what takers have taken since the last refill.

Instants are in microseconds. A book at an instant lacks exactly what orders up to it have taken.
Makers fill it again whenever quotes change, at an instant of their own in every half minute, and
after every sixth order. All of it follows from the seed, so any instant can be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from markets.simulator.cadence import STEP
from markets.simulator.ladders import UNIT, Side
from markets.simulator.noise import REFILL, Bools, Ints, mix
from markets.simulator.orders import SECOND, TakerOrders
from markets.simulator.prices import Prices, SimulatedQuotes, window_steps
from markets.simulator.render import PRICES, count_text

Levels = list[list[str]]
# The mean steps of trading time between refills.
REFILL_PACE = 6
# The book is also filled between one round of so many orders and the next.
ROUND = 6


@dataclass(frozen=True, slots=True)
class SimulatedBooks:
    prices: Prices
    orders: TakerOrders

    @classmethod
    def of(cls, prices: Prices) -> SimulatedBooks:
        return cls(prices, TakerOrders(prices))

    def best(self, rows: Ints, at: Ints) -> SimulatedQuotes:
        """The top of the books at an instant."""
        quotes = self.prices.quotes(rows, at // SECOND)
        count = self.orders.count(rows, at)
        first = self.first_missing(rows, count, at)
        thinned = np.flatnonzero(first < count)
        if not len(thinned):
            return quotes
        shown = SimulatedQuotes(*(column.copy() for column in quotes))
        placed = SimulatedQuotes(*(column[thinned] for column in quotes))
        selected = rows[thinned]
        taken = self.taken(selected, first[thinned], count[thinned], placed)
        sides = self.prices.sides(selected, at[thinned] // SECOND)
        bid, shown.bid_size[thinned] = remaining(sides[0], placed.bid, taken[0])
        no_bid, shown.ask_size[thinned] = remaining(sides[1], UNIT - placed.ask, taken[1])
        shown.bid[thinned], shown.ask[thinned] = bid, UNIT - no_bid
        return shown

    def first_missing(self, rows: Ints, count: Ints, at: Ints) -> Ints:
        """The first of `count` orders whose contracts the book still lacks; `count` if none."""
        first, at = count.copy(), self._until_pause(rows, at)
        since = self._last_fill(rows, at)
        newest = self.orders.times(rows, np.maximum(count - 1, 0))
        lately = np.flatnonzero((count > 0) & (newest > since))
        rows, count, at, since = rows[lately], count[lately], at[lately], since[lately]
        start = (count - 1) // ROUND * ROUND
        # The newest order came after the last fill, so the search ends there at the latest.
        while (is_filled := self.orders.times(rows, start) <= since).any():
            start += is_filled
        is_over = (count % ROUND == 0) & (self._fill_after_round(rows, count - 1) <= at)
        first[lately] = np.where(is_over, count, start)
        return first

    def _until_pause(self, rows: Ints, at: Ints) -> Ints:
        """The instants, or where an event pauses, when that began; its books stand still then."""
        lives, event = self.prices.lives, self.prices.traits.event[rows]
        began, resumed = lives.calm_end[event] * SECOND, lives.late_start[event] * SECOND
        return np.where(at < resumed, np.minimum(at, began), at)

    def _last_fill(self, rows: Ints, at: Ints) -> Ints:
        """The newest instant at which quotes changed or makers filled the book by their clock."""
        seconds = at // SECOND
        changed = self.prices.last_change(self.prices.traits.event[rows], seconds)
        step = self.prices.hours.trading_time(seconds) // STEP
        window = step // REFILL_PACE
        here, before = (self._refill_steps(rows, each) for each in (window, window - 1))
        refilled = np.where(here <= step, here, before) * STEP
        return np.maximum(changed, self.prices.hours.instant(refilled)) * SECOND

    def _refill_steps(self, rows: Ints, window: Ints) -> Ints:
        key = mix(self.prices.traits.key[rows], REFILL)
        return window_steps(key, window, np.full(len(rows), REFILL_PACE))

    def _fill_after_round(self, rows: Ints, number: Ints) -> Ints:
        """The instant halfway between an order and the next one."""
        times = self.orders.trading_times
        return self.orders.wall_time((times(rows, number) + times(rows, number + 1)) / 2)

    def fill_after(self, rows: Ints, number: Ints, at: Ints) -> Ints:
        """The first fill after orders, given with their instants, other than changes of quotes."""
        now = self.prices.hours.trading_time(at // SECOND)
        window = now // STEP // REFILL_PACE
        here, later = (self._refill_steps(rows, each) * STEP for each in (window, window + 1))
        refilled = self.prices.hours.instant(np.where(here > now, here, later)) * SECOND
        is_last = (number + 1) % ROUND == 0
        after_round = np.where(is_last, self._fill_after_round(rows, number), refilled)
        return np.minimum(refilled, after_round)

    def last_moves(self, rows: Ints, at: Ints) -> Ints:
        """The newest instants at which anything of the markets' books or volumes changed."""
        changed = self.prices.last_change(self.prices.traits.event[rows], at // SECOND) * SECOND
        count = self.orders.count(rows, at)
        traded = np.flatnonzero(count > 0)
        if len(traded):
            number = count[traded] - 1
            times = self.orders.times(rows[traded], number)
            filled = self.fill_after(rows[traded], number, times)
            last = np.where(filled <= at[traded], filled, times)
            changed[traded] = np.maximum(changed[traded], last)
        return changed

    def moves(self, row: int, start: int, end: int) -> Ints:
        """List the instants around (start, end] at which orders or fills move one book."""
        bounds = self.orders.count(np.array([row, row]), np.array([start, end]))
        number = np.arange(max(int(bounds[0]) - 1, 0), int(bounds[1]))
        rows = np.full(len(number), row)
        times = self.orders.times(rows, number)
        return np.concatenate([times, self.fill_after(rows, number, times)])

    def buys(self, rows: Ints, number: Ints, quotes: SimulatedQuotes) -> Bools:
        """True where the taker buys YES, which is where somebody offers it."""
        bids, asks = quotes.bid > 0, quotes.ask < UNIT
        return np.where(bids == asks, self.orders.buys(rows, number), asks)

    def taken(
        self, rows: Ints, first: Ints, count: Ints, quotes: SimulatedQuotes
    ) -> tuple[Ints, Ints]:
        """The contracts that the orders [first, count) took from the bids and from the asks."""
        from_bids, from_asks = np.zeros_like(first), np.zeros_like(first)
        for place in range(int((count - first).max(initial=0))):
            number = first + place
            counts = (number < count) & ~self.orders.blocks(rows, number)
            size = np.where(counts, self.orders.sizes(rows, number), 0)
            buys = self.buys(rows, number, quotes)
            from_bids += np.where(buys, 0, size)
            from_asks += np.where(buys, size, 0)
        return from_bids, from_asks


def remaining(side: Side, best: Ints, taken: Ints) -> tuple[Ints, Ints]:
    """The best prices and their sizes after `taken` contracts are gone, from the best level on."""
    price, size, taken = best.copy(), np.zeros_like(best), taken.copy()
    left, place = np.flatnonzero(best > 0), 0
    while len(left):
        here = side.pick(left)
        shown = here.sizes(price[left], place)
        size[left] = shown - taken[left]
        is_empty = size[left] <= 0
        taken[left] -= shown
        price[left[is_empty]] = here.below(price[left])[is_empty]
        left, place = left[is_empty], place + 1
    return price, size


def orderbook(books: SimulatedBooks, row: int, at: int, *, depth: int) -> dict[str, Levels]:
    """The bids of both sides, each on its own scale, the best last. Depth 0 means all levels."""
    rows, instants = np.array([row]), np.array([at])
    quotes = books.prices.quotes(rows, instants // SECOND)
    count = books.orders.count(rows, instants)
    first = books.first_missing(rows, count, instants)
    bids, asks = books.prices.sides(rows, instants // SECOND)
    from_bids, from_asks = books.taken(rows, first, count, quotes)
    return {
        "yes_dollars": ladder(bids, quotes.bid, from_bids, depth=depth),
        "no_dollars": ladder(asks, UNIT - quotes.ask, from_asks, depth=depth),
    }


def ladder(side: Side, price: Ints, taken: Ints, *, depth: int) -> Levels:
    """The levels of a side from the worst to the best; empty where nothing is offered."""
    found: Levels = []
    place, is_last = 0, bool(price[0] <= 0)
    while not is_last and (not depth or len(found) < depth):
        size = side.sizes(price, place)
        if size[0] > taken[0]:
            found.append([PRICES[int(price[0])], count_text(int(size[0] - taken[0]))])
        taken = np.maximum(taken - size, 0)
        is_last = bool(side.is_last(price, place)[0])
        price, place = side.below(price), place + 1
    return found[::-1]
