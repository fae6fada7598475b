"""The sizes, prices and kinds of orders are as docs/backtrader.md says."""

import math
from decimal import Decimal

import backtrader as bt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.engine.event_driven.instructions import BadOrder, count_of, limit_price
from backtests.tests.contract import (
    ARGUMENTS,
    asked,
    hold,
    quoted,
    refused,
)
from backtests.tests.scripted import LIMIT, lines_of, scripted
from backtests.tests.test_execution import book

SIDES = pytest.mark.parametrize("method", ["buy", "sell"])


class TestSizesAndPrices:
    @ARGUMENTS.works("buy(data)")
    @SIDES
    def test_a_market_goes_by_its_feed_or_its_name(self, method):
        for market in (lambda s: s.datas[1], lambda s: "T1"):
            assert asked(lambda s: getattr(s, method)(market(s), 5).data is s.datas[1])  # noqa: B023
        assert asked(lambda s: getattr(s, method)(size=5).data is s.datas[0])

    @ARGUMENTS.differs("buy(size)")
    @pytest.mark.parametrize(
        ("size", "contracts"),
        [(5, 5), (-5, 5), (0.014, 0.01), (0.005001, 0.01), (1_000_000, 1_000_000),
         (Decimal("2.5"), 2.5), (np.float64(7), 7)],
    )  # fmt: skip
    @SIDES
    def test_a_size_is_rounded_to_the_hundredth_of_a_contract(self, method, size, contracts):
        assert asked(lambda s: abs(getattr(s, method)(s.datas[0], size).size)) == contracts

    @ARGUMENTS.differs("buy(size)")
    @pytest.mark.parametrize(
        ("size", "words"),
        [
            (math.nan, "size must be finite, not nan"),
            (math.inf, "size must be finite, not inf"),
            (1e300, "size must be from 0 to 1,000,000 contracts, not 1e"),
            (1_000_000.01, "size must be from 0 to 1,000,000 contracts, not 1000000.01"),
            (10**400, "size must be a number"),
        ],
    )
    @SIDES
    def test_a_size_that_is_out_of_range_is_refused_at_the_call(self, method, size, words):
        refused(words, method=method, size=size)

    def test_so_is_one_that_is_no_number(self):
        with pytest.raises(BadOrder, match="size must be a number, not 'ten'"):
            count_of("ten")

    @ARGUMENTS.differs("buy(price)")
    @pytest.mark.parametrize(
        ("price", "words"),
        [
            (None, "price is missing: a limit order needs one"),
            (math.nan, "price must be finite, not nan"),
            (-math.inf, "price must be finite"),
            (1e300, "price must be between 0 and 1 dollar"),
            (0, "price must be between 0 and 1 dollar, not 0"),
            (1, "price must be between 0 and 1 dollar, not 1"),
            (42, "price must be between 0 and 1 dollar, not 42"),
            (0.00001, "price must be between 0 and 1 dollar"),
            ("cheap", "price must be a number, not 'cheap'"),
        ],
    )
    @SIDES
    def test_a_price_is_between_zero_and_a_dollar(self, method, price, words):
        refused(words, method=method, price=price, exectype=LIMIT)

    @ARGUMENTS.differs("buy(price)")
    @SIDES
    def test_a_market_order_has_no_price(self, method):
        refused("price needs exectype=bt.Order.Limit", method=method, price=0.4)

    @given(st.floats())
    def test_a_size_is_counted_to_the_nearest_hundredth_or_refused(self, size):
        try:
            assert abs(count_of(size) - size * 100) <= 0.5
        except BadOrder:
            assert not 0 <= size <= 1_000_000

    @given(st.floats())
    def test_a_price_is_told_exact_or_not_or_refused(self, price):
        try:
            limit, is_exact = limit_price(price)
        except BadOrder:
            assert not 0.00005 < price < 0.99995
        else:
            assert 0 < limit < 10_000
            assert is_exact == (abs(price * 10_000 - limit) < 1e-6)


