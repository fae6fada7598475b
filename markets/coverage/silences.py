"""Silences of markets: the time between observations, where it is long.

Many markets share streams of instants, so that the long pauses of each stream are found once. What
lies between the observations of several streams is the intersection of what lies between those of
each.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import islice, pairwise
from operator import itemgetter
from typing import NamedTuple

from kalshi_insights.arrays import Ints, np
from markets.observed import ObservedInstants
from markets.pages.market_spans import TimeWindow

MOST_SPANS = 20
# From one observation to the next, in microseconds since 1970.
Silence = tuple[int, int]


class _Pauses(NamedTuple):
    starts: list[int]
    ends: list[int]


class Silences:
    """The silences of markets within a window, at whose edges everything counts as observed."""

    def __init__(self, observed: ObservedInstants, around: TimeWindow) -> None:
        self._around = around
        edges = pairwise(observed.starts.tolist())
        self._streams = [observed.instants[first:end] for first, end in edges]
        self._instants = [stream.tolist() for stream in self._streams]
        self._places = observed.spans.tolist()
        self._spans = np.column_stack([observed.since, observed.until, observed.streams])
        self._pauses: dict[tuple[int, int], _Pauses] = {}
        self._of_span: dict[tuple[int, int, int, int], list[Silence]] = {}
        self._of_spans: dict[tuple[bytes, int], list[Silence]] = {}

    def key(self, market: int) -> bytes:
        """Return what the silences of a market follow from, the same for those with the same."""
        return self._spans_of(market).tobytes()

    def of_market(self, market: int, *, longer_than: int) -> list[Silence]:
        """Return the silences of a market that are longer than so many microseconds."""
        key = self.key(market), longer_than
        if key not in self._of_spans:
            self._of_spans[key] = self._beside(self._spans_of(market).tolist(), longer_than)
        return self._of_spans[key]

    def _spans_of(self, market: int) -> Ints:
        spans: Ints = self._spans[self._places[market] : self._places[market + 1]]
        return spans

    def _beside(self, spans: Sequence[tuple[int, int, int]], longer_than: int) -> list[Silence]:
        if len(spans) > MOST_SPANS:
            return self._beside_instants(spans, longer_than)
        silent: list[Silence] = [self._around]
        each = [self._beside_span(*span, longer_than) for span in spans]
        for others in sorted(each, key=len):
            if not silent:
                break
            silent = _both(silent, others, longer_than)
        return silent

    def _beside_instants(
        self, spans: Sequence[tuple[int, int, int]], longer_than: int
    ) -> list[Silence]:
        """Compare all observations, which is quicker for a market that often changes its page."""
        seen = [np.array(self._around)]
        for since, until, stream in spans:
            instants = self._streams[stream]
            first, end = np.searchsorted(instants, since), np.searchsorted(instants, until, "right")
            seen.append(instants[first:end])
        # A stable sort puts together what is in order already.
        found = np.sort(np.concatenate(seen), kind="stable")
        place = np.flatnonzero(np.diff(found) > longer_than)
        return list(zip(found[place].tolist(), found[place + 1].tolist(), strict=True))

    def _beside_span(self, since: int, until: int, stream: int, longer_than: int) -> list[Silence]:
        key = since, until, stream, longer_than
        if key not in self._of_span:
            self._of_span[key] = self._around_span(*key)
        return self._of_span[key]

    def _around_span(self, since: int, until: int, stream: int, longer_than: int) -> list[Silence]:
        instants = self._instants[stream]
        first, end = bisect_left(instants, since), bisect_right(instants, until)
        if first == end:
            return [self._around]
        begun, ended = instants[first], instants[end - 1]
        starts, ends = self._pauses_of(stream, longer_than)
        inner = slice(bisect_left(starts, begun), bisect_left(starts, ended))
        within = zip(starts[inner], ends[inner], strict=True)
        edges = (self._around.start, begun), (ended, self._around.end)
        first_one, last_one = ([pair] if pair[1] - pair[0] > longer_than else [] for pair in edges)
        return [*first_one, *within, *last_one]

    def _pauses_of(self, stream: int, longer_than: int) -> _Pauses:
        key = stream, longer_than
        if key not in self._pauses:
            instants = self._streams[stream]
            places = np.flatnonzero(np.diff(instants) > longer_than)
            self._pauses[key] = _Pauses(instants[places].tolist(), instants[places + 1].tolist())
        return self._pauses[key]


def split(silences: Sequence[Silence], instants: Sequence[int]) -> list[Silence]:
    """Cut silences at further observations."""
    parts: list[Silence] = []
    for start, end in silences:
        inner = instants[bisect_right(instants, start) : bisect_left(instants, end)]
        parts += pairwise([start, *inner, end])
    return parts


def _both(ones: Sequence[Silence], others: Sequence[Silence], longer_than: int) -> list[Silence]:
    both = []
    for start, end in ones:
        first = bisect_right(others, start, key=itemgetter(1))
        for other_start, other_end in islice(others, first, None):
            if other_start >= end:
                break
            first, last = max(start, other_start), min(end, other_end)
            if last - first > longer_than:
                both.append((first, last))
    return both
