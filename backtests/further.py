"""Reading what strategies ask for beside the quotes: open interest and whole order books."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, chain, pairwise

from backtests.data.by_market import ByMarket
from backtests.data.open_interest import OpenInterest
from backtests.data.origins import BACKFILLED, BOOKS, IMPORTED, INTEREST, LIVE, Origins, counted
from backtests.data.recorded_books import BookSide, RecordedBooks
from backtests.data.source_times import SourceTimes
from backtests.data.universe import CONTRACT, DOLLAR, Bools, Ints, microseconds
from backtests.models import SnapshotSources
from backtests.record import record
from backtests.requests import MarketSelection
from kalshi_insights.arrays import np
from kalshi_insights.bad_input import BadInput
from markets.models import open_interest as told
from markets.models.order_books import BookLevels

# Markets whose open interest is read together.
AT_ONCE = 512
INTEREST_ORIGINS: Mapping[int, str] = {
    told.LIVE: LIVE,
    told.IMPORTED: IMPORTED,
    told.BACKFILLED: BACKFILLED,
}
INTEREST_SOURCES: Mapping[str, int] = {
    SnapshotSources.RECORDED: told.LIVE,
    SnapshotSources.IMPORTED: told.IMPORTED,
    SnapshotSources.BACKFILLED: told.BACKFILLED,
}
# A level takes eight bytes.
MOST_LEVELS = 40_000_000


def open_interest(
    ids: Sequence[int],
    times: SourceTimes,
    selection: MarketSelection,
    origins: Origins,
    *,
    known_by: datetime,
) -> ByMarket[OpenInterest]:
    """The open interest of the markets of a run, from the snapshots that it reads."""

    def read(markets: Sequence[int]) -> list[OpenInterest]:
        asked = [ids[market] for market in markets]
        changes = record.open_interest(
            asked,
            selection.start,
            selection.end,
            recorded_by=known_by,
            imports=selection.imports,
        )
        selection.check_imports()  # one may have been undone meanwhile
        own = np.searchsorted(asked, changes["market"])
        market, at, origin = np.array(markets)[own], changes["at"], changes["origin"]
        rows = _are_read(times, market, at, origin, selection.sources)
        origins.add(INTEREST, counted(origin[rows], INTEREST_ORIGINS))
        return _changes(own[rows], at[rows], changes["contracts"][rows], markets=len(asked))

    return ByMarket(read, len(ids), at_once=AT_ONCE)


def _are_read(times: SourceTimes, market: Ints, at: Ints, origin: Ints, sources: str) -> Bools:
    """Return which rows are of those that a run reads."""
    if sources == SnapshotSources.BEST:
        return times.counts(market, at, origin == told.LIVE, origin == told.IMPORTED)
    chosen: Bools = origin == INTEREST_SOURCES[sources]
    return chosen


def _changes(market: Ints, at: Ints, contracts: Ints, *, markets: int) -> list[OpenInterest]:
    is_change = np.append(True, (contracts[1:] != contracts[:-1]) | (market[1:] != market[:-1]))
    rows = np.flatnonzero(is_change[: len(market)])
    spans = np.searchsorted(market[rows], np.arange(markets + 1))
    return [
        OpenInterest(at[rows[first:end]], contracts[rows[first:end]])
        for first, end in pairwise(spans.tolist())
    ]


def order_books(
    ids: Sequence[int], selection: MarketSelection, origins: Origins, *, known_by: datetime
) -> ByMarket[RecordedBooks]:
    """The order books of the markets of a run. Reading raises BadInput where they are too many."""
    until, levels = min(selection.end, known_by), 0

    def read(markets: Sequence[int]) -> list[RecordedBooks]:
        nonlocal levels
        # Before they take memory.
        levels += sum(_count_levels(ids[market], selection, until) for market in markets)
        if levels > MOST_LEVELS:
            raise BadInput(
                "end",
                f"The order books that the strategy asks for have more than {MOST_LEVELS:,} levels:"
                " choose a shorter time or fewer markets.",
            )
        found = [_books(ids[market], selection, origins, until) for market in markets]
        selection.check_imports()  # one may have been undone meanwhile
        return found

    return ByMarket(read, len(ids))


def _count_levels(id: int, selection: MarketSelection, until: datetime) -> int:
    if selection.sources == SnapshotSources.BACKFILLED:  # no book can be backfilled
        return 0
    return record.order_books.count_levels(
        id,
        selection.start,
        until,
        imports=selection.imports,
        only_imported=selection.sources == SnapshotSources.IMPORTED,
    )


def _books(id: int, selection: MarketSelection, origins: Origins, until: datetime) -> RecordedBooks:
    rows: list[BookLevels] = []
    if selection.sources != SnapshotSources.BACKFILLED:
        rows = record.order_books.levels(
            id,
            selection.start,
            until,
            imports=selection.imports,
            only_imported=selection.sources == SnapshotSources.IMPORTED,
        )
    origins.add(BOOKS, Counter(LIVE if row.sequence is None else IMPORTED for row in rows))
    return RecordedBooks(
        np.array([microseconds(row.at) for row in rows], np.int64),
        _side([row.bid_prices for row in rows], [row.bid_sizes for row in rows]),
        _side([row.ask_prices for row in rows], [row.ask_sizes for row in rows]),
    )


def _side(prices: Sequence[Sequence[float]], sizes: Sequence[Sequence[float]]) -> BookSide:
    starts = np.array([0, *accumulate(map(len, prices))], np.int64)
    return BookSide(starts, _units(prices, DOLLAR), _units(sizes, CONTRACT))


def _units(values: Iterable[Sequence[float]], unit: int) -> Ints:
    flat = np.fromiter(chain.from_iterable(values), np.float64)
    return np.minimum(np.rint(flat * unit), np.iinfo(np.int32).max).astype(np.int32)
