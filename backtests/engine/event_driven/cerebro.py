"""The event-driven engine: one backtest through backtrader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import backtrader as bt

from backtests.data.universe import CONTRACT, MISSING, Universe, instant
from backtests.engine.event_driven.annotator import add_analyzers, read_analyses
from backtests.engine.event_driven.broker import Broker
from backtests.engine.event_driven.exchange_strategy import NEVER_CALLED, ExchangeStrategy
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import Ticket
from backtests.rules.execution import HOLD, ExecutionModel, FillModel, Reason, RunOutcome
from backtests.strategies.base import Signal, Strategy, backtrader_params

# Steps between two reports of progress, each of which may also end the run.
STEPS_PER_REPORT = 256


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """The outcome of a run, and the strategy with its analyzers."""

    outcome: RunOutcome
    strategy: Strategy | None


class Cerebro(bt.Cerebro):
    """A Cerebro that steps its strategy once for each distinct instant, whichever feeds have a bar.

    An instant at which something befell the strategy's own orders is a step as well. backtrader's
    own loop finds the next instant by comparing days as floats, which merges instants less than 20
    microseconds apart, and it asks every feed at every step.
    """

    on_progress: Callable[[int], None]
    is_running = False

    def _runnext(self, runstrats: list[Strategy]) -> None:
        (strategy,) = runstrats
        self.is_running = True
        for step, _ in enumerate(() if self._event_stop else self._broker.steps()):
            self._brokernotify()
            if self._timers:
                self._check_timers(runstrats, bt.date2num(instant(strategy.now)))
            strategy._next()
            if step % STEPS_PER_REPORT == 0:
                self.on_progress(self._broker.rows_done)
            if self._event_stop:
                break
        if self._event_stop:
            self._broker.end_run()
        self._broker.is_over = True
        self._brokernotify()
        strategy._notify()

    def stop_writers(self, runstrats: list[Strategy]) -> None:
        """Write nothing: backtrader would ask every analyzer for its analysis, without a writer."""


class TargetFollower(Strategy):
    """Trades towards the targets of a `Signal`, by the same rules as the kernel."""

    params = (("targets", None), ("make", False))

    def start(self) -> None:
        # The newest order of each market, and the target that it was for.
        self.sent: dict[int, tuple[Ticket, int]] = {}

    def next(self) -> None:
        for book in self.broker.rows:
            target = int(self.p.targets[book.top.row])
            if target != HOLD and book.tradable and not book.sent:
                self._decide(book, target)

    def _decide(self, book: Book, target: int) -> None:
        missing = target * CONTRACT - self.broker.ledger.position(book.market)
        resting = book.resting[0] if book.resting else None
        if missing:
            self._order(book, missing, resting, target)
        elif resting:
            self.broker.request_cancel(book, resting)

    def _order(self, book: Book, missing: int, resting: Ticket | None, target: int) -> None:
        side, count = (1, missing) if missing > 0 else (-1, -missing)
        price = self._order_price(book, side, count, resting)
        if price < 0 or self._is_short(book, target, resting, (side, count, price)):
            return
        ticket = self.broker.send_order(
            book,
            side,
            count,
            limit=price,
            rests=self.p.make,
            post_only=self.p.make,
            replaces=resting,
        )
        self.sent[book.market] = ticket, target

    def _order_price(self, book: Book, side: int, count: int, resting: Ticket | None) -> int:
        """The price of the order to send; negative where there is nothing to send."""
        if self.p.make:
            price = book.top.price(-side)
            rests = resting and (resting.left, resting.side, resting.limit) == (count, side, price)
            return MISSING if rests else price
        return book.top.price(side) if book.top.offered(side) else MISSING

    def _is_short(
        self, book: Book, target: int, resting: Ticket | None, order: tuple[int, int, int]
    ) -> bool:
        """Return whether an order for this target was refused and this one would be, too."""
        last, last_target = self.sent.get(book.market, (None, HOLD))
        if last is None or last_target != target or not last.refused:
            return False
        if last.reason != Reason.FUNDS:
            return last.reason == Reason.POSITION_LIMIT
        # The price may have changed since.
        free = self.broker.ledger.cash - self.broker.held_back
        free += resting.reserved if resting else 0
        return bool(self.broker.cost_bound(book, *order, at=self.broker.now) > free)


@cache
def backtrader_class(strategy: type[Strategy]) -> type[bt.Strategy]:
    """The backtrader class that a subclass of `Strategy` becomes, its schema as params.

    Made once for each, since backtrader keeps all classes.
    """
    body = {
        "__module__": strategy.__module__,
        "params": (*strategy.more_params, *backtrader_params(strategy.schema)),
    }
    _refuse_never_called(strategy)
    bases = (strategy, ExchangeStrategy)
    made: type[bt.Strategy] = type(bt.Strategy)(strategy.__name__, bases, body)
    # backtrader has added up the lines of both bases.
    made.lines = bt.Strategy.lines
    return made


def _refuse_never_called(strategy: type[Strategy]) -> None:
    for name in NEVER_CALLED:
        if hasattr(strategy, name):
            raise TypeError(f"{name}() is never called: an order always arrives after its decision")


def run(
    universe: Universe,
    strategy: Signal | type[Strategy],
    execution: ExecutionModel,
    fills: FillModel,
    *,
    cash: int,
    parameters: Mapping[str, Any] | None = None,
    analyzers: Sequence[type[bt.Analyzer]] = (),
    on_progress: Callable[[int], None] = lambda rows: None,
) -> FinishedRun:
    """Run a strategy over a universe; `cash` is in millionths of a dollar.

    `on_progress` hears from time to time how many rows are done, and may raise to end the run.
    """
    stated = strategy.stated(universe) if isinstance(strategy, Signal) else None
    broker = Broker(stated.universe if stated else universe, execution, fills=fills, cash=cash)
    cerebro = Cerebro(stdstats=False, runonce=False, preload=False)
    cerebro.on_progress = on_progress
    if stated:
        cerebro.on_progress = lambda row: on_progress(int(stated.rows[row]))
    cerebro.setbroker(broker)
    # Every market gets a feed, even if it is never two-sided: backtrader does not run without one.
    for book in broker.books:
        cerebro.adddata(book.feed, name=book.feed.listing.ticker)
    add_analyzers(cerebro, strategy.analyzers)
    for analyzer in analyzers:
        # Strategies find them by name, such as `self.analyzers.equity`.
        cerebro.addanalyzer(analyzer, _name=analyzer.__name__.removesuffix("Analyzer").lower())
    if stated:
        follower = backtrader_class(TargetFollower)
        cerebro.addstrategy(follower, targets=stated.targets, make=execution.make)
    else:
        # mypy takes a class of an untyped base for unhashable.
        made = backtrader_class(strategy)  # type: ignore[arg-type]
        cerebro.addstrategy(made, **(parameters or {}))
    ran = cerebro.run()
    if ran:
        broker.annotator.analyses = read_analyses(ran[0], strategy.analyzers)
    outcome = broker.outcome.on_rows(stated.rows) if stated else broker.outcome
    return FinishedRun(outcome, ran[0] if ran else None)
