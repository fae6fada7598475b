"""Orders and targets that are none, as the stored result of a run tells of them."""

import math
from typing import Any, ClassVar

import numpy as np
import pytest

from backtests import runner, strategies
from backtests.models import BacktestStatus
from backtests.strategies.base import Signal, Strategy, bt
from backtests.tests.record_builders import HOUR, START, queue_backtest, record_market, record_quote

pytestmark = pytest.mark.django_db


class Sending(Strategy):
    """Sends at its first step what a test says."""

    name, version, summary = "sending", "1", "Sends an order."
    schema: ClassVar = {}
    how: ClassVar[dict[str, Any]] = {}

    def next(self):
        if len(self) == 1:
            self.buy(**self.how)


class Halves(Signal):
    name, version, summary = "halves", "1", "Wants half a contract."
    schema: ClassVar = {}

    def targets(self, history):
        return np.full(len(history), 0.5)


def ran(monkeypatch, kind, **others):
    market = record_market("KXRAIN-26OCT02")
    for hour in (1, 2, 3):
        record_quote(market, START + hour * HOUR, **others)
    monkeypatch.setitem(strategies.STRATEGIES, kind.name, kind)
    result = queue_backtest(market, strategy=kind.name)
    runner.run(result.pk)
    result.refresh_from_db()
    return result


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"size": math.nan}, "BadOrder: size must be finite, not nan"),
        ({"size": 1e300}, "BadOrder: size must be from 0 to 1,000,000 contracts, not 1e+300"),
        (
            {"size": 5, "price": 42, "exectype": bt.Order.Limit},
            "BadOrder: price must be between 0 and 1 dollar, not 42",
        ),
        ({"size": 5, "postonly": True}, "TypeError: an order has no argument 'postonly'"),
    ],
)
def test_what_can_be_no_order_fails_the_run_with_the_strategy_s_line(monkeypatch, how, words):
    result = ran(monkeypatch, type("Sent", (Sending,), {"how": how, "__module__": __name__}))
    assert result.status == BacktestStatus.FAILED
    assert result.error.startswith(f"The strategy raised {words}")
    assert "(test_runs_orders.py, line " in result.error
    assert result.executions.count() == 0


def test_a_size_that_rounds_to_nothing_ends_no_run_and_the_result_says_so(monkeypatch):
    result = ran(monkeypatch, type("Sent", (Sending,), {"how": {"size": 0.004}}))
    assert (result.status, result.error) == (BacktestStatus.DONE, "")
    assert (
        "Orders not sent, since their sizes round to 0 contracts: 1; the first one was for 0.004 of"
        " KXRAIN-26OCT02."
    ) in result.assumptions


def test_a_market_order_without_an_offer_is_stored_without_a_price(monkeypatch):
    class LateSending(Sending):
        how: ClassVar = {"size": 5}

        def next(self):
            if len(self) == 2:
                self.buy(**self.how)

    market = record_market("KXRAIN-26OCT03")
    record_quote(market, START + HOUR)
    record_quote(market, START + 2 * HOUR, ask=None)
    record_quote(market, START + 3 * HOUR)
    monkeypatch.setitem(strategies.STRATEGIES, "sending", LateSending)
    result = queue_backtest(market, strategy="sending")
    runner.run(result.pk)
    result.refresh_from_db()
    assert (result.status, result.error) == (BacktestStatus.DONE, "")
    assert list(result.executions.values_list("kind", "price", "reason")) == [
        ("order", None, ""),
        ("refused", None, "no offer: nobody quoted a price that it could take"),
    ]


@pytest.mark.parametrize("engine", ["kernel", "backtrader"])
def test_targets_that_are_none_fail_the_run_with_the_strategy_s_line(monkeypatch, engine):
    market = record_market("KXRAIN-26OCT04")
    record_quote(market, START + HOUR)
    monkeypatch.setitem(strategies.STRATEGIES, "halves", Halves)
    result = queue_backtest(market, strategy="halves", engine=engine)
    runner.run(result.pk)
    result.refresh_from_db()
    assert result.status == BacktestStatus.FAILED
    assert result.error.startswith("targets() (test_runs_orders.py, line ")
    assert result.error.endswith("whole and finite, or HOLD: found 0.5 at row 0 of its history")