class TestKinds:
    @ARGUMENTS.differs("buy(exectype=Market)")
    def test_a_market_order_takes_what_is_shown_at_the_price_of_its_moment(self):
        universe = quoted(42, 45, book(42, 46, at=12), size=3)
        for exectype in (None, bt.Order.Market):
            script = {
                0: lambda s, e=exectype: s.buy(s.datas[0], 5, exectype=e),
                11: lambda s, e=exectype: s.buy(s.datas[0], 5, exectype=e),
            }
            assert lines_of(scripted(universe, script)) == [
                (5, "FILL", 0, 3, "NONE"),
                (5, "CANCELLED", 0, 2, "UNFILLED"),
                (12, "CANCELLED", 1, 5, "UNFILLED"),
            ]

    @ARGUMENTS.works("buy(exectype=Limit)")
    def test_a_limit_order_rests(self):
        universe = quoted(42, 45, book(38, 40, at=30))
        assert lines_of(scripted(universe, {0: lambda s: s.bid(5, 41)})) == [
            (30, "FILL", 0, 5, "NONE")
        ]

    @ARGUMENTS.raises(
        *(f"buy(exectype={n})" for n in bt.Order.ExecTypes if n not in ("Market", "Limit"))
    )
    @pytest.mark.parametrize(
        "name", [name for name in bt.Order.ExecTypes if name not in ("Market", "Limit")]
    )
    @SIDES
    def test_kalshi_has_no_other_kind(self, method, name):
        exectype = getattr(bt.Order, name)
        refused(f"Kalshi has no {name} orders", method=method, price=0.4, exectype=exectype)

    def test_nor_one_that_nobody_has(self):
        refused("Kalshi has no 99 orders", exectype=99)
        refused("Kalshi has no 'Limit' orders", exectype="Limit")

    @ARGUMENTS.raises(
        "buy(plimit)", "buy(trailamount)", "buy(trailpercent)", "buy(oco)", "buy(parent)"
    )
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("plimit", "plimit: Kalshi has no stop orders"),
            ("trailamount", "trailamount: Kalshi has no trailing stops"),
            ("trailpercent", "trailpercent: Kalshi has no trailing stops"),
            ("oco", "oco: no order on Kalshi cancels another"),
            ("parent", "parent: no order on Kalshi waits for another"),
        ],
    )
    @SIDES
    def test_what_kalshi_does_not_have_is_refused_by_name(self, method, name, words):
        refused(words, method=method, **{name: 0.4})

    @ARGUMENTS.raises("buy(transmit=False)")
    @SIDES
    def test_an_order_is_sent_at_once(self, method):
        refused("transmit=False: no order on Kalshi waits", method=method, transmit=False)

    @ARGUMENTS.raises("buy(anything else)")
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("postonly", "no argument 'postonly': did you mean post_only"),
            ("time_in_force", "no argument 'time_in_force'"),
        ],
    )
    @SIDES
    def test_what_nobody_knows_is_refused_by_name(self, method, name, words):
        refused(words, kind=TypeError, method=method, **{name: True})

    @ARGUMENTS.works("buy(tradeid)")
    def test_an_order_keeps_its_trade_s_id(self):
        assert asked(lambda s: s.buy(s.datas[0], 5, tradeid=7).tradeid) == 7


class TestOurs:
    @ARGUMENTS.ours("buy(tif)")
    def test_an_order_may_be_for_now_only(self):
        script = {0: lambda s: s.bid(5, 41, tif="ioc")}
        assert lines_of(scripted(quoted(), script)) == [(5, "CANCELLED", 0, 5, "UNFILLED")]
        refused("tif must be 'gtc' or 'ioc', not 'day'", tif="day")
        refused("tif='gtc' needs exectype=bt.Order.Limit", tif="gtc")

    @ARGUMENTS.ours("buy(post_only)")
    def test_a_post_only_order_never_takes(self):
        script = {0: lambda s: s.bid(5, 45, post_only=True)}
        assert lines_of(scripted(quoted(), script)) == [(5, "REFUSED", 0, 5, "WOULD_CROSS")]

    @ARGUMENTS.ours("buy(self_trade_prevention)")
    def test_prevention_has_two_ways(self):
        assert asked(lambda s: s.buy(s.datas[0], 5, self_trade_prevention="maker"))
        refused("must be 'taker_at_cross' or 'maker', not 'none'", self_trade_prevention="none")


class TestReduceOnly:
    @ARGUMENTS.ours("buy(reduce_only)")
    @pytest.mark.parametrize(
        ("held", "side", "filled"),
        [(5, "sell", 5), (-5, "buy", 5), (20, "sell", 10), (5, "buy", 0), (0, "sell", 0)],
    )
    def test_it_fills_at_most_what_is_held_on_the_other_side(self, held, side, filled):
        script = {
            0: hold(held) if held else lambda s: None,
            10: lambda s: getattr(s, side)(s.datas[0], 10, reduce_only=True),
        }
        finished = scripted(quoted(), script)
        lines = [line for line in lines_of(finished) if line[0] > 10]
        assert sum(abs(line[3]) for line in lines if line[1] == "FILL") == filled
        if filled < 10:
            assert lines[-1][1:2] + lines[-1][4:] == ("CANCELLED", "REDUCE_ONLY")
            assert finished.strategy.told[-1][1:] == (
                "Canceled", "reduce-only, and no more was held to be reduced",
            )  # fmt: skip
        assert finished.outcome.positions.get(0, 0) == 100 * (
            held + (-filled, filled)[side == "buy"]
        )

    def test_what_the_book_does_not_offer_is_unfilled(self):
        universe = quoted(42, 45, book(42, 45, at=6, bid_size=2))
        script = {0: hold(5), 10: lambda s: s.sell(s.datas[0], 9, reduce_only=True)}
        assert lines_of(scripted(universe, script))[1:] == [
            (15, "FILL", 1, -2, "NONE"), (15, "CANCELLED", 1, -7, "UNFILLED"),
        ]  # fmt: skip

    def test_it_needs_no_cash_for_what_it_cannot_open(self):
        script = {0: hold(5), 10: lambda s: s.sell(s.datas[0], 5_000, reduce_only=True)}
        assert [line[1] for line in lines_of(scripted(quoted(), script))[1:]] == [
            "FILL", "CANCELLED",
        ]  # fmt: skip

    def test_an_order_that_may_rest_cannot_have_it(self):
        refused("reduce_only needs tif='ioc'", price=0.4, exectype=LIMIT, reduce_only=True)

    def test_where_nothing_is_held_no_order_of_the_run_is_touched(self):
        how = {"tif": "ioc", "reduce_only": True, "self_trade_prevention": "maker"}
        script = {0: lambda s: s.ask(5, 44), 10: lambda s: s.bid(5, 44, **how)}
        assert lines_of(scripted(quoted(), script)) == [(15, "CANCELLED", 1, 5, "REDUCE_ONLY")]
