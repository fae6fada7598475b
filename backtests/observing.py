"""Observing: when the markets of a run were observed, and when not, as far as is on record.

Pages of the recorder prove observations, changed or not, and so does each row. Of backfilled
quotes rows alone do. One is fresh for three of its periods: that of its candles, or the one that
was stated of research tables. One of an import is fresh for as long as that says, and if the rows
were recorded on change, it is observed until the next one. Without any of these no gap is claimed.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from backtests.data.candle_gaps import RowPeriod, candle_gaps
from backtests.data.causes import CAUSES
from backtests.data.gaps import MarketGaps
from backtests.data.merged_gaps import joined, outside
from backtests.data.observed_rows import QuotedInstants, with_rows
from backtests.data.standing_quotes import StandingRows, standing_times, with_standing
from backtests.data.universe import MISSING, Ints, microseconds
from backtests.models import SnapshotSources
from backtests.record import PeriodReads, record
from backtests.requests import MarketSelection
from kalshi_insights.arrays import np
from markets.coverage.gap_arrays import CAUSES as EVERY_CAUSE
from markets.models.imports import ImportedTime, Kind
from markets.observed import ObservedInstants

# The place in `CAUSES` of each cause that the record knows; nobody could trade in the others.
CAUSE_NUMBERS = [CAUSES.index(each) if each in CAUSES else MISSING for each in EVERY_CAUSE]


def observed(
    ids: Sequence[int], quoted: QuotedInstants, selection: MarketSelection, *, known_by: datetime
) -> ObservedInstants:
    """The instants at which pages or rows proved that each market was observed."""
    start, end = selection.start, selection.end
    if selection.sources in (SnapshotSources.BACKFILLED, SnapshotSources.IMPORTED):
        end = start  # no page shows what was backfilled or imported
    pages = record.sweeps.observed(ids, start, end, known_by=known_by)
    runs = record.polls.numbers_at(quoted.at)
    found = with_rows(pages, quoted, np.where(quoted.backfilled, MISSING, runs))
    last = microseconds(selection.end)
    standing = [
        time
        for market, own in _imported(ids, selection)
        if own.on_change
        for time in standing_times(
            quoted, StandingRows(market, own.import_id, own.last, own.gap_after), end=last
        )
    ]
    return with_standing(found, standing)


def _imported(ids: Sequence[int], selection: MarketSelection) -> Iterator[tuple[int, ImportedTime]]:
    """The times of imported quotes, each with the place of its market in `ids`."""
    number = {id: n for n, id in enumerate(ids)}
    times = record.imported_spans.times(selection.imports, ids, selection.start, selection.end)
    for own in times:
        if own.kind in (Kind.QUOTES, Kind.BOOKS):
            yield number[own.market_id], own


def gaps(
    ids: Sequence[int],
    quoted: QuotedInstants,
    selection: MarketSelection,
    *,
    closed_at: Ints,
    known_by: datetime,
) -> MarketGaps:
    """The intervals in which each market was not observed although it could be traded."""
    candles, stated = (
        _periods(reads, ids, selection, known_by)
        for reads in (record.candlesticks, record.imported_periods)
    )
    ends = np.minimum(closed_at, microseconds(selection.end))
    fresh = [
        (market, own.gap_after, own.import_id)
        for market, own in _imported(ids, selection)
        if own.gap_after is not None
    ]
    of_rows = candle_gaps(quoted, candles, ends, stated=stated, fresh_for=fresh)
    if quoted.backfilled.all():
        return of_rows
    live = _recorded_gaps(ids, selection, known_by)
    for backfilled in quoted.backfilled_times():
        live = outside(live, *backfilled)
    return joined(live, of_rows)


def _periods(
    reads: PeriodReads, ids: Sequence[int], selection: MarketSelection, known_by: datetime
) -> list[RowPeriod]:
    number = {id: n for n, id in enumerate(ids)}
    found = reads.periods(ids, selection.start, selection.end, recorded_by=known_by)
    return [(number[id], length, first, last) for id, length, first, last in found]


def _recorded_gaps(
    ids: Sequence[int], selection: MarketSelection, known_by: datetime
) -> MarketGaps:
    stale = record.coverage_of(ids, selection.start, selection.end, known_by=known_by).stale
    cause = np.array(CAUSE_NUMBERS)[stale.causes]
    return MarketGaps(stale.spans, stale.since, stale.until, cause)
