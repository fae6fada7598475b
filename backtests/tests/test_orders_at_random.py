"""Whatever a strategy sends, amends, replaces and cancels, its orders and trades add up."""

from collections import defaultdict
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.data.universe import DOLLAR, MONEY, SECOND, Settlement
from backtests.engine.event_driven import cerebro
from backtests.engine.event_driven.orders import Ticket
from backtests.rules.execution import JOURNAL, EntryKind, ExecutionModel, FillModel, Reason
from backtests.rules.meetings import meetings
from backtests.strategies.base import Strategy, bt
from backtests.tests.random_tapes import with_tape
from backtests.tests.random_universes import STEP, random_universe, watched

CASH = 500 * MONEY


class AtRandom(Strategy):
    """Sends, amends, replaces and cancels at random, and stops the run at a step if so told."""

    name, version, summary = "at-random", "1", "Does anything."
    params = (("seed", 0), ("stops_at", 0))

    def __init__(self):
        self.rng, self.sent = Random(self.p.seed), []
        self.told_trades, self.payouts, self.reduces = [], defaultdict(float), set()

    def next(self):
        if len(self) == self.p.stops_at:
            self.env.runstop()
        for _ in range(self.rng.randrange(2)):
            self.rng.choice((self.send, self.send, self.change))()

    def send(self):
        feed, limited = self.rng.choice(self.datas), self.rng.random() < 0.8
        how = {}
        if limited:
            how = {"exectype": bt.Order.Limit, "price": self.rng.randrange(1, 100) / 100}
        if limited and self.rng.random() < 0.5:
            how["valid"] = timedelta(microseconds=self.rng.randrange(1, 20 * STEP))
        elif self.rng.random() < 0.5:
            how |= {"reduce_only": True} | ({"tif": "ioc"} if limited else {})
        side = self.rng.choice((self.buy, self.sell))
        order = side(feed, self.rng.randrange(1, 3_000) / 100, **how)
        self.sent.append(order)
        if how.get("reduce_only"):
            self.reduces.add(order.ticket.number)

    def change(self):
        resting = [order for order in self.sent if order.ticket.rests]
        if not resting:
            return
        order = self.rng.choice(resting)
        what = self.rng.randrange(4)
        if what == 0:
            self.cancel(order)
        elif what == 1:
            valid = timedelta(microseconds=self.rng.randrange(1, 20 * STEP))
            self.sent.append(self.amend(order, valid=valid))
        elif what == 2:
            self.sent.append(self.amend(order, price=self.rng.randrange(1, 100) / 100))
        else:
            self.sent.append(self.replace(order, size=self.rng.randrange(1, 500) / 100))

    def notify_trade(self, trade):
        self.told_trades.append(trade)

    def notify_settlement(self, feed, value, payout):
        self.payouts[feed.market] += payout


def ran(seed, fills, stops_at=0):
    universe = with_tape(watched(random_universe(seed, markets=3, rows=60), seed), seed)
    finished = cerebro.run(
        universe, AtRandom, ExecutionModel(across_gaps="wait"), fills, cash=CASH,
        parameters={"seed": seed, "stops_at": stops_at},
    )  # fmt: skip
    lines = [dict(zip(JOURNAL, map(int, line), strict=True)) for line in finished.outcome.journal]
    return universe, finished, lines


def by_order(lines):
    orders = defaultdict(list)
    for line in lines:
        if line["kind"] != EntryKind.SETTLED:
            orders[line["order"]].append(line)
    return orders


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), fills=st.sampled_from(FillModel), stops_at=st.integers(0, 60))
def test_orders_and_money_add_up(seed, fills, stops_at):
    universe, finished, lines = ran(seed, fills, stops_at)
    strategy, outcome = finished.strategy, finished.outcome
    broker = strategy.broker
    open_tickets = {order.ticket.number: order.ticket for order in broker.get_orders_open()}
    for number, (first, *rest) in by_order(lines).items():
        left = open_tickets[number].left if number in open_tickets else 0
        assert first["count"] == sum(line["count"] for line in rest) + left
    assert (
        CASH
        + sum(flow_of(line) for line in lines)
        + round(sum(strategy.payouts.values()) * MONEY)
        - sum(line["fee"] for line in lines)
        == outcome.cash
    )
    assert meetings(universe, outcome, latency=SECOND).met.min(initial=0) >= 0


def flow_of(line):
    """The cash that a fill moves before fees, by what was held before it."""
    if line["kind"] != EntryKind.FILL:
        return 0
    before = line["position"] - line["side"] * line["count"]
    return worth(before, line) - worth(line["position"], line)


def worth(position, line):
    """What the contracts of a position cost at the price of a fill."""
    price = line["price"] if position > 0 else DOLLAR - line["price"]
    return abs(position) * price


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), fills=st.sampled_from(FillModel))
def test_reduce_only_never_opens_and_nothing_fills_after_its_expiration(seed, fills):
    _, finished, lines = ran(seed, fills)
    tickets = {order.ticket.number: order.ticket for order in finished.strategy.sent}
    for number, entries in by_order(lines).items():
        ticket = tickets.get(number)
        for line in entries:
            if line["kind"] == EntryKind.FILL and number in finished.strategy.reduces:
                before = line["position"] - line["side"] * line["count"]
                assert before * line["side"] < 0
                assert abs(line["position"]) == abs(before) - line["count"]
            if line["kind"] == EntryKind.FILL and isinstance(ticket, Ticket):
                assert line["at"] <= ticket.expires
            if line["reason"] == Reason.OUT_OF_TIME:
                assert line["at"] % SECOND == 0


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), fills=st.sampled_from(FillModel))
def test_trades_are_closed_with_what_the_journal_gained(seed, fills):
    universe, finished, lines = ran(seed, fills)
    closed: dict[int, float] = defaultdict(float)
    for trade in finished.strategy.told_trades:
        if trade.isclosed:
            closed[trade.data.market] += trade.pnl
    for market, settlement in enumerate(universe.settlements):
        own = [line for line in lines if line["market"] == market]
        if isinstance(settlement, Settlement):
            gained = sum(map(flow_of, own)) / MONEY + finished.strategy.payouts[market]
            assert closed[market] == pytest.approx(gained, abs=1e-4)
