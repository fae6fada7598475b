"""The event-driven engine: backtrader works as usual, and its traps are closed."""

import math

import backtrader as bt
import numpy as np
import pytest

from backtests.data.universe import MONEY, SECOND, Settlement, microseconds
from backtests.engine.event_driven import cerebro
from backtests.engine.event_driven.analyzers import ANALYZERS, EquityAnalyzer
from backtests.rules.execution import JOURNAL, EntryKind, ExecutionModel, FillModel, Reason
from backtests.strategies.base import CONTRACTS, Strategy
from backtests.tests.journal_builders import equity_at
from backtests.tests.random_universes import random_universe
from backtests.tests.test_decision_points import observed_at
from backtests.tests.test_execution import CASH, NOW, book, fills_of, universe_of

SOON = ExecutionModel(latency_seconds=0)


def ran(universe, strategy, execution=SOON, *, cash=1_000 * MONEY, **others):
    return cerebro.run(universe, strategy, execution, FillModel.EXPECTED, cash=cash, **others)


def lines_of(finished):
    return [dict(zip(JOURNAL, map(int, line), strict=True)) for line in finished.outcome.journal]


class Watching(Strategy):
    """Notes the instant, the live markets and the number of fresh feeds at each step."""

    name, version, summary = "watching", "1", "Looks on."

    def __init__(self):
        self.seen = []

    def next(self):
        self.seen.append((self.now, [feed.listing.ticker for feed in self.live], len(self.fresh)))


class TestManyMarkets:
    def test_a_market_that_begins_late_does_not_hold_up_the_others(self):
        rows = [book(42, 45, at=n) for n in range(5)] + [book(42, 45, at=9, market=1)]
        strategy = ran(universe_of(*rows, markets=2), Watching).strategy
        assert [live for _, live, _ in strategy.seen] == [["T0"]] * 5 + [["T0", "T1"]]

    def test_a_market_that_ends_early_does_not_hold_up_the_others(self):
        ended = Settlement(NOW + 2 * SECOND, NOW + 2 * SECOND, 0)
        rows = [book(42, 45, at=0)] + [book(42, 45, at=n, market=1) for n in range(1, 6)]
        universe = universe_of(*rows, markets=2, settlement=ended)
        live = [live for _, live, _ in ran(universe, Watching).strategy.seen]
        assert live == [["T0"], ["T0", "T1"], *[["T1"]] * 4]

    def test_a_market_is_live_from_its_first_book_of_two_sides_on(self):
        rows = [book(42, 45), book(None, 45, market=1), book(42, 45, at=20)]
        strategy = ran(universe_of(*rows, markets=2), Watching).strategy
        assert [data._name for data in strategy.datas] == ["T0", "T1"]
        assert [live for _, live, _ in strategy.seen] == [["T0"]] * 3

    def test_a_strategy_is_asked_at_each_instant_even_where_no_book_ever_has_two_sides(self):
        universe = universe_of(*[book(None, 45)] * 3)
        assert [live for _, live, _ in ran(universe, Watching).strategy.seen] == [[], [], []]
        assert ran(universe, Averaging).strategy.seen == [[], [], []]

    def test_a_market_seen_too_long_ago_is_not_live(self):
        universe = universe_of(book(42, 45), book(42, 45, market=1, at=8_000), markets=2)
        assert ran(universe, Watching).strategy.seen[-1][1] == ["T1"]

    def test_a_paused_market_is_not_live(self):
        universe = universe_of(book(42, 45), book(42, 45, tradable=False), book(42, 45))
        live = [live for _, live, _ in ran(universe, Watching).strategy.seen]
        assert live == [["T0"], [], ["T0"]]

    def test_instants_a_microsecond_apart_are_two_steps(self):
        universe = universe_of(book(42, 45), book(42, 45, market=1), markets=2)
        universe.quotes.at[1] = universe.quotes.at[0] + 1
        assert [now for now, _, _ in ran(universe, Watching).strategy.seen] == [NOW, NOW + 1]

    def test_one_instant_is_one_step_for_all(self):
        rows = [book(42, 45, at=n, market=m) for n in range(3) for m in range(3)]
        seen = ran(universe_of(*rows, markets=3), Watching).strategy.seen
        assert [fresh for _, _, fresh in seen] == [3, 3, 3]


class Averaging(Strategy):
    """Runs an indicator of backtrader on each feed."""

    name, version, summary = "averaging", "1", "Averages."

    def __init__(self):
        self.averages = [bt.ind.EMA(data.close, period=3) for data in self.datas]
        self.seen = []

    def next(self):
        self.seen.append(
            [a[0] for a, d in zip(self.averages, self.datas, strict=True) if len(d) > 3]
        )


