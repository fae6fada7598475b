"""Loading: from the record to the arrays of a run, with what was known of each market and when.

Where a market was recorded live, backfilled and imported quotes between its first and its last live
snapshot are left out, unless the run reads those alone: the close of a candlestick is coarser than
live quotes. Imported quotes go before backfilled ones in the same way, and are read where their
import is named. So it is with all else that a run reads (`traded`, `further`, `with_imported`).
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

import numpy as np

from backtests import definitions, further, observing, traded
from backtests.data import timeline
from backtests.data.observed_rows import QuotedInstants, pauses_of
from backtests.data.origins import QUOTES, RESULTS, Origins
from backtests.data.source_times import SourceTimes
from backtests.data.timeline import ColumnArrays, Definitions, Pauses
from backtests.data.universe import (
    QUOTE_COLUMNS,
    Ints,
    Quotes,
    Universe,
    microseconds,
)
from backtests.models import SnapshotSources
from backtests.record import record
from backtests.requests import MarketSelection
from markets.intervals import merge
from markets.models.definitions import RevisedMarket


class QuotedMarkets(NamedTuple):
    """Some markets and their quotes, market by market; the column `market` counts the ids.

    `times` are those of their sources, of which the run may read some alone.
    """

    ids: Ints
    quotes: ColumnArrays
    times: SourceTimes


@contextmanager
def collected_later() -> Iterator[None]:
    """Put off garbage collections: all objects that loading makes stay.

    Python would look through all of a run's markets again and again, a third of the work.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@collected_later()
