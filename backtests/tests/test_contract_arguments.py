"""The arguments of other methods than `buy` are as docs/backtrader.md says."""

import math
from collections import defaultdict
from datetime import time, timedelta
from typing import Any

import backtrader as bt
import pytest

from backtests.engine.event_driven.instructions import BadOrder
from backtests.tests.contract import (
    ARGUMENTS,
    asked,
    hold,
    quoted,
    run_of,
)
from backtests.tests.scripted import LIMIT, Scripted, lines_of, scripted


class TestOtherMethodsArguments:
    @ARGUMENTS.works("close(data)", "close(size)")
    def test_close_takes_a_feed_and_a_part(self):
        assert asked(lambda s: s.close("T0", 2).size, before=hold(5)) == -2
        with pytest.raises(TypeError, match="no argument 'postonly'"):
            asked(lambda s: s.close(postonly=True), before=hold(5))
        with pytest.raises(BadOrder, match="size must be finite"):
            asked(lambda s: s.close(size=math.nan), before=hold(5))

    @ARGUMENTS.works("cancel(order)")
    def test_an_order_that_a_notification_brought_can_be_cancelled(self):
        def cancel_first(s):
            kept: list[Any] = []
            s.notify_order = kept.append
            s.kept = kept
            s.bid(5, 41)

        script = {0: cancel_first, 10: lambda s: s.cancel(s.kept[0])}
        assert lines_of(scripted(quoted(), script)) == [(11, "CANCELLED", 0, 5, "ASKED")]

    @ARGUMENTS.works(
        "order_target_size(data)", "order_target_size(target)", "order_target_value(data)",
        "order_target_value(target)", "order_target_value(price)", "order_target_percent(data)",
        "order_target_percent(target)",
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["size", "value", "percent"])
    def test_a_target_goes_by_feed_or_name_and_is_finite(self, kind):
        method = f"order_target_{kind}"
        for data in (lambda s: s.datas[0], lambda s: "T0", lambda s: None):
            order = asked(lambda s: getattr(s, method)(data(s), 0.5))  # noqa: B023
            assert order is None or order.data.listing.ticker == "T0"
        with pytest.raises(BadOrder, match="target must be finite, not nan"):
            asked(lambda s: getattr(s, method)(s.datas[0], math.nan))

    @pytest.mark.parametrize("kind", ["value", "percent"])
    def test_a_market_that_has_not_begun_has_no_price_to_size_by(self, kind):
        universe = quoted(None, 45)
        with pytest.raises(BadOrder, match="T0 has not shown a book with two sides yet"):
            asked(lambda s: getattr(s, f"order_target_{kind}")(s.datas[0], 0.5), universe=universe)
        assert asked(lambda s: s.order_target_value(s.datas[0], 5, 0.5), universe=universe)

    @ARGUMENTS.raises("buy_bracket(stopexec)", "buy_bracket(limitexec)")
    @pytest.mark.parametrize("name", ["stopexec", "limitexec"])
    def test_a_bracket_with_an_exit_is_refused(self, name):
        others = {"stopexec": None, "limitexec": None} | {name: bt.Order.Limit}
        with pytest.raises(BadOrder, match="buy_bracket: Kalshi has no stop orders"):
            asked(lambda s: s.buy_bracket(price=0.4, **others))

    @ARGUMENTS.raises(
        *(f"buy_bracket({n})" for n in ("stopprice", "stopargs", "limitprice", "limitargs"))
    )
    @pytest.mark.parametrize("name", ["stopprice", "stopargs", "limitprice", "limitargs"])
    def test_without_exits_a_bracket_has_no_arguments_of_theirs(self, name):
        others = {"stopexec": None, "limitexec": None, name: {"tif": "ioc"}}
        with pytest.raises(BadOrder, match=f"{name}: the exits of this sell_bracket are None"):
            asked(lambda s: s.sell_bracket(price=0.4, **others))

    @ARGUMENTS.differs(
        *(
            f"buy_bracket({name})"
            for name in (
                "data", "size", "price", "plimit", "exectype", "valid", "tradeid", "trailamount",
                "trailpercent", "oargs",
            )
        )
    )  # fmt: skip
    def test_the_others_are_those_of_buy(self):
        none = {"stopexec": None, "limitexec": None}
        order, _, _ = asked(
            lambda s: s.buy_bracket(
                s.datas[1], 5, 0.4, tradeid=3, valid=timedelta(hours=1), oargs={"post_only": True},
                **none,
            )
        )  # fmt: skip
        assert (order.data.listing.ticker, order.size, order.created.price) == ("T1", 5, 0.4)
        assert (order.tradeid, order.exectype, order.ticket.post_only) == (3, LIMIT, True)
        assert order.valid is not None
        for name in ("plimit", "trailamount", "trailpercent"):
            with pytest.raises(BadOrder, match=name):
                asked(lambda s: s.buy_bracket(price=0.4, **none, **{name: 0.1}))  # noqa: B023

    @ARGUMENTS.works("getposition(data)", "getposition(broker)")
    def test_there_is_one_broker(self):
        assert asked(lambda s: s.getposition(s.datas[0], s.broker).size, before=hold(5)) == 5

    @ARGUMENTS.works("setsizer(sizer)", "getsizing(data)", "getsizing(isbuy)")
    def test_a_sizer_is_asked_for_a_feed_and_a_side(self):
        class Sides(bt.Sizer):
            def _getsizing(self, comminfo, cash, data, isbuy):
                return 3 if isbuy else 4

        def ask(s):
            s.setsizer(Sides())
            return s.getsizing(s.datas[1], isbuy=False), s.getsizing(isbuy=True)

        assert asked(ask) == (4, 3)

    @ARGUMENTS.works(
        *(
            f"add_timer({name})"
            for name in (
                "when", "offset", "repeat", "weekdays", "weekcarry", "monthdays", "monthcarry",
                "allow", "tzdata", "kwargs",
            )
        )
    )  # fmt: skip
    def test_a_timer_has_its_arguments(self):
        kept: list[Any] = []

        def init(s):
            Scripted.__init__(s)
            given = (time(9), timedelta(1), timedelta(2), [1], True, [2], False, bool, None, False)
            kept.append(s.add_timer(*given, word="x"))

        run_of({"__init__": init})
        [timer] = kept
        p = timer.p
        assert (p.when, p.offset, p.repeat) == (time(9), timedelta(1), timedelta(2))
        assert (p.weekdays, p.weekcarry, p.monthdays, p.monthcarry) == ([1], True, [2], False)
        assert (p.allow, p.tzdata, p.cheat, timer.kwargs) == (bool, None, False, {"word": "x"})

    @ARGUMENTS.raises("add_timer(cheat)", "add_timer(args)")
    def test_a_timer_neither_cheats_nor_has_arguments_without_a_name(self):
        for cheating in (
            lambda s: s.add_timer(time(9), cheat=True),
            lambda s: s.add_timer(
                time(9), timedelta(), timedelta(), [], False, [], True, None, None, True
            ),
        ):
            with pytest.raises(ValueError, match="cheat=True"):
                asked(cheating)
        given: tuple[Any, ...] = (
            timedelta(), timedelta(), [], False, [], True, None, None, False, "more",
        )  # fmt: skip
        with pytest.raises(TypeError, match=r"add_timer\(\): give 'more' a name"):
            asked(lambda s: s.add_timer(time(9), *given))

    @ARGUMENTS.works(
        "getpositionbyname(name)", "getpositionbyname(broker)", "getpositions(broker)",
        "getpositionsbyname(broker)", "getdatabyname(name)", "set_tradehistory(onoff)",
    )  # fmt: skip
    def test_positions_and_feeds_go_by_name_and_broker(self):
        def ask(s):
            s.set_tradehistory(onoff=False)
            return [
                s.getpositionbyname(name="T0", broker=s.broker).size,
                s.getpositions(broker=s.broker)[s.getdatabyname(name="T0")].size,
                s.getpositionsbyname(broker=s.broker)["T0"].size,
            ]

        assert asked(ask, before=hold(5)) == [5, 5, 5]
        with pytest.raises(BadOrder, match="no feed is called 'T9'"):
            asked(lambda s: s.getpositionbyname("T9"))

    @ARGUMENTS.works(
        "notify_order(order)", "notify_trade(trade)", "notify_timer(timer)", "notify_timer(when)",
        "notify_timer(args)", "notify_timer(kwargs)", "notify_cashvalue(cash)",
        "notify_cashvalue(value)", "notify_fund(cash)", "notify_fund(value)",
        "notify_fund(fundvalue)", "notify_fund(shares)", "notify_store(msg)", "notify_store(args)",
        "notify_store(kwargs)", "notify_data(data)", "notify_data(status)", "notify_data(args)",
        "notify_data(kwargs)",
    )  # fmt: skip
    def test_notifications_bring_what_they_name(self):
        told = defaultdict(list)

        def noting(name):
            return lambda s, *given, **named: told[name].append((given, named))

        def init(s):
            Scripted.__init__(s)
            s.timer = s.add_timer(time(14, 13, 30), word="x")

        names = ("order", "trade", "timer", "cashvalue", "fund", "store", "data")
        body = {f"notify_{name}": noting(name) for name in names} | {"__init__": init}
        ran = run_of(body, script={0: hold(5)})
        [((order,), _), *_] = told["order"]
        [((trade,), _)] = told["trade"]
        assert (order.size, trade.size) == (5, 5)
        [((timer, when), named)] = told["timer"]
        assert (timer is ran.timer, when.time(), named) == (True, time(14, 13, 30), {"word": "x"})
        assert told["cashvalue"][0] == ((1_000, 1_000), {})
        assert told["fund"][0] == ((1_000, 1_000, 1_000, 1), {})
        assert told["store"] == told["data"] == []

    @ARGUMENTS.works(
        *(
            f"broker.{call}"
            for call in (
                "buy(owner)", "cancel(order)", "getvalue(datas)", "getposition(data)",
                "getcommissioninfo(data)", "get_orders_open(safe)", "orderstatus(order)",
            )
        )
    )  # fmt: skip
    def test_the_broker_s_methods_take_their_arguments_by_name(self):
        def ask(s):
            order = s.broker.buy(owner=s, data=s.datas[0], size=5)
            s.broker.cancel(order=order)
            return (
                [order.owner is s, s.broker.orderstatus(order=order) == order.status],
                [s.broker.getvalue(datas=s.datas), s.broker.getposition(data=s.datas[0]).size],
                s.broker.getcommissioninfo(data=s.datas[0]) is order.comminfo,
                len(s.broker.get_orders_open(safe=True)),
            )

        assert asked(ask) == ([True, True], [0, 0], True, 1)

    @ARGUMENTS.raises(
        "broker.buy(histnotify)", "broker.buy(_checksubmit)", "broker.cancel(bracket)",
        "broker.getvalue(mkt)", "broker.getvalue(lever)",
    )  # fmt: skip
    def test_but_for_those_that_the_exchange_does_not_have(self):
        calls = {
            "histnotify": lambda s, **more: s.broker.buy(s, s.datas[0], 5, **more),
            "_checksubmit": lambda s, **more: s.broker.buy(s, s.datas[0], 5, **more),
            "bracket": lambda s, **more: s.broker.cancel(s.buy(size=5), **more),
            "mkt": lambda s, **more: s.broker.getvalue(s.datas, **more),
            "lever": lambda s, **more: s.broker.get_value(s.datas, **more),
        }
        for name, call in calls.items():
            with pytest.raises(TypeError, match=name):
                asked(lambda s: call(s, **{name: True}))  # noqa: B023
