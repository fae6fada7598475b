"""Refusals at the call of values that no order has, also where nothing would be sent."""

import math

import backtrader as bt
import pytest

from backtests.engine.event_driven.instructions import BadOrder
from backtests.tests.contract import ARGUMENTS, STRATEGY, asked, hold, quoted, refused
from backtests.tests.scripted import lines_of, scripted


@ARGUMENTS.raises("buy(anything else)")
@pytest.mark.parametrize(
    "call",
    [
        lambda s, **how: s.buy(s.datas[0], 0, **how),
        lambda s, **how: s.sell(size=0, **how),
        lambda s, **how: s.close(s.datas[0], **how),
        lambda s, **how: s.order_target_size("T0", 0, **how),
        lambda s, **how: s.order_target_value(s.datas[0], 0, **how),
        lambda s, **how: s.order_target_value(s.datas[0], 0.1, **how),
        lambda s, **how: s.order_target_percent(s.datas[0], 0, **how),
    ],
)
def test_arguments_are_checked_where_there_is_nothing_to_send(call):
    def ask(s):
        with pytest.raises(TypeError, match="did you mean post_only"):
            call(s, postonly=True)
        with pytest.raises(BadOrder, match="oco: no order on Kalshi cancels another"):
            call(s, oco=7)
        return call(s, reason="nothing to do", tradeid=3)

    assert asked(ask) is None


def test_so_is_what_is_given_by_place():
    with pytest.raises(BadOrder, match="price needs exectype"):
        asked(lambda s: s.buy(s.datas[0], 0, 0.4))


@ARGUMENTS.ours("buy(post_only)", "buy(reduce_only)")
@pytest.mark.parametrize("name", ["post_only", "reduce_only"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_what_is_neither_true_nor_false_is_refused(name, value):
    refused(f"{name} must be True or False, not {value!r}", **{name: value})


@STRATEGY.ours("replace")
@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ({"size": math.nan}, BadOrder, "size must be finite"),
        ({"size": 0.004}, BadOrder, r"at least 0\.01 contracts, not 0\.004: see cancel"),
        ({"size": 5, "price": 2}, BadOrder, "price must be between"),
        ({"size": 5, "postonly": True}, TypeError, "did you mean post_only"),
        ({"size": 5, "data": 7}, TypeError, "no argument 'data'"),
    ],
)
def test_a_replacement_that_could_never_be_an_order_cancels_nothing(how, kind, words):
    rests: list[float] = []

    def replace(s):
        with pytest.raises(kind, match=words):
            s.replace(s.sent[0], **how)

    script = {
        0: lambda s: s.bid(5, 41),
        10: replace,
        30: lambda s: rests.extend(each.left for each in s.open_orders()),
    }
    told = scripted(quoted(), script).strategy.told
    assert rests == [5]
    assert [status for _, status, _ in told] == ["Submitted", "Accepted"]


def test_a_limit_order_may_be_replaced_by_a_market_order():
    script = {
        0: lambda s: s.bid(5, 41),
        10: lambda s: s.replace(s.sent[0], size=7, exectype=bt.Order.Market),
    }
    assert lines_of(scripted(quoted(), script)) == [
        (11, "CANCELLED", 0, 5, "ASKED"), (15, "FILL", 1, 7, "NONE"),
    ]  # fmt: skip


@pytest.mark.parametrize("order", [None, 7])
def test_what_is_no_order_cannot_be_replaced(order):
    with pytest.raises(BadOrder, match="an order must be one that buy"):
        asked(lambda s: s.replace(order, size=5))


def test_a_position_that_is_closed_already_sends_nothing():
    assert asked(lambda s: s.order_target_size(s.datas[0], 5), before=hold(5)) is None
