"""What strategies are made of.

The simple way is a `Signal`: it states, for each row of quotes, the position it would like to
hold, and runs in both engines. Where decisions need more than that, such as several legs at
once, a `Strategy` is an ordinary backtrader strategy over our feeds and broker.
"""

from types import SimpleNamespace
from typing import Any, ClassVar

import backtrader as bt
import numpy as np

from backtests.data.universe import DAY, EPOCH_DAY, Floats, Ints, Seen, Universe, parts_of
from backtests.rules.execution import HOLD
from backtests.strategies import parameters
from backtests.strategies.parameters import Parameter, Schema, Value

__all__ = [
    "BELIEF",
    "CONTRACTS",
    "EDGE",
    "HOLD",
    "WIDEST",
    "Parameter",
    "Schema",
    "Signal",
    "Strategy",
    "Value",
    "defaults",
]

CONTRACTS = Parameter(
    default=10, least=1, most=1_000_000, help="How many contracts to hold in a market.",
    unit="contracts",
)  # fmt: skip
WIDEST = Parameter(
    default=0.05, least=0.0, most=1.0, unit="dollars",
    help="Enter only where bid and ask are no further apart.",
)  # fmt: skip
BELIEF = Parameter(
    default=0.7, least=0.0, most=2.0,
    help="The chance of the cheap side, as a share of its midpoint.",
)  # fmt: skip
EDGE = Parameter(
    default=0.01, least=-1.0, most=1.0, unit="dollars",
    help="By how much the price has to be better than the chance; fees come out of it.",
)  # fmt: skip


class Signal:
    """A strategy that says which position it wants: a causal function of arrays.

    Subclasses have a `name`, a `version` that changes whenever its decisions may, a `summary`
    and a `schema`. `self.p` holds the parameters' values.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    schema: ClassVar[Schema] = {}

    def __init__(self, **given: Any) -> None:
        """Raises BadParameter."""
        self.p = SimpleNamespace(**parameters.read(self.schema, given))

    def targets(self, seen: Seen) -> Ints:
        """Contracts to hold from each row of `seen` on: YES above zero, NO below, or `HOLD`.

        A row may rest on itself and on earlier rows of its market, and on nothing else.
        """
        raise NotImplementedError

    def wanted(self, universe: Universe) -> Ints:
        """The targets in the order of the universe's quotes."""
        wanted = np.empty(len(universe.quotes), np.int64)
        for rows, seen in parts_of(universe):
            wanted[rows] = seen.in_time(self.targets(seen))
        return wanted

    def probabilities(self, seen: Seen) -> Floats | None:
        """What it takes the chance of YES to be at each row, NaN where it does not say."""
        return None


def defaults(schema: Schema) -> tuple[tuple[str, Value], ...]:
    """A schema as backtrader's `params`."""
    return tuple((name, parameter.default) for name, parameter in schema.items())


class Strategy(bt.Strategy):
    """A backtrader strategy over Kalshi's markets: one feed a market, named by its ticker.

    A feed has the lines `bid`, `ask`, `bid_size`, `ask_size`, `time_to_close` (seconds) and
    `close`, the midpoint last seen; it begins with its market's first book of two sides, and its
    `listing` tells what it is. `self.live` are the feeds that have begun and are quoted and
    trading now, `self.fresh` those of them with a row at this instant, `self.now` is the instant
    in microseconds since 1970. YES is bought by `buy`, NO by `sell`; prices are dollars on the
    YES scale, sizes contracts. A market order takes what the other side shows and no more; a
    limit order rests, unless it is sent with `tif="ioc"`.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    schema: ClassVar[Schema] = {}

    # Markets come and go, so there is never a moment in which all feeds have begun; and asking
    # each of them at every step is what makes backtrader slow with many.
    def prenext(self) -> None:
        self.next()

    def _getminperstatus(self) -> int:
        self._minperstatus = -1
        return self._minperstatus

    def _clk_update(self) -> int:
        self.forward()
        self.lines.datetime[0] = EPOCH_DAY + self.now / DAY
        return len(self)

    @property
    def now(self) -> int:
        return int(self.broker.now)

    @property
    def live(self) -> list[Any]:
        return list(self.broker.live)

    @property
    def fresh(self) -> list[Any]:
        return list(self.broker.fresh)
