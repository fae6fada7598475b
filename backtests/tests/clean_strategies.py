"""Strategies that know no future, some of which look as if they did."""

import random
from typing import Any
from zlib import crc32

import numpy as np

from backtests.data.universe import DAY
from backtests.strategies import (
    AlwaysFavourite,
    AlwaysNo,
    DoNothing,
    ExclusiveArbitrage,
    FadeLongshots,
    FavouriteHold,
    Kind,
    MeanReversion,
    Momentum,
    RandomEntry,
    indicators,
)
from backtests.strategies.base import HOLD, Strategy
from backtests.tests.leaky_strategies import by_market, sided, signal


@signal
def highest_so_far(seen):
    highest = by_market(seen, lambda mid: np.fmax.accumulate(mid) if len(mid) else mid)
    return sided(highest - 0.1 - seen.mid)


@signal
def mean_so_far(seen):
    def expanding(mid):
        return np.cumsum(np.nan_to_num(mid)) / np.arange(1, len(mid) + 1)

    return sided(by_market(seen, expanding) - seen.mid)


@signal
def price_of_three_rows_ago(seen):
    return sided(indicators.previous(seen, seen.mid, 3) - seen.mid)


@signal
def hash_of_ticker_and_hour(seen):
    hours = (seen.at // (DAY // 24)).tolist()
    tickers = [seen.listings[place].ticker for place in seen.market.tolist()]
    drawn = [
        crc32(f"{ticker}{hour}".encode()) % 3 for ticker, hour in zip(tickers, hours, strict=True)
    ]
    return np.array(drawn, dtype=np.int64) - 1


@signal
def opening_price(seen):
    return sided(indicators.first(seen, seen.mid, indicators.two_sided(seen)) - seen.mid - 0.05)


@signal
def rows_since_a_jump(seen):
    jump = np.abs(seen.mid - indicators.previous(seen, indicators.mid(seen))) > 0.05
    return np.where(indicators.rows_since(seen, jump) == 2, 5, HOLD)


@signal
def exponential_mean(seen):
    return sided(indicators.exponential_mean(seen, seen.mid, 8) - seen.mid)


@signal
def close_as_scheduled_now(seen):
    return np.where(seen.seconds_to_close < 4 * 3_600, -5, HOLD)


@signal
def volume_so_far(seen):
    return np.where(seen.volume > 3_000, 5, HOLD)


class BuysAfterTenBooks(Strategy):
    def start(self):
        self.books = {}

    def next(self):
        for feed in self.fresh:
            self.books[feed.place] = self.books.get(feed.place, 0) + 1
            if self.books[feed.place] == 10:
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


CLEAN: list[tuple[Kind, dict[str, Any]]] = [
    (FadeLongshots, {"ceiling": 0.5, "belief": 0.9, "edge": -0.1, "widest": 1.0}),
    (FavouriteHold, {"threshold": 0.6, "hours_most": 1_000, "edge": -0.1}),
    (MeanReversion, {"window": 8, "enter": 1.0}),
    (Momentum, {"fast": 2, "slow": 6, "threshold": 0.01}),
    (RandomEntry, {"hours": 5, "seed": 3}),
    (AlwaysNo, {"contracts": 3}),
    (AlwaysFavourite, {}),
    (DoNothing, {}),
    (ExclusiveArbitrage, {"edge": -0.2, "seconds": 900}),
    (highest_so_far, {}),
    (mean_so_far, {}),
    (price_of_three_rows_ago, {}),
    (hash_of_ticker_and_hour, {}),
    (opening_price, {}),
    (rows_since_a_jump, {}),
    (exponential_mean, {}),
    (close_as_scheduled_now, {}),
    (volume_so_far, {}),
    (BuysAfterTenBooks, {}),
    (ThrowsDice, {}),
    (SpendsWhatItHas, {}),
]
