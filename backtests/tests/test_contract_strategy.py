"""The methods of backtrader's strategy do what docs/backtrader.md says of them."""

from typing import ClassVar

import backtrader as bt
import pytest

from backtests.engine.event_driven import cerebro
from backtests.engine.event_driven.instructions import BadOrder
from backtests.tests.contract import (
    STRATEGY,
    asked,
    hold,
    quoted,
    run_class,
    run_of,
)
from backtests.tests.scripted import LIMIT, Scripted, lines_of, scripted
from backtests.tests.test_execution import book


class TestOrders:
    @STRATEGY.differs("buy", "sell")
    @pytest.mark.parametrize("method", ["buy", "sell"])
    def test_a_size_that_rounds_to_nothing_is_no_order_and_the_result_says_so(self, method):
        script = {n: lambda s: s.sent.append(getattr(s, method)(s.datas[0], 0.004)) for n in (0, 5)}
        finished = scripted(quoted(), script)
        assert finished.strategy.sent == [None, None]
        assert lines_of(finished) == []
        assert finished.outcome.notes == (
            "Orders not sent, since their sizes round to 0 contracts: 2; the first one was for"
            " 0.004 of T0.",
        )

    @STRATEGY.differs("buy", "sell")
    @pytest.mark.parametrize("method", ["buy", "sell"])
    def test_an_order_in_a_market_that_has_not_begun_is_refused_with_words(self, method):
        universe = quoted(None, 45)
        script = {10: lambda s: s.sent.append(getattr(s, method)(s.datas[0], 5))}
        finished = scripted(universe, script)
        assert lines_of(finished)[0][:3] == (11, "REFUSED", 0)
        assert finished.strategy.told[-1] == (
            11, "Rejected", "the market has not shown a book with two sides yet",
        )  # fmt: skip

    @STRATEGY.differs("buy", "sell")
    @pytest.mark.parametrize(("method", "quotes"), [("buy", (42, None)), ("sell", (None, 45))])
    def test_a_market_order_without_an_offer_is_refused_as_it_arrives(self, method, quotes):
        universe = quoted(42, 45, book(*quotes, at=5))
        finished = scripted(universe, {10: lambda s: getattr(s, method)(s.datas[0], 5)})
        assert lines_of(finished)[0][:3] == (11, "REFUSED", 0)
        assert finished.strategy.told[-1][1:] == (
            "Rejected", "no offer: nobody quoted a price that it could take",
        )  # fmt: skip

    def test_without_a_size_the_sizer_s_is_sent(self):
        assert asked(lambda s: s.buy(s.datas[0]).size) == 1

    @pytest.mark.parametrize("method", ["__init__", "start"])
    def test_no_order_is_sent_before_the_first_step(self, method):
        def send(self):
            Scripted.__init__(self)
            self.buy(size=5)

        with pytest.raises(BadOrder, match="from the first step on, not in __init__ or start"):
            run_of({method: send})

    def test_no_order_is_sent_after_the_last_step_and_the_result_says_so(self):
        def again(self, order):
            if not order.alive():
                self.sent.append(self.buy(size=5))

        def stop(self):
            self.sent.append(self.buy(size=7))

        script = {58: lambda s: s.buy(size=3)}
        body = {"notify_order": again, "stop": stop, "script": script}
        kind = type("Resending", (Scripted,), body)
        finished = run_class(kind)
        assert lines_of(finished) == [(59.000001, "CANCELLED", 0, 3, "RUN_ENDED")]
        assert finished.strategy.sent == [None, None]
        assert finished.outcome.notes == (
            "Orders not sent, since the run was over: 2; the first one was for 5 of T0.",
        )

    @pytest.mark.parametrize("method", ["buy", "sell", "close", "order_target_size"])
    @pytest.mark.parametrize(
        ("data", "words"),
        [(10, "data must be a feed, not 10"), ("T9", "no feed is called 'T9'")],
    )
    def test_what_is_no_feed_is_refused(self, method, data, words):
        with pytest.raises(BadOrder, match=words):
            asked(lambda s: getattr(s, method)(data))

    def test_a_size_of_zero_is_no_order(self):
        assert asked(lambda s: s.buy(s.datas[0], 0)) is None

    @STRATEGY.works("close")
    def test_close_sends_the_opposite_of_what_is_held(self):
        assert asked(lambda s: s.close(s.datas[0]).size, before=hold(5)) == -5
        assert asked(lambda s: s.close(s.datas[0]).size, before=hold(-5)) == 5
        assert asked(lambda s: s.close(s.datas[0])) is None

    @STRATEGY.differs("cancel")
    def test_a_cancellation_arrives_after_the_latency_and_of_one_that_is_over_changes_nothing(self):
        script = {
            0: lambda s: s.bid(5, 41),
            10: lambda s: s.cancel(s.sent[0]),
            20: lambda s: s.cancel(s.sent[0]),
        }
        assert lines_of(scripted(quoted(), script)) == [(11, "CANCELLED", 0, 5, "ASKED")]

    @STRATEGY.differs("cancel")
    @pytest.mark.parametrize("order", [None, 7])
    def test_what_is_no_order_cannot_be_cancelled(self, order):
        with pytest.raises(BadOrder, match="an order must be one that buy"):
            asked(lambda s: s.cancel(order))

    @STRATEGY.ours("amend")
    def test_amend_changes_an_order_at_rest(self):
        script = {0: lambda s: s.bid(5, 41), 10: lambda s: s.amend(s.sent[0], size=3)}
        assert lines_of(scripted(quoted(), script)) == [(11, "CANCELLED", 0, 5, "REPLACED")]

    @STRATEGY.ours("replace")
    def test_replace_cancels_one_and_sends_another_at_its_price(self):
        script = {
            0: lambda s: s.bid(5, 41),
            10: lambda s: s.sent.append(s.replace(s.sent[0], size=7)),
        }
        finished = scripted(quoted(42, 45, book(30, 40, at=30)), script)
        assert lines_of(finished) == [
            (11, "CANCELLED", 0, 5, "ASKED"), (30, "FILL", 1, 7, "NONE"),
        ]  # fmt: skip
        assert finished.strategy.sent[1].created.price == 0.41

    @STRATEGY.raises("buy_bracket", "sell_bracket")
    @pytest.mark.parametrize("method", ["buy_bracket", "sell_bracket"])
    def test_a_bracket_has_no_exits(self, method):
        with pytest.raises(BadOrder, match=f"{method}: Kalshi has no stop orders"):
            asked(lambda s: getattr(s, method)(s.datas[0], 5, 0.41))
        without = {"stopexec": None, "limitexec": None}
        sent = asked(lambda s: getattr(s, method)(s.datas[0], 5, 0.41, **without))
        assert [order and abs(order.size) for order in sent] == [5, None, None]

    @STRATEGY.works("order_target_size")
    @pytest.mark.parametrize(
        ("held", "target", "sent"), [(0, 5, 5), (5, 8, 3), (5, -5, -10), (-5, 0, 5), (5, 5, None)]
    )
    def test_a_target_size_sends_what_is_missing(self, held, target, sent):
        order = asked(
            lambda s: s.order_target_size(s.datas[0], target),
            before=hold(held) if held else None,
        )
        assert (order and order.size) == sent


