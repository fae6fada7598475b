"""Rehearsals: a strategy on a few quotes that a test makes up, without a database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from backtests.analysis import lookahead
from backtests.data.universe import (
    CONTRACT,
    DOLLAR,
    MISSING,
    MONEY,
    SECOND,
    Grid,
    Ints,
    Listing,
    Quotes,
    Settlement,
    Terms,
    Universe,
    microseconds,
)
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, ExecutionModel, FillModel
from backtests.strategies.base import Signal
from backtests.strategies.descriptions import StrategyClass
from kalshi_insights.arrays import np

BEGIN = microseconds(datetime(2026, 11, 2, 15, tzinfo=UTC))
# Kalshi's usual fees and grid of whole cents.
TERMS = Terms(0, 7, 100, 7, 400)
CENTS = Grid(0, ((0, DOLLAR, DOLLAR // 100),))

MINUTE = 60 * SECOND

Prices = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill in the words of the journal: `price` is in dollars on the YES scale."""

    outcome_side: str
    contracts: Decimal
    price: Decimal
    at_seconds: int


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The outcome of a rehearsal; `cash` is in dollars, after fees and settlements."""

    fills: Sequence[Fill]
    cash: Decimal


def quotes(
    bid: Prices,
    ask: Prices,
    *,
    size: int = 100,
    result: str = "",
    ticker: str = "KXEXAMPLE-26NOV02",
) -> Universe:
    """One market with a quote a minute: prices in dollars on the YES scale, None where nobody bids
    or offers. With a `result`, yes or no, it settles a minute after its last quote."""
    if len(bid) != len(ask):
        raise ValueError(f"There are {len(bid)} bids and {len(ask)} asks.")
    rows = len(bid)
    at = BEGIN + np.arange(rows) * MINUTE
    ended = int(at[-1]) + MINUTE
    values = {"yes": MONEY, "no": 0}
    settlement = Settlement(ended, ended, values[result]) if result else None
    sizes = np.full(rows, size * CONTRACT)
    return Universe(
        Quotes(
            at=at,
            market=np.zeros(rows, np.int64),
            bid=_units(bid),
            ask=_units(ask),
            bid_size=np.where(_units(bid) == MISSING, MISSING, sizes),
            ask_size=np.where(_units(ask) == MISSING, MISSING, sizes),
            last=np.full(rows, MISSING),
            volume=np.full(rows, MISSING),
            close_at=np.full(rows, ended),
            tradable=np.ones(rows, np.bool_),
        ),
        [Listing(ticker=ticker, event=ticker, series=ticker.partition("-")[0])],
        [settlement],
        [[TERMS]],
        [[CENTS]],
    )


def _units(prices: Prices) -> Ints:
    return np.array([MISSING if p is None else round(p * DOLLAR) for p in prices], np.int64)


def rehearse(
    strategy: StrategyClass,
    universe: Universe,
    *,
    cash: int = 1_000,
    execution: ExecutionModel | None = None,
    **params: Any,
) -> Rehearsed:
    """Run a strategy with so much cash in dollars and these parameters, with expected fills."""
    signal: Any = strategy(**params) if issubclass(strategy, Signal) else strategy
    outcome = cerebro.run(
        universe,
        signal,
        execution or ExecutionModel(),
        FillModel.EXPECTED,
        cash=cash * MONEY,
        parameters={} if issubclass(strategy, Signal) else params,
    ).outcome
    lines = [dict(zip(JOURNAL_COLUMN, line, strict=True)) for line in outcome.journal.tolist()]
    fills = [_fill(line) for line in lines if line["kind"] == EntryKind.FILL]
    return Rehearsed(fills, Decimal(outcome.cash) / MONEY)


def _fill(line: dict[str, int]) -> Fill:
    return Fill(
        outcome_side="yes" if line["side"] > 0 else "no",
        contracts=Decimal(line["count"]) / CONTRACT,
        price=Decimal(line["price"]) / DOLLAR,
        at_seconds=(line["at"] - BEGIN) // SECOND,
    )


def looks_ahead(strategy: StrategyClass, universe: Universe, **params: Any) -> str:
    """Check a strategy for look-ahead bias, as `manage.py checklookahead` does on recorded quotes;
    return its words where it has any, else nothing."""
    report = lookahead.check(strategy, universe, parameters=params, rows_shown=2_000)
    is_clean = report.verdict == lookahead.LookaheadVerdict.CLEAN
    return "" if is_clean else " ".join(report.sentences())