class TestIndicators:
    def test_a_side_that_goes_missing_does_not_poison_an_average(self):
        books = [book(40, 44)] * 4 + [book(None, 44)] + [book(40, 44)] * 3
        seen = ran(universe_of(*books), Averaging).strategy.seen
        assert [value for values in seen for value in values] == pytest.approx([0.42] * 5)

    def test_a_feed_shorter_than_an_indicators_period_does_no_harm(self):
        rows = [book(40, 44, at=n) for n in range(6)] + [book(40, 44, at=9, market=1)]
        assert len(ran(universe_of(*rows, markets=2), Averaging).strategy.seen) == 7

    def test_a_feed_has_no_tomorrow(self):
        class Peeking(Watching):
            def next(self):
                self.seen.append(self.data.close[1])

        with pytest.raises(IndexError):
            ran(universe_of(book(40, 44), book(50, 54)), Peeking)

    def test_lines_tell_unknown_as_such(self):
        class Reading(Watching):
            def next(self):
                lines = self.data.lines
                self.seen.append((lines.bid[0], lines.ask_size[0], lines.time_to_close[0]))

        close_at = NOW + 60 * SECOND
        books = [book(40, 44, close_at=close_at), book(None, 44, size=None)]
        first, second = ran(universe_of(*books), Reading).strategy.seen
        assert first == (0.40, 100, 60)
        assert all(math.isnan(value) for value in second)


class Sized(Strategy):
    """Keeps the values of its parameters; one of them is in no schema."""

    name, version, summary = "sized", "1", "Keeps its size."
    schema = {"contracts": CONTRACTS}
    params = (("how", "quietly"),)

    def __init__(self):
        super().__init__()
        self.given = (self.p.contracts, self.p.how)

    def next(self):
        self.steps = len(self)


class Resized(Sized):
    name = "resized"


class TestParameters:
    @pytest.mark.parametrize("kind", [Sized, Resized])
    def test_a_strategy_has_the_values_of_its_schema_and_of_its_params(self, kind):
        books = universe_of(book(40, 44), book(41, 44))
        assert ran(books, kind).strategy.given == (10, "quietly")
        strategy = ran(books, kind, parameters={"contracts": 3, "how": "loudly"}).strategy
        assert (strategy.given, strategy.steps) == ((3, "loudly"), 2)
        assert isinstance(strategy, kind)

    def test_a_strategy_has_one_line_of_instants(self):
        strategy = ran(universe_of(book(40, 44)), Sized).strategy
        assert strategy.getlinealiases() == ("datetime",)


class Once(Strategy):
    """Sends one order, as a test says, and keeps its notifications."""

    name, version, summary = "once", "1", "Sends one order."
    params = (("how", None), ("side", "buy"))

    def __init__(self):
        self.notices, self.closed, self.order = [], [], None

    def next(self):
        if self.order is None:
            self.order = getattr(self, self.p.side)(**self.p.how)

    def notify_order(self, order):
        self.notices.append((order.getstatusname(), order.executed.size, order.executed.price))

    def notify_trade(self, trade):
        self.closed.append((trade.isclosed, round(trade.pnl, 6), round(trade.commission, 6)))


def sent(universe, execution=SOON, *, side="buy", **how):
    return ran(universe, Once, execution, parameters={"how": how, "side": side})


