"""Origins of what a run reads: recorded live, imported or backfilled."""

from collections import Counter
from collections.abc import Iterator, Mapping

from kalshi_insights.arrays import Ints, np

LIVE, IMPORTED, BACKFILLED = "recorded live", "imported", "backfilled"
QUOTES, TRADES, BOOKS = "quotes", "trades", "order books"
INTEREST, RESULTS = "values of open interest", "results"


class Origins:
    """The numbers of what a run has read so far, by kind and origin.

    Open interest and order books are counted when a strategy asks for them.
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, kind: str, counts: Mapping[str, int]) -> None:
        self._counts.setdefault(kind, Counter()).update(+Counter(counts))

    def of(self, kind: str) -> dict[str, int]:
        return dict(self._counts.get(kind, {}))

    def total(self, kind: str) -> int:
        return sum(self._counts.get(kind, {}).values())

    def sentences(self) -> Iterator[str]:
        """Tell the origins of each kind, if anything was imported."""
        if not any(IMPORTED in counts for counts in self._counts.values()):
            return
        for kind, counts in self._counts.items():
            each = [f"{count:,} {origin}" for origin, count in counts.items()]
            if len(each) > 1:
                yield f"The {kind} are of several origins: {', '.join(each)}."
            elif each:
                yield f"All {kind} were {next(iter(counts))}."


def counted(codes: Ints, words: Mapping[int, str]) -> dict[str, int]:
    """Count what codes stand for, by the word of each."""
    counts = np.bincount(codes, minlength=max(words) + 1)
    return {word: int(counts[code]) for code, word in words.items()}
