"""Strategies without look-ahead bias, some of which look biased."""

import random
from typing import Any
from zlib import crc32

import numpy as np

from backtests.data.universe import DAY
from backtests.strategies import (
    AlwaysFavourite,
    AlwaysNo,
    DoNothing,
    EventLadder,
    ExclusiveArbitrage,
    FadeLongshots,
    FavouriteHold,
    MarketMaker,
    MeanReversion,
    Momentum,
    RandomEntry,
    StrategyClass,
    indicators,
)
from backtests.strategies.base import HOLD, Strategy, bt
from backtests.tests.leaky_strategies import for_each_market, long_or_short, signal


@signal
def highest_so_far(history):
    highest = for_each_market(history, lambda mid: np.fmax.accumulate(mid) if len(mid) else mid)
    return long_or_short(highest - 0.1 - history.mid)


@signal
def mean_so_far(history):
    def expanding(mid):
        return np.cumsum(np.nan_to_num(mid)) / np.arange(1, len(mid) + 1)

    return long_or_short(for_each_market(history, expanding) - history.mid)


@signal
def price_of_three_rows_ago(history):
    return long_or_short(indicators.previous(history, history.mid, 3) - history.mid)


@signal
def hash_of_ticker_and_hour(history):
    hours = (history.at // (DAY // 24)).tolist()
    tickers = [history.listings[place].ticker for place in history.market.tolist()]
    drawn = [
        crc32(f"{ticker}{hour}".encode()) % 3 for ticker, hour in zip(tickers, hours, strict=True)
    ]
    return np.array(drawn, dtype=np.int64) - 1


@signal
def opening_price(history):
    return long_or_short(
        indicators.first_where(history, history.mid, indicators.two_sided(history))
        - history.mid
        - 0.05
    )


@signal
def rows_since_a_jump(history):
    jump = (
        np.abs(history.mid - indicators.previous(history, indicators.carried_mid(history))) > 0.05
    )
    return np.where(indicators.rows_since(history, jump) == 2, 5, HOLD)


@signal
def exponential_mean(history):
    return long_or_short(indicators.exponential_mean(history, history.mid, 8) - history.mid)


@signal
def close_as_scheduled_now(history):
    return np.where(history.seconds_to_close < 4 * 3_600, -5, HOLD)


@signal
def volume_so_far(history):
    return np.where(history.volume > 3_000, 5, HOLD)


@signal
def open_interest_so_far(history):
    return long_or_short(history.open_interest - 400_000)


@signal
def depth_so_far(history):
    return long_or_short(history.bids_within(0.02) - history.asks_within(0.02))


@signal
def fees_in_force(history):
    dear = history.taker_fee(100, history.ask) > history.maker_fee(100, history.ask) + 1.5
    return np.where(dear | (history.book_age > 600), -5, 5)


@signal
def observed_most_of_an_hour(history):
    return np.where(history.observed_share(3_600) > 0.9, 5, -5)


@signal
def tape_so_far(history):
    return long_or_short(history.bought - history.sold)


class SeesAllThereIs(Strategy):
    """Decides by everything that the record shows beside the feeds."""

    def next(self):
        for feed in self.fresh:
            depth = self.depth(feed)
            seen = (
                *(self.last_price(feed), self.volume(feed), self.open_interest(feed)),
                *(depth and depth.bids, len(self.event_feeds(feed)), self.unobserved_since(feed)),
                *(self.observed_share(feed, 7_200), self.taker_fee(feed, 9, 0.4)),
                *(self.maker_fee(feed, -9, 0.4), len(self.trades(feed)), len(self.open_orders())),
            )
            if crc32(repr(seen).encode()) % 4 == 0:
                self.buy(feed, 5, 0.4, exectype=bt.Order.Limit)


class BuysAfterTenBooks(Strategy):
    def start(self):
        self.books = {}

    def next(self):
        for feed in self.fresh:
            self.books[feed.market] = self.books.get(feed.market, 0) + 1
            if self.books[feed.market] == 10:
                self.buy(data=feed, size=1)


class ThrowsDice(Strategy):
    """The same dice in each run."""

    def start(self):
        self.dice = random.Random(6)

    def next(self):
        for feed in self.fresh:
            if self.dice.random() < 0.1:
                (self.buy if self.dice.random() < 0.5 else self.sell)(data=feed, size=1)


class SpendsWhatItHas(Strategy):
    """Goes by its cash, and so by what was paid out until now."""

    def next(self):
        for feed in self.fresh:
            if self.broker.getcash() > 9_990 and not self.getposition(feed).size:
                self.sell(data=feed, size=9)


CLEAN: list[tuple[StrategyClass, dict[str, Any]]] = [
    (FadeLongshots, {"ceiling": 0.5, "belief": 0.9, "edge": -0.1, "widest": 1.0}),
    (FavouriteHold, {"threshold": 0.6, "hours_most": 1_000, "edge": -0.1}),
    (MeanReversion, {"window": 8, "enter": 1.0}),
    (Momentum, {"fast": 2, "slow": 6, "threshold": 0.01}),
    (RandomEntry, {"hours": 5, "seed": 3}),
    (AlwaysNo, {"contracts": 3}),
    (AlwaysFavourite, {}),
    (DoNothing, {}),
    (ExclusiveArbitrage, {"edge": -0.2, "seconds": 900}),
    (EventLadder, {"edge": -0.5, "seconds": 900}),
    (MarketMaker, {"narrowest": 0.01, "observed": 0.0, "hours_least": 0.0}),
    (highest_so_far, {}),
    (mean_so_far, {}),
    (price_of_three_rows_ago, {}),
    (hash_of_ticker_and_hour, {}),
    (opening_price, {}),
    (rows_since_a_jump, {}),
    (exponential_mean, {}),
    (close_as_scheduled_now, {}),
    (volume_so_far, {}),
    (open_interest_so_far, {}),
    (depth_so_far, {}),
    (fees_in_force, {}),
    (observed_most_of_an_hour, {}),
    (SeesAllThereIs, {}),
    (BuysAfterTenBooks, {}),
    (ThrowsDice, {}),
    (SpendsWhatItHas, {}),
]
