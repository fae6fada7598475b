"""The base classes of strategies, and the parameters that several of them share.

A `Signal` is the simple way: it states a target position for each row of quotes, and runs in both
engines. Where decisions need more than that, such as several legs at once, a `Strategy` is an
ordinary backtrader strategy over our feeds and broker.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from backtests.annotations.conditions import ConditionCounts, check_rows
from backtests.data.decision_points import with_decision_points
from backtests.data.universe import (
    DAY,
    EPOCH_DAY,
    Bools,
    Floats,
    Ints,
    QuoteHistory,
    Universe,
    quote_histories,
)
from backtests.rules.execution import HOLD
from backtests.strategies import parameters, statements
from backtests.strategies.parameters import Parameter, Schema, Value
from backtests.strategies.record_view import RecordView
from kalshi_insights.arrays import np
from kalshi_insights.lazy import LazyModule

if TYPE_CHECKING:
    import backtrader as bt
    from backtrader import Strategy as BacktraderStrategy
else:
    # Forms and the API describe strategies without running any, so this module does not load the
    # engine: a `Strategy` becomes a backtrader strategy where it is run.
    bt = LazyModule("backtrader")
    BacktraderStrategy = object

__all__ = [
    "BELIEF",
    "CONTRACTS",
    "EDGE",
    "HOLD",
    "MAX_SPREAD",
    "Parameter",
    "Schema",
    "Signal",
    "Strategy",
    "Value",
    "backtrader_params",
    "bt",
    "decisions_within",
]

CONTRACTS = Parameter(
    default=10, least=1, most=1_000_000, help="Contracts to hold in each market.",
    unit="contracts",
)  # fmt: skip
MAX_SPREAD = Parameter(
    default=0.05, least=0.0, most=1.0, unit="dollars", label="Maximum spread",
    help="Enter only where the spread is at most this.",
)  # fmt: skip
BELIEF = Parameter(
    default=0.7, least=0.0, most=2.0,
    help="The probability of the cheap side, as a share of its midpoint.",
)  # fmt: skip
EDGE = Parameter(
    default=0.01, least=-1.0, most=1.0, unit="dollars", label="Minimum edge",
    help="The price must be better than the probability by this much; fees come out of it.",
)  # fmt: skip


# Seconds between decisions that fall due by the clock: a part in 24 of their time, within reason.
LEAST_BETWEEN, MOST_BETWEEN = 60.0, 3_600.0


class StatedTargets(NamedTuple):
    """The targets of a signal, one for each row of a universe.

    The universe has the rows on which the signal decides; `rows` has for each of them the row of
    the original universe that it is, or whose book it repeats.
    """

    universe: Universe
    targets: Ints
    rows: Ints


class Signal:
    """A strategy that states target positions, as a causal function of arrays.

    Subclasses have a `name`, a `version` that changes whenever their decisions may change, a
    `summary` and a `schema`. `self.p` holds the values of the parameters. Rows come where quotes
    change; where decisions depend on the clock, too, `decide_every` asks for more of them: at
    observations that are at least so many seconds after the row before.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    schema: ClassVar[Schema] = {}
    # Analyzers of backtrader by name, for runs in its engine: classes, or pairs of a class and its
    # arguments.
    analyzers: ClassVar[Mapping[str, Any]] = {}
    _conditions: ConditionCounts | None = None
    _rows: int | None = None  # those for which targets are being stated

    def __init__(self, **given: Any) -> None:
        """Raises BadParameter."""
        self.p = SimpleNamespace(**parameters.read(self.schema, given))

    @property
    def decide_every(self) -> float | None:
        return None

    def targets(self, history: QuoteHistory) -> Ints:
        """Contracts to hold from each row of `history` on: positive for YES, negative for NO, or
        `HOLD` to keep the position. Targets are whole.

        A target may depend on its row and on earlier rows of its market, and on nothing else.
        """
        raise NotImplementedError

    def stated(self, universe: Universe) -> StatedTargets:
        """The targets for all rows on which this signal decides."""
        points = with_decision_points(universe, self.decide_every)
        return StatedTargets(points.universe, self.all_targets(points.universe), points.rows)

    def all_targets(self, universe: Universe) -> Ints:
        """The targets for the rows that a universe has, in the order of its quotes."""
        targets = np.empty(len(universe.quotes), np.int64)
        for rows, history in quote_histories(universe):
            targets[rows] = self.checked_targets(history)
        return targets

    def checked_targets(self, history: QuoteHistory) -> Ints:
        """The targets in the order of `Quotes`. Raises BadStatement for what is no target."""
        stated = statements.targets(self._targets_of(history), self.targets, rows=len(history))
        return history.to_quote_order(stated)

    def _targets_of(self, history: QuoteHistory) -> Ints:
        self._rows = len(history)
        try:
            return self.targets(history)
        finally:
            self._rows = None

    def probabilities(self, history: QuoteHistory) -> Floats | None:
        """The stated probability of YES at each row, NaN where there is none."""
        return None

    def checked_probabilities(self, history: QuoteHistory) -> Floats | None:
        """The probabilities in the order of `Quotes`. Raises BadStatement for what is none."""
        stated = self.probabilities(history)
        if stated is None:
            return None
        checked = statements.probabilities(stated, self.probabilities, rows=len(history))
        return history.to_quote_order(checked)

    def reasons(self, history: QuoteHistory, rows: Ints) -> Sequence[str] | None:
        """A text for each of some rows of `history`: the reason of an order that was sent there.
        None without any."""
        return None

    def series(self, history: QuoteHistory) -> Mapping[str, Floats]:
        """Series to draw in the charts of markets, by name: a value for each row, NaN for none.
        Values from 0 to 1 share the axis of the price."""
        return {}

    def condition(self, name: str, held: Bools) -> Bools:
        """Return a condition of `targets` as it is, and count the rows in which it holds: the
        result of a run that sends no order tells them. Raises ValueError for other rows."""
        check_rows(name, held, self._rows)
        if self._conditions is not None:
            self._conditions.count_rows(name, held)
        return held

    def counted_conditions(self, universe: Universe) -> ConditionCounts:
        """Count the conditions of `targets` on the rows of a universe."""
        self._conditions = counts = ConditionCounts()
        for _, history in quote_histories(universe):
            counts.begin_rows()
            self._targets_of(history)
        self._conditions = None
        return counts


