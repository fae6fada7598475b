"""A signal's columns and a `Strategy`'s reads tell the same of each row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backtests.data.universe import MONEY, QuoteHistory
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.base import Strategy
from backtests.tests.further_records import with_further_record
from backtests.tests.random_tapes import with_tape
from backtests.tests.random_universes import random_universe, watched

WORLD = with_tape(watched(with_further_record(random_universe(7, markets=4, rows=100), 7), 7), 7)
HISTORY = QuoteHistory.of(WORLD)


def contracts_near(levels: Any, distance: float) -> float:
    near = (size for price, size in levels if abs(price - levels[0].price) <= distance + 1e-9)
    return float(sum(near))


def depth(strategy: Any, feed: Any, side: str) -> float:
    found = strategy.depth(feed)
    return np.nan if found is None else contracts_near(getattr(found, side), 0.02)


VIEWS: dict[str, tuple[Any, Callable[[Any, Any], float]]] = {
    "last": (HISTORY.last, lambda s, feed: s.last_price(feed)),
    "volume": (HISTORY.volume, lambda s, feed: s.volume(feed)),
    "open interest": (HISTORY.open_interest, lambda s, feed: s.open_interest(feed)),
    "bids": (HISTORY.bids_within(0.02), lambda s, feed: depth(s, feed, "bids")),
    "asks": (HISTORY.asks_within(0.02), lambda s, feed: depth(s, feed, "asks")),
    "observed": (HISTORY.observed_share(900), lambda s, feed: s.observed_share(feed, 900)),
    "taker fee": (HISTORY.taker_fee(7, 0.31), lambda s, feed: s.taker_fee(feed, 7, 0.31)),
    "maker fee": (HISTORY.maker_fee(-7, 0.31), lambda s, feed: s.maker_fee(feed, -7, 0.31)),
    "market": (HISTORY.market, lambda s, feed: feed.market),
}


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[tuple[int, int], float]]:
    """What a strategy sees at each row, by market and instant."""
    told: dict[str, dict[tuple[int, int], float]] = {name: {} for name in VIEWS}

    class Looks(Strategy):
        def next(self) -> None:
            for feed in self.fresh:
                for name, (_, look) in VIEWS.items():
                    told[name][feed.market, self.now] = look(self, feed)

    cerebro.run(WORLD, Looks, ExecutionModel(), FillModel.EXPECTED, cash=MONEY)
    return told


@pytest.mark.parametrize("name", VIEWS)
def test_both_views_tell_the_same(seen, name):
    rows = zip(HISTORY.market.tolist(), HISTORY.at.tolist(), strict=True)
    column = dict(zip(rows, VIEWS[name][0].tolist(), strict=True))
    found = seen[name]
    assert len(found) > 200
    assert list(found.values()) == pytest.approx([column[row] for row in found], nan_ok=True)


def test_the_columns_of_the_tape_add_up_to_its_trades():
    for market, (first, end) in enumerate(
        zip(HISTORY.starts[:-1], HISTORY.starts[1:], strict=True)
    ):
        bought = HISTORY.bought[first:end]
        known = np.flatnonzero(~np.isnan(bought))
        for row in known.tolist():
            since, until = HISTORY.at[first + row - 1], HISTORY.at[first + row]
            tape = WORLD.known_tape()
            trades = (
                (tape.market == market) & (tape.taker == 1)
                & (tape.known_at > since) & (tape.known_at <= until)
            )  # fmt: skip
            assert bought[row] == tape.contracts[trades].sum() / 100
    assert (~np.isnan(HISTORY.bought)).sum() > 20