class TestTargetsInDollars:
    """Quotes of 0.90 at 0.92, so that YES counts with 0.91 and NO with 0.09."""

    def sent(self, target, *, held=0, method="order_target_value", **how):
        before = hold(held) if held else None
        universe = quoted(90, 92, size=10_000)
        order = asked(
            lambda s: getattr(s, method)(s.datas[0], target, **how), universe=universe,
            before=before,
        )  # fmt: skip
        return order and order.size

    @STRATEGY.differs("order_target_percent")
    def test_a_tenth_of_an_empty_account_buys_what_backtrader_buys(self):
        assert self.sent(0.10, method="order_target_percent") == 109
        assert stock_size(0.91, target=0.10) == 109

    @STRATEGY.differs("order_target_value")
    @pytest.mark.parametrize(
        ("held", "target", "size"),
        [
            (0, 100, 109),
            (50, 100, 59),
            (109, 100, None),
            (109, 50, -54),
            (109, 0, -109),
            (0, -100, -1_111),
            (-100, -100, -1_011),
            (-100, -5, 44),
            (-100, 100, 209),
            (50, -9, -150),
            (0, 0, None),
            (0, 0.5, None),
        ],
    )
    def test_yes_counts_with_its_price_and_no_with_the_rest_of_a_dollar(self, held, target, size):
        assert self.sent(target, held=held) == size

    @STRATEGY.differs("order_target_value")
    def test_without_a_limit_a_price_only_sizes_the_order(self):
        assert self.sent(100, price=0.5) == 200
        assert self.sent(100, price=0.5, exectype=LIMIT) == 200
        order = asked(lambda s: s.order_target_value(s.datas[0], 100, 0.5, exectype=LIMIT))
        assert order.created.price == 0.5


