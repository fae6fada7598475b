"""A strategy on one universe: its headline, its band, and the yardsticks beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np

from backtests import metrics
from backtests.data.universe import MISSING, Ints, Seen, Universe
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.metrics import Assumed, EquityPath, Figures
from backtests.rules.execution import JOURNAL, TAKER, Execution, Fills, Kind, Outcome, Reason
from backtests.strategies import STRATEGIES, YARDSTICKS
from backtests.strategies import Kind as Strategies
from backtests.strategies.base import Signal

Tell = Callable[[float, str], None]

# Shares of the progress: until the headline, the band, the yardsticks are known.
HEADLINE, BAND, ALL = 0.4, 0.8, 1.0
KIND, ORDER, COUNT, LIQUIDITY, REASON, MARKET = (
    JOURNAL.index(name) for name in ("kind", "order", "count", "liquidity", "reason", "market")
)


def part(tell: Tell, doing: str, *, begun: float, ended: float) -> Callable[[float], None]:
    """Tells of a part of the work, which hears only of its own share."""
    return lambda share: tell(begun + (ended - begun) * share, doing)


class Measured(NamedTuple):
    outcome: Outcome
    figures: Figures
    path: EquityPath

    @property
    def pnl(self) -> int:
        return self.figures.money.pnl


class Results(NamedTuple):
    """The headline is the band's `EXPECTED`; yardsticks by name."""

    band: Mapping[Fills, Measured]
    yardsticks: Mapping[str, Measured]

    @property
    def headline(self) -> Measured:
        return self.band[Fills.EXPECTED]


@dataclass
class Trial:
    """What is run: a strategy with all its parameters, by one engine. `cash` is in millionths of
    a dollar, the window from `start` to `end` in microseconds since 1970."""

    universe: Universe
    kind: Strategies
    params: Mapping[str, Any]
    execution: Execution
    cash: int
    start: int
    end: int
    in_kernel: bool

    def results(self, tell: Tell) -> Results:
        """`tell` hears the share done and what is being done, and may raise to end it."""
        return Results(self._band(tell), self._yardsticks(tell))

    def outcome(self, fills: Fills, done: Callable[[float], None]) -> Outcome:
        """One run; `done` hears its share."""
        done(0)
        if self.in_kernel and self.signal:
            return self._by_kernel(self.signal, fills)
        rows = len(self.universe.quotes)
        return cerebro.run(
            self.universe,
            self.signal or cast(Any, self.kind),
            self.execution,
            fills,
            cash=self.cash,
            parameters=self.params,
            progress=lambda row: done(row / rows),
        ).outcome

    @cached_property
    def signal(self) -> Signal | None:
        return self.kind(**self.params) if issubclass(self.kind, Signal) else None

    @cached_property
    def seen(self) -> Seen:
        return Seen(self.universe.quotes, self.universe.listings)

    def _by_kernel(self, signal: Signal, fills: Fills) -> Outcome:
        targets = signal.wanted(self.universe)
        return kernel.run(self.universe, targets, self.execution, fills, cash=self.cash)

    def _band(self, tell: Tell) -> dict[Fills, Measured]:
        done = part(tell, "running the strategy", begun=0, ended=HEADLINE)
        outcomes = {Fills.EXPECTED: self.outcome(Fills.EXPECTED, done)}
        # Where no order may have rested, no model of resting orders was ever asked.
        if not may_rest(outcomes[Fills.EXPECTED].journal):
            return dict.fromkeys(Fills, self._measured(outcomes[Fills.EXPECTED], self._stated()))
        middle = (HEADLINE + BAND) / 2
        for fills, begun, ended in (
            (Fills.PESSIMISTIC, HEADLINE, middle),
            (Fills.OPTIMISTIC, middle, BAND),
        ):
            doing = f"running it with {fills.name.lower()} fills"
            outcomes[fills] = self.outcome(fills, part(tell, doing, begun=begun, ended=ended))
        return {fills: self._measured(outcomes[fills], self._stated()) for fills in Fills}

    def _yardsticks(self, tell: Tell) -> dict[str, Measured]:
        found = {}
        for n, name in enumerate(YARDSTICKS):
            tell(BAND + (ALL - BAND) * n / len(YARDSTICKS), f"running {name}")
            kind = cast(type[Signal], STRATEGIES[name])
            shared = kind.schema.keys() & self.params.keys() & {"contracts"}
            signal = kind(**{key: self.params[key] for key in shared})
            found[name] = self._measured(self._by_kernel(signal, Fills.EXPECTED))
        return found

    def _stated(self) -> Any:
        """The chance of YES that the strategy states at each row of the quotes, if it does."""
        stated = self.signal.probabilities(self.seen) if self.signal else None
        return None if stated is None else self.seen.in_time(stated)

    def _measured(self, outcome: Outcome, stated: Any = None) -> Measured:
        path = metrics.trace(self.universe, outcome, cash=self.cash, start=self.start, end=self.end)
        figures = metrics.measure(self.universe, outcome, path, stated=stated)
        return Measured(outcome, figures, path)


def may_rest(journal: Ints) -> bool:
    """Whether an order may have rested: one of which not all was filled, refused or cancelled as
    soon as it was met."""
    kind, reason = journal[:, KIND], journal[:, REASON]
    ended = (kind == Kind.REFUSED) | ((kind == Kind.FILL) & (journal[:, LIQUIDITY] == TAKER))
    ended |= (kind == Kind.CANCELLED) & np.isin(reason, (Reason.UNFILLED, Reason.EXPIRED))
    sent = kind == Kind.ORDER
    left = np.zeros(1 + journal[:, ORDER].max(initial=MISSING), np.int64)
    np.add.at(left, journal[sent, ORDER], journal[sent, COUNT])
    np.subtract.at(left, journal[ended, ORDER], journal[ended, COUNT])
    return bool((left != 0).any())


def assumed(universe: Universe, outcome: Outcome, execution: Execution) -> Assumed:
    """What the result of a run rests on, as far as it traded."""
    traded = np.unique(outcome.journal[:, MARKET]).tolist()
    ended = [universe.settlements[market] for market in traded]
    return Assumed(
        size=execution.assumed_size,
        times=any(end.assumed for end in ended if end),
        fees=any(terms.assumed for market in traded for terms in universe.terms[market]),
    )


def unknown_sizes(universe: Universe) -> float:
    """The share of the sides shown whose size is not known."""
    quotes = universe.quotes
    shown = unknown = 0
    for price, size in ((quotes.bid, quotes.bid_size), (quotes.ask, quotes.ask_size)):
        there = price != MISSING
        shown += int(there.sum())
        unknown += int((there & (size == MISSING)).sum())
    return unknown / shown if shown else 0.0
