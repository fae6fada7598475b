"""Ways of looking ahead, as they are written by mistake or on purpose."""

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from backtests.data.universe import DOLLAR, Floats, Ints, Seen
from backtests.strategies import indicators
from backtests.strategies.base import HOLD, Signal, Strategy
from backtests.tests.random_universes import START, STEP

HOUR = 12 * STEP


def signal(targets: Callable[[Seen], Ints]) -> type[Signal]:
    """A strategy without parameters."""
    return type(
        targets.__name__,
        (Signal,),
        {
            "name": targets.__name__,
            "version": "1",
            "targets": lambda self, seen: targets(seen),
        },
    )


def sided(lead: Floats) -> Ints:
    """Long above zero, short below."""
    return np.where(lead > 0, 5, np.where(lead < 0, -5, HOLD))


def by_market(seen: Seen, function: Callable[[Floats], Floats]) -> Floats:
    """A function of each market's midpoints, put together again."""
    mid = indicators.mid(seen)
    return np.concatenate([function(mid[a:b]) for a, b in pairwise(seen.starts)])


def spread_out(function: Callable[[Floats], float]) -> Callable[[Floats], Floats]:
    """One number for a whole market, known from its first row on."""
    return lambda mid: np.full(len(mid), function(np.nan_to_num(mid)) if len(mid) else np.nan)


@signal
def next_price(seen):
    return sided(np.roll(seen.mid, -1) - seen.mid)


@signal
def centred_window(seen):
    mid = np.nan_to_num(indicators.mid(seen))
    return sided(np.convolve(mid, np.ones(5) / 5, "same") - mid)


@signal
def central_difference(seen):
    return sided(np.gradient(np.nan_to_num(indicators.mid(seen))))


@signal
def mean_of_the_market(seen):
    return sided(by_market(seen, spread_out(np.mean)) - seen.mid)


@signal
def highest_of_the_market(seen):
    return sided(by_market(seen, spread_out(np.max)) - 0.1 - seen.mid)


@signal
def the_peak_itself(seen):
    peak = by_market(seen, lambda mid: np.arange(len(mid)) == np.argmax(np.nan_to_num(mid)))
    return np.where(peak, -5, HOLD)


@signal
def missing_prices_from_later(seen):
    backwards = np.where(np.isnan(seen.mid), len(seen), np.arange(len(seen)))[::-1]
    rows = np.minimum.accumulate(backwards)[::-1].clip(max=len(seen) - 1)
    return sided(seen.mid[rows] - 0.5)


@signal
def missing_prices_between(seen):
    known = ~np.isnan(seen.mid)
    return sided(np.interp(np.arange(len(seen)), np.flatnonzero(known), seen.mid[known]) - 0.4)


@signal
def last_trade_of_the_market(seen):
    final = seen.last[seen.starts[1:] - 1]
    return sided(np.repeat(final, np.diff(seen.starts)) - 0.5)


@signal
def age_as_a_share_of_life(seen):
    life = np.repeat(np.diff(seen.starts), np.diff(seen.starts))
    return np.where(indicators.age(seen) > 0.9 * life, -5, HOLD)


@signal
def markets_in_order_of_outcome(seen):
    final = np.nan_to_num(indicators.mid(seen))[seen.starts[1:] - 1]
    winner = np.argsort(np.argsort(final)) >= len(final) / 2
    return np.where(np.repeat(winner, np.diff(seen.starts)), 5, -5)


@signal
def quantile_of_everything(seen):
    return sided(np.quantile(np.nan_to_num(indicators.mid(seen)), 0.3) - seen.mid)


@signal
def volume_to_come(seen):
    later = np.append(seen.volume[5:], np.full(min(5, len(seen)), np.nan))
    return np.where(later - seen.volume > 1_000, 5, HOLD)


@signal
def close_as_it_will_be(seen):
    final = seen.quotes.close_at[seen.starts[1:] - 1]
    return np.where(np.repeat(final, np.diff(seen.starts)) < seen.quotes.close_at, -5, HOLD)


