"""Spans of many markets in streams of instants, as arrays: cut, shifted and put together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kalshi_insights.arrays import Ints, np
from markets.observed import ObservedInstants
from markets.pages.followed_names import NameSpans, PageInstants

# For each market, the pages of sweeps that did not observe it, oldest sweep first.
Holes = Mapping[int, Sequence[PageInstants]]
Instants = Sequence[int] | Ints


class TimeWindow(NamedTuple):
    """From `start` on and before `end`, in microseconds since 1970."""

    start: int
    end: int


class MarketSpans(NamedTuple):
    """Stays of markets on the pages of streams, in any order; see `NameSpans`."""

    markets: Ints
    since: Ints
    until: Ints
    streams: Ints

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[int, int, int, int]]) -> "MarketSpans":
        return cls(*np.array(rows, np.int64).reshape(-1, 4).T)

    @classmethod
    def together(cls, *parts: "MarketSpans") -> "MarketSpans":
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def where(self, which: Ints) -> "MarketSpans":
        return MarketSpans(*(column[which] for column in self))

    def within(self, window: TimeWindow) -> "MarketSpans":
        since = np.maximum(self.since, window.start)
        until = np.minimum(self.until, window.end - 1)
        return self._replace(since=since, until=until).where(np.flatnonzero(since <= until))

    def clipped(self, allowed: "MarketTimes") -> "MarketSpans":
        """Return the parts that lie in the allowed times of their markets."""
        if not len(allowed.markets):
            return self.where(np.empty(0, np.int64))
        times = allowed.merged()
        place = times.places
        # Merged times are in order by both of their ends: those that a span meets are neighbours.
        first = np.searchsorted(place(times.markets, times.until), place(self.markets, self.since))
        end = np.searchsorted(
            place(times.markets, times.since), place(self.markets, self.until), "right"
        )
        spans, met = _ranges(first, end - first)
        since = np.maximum(self.since[spans], times.since[met])
        until = np.minimum(self.until[spans], times.until[met])
        return MarketSpans(self.markets[spans], since, until, self.streams[spans])

    def without(self, holes: Holes) -> "MarketSpans":
        """Return the parts beside the holes of their markets."""
        if not holes:
            return self
        has_holes = np.isin(self.markets, np.fromiter(holes, np.int64))
        cut = self.where(np.flatnonzero(has_holes))
        rows = [
            (market, start, end, stream)
            for market, since, until, stream in zip(*cut, strict=True)
            for start, end in _beside(since, until, _in_stream(holes[int(market)], int(stream)))
        ]
        whole = self.where(np.flatnonzero(~has_holes))
        return MarketSpans.together(whole, MarketSpans.of_rows(rows))


class MarketTimes(NamedTuple):
    """Times of markets, both ends included, in any order."""

    markets: Ints
    since: Ints
    until: Ints

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[int, int, int]]) -> "MarketTimes":
        return cls(*np.array(rows, np.int64).reshape(-1, 3).T)

    @classmethod
    def together(cls, *parts: "MarketTimes") -> "MarketTimes":
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def merged(self) -> "MarketTimes":
        """Make one of times of a market that overlap or touch; sort by market and time."""
        if not len(self.markets):
            return self
        markets, since, until = (each[np.lexsort((self.since, self.markets))] for each in self)
        reached = np.maximum.accumulate(self.places(markets, until))
        begins = np.flatnonzero(self.places(markets, since)[1:] > reached[:-1] + 1) + 1
        first = np.concatenate([[0], begins])
        return MarketTimes(markets[first], since[first], np.maximum.reduceat(until, first))

    def places(self, markets: Ints, instants: Ints) -> Ints:
        """Put markets one behind the other on a single axis; call it if there are any times.

        What lies before or after all times has one place in front of or behind its market's.
        """
        start, length = self.since.min(), self.until.max() - self.since.min() + 1
        places: Ints = markets * (length + 2) + np.clip(instants - start, -1, length)
        return places


class Streams:
    """Streams of instants with the spans of markets in them, added one part after the other.

    Streams that no span is in are left out.
    """

    def __init__(self) -> None:
        self.instants: list[Ints] = []
        self.spans = MarketSpans.of_rows([])

    def add(self, instants: Sequence[Instants], spans: MarketSpans) -> None:
        if not len(spans.markets):
            return
        used, places = np.unique(spans.streams, return_inverse=True)
        shifted = spans._replace(streams=places.reshape(-1) + len(self.instants))
        self.spans = MarketSpans.together(self.spans, shifted)
        self.instants += [np.array(instants[stream], np.int64) for stream in used]

    def observed(self, markets: int) -> ObservedInstants:
        """Return the observations of so many markets; no run is known yet."""
        spans = self.spans.where(np.lexsort((self.spans.since, self.spans.markets)))
        lengths = [len(each) for each in self.instants]
        flat = np.concatenate([np.empty(0, np.int64), *self.instants])
        return ObservedInstants(
            instants=flat,
            runs=np.full(len(flat), -1, np.int64),
            starts=np.cumsum([0, *lengths]),
            spans=np.searchsorted(spans.markets, np.arange(markets + 1)),
            since=spans.since,
            until=spans.until,
            streams=spans.streams,
        )


def spans_of_markets(spans: NameSpans, names: Ints) -> MarketSpans:
    """Give each market the spans of its name; `names` has one for each market."""
    order = np.argsort(spans.names, kind="stable")
    markets, places = _pairs(spans.names[order], names)
    places = order[places]
    return MarketSpans(markets, spans.since[places], spans.until[places], spans.streams[places])


def _in_stream(pages: Sequence[PageInstants], stream: int) -> Iterator[int]:
    return (each[stream] for each in pages if stream in each)


def _beside(since: int, until: int, instants: Iterable[int]) -> Iterator[tuple[int, int]]:
    for at in instants:
        if at > until:
            break
        if since < at:
            yield since, at - 1
        since = max(since, at + 1)
    if since <= until:
        yield since, until


def increasing(instants: Sequence[int]) -> list[list[int]]:
    """Cut instants where a clock was set back."""
    parts: list[list[int]] = []
    for at in instants:
        if not parts or at <= parts[-1][-1]:
            parts.append([])
        parts[-1].append(at)
    return parts


def _pairs(keys: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """Return the place in `wanted` and the place in the sorted `keys` of all that are equal."""
    first = np.searchsorted(keys, wanted, "left")
    return _ranges(first, np.searchsorted(keys, wanted, "right") - first)


def _ranges(first: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Return the places from each `first` on, so many as it counts, with the number of each."""
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(np.arange(len(first)), counts), np.repeat(first, counts) + offsets