class TestOrders:
    def test_a_market_order_takes_what_is_shown(self):
        finished = sent(universe_of(*[book(42, 45, ask_size=4)] * 2), size=10)
        assert finished.strategy.notices == [
            ("Submitted", 0, 0),
            ("Partial", 4, 0.45),
            ("Canceled", 4, 0.45),
        ]

    def test_a_limit_order_rests(self):
        how = {"size": 10, "price": 0.43, "exectype": bt.Order.Limit}
        finished = sent(universe_of(book(42, 45), book(42, 45), book(40, 42)), **how)
        assert [status for status, _, _ in finished.strategy.notices] == [
            "Submitted",
            "Accepted",
            "Completed",
        ]
        assert fills_of(
            [line | {"kind": EntryKind(line["kind"])} for line in lines_of(finished)]
        ) == [(10, 43)]

    def test_a_limit_order_may_be_for_now_only(self):
        how = {"size": 10, "price": 0.43, "exectype": bt.Order.Limit, "tif": "ioc"}
        finished = sent(universe_of(book(42, 45), book(42, 45), book(40, 42)), **how)
        assert [status for status, _, _ in finished.strategy.notices] == ["Submitted", "Canceled"]

    def test_selling_without_yes_buys_no(self):
        finished = sent(universe_of(book(42, 45), book(42, 45)), side="sell", size=10)
        assert finished.outcome.positions == {0: -1_000}
        assert finished.outcome.cash == 1_000 * MONEY - 5_800_000

    def test_a_price_between_two_units_is_refused(self):
        how = {"size": 10, "price": 0.43005, "exectype": bt.Order.Limit}
        finished = sent(universe_of(book(42, 45), book(42, 45)), **how)
        assert finished.strategy.notices[-1][0] == "Rejected"
        assert "grid" in finished.strategy.order.info.reason

    def test_what_cash_does_not_cover_is_a_margin_call(self):
        finished = ran(
            universe_of(book(42, 45), book(42, 45)),
            Once,
            cash=MONEY,
            parameters={"how": {"size": 10}},
        )
        assert finished.strategy.notices[-1][0] == "Margin"

    @pytest.mark.parametrize(
        ("how", "word"), [({"exectype": bt.Order.Stop}, "exectype"), ({"tif": "day"}, "tif")]
    )
    def test_what_kalshi_does_not_know_is_an_error(self, how, word):
        with pytest.raises(ValueError, match=word):
            sent(universe_of(book(42, 45)), size=10, price=0.4, **how)

    def test_a_strategy_can_take_an_order_back(self):
        class Regretting(Once):
            def next(self):
                if self.order is not None:
                    self.cancel(self.order)
                super().next()

        how = {"size": 10, "price": 0.43, "exectype": bt.Order.Limit}
        universe = universe_of(book(42, 45), book(42, 45), book(42, 45))
        finished = ran(universe, Regretting, parameters={"how": how})
        assert finished.strategy.notices[-1][0] == "Canceled"
        assert finished.outcome.cash == 1_000 * MONEY

    def test_a_trade_is_told_when_it_closes(self):
        class Turning(Once):
            def next(self):
                if len(self) == 1:
                    self.buy(size=10)
                elif len(self) == 2:
                    self.sell(size=10)

        universe = universe_of(*[book(42, 45)] * 2, *[book(50, 53)] * 2)
        assert ran(universe, Turning).strategy.closed == [(False, 0, 0), (True, 0.5, 0)]

    def test_two_orders_never_spend_the_same_cash(self):
        class Both(Once):
            def next(self):
                if len(self) == 1:
                    for price in (0.40, 0.41):
                        self.buy(size=10, price=price, exectype=bt.Order.Limit)

        universe = universe_of(book(42, 45), book(42, 45), book(30, 32))
        finished = ran(universe, Both, cash=5 * MONEY)
        assert [line["kind"] for line in lines_of(finished)].count(EntryKind.REFUSED) == 1
        assert finished.outcome.cash == 1 * MONEY

    def test_what_rests_is_cancelled_when_its_cover_is_gone(self):
        class Selling(Once):
            """Offers the YES it has twice, once in a resting order and once at the bid."""

            def next(self):
                if len(self) == 1:
                    self.buy(size=10)
                elif len(self) == 2:
                    self.sell(size=10, price=0.50, exectype=bt.Order.Limit)
                    self.sell(size=10)

        universe = universe_of(*[book(42, 45)] * 3, book(52, 55))
        finished = ran(universe, Selling, cash=4_600_000)
        assert finished.outcome.positions == {}
        assert lines_of(finished)[-1]["kind"] == EntryKind.CANCELLED
        assert finished.outcome.cash == 4_300_000


