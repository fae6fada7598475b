"""Reading what strategies ask for beside the quotes: open interest and whole order books."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate, chain

from backtests.data.by_market import ByMarket
from backtests.data.open_interest import OpenInterest
from backtests.data.recorded_books import BookSide, RecordedBooks
from backtests.data.universe import CONTRACT, DOLLAR, Ints, microseconds
from backtests.models import SnapshotSources
from backtests.record import record
from backtests.requests import MarketSelection
from kalshi_insights.arrays import np
from kalshi_insights.bad_input import BadInput

# Markets whose open interest is read together.
AT_ONCE = 512
# A level takes eight bytes.
MOST_LEVELS = 40_000_000


def open_interest(
    ids: Sequence[int], selection: MarketSelection, *, known_by: datetime
) -> ByMarket[OpenInterest]:
    """The open interest of the markets of a run, from the snapshots that it reads."""
    is_best = selection.sources == SnapshotSources.BEST
    backfilled = None if is_best else selection.sources != SnapshotSources.RECORDED
    snapshots = record.snapshots.readable(selection.imports)

    def read(markets: Sequence[int]) -> list[OpenInterest]:
        asked = [ids[market] for market in markets]
        changes: dict[int, list[tuple[int, int]]] = {id: [] for id in asked}
        for id, at, contracts in snapshots.open_interest(
            asked, selection.start, selection.end, recorded_by=known_by, backfilled=backfilled
        ):
            changes[id].append((microseconds(at), int(contracts * CONTRACT)))
        return [OpenInterest.of(changes[id]) for id in asked]

    return ByMarket(read, len(ids), at_once=AT_ONCE)


def order_books(
    ids: Sequence[int], selection: MarketSelection, *, known_by: datetime
) -> ByMarket[RecordedBooks]:
    """The order books of the markets of a run. Reading raises BadInput where they are too many."""
    until, levels = min(selection.end, known_by), 0

    def read(markets: Sequence[int]) -> list[RecordedBooks]:
        nonlocal levels
        # Before they take memory.
        levels += sum(
            record.order_books.count_levels(
                ids[market], selection.start, until, imports=selection.imports
            )
            for market in markets
        )
        if levels > MOST_LEVELS:
            raise BadInput(
                "end",
                f"The order books that the strategy asks for have more than {MOST_LEVELS:,} levels:"
                " choose a shorter time or fewer markets.",
            )
        return [_books(ids[market], selection, until) for market in markets]

    return ByMarket(read, len(ids))


def _books(id: int, selection: MarketSelection, until: datetime) -> RecordedBooks:
    rows = record.order_books.levels(id, selection.start, until, imports=selection.imports)
    return RecordedBooks(
        np.array([microseconds(at) for at, *_ in rows], np.int64),
        _side([row[1] for row in rows], [row[2] for row in rows]),
        _side([row[3] for row in rows], [row[4] for row in rows]),
    )


def _side(prices: Sequence[Sequence[float]], sizes: Sequence[Sequence[float]]) -> BookSide:
    starts = np.array([0, *accumulate(map(len, prices))], np.int64)
    return BookSide(starts, _units(prices, DOLLAR), _units(sizes, CONTRACT))


def _units(values: Iterable[Sequence[float]], unit: int) -> Ints:
    flat = np.fromiter(chain.from_iterable(values), np.float64)
    return np.minimum(np.rint(flat * unit), np.iinfo(np.int32).max).astype(np.int32)
