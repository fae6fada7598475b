"""One backtest through backtrader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import backtrader as bt
import numpy as np

from backtests.engine.books import Book, Ticket
from backtests.engine.broker import Broker
from backtests.execution import HOLD, Execution, Fills, Outcome, Reason
from backtests.quotes import CONTRACT, Universe
from backtests.strategies.base import Signal, Strategy

FAR = int(np.iinfo(np.int64).max)
# Steps between two looks at whether to go on, and two reports of progress.
STEPS = 4_096


@dataclass(frozen=True, slots=True)
class Finished:
    """An outcome, and the strategy with its analyzers."""

    outcome: Outcome
    strategy: Strategy | None


class Cerebro(bt.Cerebro):
    """Gives its strategy one step for each distinct instant, whatever feeds have a bar then.

    backtrader's own loop finds the next instant by comparing floats of days, which merges
    instants less than 20 microseconds apart, and asks every feed at every step.
    """

    progress: Callable[[int], None]

    def _runnext(self, runstrats: list[Strategy]) -> None:
        (strategy,) = runstrats
        for step, _ in enumerate(self._broker.steps()):
            self._brokernotify()
            strategy._next()
            if step % STEPS == 0:
                self.progress(self._broker.rows[-1].row)
        self._brokernotify()
        strategy._notify()


class Following(Strategy):
    """Trades towards the targets of a `Signal`, by the kernel's rules of what to send."""

    params = (("targets", None), ("make", False))

    def start(self) -> None:
        self.sent: dict[int, tuple[Ticket, int]] = {}
        # By market, the target that an order was refused for and what it was short of.
        self.short: dict[int, tuple[int, int]] = {}

    def next(self) -> None:
        for book in self.broker.rows:
            target = int(self.p.targets[book.row])
            if target != HOLD and book.tradable and not book.sent:
                self._decide(book, target)

    def _decide(self, book: Book, target: int) -> None:
        missing = target * CONTRACT - self.broker.ledger.position(book.place)
        resting = book.resting[0] if book.resting else None
        if not missing and resting is None:
            return
        if self._is_short(book, resting, target):
            return
        if missing:
            self._order(book, missing, resting, target)
        elif resting:
            self.broker.take_back(book, resting)

    def _is_short(self, book: Book, resting: Ticket | None, target: int) -> bool:
        """Whether an order for this target was refused and would be again."""
        if book.place in self.sent:
            last, asked = self.sent.pop(book.place)
            limited = last.reason == Reason.POSITION_LIMIT
            self.short[book.place] = asked, FAR if limited else last.need
        wanted, need = self.short.get(book.place, (HOLD, 0))
        free = self.broker.ledger.cash - self.broker.held_back
        if wanted == target and free + (resting.reserved if resting else 0) < need:
            return True
        self.short.pop(book.place, None)
        return False

    def _order(self, book: Book, missing: int, resting: Ticket | None, target: int) -> None:
        side, count = (1, missing) if missing > 0 else (-1, -missing)
        if self.p.make:
            price = book.bid if side > 0 else book.ask
            if resting and (resting.left, resting.side, resting.limit) == (count, side, price):
                return
        else:
            price = book.ask if side > 0 else book.bid
            if not book.offered(side):
                return
        if price < 0:
            return
        ticket = self.broker.place(
            book,
            side,
            count,
            limit=price,
            rests=self.p.make,
            post_only=self.p.make,
            replaces=resting,
        )
        self.sent[book.place] = ticket, target


def run(
    universe: Universe,
    strategy: Signal | type[Strategy],
    execution: Execution,
    fills: Fills,
    *,
    cash: int,
    parameters: Mapping[str, Any] | None = None,
    analyzers: Sequence[type[bt.Analyzer]] = (),
    progress: Callable[[int], None] = lambda rows: None,
) -> Finished:
    """Run a strategy over a universe; `cash` in millionths of a dollar.

    `progress` is told now and then how many rows are done, and may raise to end the run.
    """
    broker = Broker(universe, execution, fills=fills, cash=cash)
    cerebro = Cerebro(stdstats=False, runonce=False, preload=False)
    cerebro.progress = progress
    cerebro.setbroker(broker)
    for feed in broker.open_feeds():
        cerebro.adddata(feed, name=feed.listing.ticker)
    for analyzer in analyzers:
        cerebro.addanalyzer(analyzer)
    if isinstance(strategy, Signal):
        targets = strategy.wanted(universe)
        cerebro.addstrategy(Following, targets=targets, make=execution.make)
    else:
        cerebro.addstrategy(strategy, **(parameters or {}))
    ran = cerebro.run()
    return Finished(broker.outcome, ran[0] if ran else None)
