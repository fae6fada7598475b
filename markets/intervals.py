"""Intervals of time: from a start on and before an end.

A list of intervals is in order of time, and no two of its members touch.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Interval(NamedTuple):
    """From `start` on and before `end`; empty, and so false, unless the start comes first."""

    start: datetime
    end: datetime

    def __bool__(self) -> bool:
        return self.start < self.end

    @property
    def length(self) -> timedelta:
        return self.end - self.start


def merge(intervals: Iterable[tuple[datetime, datetime]]) -> list[Interval]:
    """Return the union of intervals in any order, without the empty ones."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(end, merged[-1].end))
        elif start < end:
            merged.append(Interval(start, end))
    return merged


def intersect(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return the parts of `ones` that lie in `others`."""
    shared = []
    starts, ends = [other.start for other in others], [other.end for other in others]
    for start, end in ones:
        for other in islice(others, bisect_right(ends, start), bisect_left(starts, end)):
            shared.append(Interval(max(start, other.start), min(end, other.end)))
    return shared


def overlapping(ones: Iterable[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return those of `ones` of which a part lies in `others`, whole."""
    ends = [other.end for other in others]
    places = ((one, bisect_right(ends, one.start)) for one in ones)
    return [one for one, n in places if n < len(others) and others[n].start < one.end]


def multirange(intervals: Iterable[tuple[datetime, datetime]]) -> str:
    """Write intervals as PostgreSQL reads a `tstzmultirange`."""
    ranges = (f"[{start.isoformat()},{end.isoformat()})" for start, end in intervals)
    return f"{{{','.join(ranges)}}}"


def subtract(ones: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """Return the parts of `ones` that lie outside `others`."""
    if not ones:
        return []
    edges = [ones[0].start, *(edge for other in others for edge in other), ones[-1].end]
    between = zip(edges[::2], edges[1::2], strict=True)
    return intersect(ones, [Interval(start, end) for start, end in between if start < end])