class Noting(Once):
    """Notes the second, the number of fresh feeds and the last notification at each step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def next(self):
        told = self.notices[-1][0] if self.notices else ""
        self.steps.append(((self.now - NOW) / SECOND, len(self.fresh), told))
        super().next()


class TestSteps:
    def steps(self, universe, strategy=Noting, execution=SOON, **how):
        return ran(universe, strategy, execution, parameters={"how": how}).strategy.steps

    def test_there_is_one_at_each_event_of_the_strategy_s_own_orders(self):
        universe = observed_at(universe_of(book(42, 45, at=0), book(42, 45, at=60)), [5, 10])
        assert self.steps(universe, size=10) == [
            (0, 1, ""),
            (5, 0, "Completed"),
            (60, 1, "Completed"),
        ]

    def test_an_order_may_be_sent_at_any_of_them(self):
        class Again(Noting):
            def notify_order(self, order):
                super().notify_order(order)
                if order.status == order.Completed and len(self.notices) < 4:
                    self.order = None

        universe = observed_at(universe_of(book(42, 45, at=0), book(42, 45, at=60)), [5, 10])
        steps = self.steps(universe, Again, size=10)
        assert [at for at, _, _ in steps] == [0, 5, 10, 60]

    def test_there_are_some_after_the_last_row_as_long_as_the_market_is_observed(self):
        universe = observed_at(universe_of(book(42, 45, at=0)), [5, 10])
        assert [at for at, _, _ in self.steps(universe, size=10)] == [0, 5]

    def test_what_ends_after_the_last_observation_ends_without_the_strategy(self):
        finished = sent(universe_of(book(42, 45)), size=10)
        assert lines_of(finished)[-1]["reason"] == Reason.RUN_ENDED
        assert finished.strategy.notices[-1][0] == "Canceled"

    def test_a_market_is_live_as_long_as_it_is_observed(self):
        rows = [book(42, 45, at=0), book(42, 45, at=8_000, market=1)]
        quiet = universe_of(*rows, markets=2)
        assert ran(quiet, Watching).strategy.seen[-1][1] == ["T1"]
        observed = observed_at(quiet, range(0, 8_000, 60))
        assert ran(observed, Watching).strategy.seen[-1][1] == ["T0", "T1"]

    def test_a_strategy_can_ask_when_a_market_was_observed(self):
        class Asking(Watching):
            def next(self):
                self.seen.append((self.observed_at(self.data) - NOW) // SECOND)

        rows = [book(42, 45, at=0), book(42, 45, at=50, market=1)]
        universe = observed_at(universe_of(*rows, markets=2), [20, 40, 60])
        assert ran(universe, Asking).strategy.seen == [0, 40]


class TakingBack(Once):
    """Sends an order and takes it back a second later, when another market has a row."""

    def next(self):
        if self.now == NOW + SECOND:
            self.cancel(self.order)
        super().next()


class TestCancellationsOnTheWay:
    def lines(self, later, **how):
        rows = [book(42, 45, at=0), book(50, 53, at=1, market=1), later]
        parameters = {"how": {"size": 10, "exectype": bt.Order.Limit, **how}}
        universe = universe_of(*rows, markets=2)
        return lines_of(ran(universe, TakingBack, parameters=parameters))

    def test_an_order_that_only_waits_is_gone_at_once(self):
        last = self.lines(book(42, 45, at=9), price=0.42, post_only=True)[-1]
        assert (last["reason"], last["at"]) == (Reason.ASKED, NOW + SECOND + 1)

    @pytest.mark.parametrize("how", [{"tif": "ioc"}, {"tif": "gtc"}])
    def test_an_order_that_would_take_is_gone_at_once_as_well(self, how):
        last = self.lines(book(42, 45, at=9), price=0.45, **how)[-1]
        assert (last["reason"], last["at"]) == (Reason.ASKED, NOW + SECOND + 1)


class Laddering(Strategy):
    """Sends several resting orders at once, as a test says."""

    name, version, summary = "laddering", "1", "Rests several orders."
    params = (("orders", ()),)

    def next(self):
        if len(self) == 1:
            for side, size, price in self.p.orders:
                getattr(self, side)(size=size, price=price, exectype=bt.Order.Limit)


class TestSeveralOrdersAtRest:
    def fills(self, orders, *later, fills=FillModel.EXPECTED, **execution):
        """Side, contracts and cents of the fills of orders that rest around 42 and 45 cents."""
        universe = universe_of(*[book(42, 45, volume=100_000)] * 2, *later)
        rules = ExecutionModel(**execution)
        parameters = {"orders": orders}
        finished = cerebro.run(universe, Laddering, rules, fills, cash=CASH, parameters=parameters)
        self.lines = lines_of(finished)
        filled = [line for line in self.lines if line["kind"] == EntryKind.FILL]
        return [(line["side"], line["count"] / 100, line["price"] / 100) for line in filled]

    @pytest.mark.parametrize("fills", [FillModel.EXPECTED, FillModel.MOST])
    def test_no_more_is_filled_than_was_traded_and_the_best_price_goes_first(self, fills):
        traded = book(36, 45, volume=110_000, last=3_700)
        bids = [("buy", 100, price) for price in (0.38, 0.40, 0.39)]
        assert self.fills(bids, traded, fills=fills) == [(1, 100, 40)]
        traded = book(42, 64, volume=110_000, last=6_300)
        asks = [("sell", 60, price) for price in (0.62, 0.60, 0.61)]
        assert self.fills(asks, traded, fills=fills) == [(-1, 60, 60), (-1, 40, 61)]

    def test_of_two_at_one_price_the_older_goes_first(self):
        traded = book(36, 45, volume=110_000, last=3_700)
        bids = [("buy", 70, 0.40), ("buy", 60, 0.40)]
        assert self.fills(bids, traded) == [(1, 70, 40), (1, 30, 40)]
        assert self.fills(bids, traded, fills=FillModel.FEWEST) == [(1, 0.01, 40)]

    def test_what_is_offered_and_what_was_traded_fill_no_more_than_the_larger_of_them(self):
        traded = book(30, 35, ask_size=50, volume=110_000, last=3_700)
        bids = [("buy", 80, price) for price in (0.38, 0.40)]
        assert self.fills(bids, traded) == [(1, 80, 40), (1, 20, 38)]

    def test_an_order_cut_in_two_gets_no_larger_share_of_its_queue(self):
        traded = book(42, 45, volume=115_000, last=4_200)
        whole = self.fills([("buy", 100, 0.42)], traded)
        parts = self.fills([("buy", 50, 0.42)] * 2, traded)
        assert (whole, parts) == ([(1, 50, 42)], [(1, 50, 42)])

    def test_trades_that_one_side_had_no_part_in_are_left_for_the_other(self):
        traded = book(30, 35, ask_size=50, volume=110_000, last=6_300)
        orders = [("buy", 50, 0.40), ("sell", 100, 0.60)]
        assert self.fills(orders, traded) == [(1, 50, 40), (-1, 100, 60)]

    def test_what_rests_counts_towards_the_limit_of_a_position(self):
        through = book(30, 35)
        bids = [("buy", 5, 0.40), ("buy", 5, 0.39)]
        assert self.fills(bids, through, position_limit=5) == [(1, 5, 40)]
        assert [line["reason"] for line in self.lines if line["kind"] == EntryKind.REFUSED] == [
            Reason.POSITION_LIMIT
        ]

    def test_what_rests_on_the_other_side_does_not(self):
        orders = [("buy", 5, 0.40), ("sell", 5, 0.60)]
        assert self.fills(orders, book(30, 35), position_limit=5) == [(1, 5, 40)]
        assert EntryKind.REFUSED not in [line["kind"] for line in self.lines]


def test_the_analyzers_agree_with_the_journal():
    class Holding(Strategy):
        name, version, summary = "holding", "1", "Buys one of each."

        def next(self):
            for feed in self.fresh:
                if not self.getposition(feed).size and feed.lines.ask[0] < 0.5:
                    self.buy(data=feed, size=1)

    finished = ran(random_universe(3), Holding, analyzers=ANALYZERS)
    analyses = {name: each.get_analysis() for name, each in finished.strategy.analyzers.getitems()}
    lines = lines_of(finished)
    filled = [line for line in lines if line["kind"] == EntryKind.FILL]
    assert analyses["fills"]["fills"] == len(filled) > 3
    assert analyses["fills"]["fees"] == sum(line["fee"] for line in filled) / MONEY
    assert (
        len(analyses["settlements"]) == sum(line["kind"] == EntryKind.SETTLED for line in lines) > 0
    )
    points = [value for _, value in analyses["equity"]]
    assert 0 < analyses["exposure"]["share"] <= 1
    falls = np.maximum.accumulate([1_000, *points])[1:] - points
    assert analyses["drawdown"]["dollars"] == pytest.approx(falls.max())


def test_equity_is_the_same_while_a_strategy_runs_and_afterwards():
    class Holding(Strategy):
        name, version, summary = "holding", "1", "Holds both sides of what there is."

        def next(self):
            for feed in self.fresh:
                if not self.getposition(feed).size:
                    (self.buy if feed.market % 2 else self.sell)(data=feed, size=1)

    for seed in range(4):
        universe = random_universe(seed, ended=0)
        finished = ran(universe, Holding, analyzers=[EquityAnalyzer])
        points = finished.strategy.analyzers.equity.get_analysis()
        instants = np.array([microseconds(at) for at, _ in points])
        figures = equity_at(universe, finished.outcome, instants, cash=1_000 * MONEY)
        assert [value for _, value in points] == pytest.approx((figures / MONEY).tolist())


def test_a_run_can_be_stopped_from_outside():
    class Enough(Exception):
        pass

    def stop(rows):
        raise Enough

    with pytest.raises(Enough):
        ran(random_universe(1), Watching, on_progress=stop)