def decisions_within(hours: float) -> float:
    """Seconds between decisions where one falls due within so many hours."""
    return min(MOST_BETWEEN, max(LEAST_BETWEEN, hours * 150))


def backtrader_params(schema: Schema) -> tuple[tuple[str, Value], ...]:
    """A schema's defaults as backtrader's `params`."""
    return tuple((name, parameter.default) for name, parameter in schema.items())


class Strategy(RecordView, BacktraderStrategy):
    """A backtrader strategy over Kalshi's markets: one feed for each market, named by its ticker.

    A feed has the lines `bid`, `ask`, `bid_size`, `ask_size`, `time_to_close` (seconds) and
    `close`, the last midpoint. It begins with the first two-sided book of its market, and its
    `listing` describes the market; `RecordView` tells what else of the record is seen. There is a
    step at each instant with a row, and at each at which an order of the strategy was filled, ended
    or came to rest or a position was settled. `buy` buys YES and `sell` buys NO; prices
    are dollars on the YES scale, sizes contracts. A market order takes what the other side shows
    and no more; a limit order rests, unless it is sent with `tif="ioc"`. What Kalshi does not have
    raises at the call. `self.p` holds the values of the schema.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    schema: ClassVar[Schema] = {}
    # Analyzers of backtrader by name: classes, or pairs of a class and its arguments.
    analyzers: ClassVar[Mapping[str, Any]] = {}
    # backtrader's `params` of a subclass, where it has more of them than its schema.
    more_params: ClassVar[tuple[tuple[str, Any], ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # backtrader reads `params` of the class that it is given alone, and takes those of a base
        # for its own.
        if isinstance(vars(cls).get("params"), tuple):
            cls.more_params = cls.params
            del cls.params

    # Markets come and go, so all feeds have never begun at once, and asking each of them at every
    # step makes backtrader slow with many feeds.
    def _getminperstatus(self) -> int:
        return self._minperstatus

    def _clk_update(self) -> int:
        self.forward()
        self.lines.datetime[0] = EPOCH_DAY + self.now / DAY
        steps = len(self)
        self._minperstatus = -1 if steps > 1 else 0  # `nextstart` at the first step, then `next`
        return steps

    def amend(
        self,
        order: Any,
        *,
        size: float | None = None,
        price: float | None = None,
        valid: Any = None,
        reason: str | None = None,
    ) -> Any:
        """Amend an order at rest to so many contracts in all, filled ones included, to another
        price or to another expiration; return the order that takes its place once the amendment
        arrives.

        An order that is not larger, at the same price, keeps the place in the queue. One that is
        refused, or that comes too late, leaves the order as it was. Raises ValueError for what
        could never be an order.
        """
        return self.broker.amend(order, size=size, price=price, valid=valid, reason=reason)

    def replace(self, order: Any, *, size: float, price: float | None = None, **how: Any) -> Any:
        """Cancel an order and send another one of its kind and side to its market, as two requests;
        return the new one. Without `price` a limit order has that of the old one; all other
        instructions are given anew.

        What the old one fills before its cancellation arrives is not subtracted: see `amend`.
        Raises ValueError and TypeError for what could never be an order, and cancels nothing then.
        """
        asked = self.broker.replacement(order, size, {"price": price, **how})
        self.cancel(order)
        send = self.buy if order.isbuy() else self.sell
        return send(data=order.data, size=size, **asked)

    def state_probability(self, feed: Any, probability: float) -> None:
        """State the probability of a market's YES, which stands until the next one; NaN takes it
        back. Of each market the first one is scored. Raises ValueError for what is none.
        """
        self.broker.annotator.state_probability(self.broker.book_of(feed), probability)

    def plot(self, name: str, feed: Any, value: float) -> None:
        """Draw a value in the chart of a market, which stands until the next one of this name; NaN
        is none. Values from 0 to 1 share the axis of the price. Raises ValueError for what is no
        number.
        """
        self.broker.annotator.plot(name, self.broker.book_of(feed), value)

    def condition(self, name: str, held: object) -> bool:
        """Return whether a condition holds, and count it: the result of a run that sends no order
        tells how often each of them did."""
        return bool(self.broker.annotator.condition(name, held))

    def notify_settlement(self, feed: Any, value: float, payout: float) -> None:
        """Hear that a market was settled: the value of its YES and the payout, in dollars."""
