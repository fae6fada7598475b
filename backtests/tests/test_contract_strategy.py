"""The methods of backtrader's strategy do what docs/backtrader.md says of them."""

from datetime import time, timedelta
from typing import Any, ClassVar

import backtrader as bt
import pytest

from backtests.data.universe import MONEY, SECOND, Settlement
from backtests.engine.event_driven import cerebro
from backtests.engine.event_driven.instructions import BadOrder
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.base import CONTRACTS, Strategy
from backtests.tests.contract import asked, hold, names_of, proves, quoted
from backtests.tests.scripted import LIMIT, Scripted, lines_of, scripted
from backtests.tests.test_execution import NOW, book, universe_of

SECTION = "Strategy"


def works(*names):
    return proves(SECTION, "works", *names)


def differs(*names):
    return proves(SECTION, "differs", *names)


def raises(*names):
    return proves(SECTION, "raises", *names)


def ours(*names):
    return proves(SECTION, "ours", *names)


def run_of(body, universe=None, *, bases=(Scripted,), script=None, analyzers=(), **parameters):
    """Run a strategy with this body; tell the strategy."""
    kind = type("Written", bases, {"script": script or {}, **body})
    ran = cerebro.run(
        universe or quoted(), kind, ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY,
        parameters=parameters, analyzers=analyzers,
    )  # fmt: skip
    return ran.strategy


def scripted_as(kind, universe=None):
    return cerebro.run(
        universe or quoted(), kind, ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY
    )


def settled(value, *, at=20, market=0):
    """A market that is settled at a second, at a value of YES in dollars."""
    paid = NOW + at * SECOND
    universe = quoted()
    universe.settlements[market] = Settlement(paid, paid, round(value * MONEY))
    return universe