def stock_size(price, *, target):
    """The size that backtrader itself orders for a target percentage of $1,000."""

    class Stock(bt.Strategy):
        sizes: ClassVar[list[float]] = []

        def next(self):
            if not self.sizes:
                self.sizes.append(self.order_target_percent(target=target).size)

    class Flat(bt.feeds.DataBase):
        left = 3

        def _load(self):
            self.left -= 1
            self.lines.datetime[0] = 738_000 - self.left
            for line in ("open", "high", "low", "close"):
                getattr(self.lines, line)[0] = price
            return self.left >= 0

    stock = bt.Cerebro(stdstats=False)
    stock.broker.setcash(1_000)
    stock.adddata(Flat())
    stock.addstrategy(Stock)
    stock.run()
    return Stock.sizes[0]


class TestPositions:
    @STRATEGY.works(
        "getposition", "position", "getpositionbyname", "positionbyname", "getpositions",
        "positions", "getpositionsbyname", "positionsbyname",
    )  # fmt: skip
    @pytest.mark.parametrize(("held", "price"), [(5, 0.45), (-5, 0.42)])
    def test_all_ways_to_ask_tell_contracts_and_a_price_on_the_yes_scale(self, held, price):
        def ask(s):
            feed = s.datas[0]
            return [
                s.getposition(feed), s.getposition(), s.position, s.getpositionbyname("T0"),
                s.positionbyname, s.getpositions()[feed], s.positions[feed],
                s.getpositionsbyname()["T0"], s.positionsbyname["T0"],
            ]  # fmt: skip

        found = asked(ask, before=hold(held))
        assert [(p.size, round(p.price, 9)) for p in found] == [(held, price)] * 9

    def test_a_feed_without_a_position_has_none_of_size_zero(self):
        assert asked(lambda s: s.positions[s.datas[1]].size) == 0
        assert list(asked(lambda s: s.positionsbyname)) == ["T0", "T1"]

    def test_changing_a_copy_changes_nothing(self):
        def ask(s):
            s.getposition().set(99, 0.5)
            return s.getposition().size

        assert asked(ask, before=hold(5)) == 5


class TestFeedsAndSizers:
    @STRATEGY.works("getdatabyname", "getdatanames")
    def test_feeds_are_named_by_their_tickers(self):
        names, is_first = asked(
            lambda s: (list(s.getdatanames()), s.getdatabyname("T0") is s.datas[0])
        )
        assert (names, is_first) == (["T0", "T1"], True)

    @STRATEGY.works("setsizer", "getsizer", "sizer", "getsizing")
    def test_sizers_size_orders(self):
        def ask(s):
            fixed = s.setsizer(bt.sizers.FixedSize(stake=7))
            first = (s.getsizer() is fixed, s.sizer is fixed, s.getsizing(), s.buy().size)
            s.sizer = bt.sizers.PercentSizer(percents=10)
            return *first, round(s.getsizing(s.datas[0]), 6)

        assert asked(ask) == (True, True, 7, 7, round(100 / 0.435, 6))

    def test_a_sizer_that_needs_a_price_says_so_where_there_is_none(self):
        def ask(s):
            s.setsizer(bt.sizers.PercentSizer())
            s.buy(s.datas[0])

        with pytest.raises(BadOrder, match="T0 has not shown a book with two sides yet"):
            asked(ask, universe=quoted(None, 45))


@STRATEGY.works(
    "data", "datas", "data0", "data_close", "data0_close", "dnames", "env", "cerebro", "broker",
    "analyzers", "p",
)  # fmt: skip
@STRATEGY.differs("stats", "observers", "writers")
def test_a_strategy_has_its_attributes():
    def ask(s):
        return (
            [s.data is s.data0 is s.datas[0] is s.dnames.T0, s.env is s.cerebro],
            [s.broker is s.env.broker, s.data_close is s.data0_close is s.data.close],
            [s.p is s.params],
            [list(s.analyzers), list(s.stats), list(s.observers), s.writers],
        )

    assert asked(ask) == ([True, True], [True, True], [True], [[], [], [], []])


@STRATEGY.inner(*STRATEGY.names("inner"))
def test_what_is_inner_is_backtrader_s_own():
    made, stock = cerebro.backtrader_class(Scripted), bt.Strategy
    attributes = {"l", "line", "line0", "ddatas"}  # of an object, not of its class
    inner = {n for n in STRATEGY.names("inner") if n not in attributes}
    own = {name for name in inner if not isinstance(getattr(stock, name), type)}
    assert [name for name in own if getattr(made, name) != getattr(stock, name)] == []
    assert asked(lambda s: [name for name in attributes if not hasattr(s, name)]) == []
