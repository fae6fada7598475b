"""The methods of backtrader's broker do what docs/backtrader.md says of them."""

import re

import backtrader as bt
import pytest

from backtests.data.universe import MONEY
from backtests.engine.event_driven import cerebro
from backtests.engine.event_driven.fixed_settings import FIXED, FixedSetting
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.tests.contract import (
    BROKER,
    DOCUMENT,
    asked,
    hold,
    quoted,
)
from backtests.tests.scripted import Scripted
from backtests.tests.test_execution import USUAL


@BROKER.works("buy", "sell", "cancel")
def test_a_strategy_s_orders_can_be_sent_through_the_broker():
    def send(s):
        orders = [s.broker.buy(s, s.datas[0], 5), s.broker.sell(s, s.datas[0], 5)]
        s.broker.cancel(orders[0])
        return [order.size for order in orders]

    assert asked(send) == [5, -5]


@BROKER.works("getcash", "get_cash")
def test_cash_is_what_is_left():
    assert asked(lambda s: (s.broker.getcash(), s.broker.get_cash()), before=hold(10)) == (
        995.5, 995.5,
    )  # fmt: skip


@BROKER.differs("getvalue", "get_value", "get_fundvalue", "fundvalue")
@pytest.mark.parametrize(("held", "worth"), [(10, 4.2), (-10, 5.5), (0, 0)])
def test_the_value_is_cash_and_what_positions_could_be_sold_for(held, worth):
    def ask(s):
        b = s.broker
        return [
            [b.getvalue() - b.getcash(), b.get_value() - b.getcash()],
            [b.get_fundvalue() - b.getcash(), b.fundvalue - b.getcash()],
            [b.getvalue(datas=[s.datas[0]]), b.getvalue([s.datas[0], s.datas[1]])],
            [b.getvalue(datas=s.datas[1:]), b.getvalue(datas=[])],
        ]

    before = hold(held) if held else None
    of_all, of_fund, of_held, of_none = asked(ask, before=before)
    assert [of_all, of_fund, of_held] == [pytest.approx([worth, worth])] * 3
    assert of_none == [0, 0]


def test_a_feed_that_is_named_twice_counts_once():
    assert asked(lambda s: s.broker.getvalue([s.datas[0]] * 2), before=hold(10)) == 4.2


@BROKER.works("getposition")
def test_the_broker_tells_positions():
    assert asked(lambda s: s.broker.getposition(s.datas[0]).size, before=hold(-5)) == -5


@BROKER.differs("getcommissioninfo")
def test_fees_are_the_exchange_s_in_backtrader_s_words():
    universe = quoted()
    universe.terms[0] = [USUAL]

    def ask(s):
        fees = s.broker.getcommissioninfo(s.datas[0])
        return (
            fees.getcommission(100, 0.5),
            fees.getcommission(-100, 0.5),
            fees.getcommission(0, 0.5),
            fees.getoperationcost(10, 0.6),
            fees.getoperationcost(-10, 0.6),
            fees.getsize(0.5, 100),
        )

    taker, other, none, yes, no, size = asked(ask, universe=universe)
    assert taker == other == pytest.approx(1.75, abs=0.021)
    assert taker >= 1.75
    assert (none, yes, no, size) == (0, 6, 4, 200)


def test_a_market_without_fees_has_none():
    assert asked(lambda s: s.broker.getcommissioninfo(s.datas[0]).getcommission(1, 0.5)) < 0.03


@BROKER.works("get_orders_open", "orderstatus")
def test_open_orders_are_on_their_way_or_at_rest():
    def ask(s):
        s.bid(1, 41)
        ours = s.broker.get_orders_open()
        copies = s.broker.get_orders_open(safe=True)
        return [
            [order.size for order in ours],
            [ours[0] is s.sent[0], copies[0] is s.sent[0], copies == ours],
            [s.broker.orderstatus(order) for order in ours],
        ]

    def before(s):
        s.bid(5, 41)
        s.buy(s.datas[0], 3)

    sizes, same, statuses = asked(ask, before=before)
    assert sizes == [5, 1]
    assert same == [True, False, True]
    assert statuses == [bt.Order.Accepted, bt.Order.Submitted]


def test_the_status_of_an_order_that_a_notification_brought_is_that_of_now():
    kept = []

    class Keeping(Scripted):
        def notify_order(self, order):
            kept.append((order, order.status, order.brokerstatus()))

        def stop(self):
            assert {self.broker.orderstatus(order) for order, *_ in kept} == {bt.Order.Completed}

    Keeping.script = {0: hold(5)}
    cerebro.run(quoted(), Keeping, ExecutionModel(), FillModel.EXPECTED, cash=10 * MONEY)
    assert [status for _, status, _ in kept] == [bt.Order.Submitted, bt.Order.Completed]


@BROKER.works("get_leverage", "get_fundshares", "fundshares", "get_fundmode")
@BROKER.differs("fundmode")
def test_there_is_neither_leverage_nor_a_fund():
    def ask(s):
        b = s.broker
        return (b.get_leverage(), b.get_fundshares(), b.fundshares, b.get_fundmode(), b.fundmode)

    assert asked(ask) == (1, 1, 1, False, False)
    with pytest.raises(FixedSetting, match="fundmode: a run has no shares of a fund"):
        asked(lambda s: setattr(s.broker, "fundmode", True))


@BROKER.raises(*FIXED)
@pytest.mark.parametrize("name", BROKER.names("raises"))
def test_what_the_exchange_or_the_run_decides_cannot_be_set(name):
    with pytest.raises(FixedSetting, match=re.escape(f"{name}(): {FIXED[name]}")):
        asked(lambda s: getattr(s.broker, name)(0.1, name="T0"))


def test_the_document_says_why():
    text = DOCUMENT.read_text()
    said = dict.fromkeys(FIXED.values())
    assert [why for why in said if (why[0].upper() + why[1:]).split(",")[0] not in text] == [
        "buy() and sell() send orders"
    ]


@BROKER.inner(*BROKER.names("inner"))
def test_what_is_inner_is_there():
    names = BROKER.names("inner")
    assert asked(lambda s: [name for name in names if not hasattr(s.broker, name)]) == []
