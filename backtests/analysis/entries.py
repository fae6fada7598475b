"""The entries of a run: contracts that were bought together, and how long they were held."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np

from backtests.data.universe import MISSING, Ints
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind

ENTRIES_AT_ONCE = 10_000


class Lot(NamedTuple):
    """Contracts of one side (1 for YES, -1 for NO) of a market that were bought at an instant.

    They are counted in 1/100, and were sold `held` microseconds later; `MISSING` where they were
    held to the end.
    """

    market: int
    side: int
    contracts: int
    at: int
    held: int


class Entries(NamedTuple):
    """The lots of a run as columns, in the order of their markets; see `Lot`."""

    market: Ints
    side: Ints
    contracts: Ints
    at: Ints
    held: Ints

    @classmethod
    def of(cls, journal: Ints) -> Self:
        """Match purchases with sales, the first bought with the first sold."""
        lots = np.fromiter(lots_of(journal), np.dtype((np.int64, len(Lot._fields))))
        return cls(*lots[np.lexsort((lots[:, 3], lots[:, 0]))].T)

    def select(self, rows: Ints) -> Self:
        return type(self)(*(column[rows] for column in self))


def lots_of(journal: Ints) -> Iterator[Lot]:
    """Yield every lot, as it is sold, then those that never were."""
    waiting: defaultdict[int, deque[Lot]] = defaultdict(deque)
    for market, side, count, at in _fills(journal):
        own, left = waiting[market], count
        while left and own and own[0].side != side:
            lot = own.popleft()
            sold = min(left, lot.contracts)
            yield lot._replace(contracts=sold, held=at - lot.at)
            left -= sold
            if lot.contracts > sold:
                own.appendleft(lot._replace(contracts=lot.contracts - sold))
        if left:
            own.append(Lot(market, side, left, at, MISSING))
    for own in waiting.values():
        yield from own


def _fills(journal: Ints) -> Iterator[Sequence[int]]:
    """Yield market, side, count and instant of each fill."""
    columns = [JOURNAL_COLUMN[name] for name in ("market", "side", "count", "at")]
    fills = np.flatnonzero(journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL)
    # As lists they take many times the room of the journal.
    for first in range(0, len(fills), ENTRIES_AT_ONCE):
        yield from journal[fills[first : first + ENTRIES_AT_ONCE]][:, columns].tolist()