def load(
    selection: MarketSelection,
    *,
    known_by: datetime,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Universe:
    """The universe of a run, from what was recorded until `known_by`.

    What revisions do not hold of a market (its title, strikes, fee waiver) is as it is on record
    now. There is a row for each observed book, at the instant at which it was known, and for each
    instant in between at which trading ended, went on or the known schedule changed; such a row
    repeats the book. The end of a pause shows no book: trading goes on with the next observation.
    Settlements count whenever they came, as far as they are on record.

    Raises `BadInput`, naming a field, where there is nothing to run on, and where an import was
    undone meanwhile.
    """
    ids = selection.market_ids()
    expected = selection.count_snapshots(ids)
    parts: list[QuotedMarkets] = []
    loaded = 0
    for columns in record.snapshots.columns(
        ids, selection.start, selection.end, recorded_by=known_by, imports=selection.imports
    ):
        loaded += len(columns["at"])
        parts += _selected(columns, selection.sources)
        on_progress(min(1.0, loaded / expected))
    if not parts:
        selection.check_imports()
        raise selection.no_quotes(ids)
    universe = _universe(parts, selection, known_by=known_by)
    # An undo marks its import before it deletes rows.
    selection.check_imports()
    return universe


# --- quotes -------------------------------------------------------------------------------------


def _selected(columns: ColumnArrays, sources: str) -> Iterator[QuotedMarkets]:
    """The quotes of these sources, the last one of each instant; nothing if there is none."""
    ids, columns = _numbered(columns)
    times = SourceTimes.of(columns, markets=len(ids))
    columns = timeline.last_of_each_instant(_from_sources(columns, times, sources))
    if len(columns["at"]):
        left, columns = _numbered(columns)
        yield QuotedMarkets(ids[left], columns, times.select(left))


def _numbered(columns: ColumnArrays) -> tuple[Ints, ColumnArrays]:
    """The different values of `market`, and the columns with their places instead."""
    market = columns["market"]
    begins = np.append(True, market[1:] != market[:-1])
    return market[begins], {**columns, "market": np.cumsum(begins) - 1}


def _from_sources(columns: ColumnArrays, times: SourceTimes, sources: str) -> ColumnArrays:
    if sources == SnapshotSources.BEST:
        return times.best(columns)
    chosen = timeline.is_backfilled(columns)
    if sources == SnapshotSources.IMPORTED:
        chosen = timeline.is_imported(columns)
    return timeline.select(columns, ~chosen if sources == SnapshotSources.RECORDED else chosen)


def _closed(selection: MarketSelection, known_by: datetime) -> list[tuple[int, int]]:
    """The announced closures, and the times at which the exchange said that it was not trading."""
    start, end = selection.start, selection.end
    announced = record.closures.between(start, end, known_by=known_by)
    reported = record.polls.closed_periods(start, end, known_by=known_by)
    return [
        (microseconds(each.start), microseconds(each.end))
        for each in merge([*announced, *reported])
    ]


def _quotes(rows: Sequence[ColumnArrays]) -> Quotes:
    """The rows of all markets by time, those of one instant in the order of their markets."""
    order = np.argsort(np.concatenate([columns["at"] for columns in rows]), kind="stable")
    columns = {name: np.concatenate([each[name] for each in rows])[order] for name in QUOTE_COLUMNS}
    tradable = columns.pop("tradable")
    return Quotes(
        **{n: column.astype(np.int64) for n, column in columns.items()}, tradable=tradable
    )


# --- markets ------------------------------------------------------------------------------------


def _universe(
    parts: list[QuotedMarkets], selection: MarketSelection, *, known_by: datetime
) -> Universe:
    ids = [int(id) for part in parts for id in part.ids]
    markets = record.markets.defined(ids)
    revisions = record.market_revisions.histories(
        ids, recorded_by=known_by, imports=selection.imports
    )
    histories = [revisions.get(id, []) for id in ids]
    known = definitions.definitions(markets, revisions)
    quoted = QuotedInstants.of([part.quotes for part in parts], [len(part.ids) for part in parts])
    observed = observing.observed(ids, quoted, selection, known_by=known_by)
    gaps = observing.gaps(ids, quoted, selection, closed_at=known.closed_at, known_by=known_by)
    pauses = pauses_of(observed, _closed(selection, known_by))
    first = quoted.first.tolist()
    events = record.event_revisions.histories({m.event_id for m in markets}, recorded_by=known_by)
    schedules = record.fee_changes.schedule(
        ids,
        start=selection.start,
        end=selection.end,
        recorded_by=known_by,
        imports=selection.imports,
    )
    times, origins = SourceTimes.joined([part.times for part in parts]), _origins(parts, histories)
    return Universe(
        _quotes(list(_rows(parts, known, pauses, end=microseconds(selection.end)))),
        [
            definitions.listing(market, definitions.as_of(events.get(market.event_id, []), at))
            for market, at in zip(markets, first, strict=True)
        ],
        [definitions.settlement(history) for history in histories],
        [definitions.terms(market, schedules[market.id]) for market in markets],
        [definitions.grids(*each) for each in zip(markets, histories, first, strict=True)],
        observed,
        gaps,
        tape=traded.tape(
            {market.id: market.ticker for market in markets},
            quoted,
            selection,
            origins,
            known_by=known_by,
        ),
        candles=traded.candles(ids, quoted, selection, known_by=known_by),
        interest=further.open_interest(ids, times, selection, origins, known_by=known_by),
        books=further.order_books(ids, selection, origins, known_by=known_by),
        origins=origins,
    )


def _origins(
    parts: Sequence[QuotedMarkets], histories: Sequence[Sequence[RevisedMarket]]
) -> Origins:
    found = Origins()
    for part in parts:
        found.add(QUOTES, timeline.origin_counts(part.quotes))
    found.add(RESULTS, definitions.result_origins(histories))
    return found


def _rows(
    parts: list[QuotedMarkets], known: Definitions, pauses: Pauses, *, end: int
) -> Iterator[ColumnArrays]:
    """The rows of each part in turn, which frees its quotes."""
    first = 0
    while parts:
        part = parts.pop(0)
        last = first + len(part.ids)
        columns = timeline.timelines(
            part.quotes, known.within(first, last), pauses.within(first, last), end=end
        )
        yield {**columns, "market": columns["market"] + first}
        first = last
