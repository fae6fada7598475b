"""Order books of an import, each with the quote at its top."""

from collections.abc import Iterator
from datetime import datetime

from kalshi_insights.arrays import Bools, Ints, np
from markets.importing.parsed_rows import MISSING, Levels, ParsedRows
from markets.importing.quote_rows import copy_quotes
from markets.importing.row_ids import PlacedRows
from markets.models import OrderBookSnapshot
from markets.models.fields import QUOTE_TYPES
from markets.models.observations import instant


def write_books(placed: PlacedRows, rows: ParsedRows, recorded_at: datetime) -> Bools:
    """Write books and the quote of each; return which rows were written."""
    written = OrderBookSnapshot.objects.take_imported(_book_rows(placed, rows))
    copy_quotes(placed, _best(rows), recorded_at)
    return np.isin(placed.sequence, written)


def _book_rows(placed: PlacedRows, rows: ParsedRows) -> Iterator[tuple[object, ...]]:
    bids, asks = (zip(*_texts(rows.levels[side]), strict=True) for side in ("bids", "asks"))
    ids = (bytes(id).hex() for id in placed.ids)
    numbers = (each.tolist() for each in (placed.market, placed.at, placed.sequence))
    for id, market, at, sequence, bid, ask in zip(ids, *numbers, bids, asks, strict=True):
        yield (id, market, instant(at), *bid, *ask, sequence)


def _texts(levels: Levels) -> tuple[list[str], list[str]]:
    """Return the prices and the sizes of each row as PostgreSQL writes arrays."""
    ends = np.cumsum(levels.counts).tolist()
    prices = _decimals(levels.prices, 4)
    sizes = _decimals(levels.sizes, 2)
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    return tuple(  # type: ignore[return-value]
        [f"{{{','.join(each[a:b])}}}" for a, b in spans] for each in (prices, sizes)
    )


def _decimals(parts: Ints, places: int) -> list[str]:
    """Write numbers that are stored in parts; levels repeat, so each number is written once."""
    numbers, which = np.unique(parts, return_inverse=True)
    unit = 10**places
    texts = [f"{each // unit}.{each % unit:0{places}d}" for each in numbers.tolist()]
    return [texts[place] for place in which.tolist()]


def _best(rows: ParsedRows) -> dict[str, Ints]:
    """Return the columns of a quote: the first level of each side, and nothing else."""
    unknown = np.full(len(rows.at), MISSING)
    quotes = dict.fromkeys(QUOTE_TYPES, unknown)
    for side, name in (("bids", "yes_bid"), ("asks", "yes_ask")):
        levels = rows.levels[side]
        first = np.cumsum(levels.counts) - levels.counts
        is_there = levels.counts > 0
        for column, values in ((name, levels.prices), (f"{name}_size", levels.sizes)):
            best = unknown.copy()
            best[is_there] = values[first[is_there]]
            quotes[column] = best
    return quotes