@signal
def end_of_the_market_before(seen):
    """The first row of a market looks at the last of its neighbour, which is yet to come."""
    return sided(seen.mid - np.roll(np.nan_to_num(indicators.mid(seen)), 1))


@signal
def line_through_everything(seen):
    def fitted(mid):
        rows = np.arange(len(mid))
        return np.polyval(np.polyfit(rows, np.nan_to_num(mid), 1), rows) if len(mid) > 2 else mid

    return sided(by_market(seen, fitted) - seen.mid)


@signal
def best_still_to_come(seen):
    def best(mid: Floats) -> Floats:
        return np.maximum.accumulate(np.nan_to_num(mid)[::-1])[::-1]

    return sided(by_market(seen, best) - 0.05 - seen.mid)


@signal
def bars_known_at_their_start(seen):
    """An hour's close, used within the hour."""
    hour = seen.at // HOUR * len(seen.listings) + seen.market
    last = np.append(np.flatnonzero(np.diff(hour)), len(seen) - 1)
    close = indicators.mid(seen)[last[np.searchsorted(last, np.arange(len(seen)))]]
    return sided(close - seen.mid)


@signal
def only_towards_the_end(seen):
    late = seen.at > START + 120 * STEP
    return np.where(late, sided(np.roll(seen.mid, -1) - seen.mid), HOLD)


@signal
def only_before_big_moves(seen):
    move = np.roll(seen.mid, -1) - seen.mid
    return np.where(np.abs(move) > 0.12, sided(move), HOLD)


@signal
def settlements_in_a_frame_above(seen):
    frame: Any = sys._getframe(1)
    while "universe" not in frame.f_locals:
        frame = frame.f_back
    ends = frame.f_locals["universe"].settlements
    won = np.array([end is not None and end.value == 1_000_000 for end in ends])
    return np.where(won[seen.market], 5, HOLD)


@signal
def markets_yet_to_come(seen):
    return np.full(len(seen), 5 if len(seen.listings) > 3 else HOLD)


class QuotesOfTheBroker(Strategy):
    def next(self):
        quotes = self.broker.universe.quotes
        for feed in self.fresh:
            later = quotes.bid[(quotes.market == feed.place) & (quotes.at > self.now)]
            if len(later) and later[0] > feed.ask[0] * DOLLAR:
                self.buy(data=feed, size=1)


class SettlementsOfTheBroker(Strategy):
    def next(self):
        for feed in self.fresh:
            end = self.broker.universe.settlements[feed.place]
            if end is not None and end.value == 0 and not self.getposition(feed).size:
                self.sell(data=feed, size=1)


class FeedsThatAreYetToBegin(Strategy):
    def next(self):
        for feed in self.fresh:
            if len(self.datas) > 2 and not self.getposition(feed).size:
                self.buy(data=feed, size=1)


class FinalBooks(Strategy):
    """Holds on to what the broker walks through, and reads its end."""

    def start(self):
        self.quotes = self.broker.universe.quotes

    def next(self):
        for feed in self.fresh:
            final = self.quotes.last[self.quotes.market == feed.place][-1]
            if final > DOLLAR / 2 and not self.getposition(feed).size:
                self.buy(data=feed, size=1)


LEAKY = [
    next_price,
    centred_window,
    central_difference,
    mean_of_the_market,
    highest_of_the_market,
    the_peak_itself,
    missing_prices_from_later,
    missing_prices_between,
    last_trade_of_the_market,
    age_as_a_share_of_life,
    markets_in_order_of_outcome,
    quantile_of_everything,
    volume_to_come,
    close_as_it_will_be,
    end_of_the_market_before,
    line_through_everything,
    best_still_to_come,
    bars_known_at_their_start,
    only_towards_the_end,
    only_before_big_moves,
    settlements_in_a_frame_above,
    markets_yet_to_come,
    QuotesOfTheBroker,
    SettlementsOfTheBroker,
    FeedsThatAreYetToBegin,
    FinalBooks,
]