class TestOrders:
    @differs("buy", "sell")
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

    @differs("buy", "sell")
    @pytest.mark.parametrize("method", ["buy", "sell"])
    def test_an_order_in_a_market_that_has_not_begun_is_refused_with_words(self, method):
        universe = quoted(None, 45)
        script = {10: lambda s: s.sent.append(getattr(s, method)(s.datas[0], 5))}
        finished = scripted(universe, script)
        assert lines_of(finished)[0][:3] == (11, "REFUSED", 0)
        assert finished.strategy.told[-1] == (
            11, "Rejected", "the market has not shown a book with two sides yet",
        )  # fmt: skip

    @differs("buy", "sell")
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

        kind = type("Resending", (Scripted,), {"notify_order": again, "stop": stop})
        kind.script = {58: lambda s: s.buy(size=3)}
        finished = scripted_as(kind)
        assert lines_of(finished) == [(59.000001, "CANCELLED", 0, 3, "RUN_ENDED")]
        assert finished.strategy.sent == [None, None]
        assert finished.outcome.notes == (
            "Orders not sent, since the run was over: 2; the first one was for 5 of T0.",
        )

    @pytest.mark.parametrize("method", ["buy", "sell", "close", "order_target_size"])
    @pytest.mark.parametrize(
        ("data", "words"),
        [(10, "data must be a feed or its ticker, not 10"), ("T9", "no feed is called 'T9'")],
    )
    def test_what_is_no_feed_is_refused(self, method, data, words):
        with pytest.raises(BadOrder, match=words):
            asked(lambda s: getattr(s, method)(data))

    def test_a_size_of_zero_is_no_order(self):
        assert asked(lambda s: s.buy(s.datas[0], 0)) is None

    @works("close")
    def test_close_sends_the_opposite_of_what_is_held(self):
        assert asked(lambda s: s.close(s.datas[0]).size, before=hold(5)) == -5
        assert asked(lambda s: s.close(s.datas[0]).size, before=hold(-5)) == 5
        assert asked(lambda s: s.close(s.datas[0])) is None

    @differs("cancel")
    def test_a_cancellation_arrives_after_the_latency_and_of_one_that_is_over_changes_nothing(self):
        script = {
            0: lambda s: s.bid(5, 41),
            10: lambda s: s.cancel(s.sent[0]),
            20: lambda s: s.cancel(s.sent[0]),
        }
        assert lines_of(scripted(quoted(), script)) == [(11, "CANCELLED", 0, 5, "ASKED")]

    @differs("cancel")
    @pytest.mark.parametrize("order", [None, 7])
    def test_what_is_no_order_cannot_be_cancelled(self, order):
        with pytest.raises(BadOrder, match="an order must be one that buy"):
            asked(lambda s: s.cancel(order))

    @ours("amend")
    def test_amend_changes_an_order_at_rest(self):
        script = {0: lambda s: s.bid(5, 41), 10: lambda s: s.amend(s.sent[0], size=3)}
        assert lines_of(scripted(quoted(), script)) == [(11, "CANCELLED", 0, 5, "REPLACED")]

    @ours("replace")
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

    @raises("buy_bracket", "sell_bracket")
    @pytest.mark.parametrize("method", ["buy_bracket", "sell_bracket"])
    def test_a_bracket_has_no_exits(self, method):
        with pytest.raises(BadOrder, match=f"{method}: Kalshi has no stop orders"):
            asked(lambda s: getattr(s, method)(s.datas[0], 5, 0.41))
        without = {"stopexec": None, "limitexec": None}
        sent = asked(lambda s: getattr(s, method)(s.datas[0], 5, 0.41, **without))
        assert [order and abs(order.size) for order in sent] == [5, None, None]

    @works("order_target_size")
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

    @differs("order_target_percent")
    def test_a_tenth_of_an_empty_account_buys_what_backtrader_buys(self):
        assert self.sent(0.10, method="order_target_percent") == 109
        assert stock_size(0.91, target=0.10) == 109

    @differs("order_target_value")
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

    @differs("order_target_value")
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
    @works(
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
    @works("getdatabyname", "getdatanames")
    def test_feeds_are_named_by_their_tickers(self):
        names, is_first = asked(
            lambda s: (list(s.getdatanames()), s.getdatabyname("T0") is s.datas[0])
        )
        assert (names, is_first) == (["T0", "T1"], True)

    @works("setsizer", "getsizer", "sizer", "getsizing")
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


class TestLife:
    @works("start", "next", "stop", "nextstart", "params")
    def test_a_strategy_starts_steps_and_stops(self):
        seen: list[Any] = []

        class Living(Strategy):
            schema: ClassVar = {"contracts": CONTRACTS}
            params = (("how", "quietly"),)

            def start(self):
                seen.append("start")

            def nextstart(self):
                seen.append("nextstart")
                super().nextstart()

            def next(self):
                seen.append((self.p.contracts, self.p.how))

            def stop(self):
                seen.append("stop")

        cerebro.run(
            universe_of(*[book(42, 45)] * 2), Living, ExecutionModel(), FillModel.EXPECTED,
            cash=MONEY, parameters={"contracts": 3},
        )  # fmt: skip
        assert seen == ["start", "nextstart", (3, "quietly"), (3, "quietly"), "stop"]

    @differs("prenext")
    def test_prenext_is_never_called_since_next_is_from_the_first_step_on(self):
        calls: list[Any] = []
        body = {
            "prenext": lambda self: calls.append("prenext"),
            "next": lambda self: calls.append(len(self.datas[0])),
        }
        run_of(body, universe_of(book(None, 45), book(42, 45)))
        assert calls == [0, 1]

    @raises("next_open", "nextstart_open", "prenext_open")
    @pytest.mark.parametrize("name", names_of(SECTION, "raises")[2:])
    def test_a_strategy_that_wants_to_trade_before_its_step_is_refused(self, name):
        with pytest.raises(TypeError, match=rf"{name}\(\) is never called"):
            run_of({name: lambda self: None})

    @works("set_tradehistory", "getindicators", "getindicators_lines", "getobservers")
    def test_trades_keep_their_history_and_indicators_are_found(self):
        def init(self):
            Scripted.__init__(self)
            self.mean = bt.ind.SMA(self.data.close, period=2)
            self.set_tradehistory()
            self.histories = []

        body = {
            "__init__": init,
            "notify_trade": lambda self, trade: self.histories.append(len(trade.history)),
        }
        ran = run_of(body, settled(1), script={0: hold(5)})
        assert ran.getindicators() == ran.getindicators_lines() == [ran.mean]
        assert list(ran.getobservers()) == []
        assert ran.histories == [1, 2]

    @ours("live", "fresh", "now", "observed_at", "trades")
    def test_a_strategy_sees_what_is_known(self):
        def ask(s):
            feed = s.datas[0]
            return (
                [f.listing.ticker for f in s.live],
                len(s.fresh),
                s.now,
                s.observed_at(feed),
                (s.trades(feed)),
            )

        at = NOW + 10 * SECOND
        assert asked(ask) == (["T0", "T1"], 1, at, at, [])


class TestNotifications:
    @differs("notify_order")
    def test_accepted_tells_that_an_order_rests(self):
        taken = scripted(quoted(), {0: hold(5)}).strategy.told
        assert [status for _, status, _ in taken] == ["Submitted", "Completed"]
        rested = scripted(quoted(), {0: lambda s: s.bid(5, 41)}).strategy.told
        assert [status for _, status, _ in rested] == ["Submitted", "Accepted"]

    @differs("notify_trade")
    @pytest.mark.parametrize(
        ("held", "value", "gained"),
        [(5, 1, 2.75), (5, 0, -2.25), (-5, 0, 2.1), (-5, 1, -2.9), (5, 0.5, 0.25)],
    )
    def test_a_trade_held_to_settlement_is_closed_at_its_value(self, held, value, gained):
        trades = []
        body = {
            "notify_trade": lambda s, trade: trades.append((s.now, trade)),
        }
        ran = run_of(body, settled(value), script={0: hold(held)})
        assert [(trade.isclosed, trade.size) for _, trade in trades] == [(False, held), (True, 0)]
        at, closed = trades[1]
        assert at == NOW + 20 * SECOND
        assert round(closed.pnl, 9) == round(closed.pnlcomm, 9) == gained
        assert closed.close_datetime().second == (at // SECOND) % 60
        assert round(ran.broker.getcash() - 1_000, 9) == gained

    def test_each_trade_of_a_market_is_closed(self):
        trades = []
        body = {"notify_trade": lambda s, t: trades.append((t.tradeid, t.isclosed))}

        def both(s):
            s.buy(s.datas[0], 5, tradeid=1)
            s.buy(s.datas[0], 3, tradeid=2)

        run_of(body, settled(1), script={0: both})
        assert sorted(trades) == [(1, False), (1, True), (2, False), (2, True)]

    def test_a_trade_that_was_closed_before_is_not_closed_again(self):
        trades = []
        body = {"notify_trade": lambda s, trade: trades.append(trade.isclosed)}
        run_of(body, settled(1), script={0: hold(5), 10: lambda s: s.close()})
        assert trades == [False, True]

    @ours("notify_settlement")
    @pytest.mark.parametrize(("held", "payout"), [(5, 4.0), (-5, 1.0)])
    def test_a_settlement_is_told_with_its_value_and_payout_as_it_is_paid(self, held, payout):
        told = []
        body = {
            "notify_settlement": lambda s, feed, value, paid: told.append(
                ((s.now - NOW) / SECOND, feed is s.datas[0], value, paid)
            )
        }
        run_of(body, settled(0.8, at=20.5), script={0: hold(held)})
        assert told == [(20.5, True, 0.8, payout)]

    @ours("notify_settlement")
    def test_where_nothing_was_held_it_is_told_at_the_next_step(self):
        told = []
        body = {
            "notify_settlement": lambda s, feed, value, paid: told.append(
                ((s.now - NOW) / SECOND, value, paid)
            )
        }
        run_of(body, settled(1, at=20.5))
        assert told == [(21, 1, 0)]

    @works("notify_cashvalue", "notify_fund")
    def test_cash_and_value_are_told_at_each_step(self):
        told = []
        body = {
            "notify_cashvalue": lambda s, *values: told.append(values),
            "notify_fund": lambda s, *values: told.append(values),
        }
        run_of(body, quoted(), script={0: hold(10)})
        assert told[:2] == [(1_000, 1_000), (1_000, 1_000, 1_000, 1)]
        assert told[-2:] == [(995.5, 999.7), (995.5, 999.7, 999.7, 1)]

    @works("notify_store", "notify_data")
    def test_nothing_live_is_told_of(self):
        calls = []
        run_of({name: lambda s, *a: calls.append(a) for name in ("notify_store", "notify_data")})
        assert calls == []


class TestTimers:
    """`NOW` is 14:13:20 UTC; a row each second follows."""

    def fired(self, universe=None, **timer):
        fired = []

        def init(self):
            Scripted.__init__(self)
            self.add_timer(**timer)

        def notify_timer(self, timer, when, *args, **kwargs):
            fired.append(((self.now - NOW) / SECOND, when.time(), args, kwargs))

        run_of({"__init__": init, "notify_timer": notify_timer}, universe)
        return fired

    @differs("add_timer")
    @works("notify_timer")
    def test_a_timer_fires_at_the_first_step_at_or_after_its_time(self):
        when = time(14, 13, 32)
        assert self.fired(when=when, name="noon") == [(12, when, (), {"name": "noon"})]
        between = time(14, 13, 31, 500_000)
        assert self.fired(when=between)[0][0] == 12

    @differs("add_timer")
    def test_it_may_repeat(self):
        fired = self.fired(when=time(14, 13, 30), repeat=timedelta(seconds=20))
        assert [at for at, *_ in fired] == [10, 30, 50]

    def test_it_may_be_bound_to_days(self):
        assert self.fired(when=time(14, 13, 32), weekdays=[1, 2]) == [
            (12, time(14, 13, 32), (), {}),
        ]  # fmt: skip
        assert self.fired(when=time(14, 13, 32), allow=lambda day: False) == []

    def test_it_may_go_by_the_day_s_session(self):
        fired = self.fired(when=bt.Timer.SESSION_START, offset=timedelta(hours=14, minutes=13.5))
        assert [at for at, *_ in fired] == [10]

    @differs("add_timer")
    def test_one_that_cheats_is_refused(self):
        with pytest.raises(ValueError, match="cheat=True"):
            self.fired(when=time(14, 13, 30), cheat=True)

    @differs("add_timer")
    def test_one_that_comes_too_late_is_refused(self):
        with pytest.raises(RuntimeError, match="for __init__ and start"):
            asked(lambda s: s.add_timer(time(14, 14)))


class TestStopping:
    @pytest.mark.parametrize("at", [20, 3_600])
    def test_a_run_that_is_stopped_asks_no_more_and_settles_what_is_held(self, at):
        steps = []
        script = {
            0: hold(5),
            6: lambda s: s.bid(5, 41),
            15: lambda s: (s.ask(5, 50), s.env.runstop()),
        }

        def look(self):
            steps.append((self.now - NOW) / SECOND)
            Scripted.next(self)

        kind = type("Stopping", (Scripted,), {"script": script, "next": look})
        finished = scripted_as(kind, settled(1, at=at))
        assert max(steps) == 15
        assert lines_of(finished) == [
            (5, "FILL", 0, 5, "NONE"),
            (15, "CANCELLED", 1, 5, "STOPPED"),
            (15, "CANCELLED", 2, -5, "RUN_ENDED"),
            (at, "SETTLED", -1, 5, "NONE"),
        ]
        assert finished.strategy.told[-1][1] == "Canceled"

    def test_it_may_be_stopped_before_it_begins(self):
        calls = []
        body = {"start": lambda s: s.env.runstop(), "next": lambda s: calls.append(s.now)}
        run_of(body)
        assert calls == []


@works(
    "data", "datas", "data0", "data_close", "data0_close", "dnames", "env", "cerebro", "broker",
    "analyzers", "p",
)  # fmt: skip
@differs("stats", "observers", "writers")
def test_a_strategy_has_its_attributes():
    def ask(s):
        return (
            [s.data is s.data0 is s.datas[0] is s.dnames.T0, s.env is s.cerebro],
            [s.broker is s.env.broker, s.data_close is s.data0_close is s.data.close],
            [s.p is s.params],
            [list(s.analyzers), list(s.stats), list(s.observers), s.writers],
        )

    assert asked(ask) == ([True, True], [True, True], [True], [[], [], [], []])


@proves(SECTION, "inner", *names_of(SECTION, "inner"))
def test_what_is_inner_is_backtrader_s_own():
    made, stock = cerebro.backtrader_class(Scripted), bt.Strategy
    attributes = {"l", "line", "line0", "ddatas"}  # of an object, not of its class
    inner = {n for n in names_of(SECTION, "inner") if n not in attributes}
    own = {name for name in inner if not isinstance(getattr(stock, name), type)}
    assert [name for name in own if getattr(made, name) != getattr(stock, name)] == []
    assert asked(lambda s: [name for name in attributes if not hasattr(s, name)]) == []
