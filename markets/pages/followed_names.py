"""Names followed through the sweeps of one tier: on which pages they were, and when.

Pages of the same number make a stream of instants, to which each sweep adds one. A name that stays
on its page from sweep to sweep is a single span of that stream.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kalshi_insights.arrays import Ints, np
from markets.pages.contents import Run, decode_pages

HOUR = 3_600_000_000  # microseconds


class StoredSweep(NamedTuple):
    """A sweep as it is stored; instants are microseconds since 1970."""

    started_at: int
    based_on: int | None
    contents: bytes
    instants: Sequence[int]  # of its pages


# The instant of each page of a sweep, by the page's stream.
PageInstants = Mapping[int, int]


class NameSpans(NamedTuple):
    """Stays of names on the pages of streams: at their instants from `since` to `until`."""

    names: Ints
    since: Ints
    until: Ints
    streams: Ints

    @classmethod
    def of_parts(cls, parts: Sequence["NameSpans"]) -> "NameSpans":
        none = cls(*np.empty((4, 0), np.int64))
        return cls(*map(np.concatenate, zip(none, *parts, strict=True)))


class _Order(NamedTuple):
    """The names of a sweep one after the other, and where those that are followed come."""

    codes: Ints
    pages: int
    followed: Ints
    followed_pages: Ints


class FollowedNames:
    """Reads the sweeps of a tier in the order in which they were written.

    `names` has the names to follow, each with its number from 0 on. A sweep can be read if the one
    that it is based on began in the same hour and was read before; of others nothing is known.
    """

    def __init__(self, names: Mapping[str, int]) -> None:
        self._names = names
        # All other names look the same.
        self._other = len(names)
        self._orders: dict[int, _Order] = {}
        self._hour = -1
        self._newest: _Order | None = None
        self._page = np.full(len(names), -1)
        self._since = np.zeros(len(names), np.int64)
        self._instants = np.empty(0, np.int64)
        self._stream_of_page: list[int] = []
        self._spans: list[NameSpans] = []
        self.streams: list[array[int]] = []

    def read(self, sweep: StoredSweep) -> PageInstants:
        order = self._order_of(sweep)
        if order is None:
            self.leave()
            return {}
        if self._clock_stepped_back(sweep.instants):
            self.leave()
            self._stream_of_page = []
        pages = dict(zip(self._streams_of(len(sweep.instants)), sweep.instants, strict=True))
        instants = np.array(sweep.instants, np.int64)
        if order is not self._newest:
            self._move(order, instants)
        self._newest, self._instants = order, instants
        for stream, at in pages.items():
            self.streams[stream].append(at)
        return pages

    def spans(self) -> NameSpans:
        """Return all spans, the open ones up to the newest sweep; nothing can be read after."""
        self.leave()
        return NameSpans.of_parts(self._spans)

    def leave(self) -> None:
        """End what is open with the newest sweep that was read."""
        self._end(np.flatnonzero(self._page >= 0))
        self._page[:] = -1
        self._newest = None

    def _move(self, order: _Order, instants: Ints) -> None:
        page = np.full(len(self._page), -1)
        page[order.followed] = order.followed_pages
        changed = page != self._page
        self._end(np.flatnonzero(changed & (self._page >= 0)))
        begun = np.flatnonzero(changed & (page >= 0))
        self._since[begun] = instants[page[begun]]
        self._page = page
        # A listing may show a name again on a later page.
        earlier = np.flatnonzero(page[order.followed] != order.followed_pages)
        once = order.followed_pages[earlier]
        self._add(order.followed[earlier], instants[once], instants[once], once)

    def _end(self, names: Ints) -> None:
        pages = self._page[names]
        self._add(names, self._since[names], self._instants[pages], pages)

    def _add(self, names: Ints, since: Ints, until: Ints, pages: Ints) -> None:
        if len(names):
            streams = np.array(self._stream_of_page, np.int64)[pages]
            self._spans.append(NameSpans(names, since, until, streams))

    def _clock_stepped_back(self, instants: Sequence[int]) -> bool:
        known = zip(self._stream_of_page, instants, strict=False)
        return any(at <= self.streams[stream][-1] for stream, at in known)

    def _streams_of(self, pages: int) -> list[int]:
        while len(self._stream_of_page) < pages:
            self._stream_of_page.append(len(self.streams))
            self.streams.append(array("q"))
        return self._stream_of_page[:pages]

    def _order_of(self, sweep: StoredSweep) -> _Order | None:
        if sweep.started_at // HOUR != self._hour:
            self._hour = sweep.started_at // HOUR
            self._orders.clear()
        base = None if sweep.based_on is None else self._orders.get(sweep.based_on)
        if base is None and sweep.based_on is not None:
            return None
        is_same = base is not None and sweep.instants and not sweep.contents
        order = base if base and is_same else self._decode(sweep.contents, base)
        if order.pages != len(sweep.instants):
            # An empty sweep of an unfinished run, or a damaged one.
            return None
        self._orders[sweep.started_at] = order
        return order

    def _decode(self, contents: bytes, base: _Order | None) -> _Order:
        before: Ints = base.codes if base else np.empty(0, np.int64)
        pages = [[self._codes(run, before) for run in runs] for runs in decode_pages(contents)]
        codes = np.concatenate([before[:0], *(part for page in pages for part in page)])
        sizes = [sum(len(part) for part in page) for page in pages]
        followed = np.flatnonzero(codes < self._other)
        page_of_place = np.repeat(np.arange(len(pages)), sizes)
        return _Order(codes, len(pages), codes[followed], page_of_place[followed])

    def _codes(self, run: Run, before: Ints) -> Ints:
        if not run.spelled:
            return before[run.place : run.place + run.length]
        return np.array([self._names.get(name, self._other) for name in run.spelled], np.int64)
