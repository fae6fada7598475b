"""The arrays that the kernel reads: a universe and the rules of a run as plain numbers."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from backtests.data.candles import CandleRanges
from backtests.data.gaps import MarketGaps
from backtests.data.universe import Bools, Ints, Quotes, Universe, microseconds
from backtests.rules.execution import ExecutionModel, FillModel
from markets import fees
from markets.observed import ObservedInstants


class KernelRules(NamedTuple):
    """An `ExecutionModel` and a `FillModel` as numbers."""

    fills: int
    latency: int
    patience: int
    expires_at_gaps: bool
    assumed: int
    queue: int
    tolerance: int
    limit: int
    make: bool


class MarketTables(NamedTuple):
    """The markets' price grids, fee terms and settlements."""

    grids_from: Ints
    grids: Ints  # since, the first of its ranges, the one after its last
    ranges: Ints  # start, end, step
    terms_from: Ints
    terms: Ints  # since, taker numerator and denominator, maker numerator and denominator
    roundings: Ints  # since, step, grid, rebate
    settlements: Ints  # paid_at, market, value; in the order of payment


class QuoteColumns(NamedTuple):
    """The columns of `Quotes` that orders depend on."""

    at: Ints
    market: Ints
    bid: Ints
    ask: Ints
    bid_size: Ints
    ask_size: Ints
    last: Ints
    volume: Ints
    tradable: Bools


class TapeColumns(NamedTuple):
    """The columns of a `TradeTape` that orders depend on.

    `used` has the contracts of each trade that filled orders of a run; only most fills, which
    looks back, keeps count of them.
    """

    at: Ints
    market: Ints
    price: Ints
    contracts: Ints
    taker: Ints
    used: Ints

    def for_run(self, rules: KernelRules) -> "TapeColumns":
        """Return the tape as a run begins, none of it used."""
        trades = len(self.at) if rules.make and rules.fills == FillModel.MOST else 0
        return self._replace(used=np.zeros(trades, np.int64))


class WholeStretches(NamedTuple):
    """The stretches of a `TradeTape`."""

    spans: Ints
    since: Ints
    until: Ints


class GapEnds(NamedTuple):
    """The ends of `MarketGaps`."""

    spans: Ints
    until: Ints


class FillEvidence(NamedTuple):
    """The evidence of a resting order's fill besides a new book and the tape."""

    gaps: GapEnds
    candles: CandleRanges
    observed: ObservedInstants


def rules(execution: ExecutionModel, fills: FillModel) -> KernelRules:
    return KernelRules(
        int(fills),
        execution.latency,
        execution.patience,
        execution.expires_at_gaps,
        execution.assumed,
        execution.queue,
        execution.tolerance,
        execution.limit,
        execution.make,
    )


def columns_of(quotes: Quotes) -> QuoteColumns:
    return QuoteColumns(*(getattr(quotes, name) for name in QuoteColumns._fields))


def observed_of(universe: Universe) -> ObservedInstants:
    return ObservedInstants(*(_integers(column) for column in universe.observations()))


def gaps_of(universe: Universe) -> MarketGaps:
    return MarketGaps(*(_integers(column) for column in universe.known_gaps()))


def tape_of(universe: Universe) -> TapeColumns:
    tape = universe.known_tape()
    columns = (tape.at, tape.market, tape.price, tape.contracts, tape.taker)
    return TapeColumns(*map(_integers, (*columns, np.zeros(0, np.int64))))


def stretches_of(universe: Universe) -> WholeStretches:
    tape = universe.known_tape()
    return WholeStretches(*(_integers(each) for each in (tape.spans, tape.since, tape.until)))


def evidence_of(universe: Universe) -> FillEvidence:
    gaps, candles = universe.known_gaps(), universe.known_candles()
    return FillEvidence(
        GapEnds(_integers(gaps.spans), _integers(gaps.until)),
        CandleRanges(*(_integers(column) for column in candles)),
        observed_of(universe),
    )


def _integers(column: Ints) -> Ints:
    """The same numbers in the one type that the kernel is compiled for."""
    return np.ascontiguousarray(column, np.int64)


def tables_of(universe: Universe, execution: ExecutionModel) -> MarketTables:
    ends = [(s.paid_at, m, s.value) for m, s in enumerate(universe.settlements) if s]
    eras = fees.roundings(broker=execution.through_broker)
    return MarketTables(
        *_grids(universe),
        _starts(universe.terms),
        _table((term[:5] for term in chain.from_iterable(universe.terms)), width=5),
        _table([(microseconds(era.since), *era[1:]) for era in eras], width=4),
        _table(sorted(ends), width=3),
    )


def _grids(universe: Universe) -> tuple[Ints, Ints, Ints]:
    grids = list(chain.from_iterable(universe.grids))
    starts, ranges = _flat([grid.ranges for grid in grids], width=3)
    since = np.fromiter((grid.since for grid in grids), np.int64, len(grids))
    return _starts(universe.grids), np.column_stack((since, starts[:-1], starts[1:])), ranges


def _flat(rows: Sequence[Sequence[Sequence[int]]], *, width: int) -> tuple[Ints, Ints]:
    """Nested rows end to end, and where each group begins."""
    return _starts(rows), _table(chain.from_iterable(rows), width=width)


def _starts(rows: Sequence[Sequence[object]]) -> Ints:
    return np.cumsum([0, *map(len, rows)])


def _table(rows: Iterable[Sequence[int]], *, width: int) -> Ints:
    # Much faster than an array of sequences.
    return np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, width)
