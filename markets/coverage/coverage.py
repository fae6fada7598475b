"""Coverage of one market: when it was observed and by which source, and why not at other times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import starmap
from typing import NamedTuple

from django.conf import settings

from markets.coverage.causes import (
    INSTANT,
    Cause,
    Gap,
    UnobservedInterval,
    elapsed_window,
    explain,
    outages,
    stale_after,
    untradable,
)
from markets.coverage.observations import Expected, ObservationHistory, both_unobserved
from markets.intervals import Interval, intersect, merge, subtract
from markets.models import Market, Source


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage of one market in one window.

    The gaps and the time `observed` make up the window. A gap lasts from one observation to the
    next. `share` is the time observed, divided by itself and the gaps in which the market could
    be traded; None where there is neither. `quiet` lies within the time observed: nothing
    changed. `sources` tells what each source would have observed alone.

    `stale` is the view of a reader at the time: when the market could be traded and the last
    observation was older than expected. It begins later than the gaps do, because the end of an
    observation's freshness comes later than the observation.
    """

    start: datetime
    end: datetime
    expected: Sequence[Expected]
    gaps: Sequence[Gap]
    stale: Sequence[Interval]
    quiet: Sequence[Interval]
    sources: Mapping[str, timedelta]

    @property
    def observed(self) -> timedelta:
        return self.end - self.start - total(gap.interval for gap in self.gaps)

    @property
    def fresh(self) -> timedelta:
        """The time in which the market could be traded and the last observation was fresh."""
        closed = total(gap.interval for gap in self.gaps if gap.cause == Cause.NOT_TRADABLE)
        return self.end - self.start - closed - total(self.stale)

    @property
    def share(self) -> float | None:
        due = self.observed + total(gap.interval for gap in self.gaps if gap.counted)
        return self.observed / due if due else None


def total(intervals: Iterable[Interval]) -> timedelta:
    return sum((interval.length for interval in intervals), timedelta())


def coverage(
    market: Market,
    start: datetime,
    end: datetime,
    *,
    fresh_for: timedelta | None = None,
    source: str | None = None,
) -> Coverage:
    """Return how well a market was observed from `start` on and before `end`, up to now.

    A time without an observation is a gap if it is longer than `fresh_for`: by default three
    ticks once the market has been hot for as long, and three intervals of the universe otherwise.
    An outage is a gap however short it was. With a `source`, its observations alone count. Raises
    ValueError for a window or a `fresh_for` that makes no sense.
    """
    window = elapsed_window(start, end)
    if fresh_for is not None and fresh_for <= timedelta():
        raise ValueError("fresh_for must be longer than zero")
    # A gap that begins near the window's end may show only after it.
    seldom = fresh_for or stale_after(settings.UNIVERSE_INTERVAL)
    reach = Interval(window.start, max(window.end, min(window.end + seldom, datetime.now(UTC))))
    closed = untradable(market, window, Interval(window.end, reach.end))
    tradable = subtract([reach], [gap.interval for gap in closed])
    history = ObservationHistory.around(market, reach, fresh_for=fresh_for)
    known_outages = outages(reach.start - seldom, reach.end)
    found = _observe(history, tradable, known_outages, source=source)
    gaps = clip([*closed, *found.gaps], [window])
    polled = intersect([window], found.observed.get(Source.POLL.value, []))
    quiet = [each for each in intersect(history.quiet(), polled) if each.length > history.least]
    return Coverage(
        *window,
        expected=history.expected_within(window),
        gaps=gaps,
        stale=intersect(found.stale, [window]),
        quiet=quiet,
        sources={
            name: total(intersect(observed, [window])) for name, observed in found.observed.items()
        },
    )


def clip(gaps: Iterable[Gap], parts: Sequence[Interval]) -> list[Gap]:
    """Return gaps in order of time, cut to these parts of it."""
    return [
        gap._replace(start=start, end=end)
        for gap in sorted(gaps)
        for start, end in intersect([gap.interval], parts)
    ]


class _Found(NamedTuple):
    """The gaps of the tradable time, its stale parts, and its observed parts by source."""

    gaps: list[Gap]
    stale: list[Interval]
    observed: Mapping[str, list[Interval]]


def _observe(
    history: ObservationHistory,
    tradable: Sequence[Interval],
    known_outages: Sequence[Gap],
    *,
    source: str | None,
) -> _Found:
    """Compare a market's observations, or those of one source, with the time it could be traded.

    The recorder's outages are gaps of every market, except where another source observed it.
    """
    stale = history.stale_by_source(tradable)
    if source:
        stale = {source: stale.get(source, [UnobservedInterval(*t, t.start) for t in tradable])}
    is_polled = Source.POLL.value in stale
    silent = merge(gap.interval for gap in known_outages) if is_polled else []
    observed = {}
    for name, each in stale.items():
        own = silent if name == Source.POLL else []
        missed = [*_beside(own, each, tradable, history), *intersect(own, tradable)]
        observed[name] = subtract(tradable, merge((part[0], part[1]) for part in missed))
    bridged = merge(part for name in observed if name != Source.POLL for part in observed[name])
    stale_to_all = list(reduce(both_unobserved, stale.values()))
    rest = _beside(silent, stale_to_all, tradable, history)
    gaps = clip(known_outages, subtract(intersect(silent, tradable), bridged))
    gaps += explain(rest, names=history.names, tiers=history.tiers)
    return _Found(gaps, merge((each.start, each.end) for each in stale_to_all), observed)


def _beside(
    silent: Sequence[Interval],
    stale: Sequence[UnobservedInterval],
    tradable: Sequence[Interval],
    history: ObservationHistory,
) -> list[UnobservedInterval]:
    """Return when nothing was observed beside the outages, from each observation to the next.

    After an outage a market has its usual time until it must be observed again.
    """
    grace = merge((each.end, each.end + history.fresh_for(each.end)) for each in silent)
    due = subtract(merge((each.start, each.end) for each in stale), grace)
    last_ends = {each.since: each.end for each in stale}
    whole = intersect(list(starmap(Interval, last_ends.items())), tradable)
    parts = [part for part in subtract(whole, silent) if intersect([part], due)]
    ends = {each.end for each in silent}
    return [
        UnobservedInterval(*part, part.start - INSTANT if part.start in ends else since)
        for part in parts
        for since in [min(part.start, next(s.since for s in stale if s.end > part.start))]
    ]
