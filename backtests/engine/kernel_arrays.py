"""A universe and a run's rules as the columns of numbers that compiled code reads."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from backtests.data.universe import Bools, Ints, Universe, microseconds
from backtests.rules.execution import Execution, Fills
from markets import fees


class Rules(NamedTuple):
    """An `Execution` and a `Fills` in numbers."""

    fills: int
    snapshots: int
    latency: int
    patience: int
    assumed: int
    limit: int
    make: bool


class Tables(NamedTuple):
    """What the markets' grids, fee terms and settlements say, as columns."""

    grids_from: Ints
    grids: Ints  # since, the first of its stretches, the one after its last
    stretches: Ints  # start, end, step
    terms_from: Ints
    terms: Ints  # since, taker numerator and denominator, maker numerator and denominator
    roundings: Ints  # since, step, grid, rebate
    settlements: Ints  # paid_at, market, value; in the order of payment


class Columns(NamedTuple):
    """`Quotes`, as far as orders meet them."""

    at: Ints
    market: Ints
    bid: Ints
    ask: Ints
    bid_size: Ints
    ask_size: Ints
    last: Ints
    volume: Ints
    tradable: Bools


def rules(execution: Execution, fills: Fills) -> Rules:
    return Rules(
        int(fills),
        execution.latency_snapshots,
        execution.latency,
        execution.patience,
        execution.assumed,
        execution.limit,
        execution.make,
    )


def columns_of(universe: Universe) -> Columns:
    return Columns(*(getattr(universe.quotes, name) for name in Columns._fields))


def tables_of(universe: Universe, execution: Execution) -> Tables:
    ends = [(s.paid_at, m, s.value) for m, s in enumerate(universe.settlements) if s]
    eras = fees.roundings(broker=execution.through_broker)
    return Tables(
        *_grids(universe),
        *_flat([[term[:5] for term in terms] for terms in universe.terms], width=5),
        _table([(microseconds(era.since), *era[1:]) for era in eras], width=4),
        _table(sorted(ends), width=3),
    )


def _grids(universe: Universe) -> tuple[Ints, Ints, Ints]:
    grids = [grid for of_market in universe.grids for grid in of_market]
    starts, stretches = _flat([grid.stretches for grid in grids], width=3)
    since = [[(grid.since,) for grid in of_market] for of_market in universe.grids]
    of_markets, instants = _flat(since, width=1)
    return of_markets, np.column_stack((instants, starts[:-1], starts[1:])), stretches


def _flat(rows: Sequence[Sequence[Sequence[int]]], *, width: int) -> tuple[Ints, Ints]:
    """Rows of rows end to end, and where each begins."""
    starts = np.cumsum([0, *(len(each) for each in rows)])
    return starts, _table([row for each in rows for row in each], width=width)


def _table(rows: Sequence[Sequence[int]], *, width: int) -> Ints:
    return np.array(rows, np.int64).reshape(-1, width)
