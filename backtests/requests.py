"""What a person asks for, checked: the doors read it from a form, JSON or a command line."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any

from backtests import strategies
from backtests.choosing import BadInput, Selection
from backtests.data.universe import MONEY
from backtests.models import Engine
from backtests.rules.execution import Execution
from backtests.strategies import parameters
from backtests.strategies.base import Signal

MOST_CASH = Decimal(1_000_000_000)
MOST_CONTRACTS = 1_000_000
# The least and the most of each number of an `Execution`; None is none.
LIMITS: Mapping[str, tuple[float, float]] = {
    "latency_snapshots": (0, 1_000),
    "latency_seconds": (0, 86_400),
    "patience_seconds": (0, 31_536_000),
    "assumed_size": (1, MOST_CONTRACTS),
    "position_limit": (1, MOST_CONTRACTS),
}
OPTIONAL = ("assumed_size", "position_limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A run. `engine` may be empty: the kernel then, for strategies that it can run."""

    strategy: str
    selection: Selection
    params: Mapping[str, Any] = field(default_factory=dict)
    cash: Decimal = Decimal(10_000)
    engine: str = ""
    execution: Execution = field(default_factory=Execution)
    check_lookahead: bool = False

    def checked(self, *, now: datetime) -> dict[str, Any]:
        """The columns of a `BacktestResult`. Raises `BadInput`, naming the field."""
        kind = _kind(self.strategy)
        try:
            params = parameters.read(kind.schema, self.params)
        except parameters.BadParameter as fault:
            raise BadInput(f"params.{fault.name}", fault.message) from None
        _check_cash(self.cash)
        _check_execution(self.execution)
        engine = self._engine(kind)
        self.selection.check(now=now)
        return {
            "strategy": kind.name,
            "strategy_version": kind.version,
            "params": params,
            "series": list(self.selection.series),
            "events": list(self.selection.events),
            "tickers": list(self.selection.tickers),
            "sources": self.selection.sources,
            "start": self.selection.start,
            "end": self.selection.end,
            "cash": self.cash,
            "engine": engine,
            "execution": asdict(self.execution),
            "check_lookahead": self.check_lookahead,
        }

    def _engine(self, kind: strategies.Kind) -> str:
        is_signal = issubclass(kind, Signal)
        engine = self.engine or (Engine.KERNEL if is_signal else Engine.BACKTRADER)
        if engine not in Engine.values:
            raise BadInput("engine", f"Must be one of {', '.join(Engine.values)}.")
        if not is_signal and engine == Engine.KERNEL:
            raise BadInput("engine", f"{kind.name} sends orders of its own: only by backtrader.")
        if not is_signal and self.execution.make:
            raise BadInput("make", f"{kind.name} decides by itself which of its orders rest.")
        return str(engine)


def _kind(name: str) -> strategies.Kind:
    try:
        return strategies.find(name)
    except strategies.UnknownStrategy as fault:
        raise BadInput("strategy", str(fault)) from None


def _check_cash(cash: Decimal) -> None:
    if not cash.is_finite() or not 0 < cash <= MOST_CASH:
        raise BadInput("cash", f"Must be above 0 and at most {MOST_CASH:,} dollars.")
    if cash * MONEY % 1:
        raise BadInput("cash", "Must not be finer than a millionth of a dollar.")


def _check_execution(execution: Execution) -> None:
    for name, (least, most) in LIMITS.items():
        value = getattr(execution, name)
        if value is None and name in OPTIONAL:
            continue
        if not isfinite(value) or not least <= value <= most:
            raise BadInput(name, f"Must lie between {least:,} and {most:,}.")
