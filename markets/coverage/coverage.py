"""Coverage of one market: when it was observed and by which source, and why not at other times."""

from __future__ import annotations

from bisect import bisect_right
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
    Unexplained,
    UnobservedInterval,
    elapsed_window,
    explain,
    explain_outages,
    silent_times,
    stale_after,
    untradable,
)
from markets.coverage.observations import (
    Expected,
    ObservationHistory,
    both_unobserved,
    fresh_for_at,
)
from markets.intervals import Interval, intersect, merge, overlapping, subtract
from markets.models import ImportedSpan, Market, Source


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

    @property
    def by_source(self) -> list[dict[str, str | timedelta]]:
        return [{"source": name, "observed": time} for name, time in self.sources.items()]


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
    found = _observe(market, window, fresh_for=fresh_for, source=source)
    history, time = found.history, found.time
    of_outages = clip(explain_outages(found.outages), time.missed)
    [of_market] = explain([Unexplained(time.rest, history.names, history.tiers)])
    polled = intersect([window], time.observed.get(Source.POLL.value, []))
    quiet = [each for each in intersect(history.quiet(), polled) if each.length > history.least]
    return Coverage(
        *window,
        expected=history.expected_within(window),
        gaps=clip([*found.closed, *of_outages, *of_market], [window]),
        stale=intersect(time.stale, [window]),
        quiet=quiet,
        sources={
            name: total(intersect(observed, [window])) for name, observed in time.observed.items()
        },
    )


def unobserved(
    market: Market,
    start: datetime,
    end: datetime,
    *,
    source: str | None = None,
    import_id: int | None = None,
) -> tuple[list[Interval], list[Interval]]:
    """Return when a market could not be traded, and when it could and was not observed.

    These are the gaps of `coverage` without their causes, for which nothing is read. Of the source
    of imports the rows of all that are finished count. Of an import that is named, its own do
    alone, in the time from the first to the last.
    """
    window = elapsed_window(start, end)
    if import_id is not None:
        source = Source.IMPORT.value
        if not (within := intersect([window], _times_of_rows(market, import_id))):
            return [], []
        [window] = within
    found = _observe(market, window, source=source, import_id=import_id)
    missed = merge([*found.time.missed, *((each.start, each.end) for each in found.time.rest)])
    untradable = merge(gap.interval for gap in found.closed)
    return intersect(untradable, [window]), intersect(missed, [window])


def _times_of_rows(market: Market, import_id: int) -> list[Interval]:
    """Return the time from the first to the last row of a market in an import, if it has any."""
    span = ImportedSpan.objects.of_import(import_id, market)
    return [Interval(span.first_at, span.last_at)] if span else []


def clip(gaps: Iterable[Gap], parts: Sequence[Interval]) -> list[Gap]:
    """Return gaps in order of time, cut to these parts of it."""
    return [
        gap._replace(start=start, end=end)
        for gap in sorted(gaps)
        for start, end in intersect([gap.interval], parts)
    ]


class ObservedTime(NamedTuple):
    """The observations of a market, compared with the time in which it could be traded.

    `missed` are the parts of the recorder's outages that are gaps of the market, `rest` its other
    gaps.
    """

    missed: list[Interval]
    rest: list[UnobservedInterval]
    stale: list[Interval]
    observed: Mapping[str, list[Interval]]

    def beside(
        self, name: str, stale: Sequence[UnobservedInterval], tradable: Sequence[Interval]
    ) -> ObservedTime:
        """Tell of another source, whose observations close no gap of the record."""
        own = subtract(tradable, merge((each.start, each.end) for each in stale))
        return self._replace(observed={**self.observed, name: own})


class _Observed(NamedTuple):
    history: ObservationHistory
    closed: list[Gap]
    outages: list[Interval]
    time: ObservedTime


def _observe(
    market: Market,
    window: Interval,
    *,
    fresh_for: timedelta | None = None,
    source: str | None = None,
    import_id: int | None = None,
) -> _Observed:
    """Find out when a market was observed, by all sources or by one alone."""
    # A gap that begins near the window's end may show only after it.
    seldom = fresh_for or stale_after(settings.UNIVERSE_INTERVAL)
    reach = Interval(window.start, max(window.end, min(window.end + seldom, datetime.now(UTC))))
    closed = untradable(market, window, Interval(window.end, reach.end))
    tradable = subtract([reach], [gap.interval for gap in closed])
    history = ObservationHistory.of_market(market, reach, fresh_for=fresh_for, import_id=import_id)
    stale = history.stale_by_source(tradable)
    imported = stale.pop(Source.IMPORT.value, None)
    if source == Source.IMPORT:
        stale = {} if imported is None else {source: imported}
    if source:
        stale = {source: stale.get(source, [UnobservedInterval(*t, t.start) for t in tradable])}
    is_polled = Source.POLL.value in stale
    outages = silent_times(Interval(reach.start - seldom, reach.end)) if is_polled else []
    time = compare(stale, tradable=tradable, outages=outages, expected=history.expected)
    if imported is not None and not source:
        time = time.beside(Source.IMPORT.value, imported, tradable)
    return _Observed(history, closed, outages, time)


def compare(
    stale: Mapping[str, Sequence[UnobservedInterval]],
    *,
    tradable: Sequence[Interval],
    outages: Sequence[Interval],
    expected: Sequence[Expected],
) -> ObservedTime:
    """Compare when each source had no fresh observation with when the market could be traded.

    The recorder's outages are gaps of every market, except where another source observed it.
    """
    observed = {}
    for name, each in stale.items():
        own = outages if name == Source.POLL else []
        rest = _gaps_beside_outages(own, each, tradable, expected)
        missed = [*intersect(own, tradable), *((part.start, part.end) for part in rest)]
        observed[name] = subtract(tradable, merge(missed))
    bridged = merge(part for name in observed if name != Source.POLL for part in observed[name])
    stale_to_all = reduce(both_unobserved, stale.values())
    return ObservedTime(
        missed=subtract(intersect(outages, tradable), bridged),
        rest=_gaps_beside_outages(outages, stale_to_all, tradable, expected),
        stale=merge((each.start, each.end) for each in stale_to_all),
        observed=observed,
    )


def _gaps_beside_outages(
    silent: Sequence[Interval],
    stale: Sequence[UnobservedInterval],
    tradable: Sequence[Interval],
    expected: Sequence[Expected],
) -> list[UnobservedInterval]:
    """Return when nothing was observed beside the outages, from each observation to the next.

    After an outage a market has its usual time until it must be observed again.
    """
    grace = merge((each.end, each.end + fresh_for_at(expected, each.end)) for each in silent)
    due = subtract(merge((each.start, each.end) for each in stale), grace)
    last_ends = {each.since: each.end for each in stale}
    whole = intersect(list(starmap(Interval, last_ends.items())), tradable)
    ends = {each.end for each in silent}
    stale_ends = [each.end for each in stale]
    found = []
    for part in overlapping(subtract(whole, silent), due):
        last = min(part.start, stale[bisect_right(stale_ends, part.start)].since)
        since = part.start - INSTANT if part.start in ends else last
        found.append(UnobservedInterval(*part, since))
    return found
