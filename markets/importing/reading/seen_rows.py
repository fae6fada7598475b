"""Rows that a file has had before."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from kalshi_insights.arrays import Bools, Ints, np

# A change of any bit of a number changes about half of the bits of its product with this.
MIX = np.uint64(0x9E3779B97F4A7C15)
SHIFT = np.uint64(29)
LONGEST_RUN = 1_000_000  # a merge takes its memory twice


class _Run(NamedTuple):
    """Sorted hashes of rows, and the range of their times."""

    hashes: Ints
    first: int
    last: int


class SeenRows:
    """Remembers the rows of a file by hashes of 64 bits, eight bytes a row.

    Rows that are the same have the same time, so that batches of other times need no look.
    """

    def __init__(self, *, longest_run: int = LONGEST_RUN) -> None:
        self._longest = longest_run
        self._runs: list[_Run] = []

    def repeated(self, hashes: Ints, at: Ints) -> Bools:
        """Mark the rows that were there before, and remember all of them."""
        if not len(hashes):
            return np.zeros(0, bool)
        kept, first_places = np.unique(hashes, return_index=True)
        repeated = np.ones(len(hashes), bool)
        repeated[first_places] = False
        run = _Run(kept, int(at.min()), int(at.max()))
        for each in self._runs:
            if each.first <= run.last and run.first <= each.last:
                repeated |= _is_in(hashes, each.hashes)
        self._remember(run)
        return repeated

    def _remember(self, run: _Run) -> None:
        """Merge runs of like size, so that there are few to look into."""
        while self._runs and self._are_alike(self._runs[-1], run):
            other = self._runs.pop()
            hashes = np.concatenate((other.hashes, run.hashes))
            hashes.sort()
            run = _Run(hashes, min(other.first, run.first), max(other.last, run.last))
        self._runs.append(run)

    def _are_alike(self, old: _Run, new: _Run) -> bool:
        return len(old.hashes) <= min(2 * len(new.hashes), self._longest)


def hashes_of(columns: Sequence[Ints]) -> Ints:
    """Return a hash of each row of columns."""
    total = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        mixed = (total ^ column.astype(np.int64).view(np.uint64)) * MIX
        total = mixed ^ (mixed >> SHIFT)
    return total.view(np.int64)


def text_hashes(texts: Sequence[str]) -> Ints:
    hashes: Ints = pd.util.hash_array(np.array(texts, object), categorize=False).view(np.int64)
    return hashes


def _is_in(values: Ints, among: Ints) -> Bools:
    places = np.minimum(np.searchsorted(among, values), len(among) - 1)
    found: Bools = among[places] == values
    return found
