"""Strategies with look-ahead bias, as they are written by mistake or on purpose."""

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from backtests.data.universe import DOLLAR, Floats, Ints, QuoteHistory
from backtests.strategies import indicators
from backtests.strategies.base import HOLD, Signal, Strategy
from backtests.tests.random_universes import START, STEP

HOUR = 12 * STEP


def signal(targets: Callable[[QuoteHistory], Ints]) -> type[Signal]:
    """A strategy without parameters."""
    return type(
        targets.__name__,
        (Signal,),
        {
            "name": targets.__name__,
            "version": "1",
            "summary": "States targets.",
            "targets": lambda self, history: targets(history),
        },
    )


def long_or_short(lead: Floats) -> Ints:
    """Targets that are long where `lead` is positive and short where it is negative."""
    return np.where(lead > 0, 5, np.where(lead < 0, -5, HOLD))


def for_each_market(history: QuoteHistory, function: Callable[[Floats], Floats]) -> Floats:
    """Apply a function to the midpoints of each market."""
    mid = indicators.carried_mid(history)
    return np.concatenate([function(mid[a:b]) for a, b in pairwise(history.starts)])


def constant(function: Callable[[Floats], float]) -> Callable[[Floats], Floats]:
    """One number for all rows of a market."""
    return lambda mid: np.full(len(mid), function(np.nan_to_num(mid)) if len(mid) else np.nan)


@signal
def next_price(history):
    return long_or_short(np.roll(history.mid, -1) - history.mid)


@signal
def centred_window(history):
    mid = np.nan_to_num(indicators.carried_mid(history))
    return long_or_short(np.convolve(mid, np.ones(5) / 5, "same") - mid)


@signal
def central_difference(history):
    return long_or_short(np.gradient(np.nan_to_num(indicators.carried_mid(history))))


@signal
def mean_of_the_market(history):
    return long_or_short(for_each_market(history, constant(np.mean)) - history.mid)


@signal
def highest_of_the_market(history):
    return long_or_short(for_each_market(history, constant(np.max)) - 0.1 - history.mid)


@signal
def the_peak_itself(history):
    peak = for_each_market(
        history, lambda mid: np.arange(len(mid)) == np.argmax(np.nan_to_num(mid))
    )
    return np.where(peak, -5, HOLD)


@signal
def missing_prices_from_later(history):
    backwards = np.where(np.isnan(history.mid), len(history), np.arange(len(history)))[::-1]
    rows = np.minimum.accumulate(backwards)[::-1].clip(max=len(history) - 1)
    return long_or_short(history.mid[rows] - 0.5)


@signal
def missing_prices_between(history):
    known = ~np.isnan(history.mid)
    return long_or_short(
        np.interp(np.arange(len(history)), np.flatnonzero(known), history.mid[known]) - 0.4
    )


@signal
def last_trade_of_the_market(history):
    final = history.last[history.starts[1:] - 1]
    return long_or_short(np.repeat(final, np.diff(history.starts)) - 0.5)


@signal
def age_as_a_share_of_life(history):
    life = np.repeat(np.diff(history.starts), np.diff(history.starts))
    return np.where(indicators.rows_before(history) > 0.9 * life, -5, HOLD)


@signal
def markets_in_order_of_outcome(history):
    final = np.nan_to_num(indicators.carried_mid(history))[history.starts[1:] - 1]
    winner = np.argsort(np.argsort(final)) >= len(final) / 2
    return np.where(np.repeat(winner, np.diff(history.starts)), 5, -5)


@signal
def quantile_of_everything(history):
    return long_or_short(
        np.quantile(np.nan_to_num(indicators.carried_mid(history)), 0.3) - history.mid
    )


@signal
def volume_to_come(history):
    later = np.append(history.volume[5:], np.full(min(5, len(history)), np.nan))
    return np.where(later - history.volume > 1_000, 5, HOLD)


@signal
def close_as_it_will_be(history):
    final = history.quotes.close_at[history.starts[1:] - 1]
    return np.where(np.repeat(final, np.diff(history.starts)) < history.quotes.close_at, -5, HOLD)


@signal
def end_of_the_market_before(history):
    """The first row of a market looks at the last of its neighbour, which is yet to come."""
    return long_or_short(history.mid - np.roll(np.nan_to_num(indicators.carried_mid(history)), 1))


