"""The members of an order are as docs/backtrader.md says."""

from typing import Any

import backtrader as bt
import pytest

from backtests.data.universe import DAY, EPOCH_DAY, SECOND
from backtests.engine.event_driven.instructions import BadOrder
from backtests.tests.contract import (
    ORDER,
    asked,
    hold,
    quoted,
)
from backtests.tests.scripted import LIMIT, scripted
from backtests.tests.test_execution import NOW


class TestMembers:
    @ORDER.works("alive", "isbuy", "issell", "getstatusname", "getordername", "ordtypename",
        "ExecType", "addinfo", "clone", "active", "brokerstatus",
    )  # fmt: skip
    @pytest.mark.parametrize(("method", "is_buy"), [("buy", True), ("sell", False)])
    def test_an_order_tells_what_it_is(self, method, is_buy):
        def ask(s):
            order = getattr(s, method)(s.datas[0], 5)
            order.addinfo(why="a test")
            copy = order.clone()
            return (
                [order.isbuy(), order.issell(), copy == order, copy is order],
                [order.alive(), order.active(), order.brokerstatus()],
                [order.getstatusname(), order.getordername(), order.info.why],
                [order.ordtypename(), order.ExecType("Limit")],
            )

        assert asked(ask) == (
            [is_buy, not is_buy, True, False],
            [True, True, bt.Order.Submitted],
            ["Submitted", "Market", "a test"],
            ["Buy" if is_buy else "Sell", LIMIT],
        )

    @ORDER.works("ref", "data", "owner", "status", "info", "comminfo", "broker", "tradeid",
        "exectype", "plen", "size", "price", "created",
    )  # fmt: skip
    @pytest.mark.parametrize(("method", "size", "price"), [("buy", 5, 0.45), ("sell", -5, 0.42)])
    def test_an_order_has_its_attributes(self, method, size, price):
        def ask(s):
            order = getattr(s, method)(s.datas[0], 5.004)
            return (
                [order.ref > 0, order.data is s.datas[0], order.owner is s],
                [order.broker is s.broker, order.plen == len(s.datas[0]), dict(order.info)],
                order.comminfo is s.broker.getcommissioninfo(s.datas[0]),
                [order.status, order.tradeid, order.exectype],
                [order.size, order.price, order.created.size, order.created.price],
            )

        assert asked(ask) == (
            [True] * 3,
            [True, True, {}],
            True,
            [bt.Order.Submitted, 0, bt.Order.Market],
            [size, price, size, price],
        )

    @ORDER.works("executed")
    def test_what_was_executed_is_told_as_the_journal_has_it(self):
        kept: list[Any] = []

        def closing(s):
            s.notify_order = kept.append
            s.sell(s.datas[0], 4)

        scripted(quoted(), {0: hold(10), 10: closing})
        done = kept[-1].executed
        assert (done.size, done.price, done.remsize, done.comm) == (-4, 0.42, 0, 0)
        assert (round(done.pnl, 9), done.psize, round(done.pprice, 9)) == (-0.12, 6, 0.45)
        assert done.value == 1.8

    @pytest.mark.parametrize(("held", "value"), [(0, 2.9), (-5, 2.9), (2, 3 * 0.58 + 2 * 0.45)])
    def test_its_value_is_the_cost_of_what_was_opened(self, held, value):
        kept: list[Any] = []

        def selling(s):
            s.notify_order = kept.append
            s.sell(s.datas[0], 5)

        scripted(quoted(), {0: hold(held) if held else lambda s: None, 10: selling})
        assert kept[-1].executed.value == pytest.approx(value)

    def test_its_instants_are_those_of_sending_and_of_the_fill(self):
        kept: list[Any] = []

        def buying(s):
            s.notify_order = s.notify_trade = kept.append
            s.buy(s.datas[0], 5)

        scripted(quoted(), {7: buying})
        order, trade = kept[-2:]
        days = [EPOCH_DAY + (NOW + at * SECOND) / DAY for at in (7, 10)]
        assert [order.created.dt, order.executed.dt, trade.dtopen] == [*days, days[1]]

    @ORDER.works(*ORDER.names("works")[-41:])
    def test_statuses_and_kinds_are_backtrader_s(self):
        order = asked(lambda s: s.buy(s.datas[0], 5))
        for name in ORDER.names("works"):
            if name[0].isupper() and name != "ExecType":
                assert getattr(order, name) == getattr(bt.Order, name)

    @ORDER.raises("cancel")
    def test_an_order_does_not_cancel_itself(self):
        with pytest.raises(BadOrder, match=r"use self.cancel\(order\)"):
            asked(lambda s: s.buy(s.datas[0], 5).cancel())

    @ORDER.inner(*ORDER.names("inner"))
    def test_what_is_inner_stands_at_its_default(self):
        order = asked(lambda s: s.buy(s.datas[0], 5))
        names = ("plimit", "pricelimit", "trailamount", "trailpercent", "oco", "parent")
        assert {name: getattr(order, name) for name in names} == dict.fromkeys(names)
        assert (order.transmit, order.triggered, order.histnotify) == (True, False, False)
        assert [name for name in ORDER.names("inner") if not hasattr(order, name)] == []
