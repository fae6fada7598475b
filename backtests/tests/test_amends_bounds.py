"""Journals of strategies that cancel and amend at random add up."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.data.universe import MONEY
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import AcrossGaps, EntryKind, ExecutionModel, FillModel, Reason
from backtests.strategies.base import Strategy, bt
from backtests.tests.random_tapes import with_tape
from backtests.tests.random_universes import random_universe, watched
from backtests.tests.test_makers_bounds import column
from backtests.tests.test_parity import adds_up, every_order_ends


class Fickle(Strategy):
    """Sends limit orders around the midpoint, and cancels and amends them."""

    name, version, summary = "fickle", "1", "Changes its mind."
    seed = 0

    def __init__(self):
        self.rng = np.random.default_rng(self.seed)
        self.open = []
        self.asked = []  # amendments with their sizes in all, in contracts

    def next(self):
        for data in self.fresh:
            if self.rng.random() < 0.4:
                send = self.buy if self.rng.random() < 0.5 else self.sell
                size = int(self.rng.integers(1, 300))
                order = send(data, size, self.price(data), exectype=bt.Order.Limit)
                self.open.append(order)
        self.open = [each for each in self.open if each.alive() or self.rng.random() < 0.2]
        if self.open and self.rng.random() < 0.8:
            self.change(self.open.pop(self.rng.integers(len(self.open))))

    def change(self, order):
        if self.rng.random() < 0.1:
            self.cancel(order)
        else:
            filled = order.ticket.filled / 100
            size = filled + int(self.rng.integers(1, 30)) if self.rng.random() < 0.9 else None
            price = self.price(order.data) if size is None or self.rng.random() < 0.1 else None
            amended = self.amend(order, size=size, price=price)
            self.open.append(amended)
            if size:
                self.asked.append((amended.ticket, size))
            if self.rng.random() < 0.5:
                self.change(self.open.pop())  # while it is on its way

    def price(self, data):
        cents = round(data.close[0] * 100) + int(self.rng.integers(-6, 7))
        return min(99, max(1, cents)) / 100


def are_as_large_as_asked(journal, asked):
    """Assert that with what those before it filled, an amendment that took effect has its size."""

    def contracts(lines, *tickets):
        return column(journal[lines & np.isin(column(journal, "order"), tickets)], "count").sum()

    kind, is_meanwhile = column(journal, "kind"), column(journal, "reason") == Reason.MEANWHILE
    for ticket, size in asked:
        before, amended = [], ticket.replaces
        while amended:
            before.append(amended.number)
            amended = amended.replaces
        if ticket.replaces.reason == Reason.REPLACED and not is_unfinished(ticket):
            filled = contracts(kind == EntryKind.FILL, *before)
            sent = contracts(kind == EntryKind.ORDER, ticket.number)
            left = sent - contracts(is_meanwhile, ticket.number)
            assert filled + left == max(filled, round(size * 100))


def is_unfinished(ticket):
    return ticket.refused or ticket.reason == Reason.RUN_ENDED


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    fills=st.sampled_from(FillModel),
    execution=st.builds(
        ExecutionModel,
        latency_seconds=st.sampled_from([0.0, 1.0, 700.0]),
        across_gaps=st.sampled_from(AcrossGaps),
        position_limit=st.none() | st.integers(1, 60),
    ),
    cash=st.sampled_from([30 * MONEY, 10_000 * MONEY]),
)
def test_the_journal_of_a_strategy_that_changes_its_mind_adds_up(seed, fills, execution, cash):
    universe = watched(with_tape(random_universe(seed, markets=2, rows=40), seed), seed)
    fickle = type("Seeded", (Fickle,), {"seed": seed})
    finished = cerebro.run(universe, fickle, execution, fills, cash=cash)
    outcome = finished.outcome
    adds_up(universe, outcome, cash)
    every_order_ends(outcome.journal)
    assert (np.diff(column(outcome.journal, "at")) >= 0).all()
    are_as_large_as_asked(outcome.journal, finished.strategy.asked)