@signal
def line_through_everything(history):
    def fitted(mid):
        rows = np.arange(len(mid))
        return np.polyval(np.polyfit(rows, np.nan_to_num(mid), 1), rows) if len(mid) > 2 else mid

    return long_or_short(for_each_market(history, fitted) - history.mid)


@signal
def best_still_to_come(history):
    def best(mid: Floats) -> Floats:
        return np.maximum.accumulate(np.nan_to_num(mid)[::-1])[::-1]

    return long_or_short(for_each_market(history, best) - 0.05 - history.mid)


@signal
def bars_known_at_their_start(history):
    """An hour's close, used within the hour."""
    hour = history.at // HOUR * len(history.listings) + history.market
    last = np.append(np.flatnonzero(np.diff(hour)), len(history) - 1)
    close = indicators.carried_mid(history)[last[np.searchsorted(last, np.arange(len(history)))]]
    return long_or_short(close - history.mid)


@signal
def only_towards_the_end(history):
    late = history.at > START + 120 * STEP
    return np.where(late, long_or_short(np.roll(history.mid, -1) - history.mid), HOLD)


@signal
def only_before_big_moves(history):
    move = np.roll(history.mid, -1) - history.mid
    return np.where(np.abs(move) > 0.12, long_or_short(move), HOLD)


@signal
def settlements_in_a_frame_above(history):
    frame: Any = sys._getframe(1)
    while "universe" not in frame.f_locals:
        frame = frame.f_back
    ends = frame.f_locals["universe"].settlements
    won = np.array([end is not None and end.value == 1_000_000 for end in ends])
    return np.where(won[history.market], 5, HOLD)


@signal
def markets_yet_to_come(history):
    return np.full(len(history), 5 if len(history.listings) > 3 else HOLD)


@signal
def open_interest_to_come(history):
    return long_or_short(np.roll(history.open_interest, -1) - history.open_interest)


@signal
def depth_of_the_next_book(history):
    return long_or_short(np.roll(history.bids_within(1), -1) - history.bids_within(1))


@signal
def books_recorded_in_all(history):
    known = history._further.books
    in_all = np.array([len(known.of(m).at) for m in range(len(history.listings))])
    return np.where(in_all[history.market] > 60, 5, HOLD)


class QuotesOfTheBroker(Strategy):
    def next(self):
        quotes = self.broker.universe.quotes
        for feed in self.fresh:
            later = quotes.bid[(quotes.market == feed.market) & (quotes.at > self.now)]
            if len(later) and later[0] > feed.ask[0] * DOLLAR:
                self.buy(data=feed, size=1)


class SettlementsOfTheBroker(Strategy):
    def next(self):
        for feed in self.fresh:
            end = self.broker.universe.settlements[feed.market]
            if end is not None and end.value == 0 and not self.getposition(feed).size:
                self.sell(data=feed, size=1)


class BooksOfTheBroker(Strategy):
    """Buys where the newest whole book of all has no bid."""

    def next(self):
        for feed in self.fresh:
            books = self.broker.universe.books.of(feed.market)
            final = books.newest(2**62, dollar=1, contract=1)
            if final and not final.bids and not self.getposition(feed).size:
                self.buy(data=feed, size=1)


class FeesThatAreYetToCome(Strategy):
    def next(self):
        for feed in self.fresh:
            if self.broker.universe.terms[feed.market][-1].since > self.now:
                self.buy(data=feed, size=1)


class SiblingsThatAreYetToBegin(Strategy):
    def next(self):
        for feed in self.fresh:
            event = [other for other in self.datas if other.listing.event == feed.listing.event]
            if len(event) > len(self.event_feeds(feed)) and not self.getposition(feed).size:
                self.buy(data=feed, size=1)


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
            final = self.quotes.last[self.quotes.market == feed.market][-1]
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
    open_interest_to_come,
    depth_of_the_next_book,
    books_recorded_in_all,
    QuotesOfTheBroker,
    BooksOfTheBroker,
    SiblingsThatAreYetToBegin,
    SettlementsOfTheBroker,
    FeedsThatAreYetToBegin,
    FinalBooks,
]
