"""Order books of a stream: whole ones, and changes of single levels between them.

A change is applied to the book of its market that stands when its row is reached, so rows count in
the order of the file. A market has no book before its first whole one, nor after a row that was
refused, since nobody knows what that would have changed.
"""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kalshi_insights.arrays import Bools, Ints, np
from markets.importing.parsed_rows import MISSING, Levels
from markets.importing.reading.batch_columns import DOLLAR, BatchColumns
from markets.importing.reading.fields import LEVEL_FIELDS

SIDES = ("bids", "asks")
SIDE_CODES = {"bid": 0, "ask": 1}  # places in `SIDES`
SIGNS = (-1, 1)
UNKNOWN = (
    "changes a book that is not known: a whole one of its market must come before, and no refused"
    " row between them"
)
BACKWARD = "is earlier than the row before of its market, so the order of changes is not known"
REFUSED = "was refused before it was applied"


class StandingSide:
    """The levels of one side, the best first: its keys are prices times the sign of the side."""

    __slots__ = ("keys", "sizes")

    def __init__(self, keys: Ints, sizes: Ints) -> None:
        self.keys, self.sizes = (array("q", each.tobytes()) for each in (keys, sizes))

    def set_level(self, key: int, size: int) -> None:
        """Put a new size in the place of a level's; one without contracts goes."""
        place = bisect_left(self.keys, key)
        is_there = place < len(self.keys) and self.keys[place] == key
        if is_there and size:
            self.sizes[place] = size
        elif is_there:
            del self.keys[place], self.sizes[place]
        elif size:
            self.keys.insert(place, key)
            self.sizes.insert(place, size)


class WholeSides:
    """One side of the whole books of a batch."""

    def __init__(self, levels: Levels, sign: int) -> None:
        self._ends = np.cumsum(levels.counts).tolist()
        self._keys, self._sizes = sign * levels.prices, levels.sizes

    def of_row(self, row: int) -> StandingSide:
        first, end = self._ends[row - 1] if row else 0, self._ends[row]
        return StandingSide(self._keys[first:end], self._sizes[first:end])


@dataclass(slots=True)
class StandingBook:
    """The book of a market as the rows so far leave it, and the time of the last of them."""

    sides: tuple[StandingSide, StandingSide]
    at: int


class StreamRows(NamedTuple):
    """The rows of a batch: whole books, or the change of a level that a row states."""

    accepted: Sequence[bool]
    at: Sequence[int]
    is_change: Sequence[bool]
    side: Sequence[int]
    key: Sequence[int]
    size: Sequence[int]
    whole: tuple[WholeSides, WholeSides]

    def fault_of(self, row: int, book: StandingBook | None) -> str:
        """Return why a row leaves no book of its market; empty where it leaves one."""
        if not self.accepted[row]:
            return REFUSED
        if not self.is_change[row]:
            return ""
        if book is None:
            return UNKNOWN
        return BACKWARD if self.at[row] < book.at else ""

    def book_after(self, row: int, book: StandingBook | None) -> StandingBook:
        """Return the book that a row without a fault leaves; a change is applied in place."""
        if book is None or not self.is_change[row]:
            bids, asks = self.whole
            return StandingBook((bids.of_row(row), asks.of_row(row)), self.at[row])
        book.sides[self.side[row]].set_level(self.key[row], self.size[row])
        book.at = self.at[row]
        return book


class WrittenSides:
    """One side of the books that the rows of a batch leave."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._keys, self._sizes = array("q"), array("q")

    def add(self, side: StandingSide | None) -> None:
        self._counts.append(len(side.keys) if side else 0)
        if side:
            self._keys.extend(side.keys)
            self._sizes.extend(side.sizes)

    def levels(self, sign: int) -> Levels:
        counts, keys, sizes = (
            np.array(each, np.int64) for each in (self._counts, self._keys, self._sizes)
        )
        return Levels(counts, sign * keys, sizes)


class StandingBooks:
    """The books of all markets of a file, followed row by row."""

    def __init__(self) -> None:
        self._books: dict[str, StandingBook] = {}

    def follow(
        self, columns: BatchColumns, at: Ints, whole: Mapping[str, Levels]
    ) -> dict[str, Levels]:
        """Return the book that each row leaves, and refuse changes of a book that is not known."""
        rows = _stream_rows(columns, at, whole)
        written = (WrittenSides(), WrittenSides())
        faults: defaultdict[str, list[int]] = defaultdict(list)
        for row, market in enumerate(columns.market.tolist()):
            book, fault = self._follow_row(columns.tickers[market], rows, row)
            if fault:
                faults[fault].append(row)
            for place, each in enumerate(written):
                each.add(book.sides[place] if book else None)
        for field, reason in (("level_price", UNKNOWN), ("at", BACKWARD)):
            columns.refuse(_marked(columns, faults[reason]), columns.column(field), reason)
        return {
            side: each.levels(sign) for side, each, sign in zip(SIDES, written, SIGNS, strict=True)
        }

    def _follow_row(
        self, ticker: str, rows: StreamRows, row: int
    ) -> tuple[StandingBook | None, str]:
        book = self._books.get(ticker)
        if fault := rows.fault_of(row, book):
            self._books.pop(ticker, None)
            return None, fault
        book = self._books[ticker] = rows.book_after(row, book)
        return book, ""


def _stream_rows(columns: BatchColumns, at: Ints, whole: Mapping[str, Levels]) -> StreamRows:
    """Read the changes of levels beside the whole books; nobody quotes at 0 or 1 dollar."""
    is_change = columns.changes_of_books()
    price, size = columns.prices("level_price"), columns.counts("level_size")
    side = columns.codes("level_side", SIDE_CODES)
    for field, values in zip(LEVEL_FIELDS, (price, size, side), strict=True):
        columns.refuse(is_change & (values == MISSING), columns.column(field), "is missing")
    size = np.where((price <= 0) | (price >= DOLLAR), 0, size)
    if columns.shape.scale == "no":
        price, side = DOLLAR - price, 1 - side
    key = np.where(side == 0, SIGNS[0], SIGNS[1]) * price
    bids, asks = (WholeSides(whole[each], sign) for each, sign in zip(SIDES, SIGNS, strict=True))
    return StreamRows(
        accepted=columns.faults.accepted.tolist(),
        at=at.tolist(),
        is_change=is_change.tolist(),
        side=side.tolist(),
        key=key.tolist(),
        size=size.tolist(),
        whole=(bids, asks),
    )


def _marked(columns: BatchColumns, rows: Sequence[int]) -> Bools:
    marked = np.zeros(columns.rows, bool)
    marked[np.array(rows, np.int64)] = True
    return marked
