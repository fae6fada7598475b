"""The time in which markets could be traded, at the quotes that stood there.

A quote stands until the next row of its market. It does not stand while the market was not trading,
nor within a gap of the record. Prices are as in `Quotes`.
"""

from typing import NamedTuple, Self

import numpy as np

from backtests.data.market_keys import MarketKeys, first_rows
from backtests.data.universe import DOLLAR, MISSING, MONEY, Bools, Ints, Settlement, Universe
from markets.observed import AFTER_ALL

UNITS = MONEY // DOLLAR  # millionths of a dollar in a unit of price


class TradableTime(NamedTuple):
    """Pieces of the time of several markets, which count from 0; each market's by time.

    A side is missing where it was empty or could not be traded. Those of market `m` are the pieces
    from `starts[m]` on and before `starts[m + 1]`; its result is known at `ends[m]`, or the run
    is over.
    """

    keys: MarketKeys
    market: Ints
    since: Ints
    until: Ints
    bid: Ints
    ask: Ints
    starts: Ints
    ends: Ints

    @classmethod
    def of(cls, universe: Universe, markets: Ints, rows: Ints) -> Self:
        """The time of these markets, whose rows of the quotes go by market and then by time."""
        quotes, gaps = universe.quotes, universe.known_gaps().select(markets)
        ends = _ends(universe, markets)
        quoted, gapped = (
            np.searchsorted(markets, quotes.market[rows]),
            np.repeat(np.arange(len(markets)), np.diff(gaps.spans)),
        )
        gap_until = np.minimum(gaps.until, ends[gapped])
        market = np.concatenate((quoted, gapped, gapped))
        since = np.concatenate((quotes.at[rows], gaps.since, gap_until))
        order = np.lexsort((since, market))
        market, since = market[order], since[order]
        keys = MarketKeys(int(since.min(initial=AFTER_ALL)), int(since.max(initial=0)))
        row = keys.newest(keys.of(quoted, quotes.at[rows]), market, since)
        known = row >= first_rows(quoted, len(markets))[market]
        market, since, row = market[known], since[known], row[known]
        gap = keys.newest(keys.of(gapped, gaps.since), market, since)
        unobserved = (gap >= gaps.spans[market]) & (np.append(gap_until, 0)[gap] > since)
        until = _until(market, since, ends)
        is_open = quotes.tradable[rows[row]] & ~unobserved & (until > since)
        bid, ask = (
            np.where(is_open, side[rows[row]], MISSING) for side in (quotes.bid, quotes.ask)
        )
        starts = first_rows(market, len(markets))
        return cls(keys, market, since, until, bid, ask, starts, ends)

    def piece_at(self, market: Ints, at: Ints) -> Ints:
        """The piece in which an instant of a market lies, or one of an earlier market."""
        return self.keys.newest(self.keys.of(self.market, self.since), market, at)


class SideClock(NamedTuple):
    """A clock for each market that runs while its book has two sides; for buyers of one side (1 for
    YES, -1 for NO). Other moments have no `offer`: few strategies would buy then, and a book that
    one side has left is that of a market whose result is as good as known.

    `passed` is the time on all clocks together before each piece, and after the last; `next_sale`
    is the first piece from each on in which the side could be sold, whatever its market.
    """

    time: TradableTime
    offer: Ints
    sale: Ints
    passed: Ints
    next_sale: Ints

    @classmethod
    def of(cls, time: TradableTime, side: int) -> Self:
        offer = time.ask if side > 0 else _other_side(time.bid)
        sale = time.bid if side > 0 else _other_side(time.ask)
        offer = np.where((offer == MISSING) | (sale == MISSING), MISSING, offer)
        lengths = np.where(offer == MISSING, 0, time.until - time.since)
        pieces = np.where(sale == MISSING, len(sale), np.arange(len(sale)))
        next_sale = np.minimum.accumulate(pieces[::-1])[::-1]
        passed = np.concatenate(([0], np.cumsum(lengths)))
        return cls(time, offer, sale, passed, np.append(next_sale, len(sale)))

    def lengths(self, market: Ints) -> Ints:
        """The time for which the book of each market had two sides."""
        starts = self.time.starts
        return self.passed[starts[market + 1]] - self.passed[starts[market]]

    def read(self, market: Ints, at: Ints) -> Ints:
        """The clock of each market at an instant; `MISSING` where it stood still then."""
        time, piece = self.time, self.time.piece_at(market, at)
        runs = (piece >= time.starts[market]) & (at < time.until[piece])
        runs &= self.offer[piece] != MISSING
        read = self.passed[piece] - self.passed[time.starts[market]] + at - time.since[piece]
        return np.where(runs, read, MISSING)

    def moments(self, market: Ints, read: Ints) -> tuple[Ints, Ints]:
        """The instants at which the clocks show a time, and the offers that stood there."""
        reached = self.passed[self.time.starts[market]] + read
        piece = np.searchsorted(self.passed[1:], reached, side="right")
        return self.time.since[piece] + reached - self.passed[piece], self.offer[piece]

    def sales(self, market: Ints, at: Ints) -> Ints:
        """The prices of selling at instants or as soon as possible after them; `MISSING` where
        the side could no longer be sold."""
        starts, piece = self.time.starts, self.time.piece_at(market, at)
        sold = self.next_sale[piece]
        is_sold = (at < self.time.ends[market]) & (sold < starts[market + 1])
        return np.where(is_sold, np.append(self.sale, MISSING)[sold], MISSING)

    def last_sales(self) -> Ints:
        """The last price of each market at which the side could be sold; 0 where it never could."""
        pieces = np.where(self.sale == MISSING, MISSING, np.arange(len(self.sale)))
        newest = np.append(np.maximum.accumulate(pieces), MISSING)[self.time.starts[1:] - 1]
        was_sold = newest >= self.time.starts[:-1]
        return np.where(was_sold, np.append(self.sale, 0)[newest], 0)


def final_values(clock: SideClock, settlements: list[Settlement | None], side: int) -> Ints:
    """The value of a contract of a side of each market at the end, in millionths of a dollar: its
    payout, or else the last price at which it could be sold."""
    known = np.array([MISSING if each is None else each.value for each in settlements], np.int64)
    payout = known if side > 0 else MONEY - known
    return np.where(known == MISSING, clock.last_sales() * UNITS, payout)


def _ends(universe: Universe, markets: Ints) -> Ints:
    last = universe.last_instant()
    settled = (universe.settlements[market] for market in markets.tolist())
    return np.array([min(last, each.known_at) if each else last for each in settled], np.int64)


def _until(market: Ints, since: Ints, ends: Ints) -> Ints:
    until = np.append(since[1:], 0)[: len(since)]
    is_last = np.append(market[1:] != market[:-1], True)[: len(market)]
    end = ends[market]
    return np.maximum(since, np.minimum(np.where(is_last, end, until), end))


def _other_side(prices: Ints) -> Ints:
    is_missing: Bools = prices == MISSING
    return np.where(is_missing, MISSING, DOLLAR - prices)
