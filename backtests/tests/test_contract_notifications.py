"""A strategy hears of orders, trades, settlements and times as docs/backtrader.md says."""

from datetime import time, timedelta
from typing import Any, ClassVar

import backtrader as bt
import pytest

from backtests.data.universe import MONEY, SECOND
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.base import CONTRACTS, Strategy
from backtests.tests.contract import (
    STRATEGY,
    asked,
    hold,
    quoted,
    run_class,
    run_of,
    settled,
)
from backtests.tests.scripted import Scripted, lines_of, scripted
from backtests.tests.test_execution import NOW, book, universe_of


class TestLife:
    @STRATEGY.works("start", "next", "stop", "nextstart", "params")
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

    @STRATEGY.differs("prenext")
    def test_prenext_is_never_called_since_next_is_from_the_first_step_on(self):
        calls: list[Any] = []
        body = {
            "prenext": lambda self: calls.append("prenext"),
            "next": lambda self: calls.append(len(self.datas[0])),
        }
        run_of(body, universe_of(book(None, 45), book(42, 45)))
        assert calls == [0, 1]

    @STRATEGY.raises("next_open", "nextstart_open", "prenext_open")
    @pytest.mark.parametrize("name", STRATEGY.names("raises")[2:])
    def test_a_strategy_that_wants_to_trade_before_its_step_is_refused(self, name):
        with pytest.raises(TypeError, match=rf"{name}\(\) is never called"):
            run_of({name: lambda self: None})

    @STRATEGY.works("set_tradehistory", "getindicators", "getindicators_lines", "getobservers")
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

    @STRATEGY.ours("live", "fresh", "now", "observed_at", "trades")
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
    @STRATEGY.differs("notify_order")
    def test_accepted_tells_that_an_order_rests(self):
        taken = scripted(quoted(), {0: hold(5)}).strategy.told
        assert [status for _, status, _ in taken] == ["Submitted", "Completed"]
        rested = scripted(quoted(), {0: lambda s: s.bid(5, 41)}).strategy.told
        assert [status for _, status, _ in rested] == ["Submitted", "Accepted"]

    @STRATEGY.differs("notify_trade")
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

    def test_backtrader_s_analyzer_of_trades_counts_it_as_closed(self):
        finished = cerebro.run(
            settled(1),
            type("Holding", (Scripted,), {"script": {0: hold(5)}}),
            ExecutionModel(),
            FillModel.EXPECTED,
            cash=1_000 * MONEY,
            analyzers=[bt.analyzers.TradeAnalyzer],
        )
        counted = finished.strategy.analyzers.trade.get_analysis()
        assert (counted.total.closed, round(counted.pnl.net.total, 9)) == (1, 2.75)

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

    @STRATEGY.ours("notify_settlement")
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

    @STRATEGY.ours("notify_settlement")
    def test_where_nothing_was_held_it_is_told_at_the_next_step(self):
        told = []
        body = {
            "notify_settlement": lambda s, feed, value, paid: told.append(
                ((s.now - NOW) / SECOND, value, paid)
            )
        }
        run_of(body, settled(1, at=20.5))
        assert told == [(21, 1, 0)]

    @STRATEGY.works("notify_cashvalue", "notify_fund")
    def test_cash_and_value_are_told_at_each_step(self):
        told = []
        body = {
            "notify_cashvalue": lambda s, *values: told.append(values),
            "notify_fund": lambda s, *values: told.append(values),
        }
        run_of(body, quoted(), script={0: hold(10)})
        assert told[:2] == [(1_000, 1_000), (1_000, 1_000, 1_000, 1)]
        assert told[-2:] == [(995.5, 999.7), (995.5, 999.7, 999.7, 1)]

    @STRATEGY.works("notify_store", "notify_data")
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

    @STRATEGY.differs("add_timer")
    @STRATEGY.works("notify_timer")
    def test_a_timer_fires_at_the_first_step_at_or_after_its_time(self):
        when = time(14, 13, 32)
        assert self.fired(when=when, name="noon") == [(12, when, (), {"name": "noon"})]
        between = time(14, 13, 31, 500_000)
        assert self.fired(when=between)[0][0] == 12

    @STRATEGY.differs("add_timer")
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

    @STRATEGY.differs("add_timer")
    def test_one_that_cheats_is_refused(self):
        with pytest.raises(ValueError, match="cheat=True"):
            self.fired(when=time(14, 13, 30), cheat=True)

    @STRATEGY.differs("add_timer")
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
        finished = run_class(kind, settled(1, at=at))
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
