"""The instants at which the pages of sweeps observed markets, changed or not, for many at once.

Of a sweep in `LISTED_TIERS` we know what each page showed. Of one from before that was stored:
its end observed the markets that were hot, or those that its listing had, unless it skipped them;
and where an event or a market comes first on a page, that page did.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from django.db import connection

from kalshi_insights.arrays import Bools, Ints, np
from kalshi_insights.export.copy import read_integers
from markets.intervals import EPOCH
from markets.models.storage import ArchivedDay
from markets.observed import ObservedInstants
from markets.pages.followed_names import FollowedNames, PageInstants, StoredSweep
from markets.pages.market_spans import (
    MarketSpans,
    MarketTimes,
    Streams,
    TimeWindow,
    increasing,
    spans_of_markets,
)

MICROSECOND = timedelta(microseconds=1)
HOUR, HOUR_LONG = timedelta(hours=1), 3_600_000_000
PART = 12 * HOUR_LONG  # so much is read at once
# A sweep that has no new page for ten minutes is abandoned.
LONGEST_PASS = timedelta(minutes=10)
LEAST_HEARTBEAT = 3600  # seconds: the heartbeat may have been this long before it was shortened
COMBO = "KXMVE"

_read_pages = msgspec.json.Decoder(list[tuple[float, int, str]]).decode


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def instant(at: int) -> datetime:
    return EPOCH + at * MICROSECOND


def array_of(numbers: Iterable[int]) -> str:
    """Write whole numbers as PostgreSQL reads an array; a list of many takes ten times as long."""
    return f"{{{','.join(map(str, numbers))}}}"


def believed_listed_for() -> timedelta:
    """Return how long after its last snapshot a market is still taken to be in the listings."""
    return timedelta(seconds=max(settings.HEARTBEAT, LEAST_HEARTBEAT)) + LONGEST_PASS


class MarketNames(NamedTuple):
    """Markets in a given order, each with the two names by which a page may show it."""

    ids: Ints
    numbers: Mapping[str, int]  # of the names
    own: Ints
    event: Ints
    is_combo: Bools
    was_quoted: Bools

    @classmethod
    def of_ids(cls, ids: Sequence[int]) -> "MarketNames":
        """Raises ValueError for an id that is not on record."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT market.ticker, event.ticker, quoted_at IS NOT NULL
                FROM unnest(%s::bigint[]) WITH ORDINALITY AS chosen (id, n)
                JOIN markets_market AS market ON market.id = chosen.id
                JOIN markets_event AS event ON event.id = event_id ORDER BY n
                """,
                [array_of(ids)],
            )
            rows = cursor.fetchall()
        if len(rows) != len(ids):
            raise ValueError("ids: not all of these markets are on record")
        numbers: dict[str, int] = {}
        own = [numbers.setdefault(ticker, len(numbers)) for ticker, _, _ in rows]
        event = [numbers.setdefault(event, len(numbers)) for _, event, _ in rows]
        return cls(
            np.array(ids, np.int64),
            numbers,
            np.array(own, np.int64),
            np.array(event, np.int64),
            np.array([ticker.startswith(COMBO) for ticker, _, _ in rows], bool),
            np.array([quoted for _, _, quoted in rows], bool),
        )

    def markets_of(self, names: Sequence[str], *columns: Ints) -> list[int]:
        """Return the markets that have one of these names in one of these columns."""
        numbers = [self.numbers[name] for name in names if name in self.numbers]
        if not numbers:
            return []
        return np.flatnonzero(np.any([np.isin(each, numbers) for each in columns], axis=0)).tolist()


class SweepRow(NamedTuple):
    """A sweep as it is read; instants are microseconds."""

    started_at: int
    based_on: int | None
    contents: bytes | None
    instants: list[int]
    firsts: list[str]
    complete: bool
    skipped: list[str]

    @property
    def ended_at(self) -> int:
        return self.instants[-1] if self.instants else self.started_at


def read_sweeps(tier: str, window: TimeWindow) -> Iterator[SweepRow]:
    """Yield the sweeps whose pages may lie in a window, each hour in the order of writing.

    A sweep is based on others of the same hour, so that whole hours are read, a few at a time; and
    no sweep takes longer than one.
    """
    start = (window.start - HOUR_LONG) // HOUR_LONG * HOUR_LONG
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (extract(epoch FROM min(started_at)) * 1000000)::bigint FROM markets_sweep
            WHERE tier = %s AND started_at >= %s
            """,
            [tier, instant(start)],
        )
        (first,) = cursor.fetchone()
    if first is None:
        return
    for since in range(first // HOUR_LONG * HOUR_LONG, window.end, PART):
        yield from _read_part(tier, TimeWindow(since, min(since + PART, window.end)))


def _read_part(tier: str, part: TimeWindow) -> Iterator[SweepRow]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, (extract(epoch FROM started_at) * 1000000)::bigint,
                (extract(epoch FROM based_on) * 1000000)::bigint, contents, pages::text, complete,
                skipped
            FROM markets_sweep WHERE tier = %s AND started_at >= %s AND started_at < %s
            """,
            [tier, *map(instant, part)],
        )
        # The database would sort all contents on its disk.
        rows = sorted(cursor.fetchall(), key=lambda row: (row[1] // HOUR_LONG, row[0]))
    hours = groupby(rows, key=lambda row: row[1] // HOUR_LONG)
    ordered = chain.from_iterable(_bases_first(list(hour)) for _, hour in hours)
    for _, started_at, based_on, contents, pages, complete, skipped in ordered:
        read = _read_pages(pages)
        instants = [round(seconds * 1_000_000) for seconds, _, _ in read]
        known = None if contents is None else bytes(contents)
        firsts = [first for _, _, first in read] if known is None else []
        yield SweepRow(started_at, based_on, known, instants, firsts, complete, skipped)


def _bases_first(hour: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the sweeps of an hour by time where one comes before the one that it is based on.

    Sweeps that were restored have lower numbers than all that were on record, also of their hour.
    """
    places = {started_at: place for place, (_, started_at, *_) in enumerate(hour)}
    are_first = all(places.get(based_on, -1) < n for n, (_, _, based_on, *_) in enumerate(hour))
    return hour if are_first else sorted(hour, key=itemgetter(1))


def observed_instants(ids: Sequence[int], window: TimeWindow) -> ObservedInstants:
    """Return when pages observed each of these markets; raises ValueError for an unknown id."""
    names = MarketNames.of_ids(ids)
    hot, listed = Streams(), Streams()
    for tier in ("hot", "universe", "combos"):
        sweeps = read_sweeps(tier, window)
        older = add_followed(names, sweeps, by_name=hot, by_event=listed)
        if older and tier == "hot":
            hot.add(*_of_older_hot_lists(names, older, window))
        elif older:
            members = np.flatnonzero(names.is_combo == (tier == "combos"))
            listed.add(*_of_older_listings(names, older, members))
    believed = _believed_listed(names, hot.spans, window)
    found = Streams()
    found.add(hot.instants, hot.spans.within(window))
    found.add(listed.instants, listed.spans.clipped(believed).within(window))
    return found.observed(len(ids))


def add_followed(
    names: MarketNames, sweeps: Iterable[SweepRow], *, by_name: Streams, by_event: Streams
) -> list[SweepRow]:
    """Add what pages showed: markets by their own names, and all that a shown event has.

    Returns the complete sweeps from before pages were stored.
    """
    older = []
    followed = FollowedNames(names.numbers)
    holes: dict[int, list[PageInstants]] = defaultdict(list)
    for each in sweeps:
        if each.contents is None:
            followed.leave()
            if each.complete:
                older.append(each)
            continue
        sweep = StoredSweep(each.started_at, each.based_on, each.contents, each.instants)
        pages = followed.read(sweep)
        # A page showed the event without a market that was refused.
        for market in names.markets_of(each.skipped, names.own):
            holes[market].append(pages)
    spans = followed.spans()
    by_name.add(followed.streams, spans_of_markets(spans, names.own))
    events = np.where(names.own == names.event, -1, names.event)
    by_event.add(followed.streams, spans_of_markets(spans, events).without(holes))
    return older


# --- sweeps from before pages were stored -------------------------------------------------------


def _of_older_hot_lists(
    names: MarketNames, sweeps: Sequence[SweepRow], window: TimeWindow
) -> tuple[list[list[int]], MarketSpans]:
    ends = [each.ended_at for each in sweeps]
    streams = increasing(ends)
    shared = range(len(streams))
    own = {}
    for market, skipped in _skipping(names, sweeps).items():
        parts = increasing([at for n, at in enumerate(ends) if n not in skipped])
        own[market] = range(len(streams), len(streams) + len(parts))
        streams += parts
    rows = [
        (market, max(since, streams[stream][0]), min(until, streams[stream][-1]), stream)
        for market, since, until in _hot_periods(names, window)
        for stream in own.get(market, shared)
    ]
    return streams, MarketSpans.of_rows([row for row in rows if row[1] <= row[2]])


def _skipping(names: MarketNames, sweeps: Sequence[SweepRow]) -> dict[int, set[int]]:
    """Return for each market that was skipped the places of the sweeps that did."""
    found: dict[int, set[int]] = defaultdict(set)
    for n, each in enumerate(sweeps):
        for market in names.markets_of(each.skipped, names.own, names.event):
            found[market].add(n)
    return found


def _hot_periods(names: MarketNames, window: TimeWindow) -> list[tuple[int, int, int]]:
    """Return the periods of these markets, each with both of its ends in microseconds."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT n - 1, (extract(epoch FROM started_at) * 1000000)::bigint,
                (extract(epoch FROM coalesce(ended_at, %(end)s)) * 1000000)::bigint - 1
            FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS chosen (id, n)
            JOIN markets_hotperiod ON market_id = chosen.id
            WHERE started_at < %(end)s AND (ended_at IS NULL OR ended_at > %(start)s)
            """,
            {
                "ids": array_of(names.ids.tolist()),
                "start": instant(window.start) - HOUR,
                "end": instant(window.end),
            },
        )
        periods: list[tuple[int, int, int]] = cursor.fetchall()
    return periods


def _of_older_listings(
    names: MarketNames, sweeps: Sequence[SweepRow], members: Ints
) -> tuple[list[list[int]], MarketSpans]:
    """Return the ends of the sweeps for most members, and streams of their own for a few.

    Those are the markets that some sweep skipped, and those that came first on a page.
    """
    ends = [each.ended_at for each in sweeps]
    skipping, first_at = _skipping(names, sweeps), _first_on_page(names, sweeps)
    own = {*skipping.keys() & members.tolist(), *first_at}
    streams = increasing(ends)
    others = np.setdiff1d(members, np.fromiter(own, np.int64))
    rows = [(m, at[0], at[-1], n) for n, at in enumerate(streams) for m in others.tolist()]
    for market in own:
        observing = set(range(len(sweeps))) - skipping.get(market, set())
        places = first_at.get(market, {})
        for part in increasing([places.get(n, ends[n]) for n in sorted(observing)]):
            rows.append((market, part[0], part[-1], len(streams)))
            streams.append(part)
    return streams, MarketSpans.of_rows(rows)


def _first_on_page(names: MarketNames, sweeps: Sequence[SweepRow]) -> dict[int, dict[int, int]]:
    """Return for each market that came first on a page when it came, by the sweep's place."""
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for n, each in enumerate(sweeps):
        for at, first in zip(each.instants, each.firsts, strict=True):
            for market in names.markets_of([first], names.own, names.event):
                found[market][n] = at
    return found


# --- markets that left the listings -------------------------------------------------------------


def _believed_listed(names: MarketNames, by_name: MarketSpans, window: TimeWindow) -> MarketTimes:
    """Return when each market was in the listings, as far as we believe it.

    It leaves them without notice. While it was listed, it left a snapshot at each heartbeat, or was
    shown by its name. On days whose snapshots retention has dropped it counts as listed.
    """
    patience = believed_listed_for() // MICROSECOND
    shown = MarketTimes(by_name.markets, by_name.since, by_name.until + patience)
    dropped = _dropped_days(window)
    quoted = np.flatnonzero(names.was_quoted).tolist() if dropped else []
    rows = [(market, since, until) for since, until in dropped for market in quoted]
    pauses = _pauses(by_name, len(names.ids), window, longest=patience)
    quotes = _between_heartbeats(names.ids, pauses, patience)
    return MarketTimes.together(shown, MarketTimes.of_rows(rows), quotes)


def _pauses(spans: MarketSpans, markets: int, window: TimeWindow, *, longest: int) -> MarketTimes:
    """Return when markets were not shown by name for long, or not yet."""
    every = np.arange(markets)
    end = np.full(markets, window.end)
    market = np.concatenate([spans.markets, every])
    since, until = np.concatenate([spans.since, end]), np.concatenate([spans.until, end])
    order = np.lexsort((since, market))
    market, since, until = market[order], since[order], until[order]
    before = np.concatenate([[0], until[:-1]])
    is_first = np.searchsorted(market, every)
    before[is_first] = window.start
    is_pause = since - before > longest
    is_pause[is_first] = since[is_first] > window.start
    return MarketTimes(market[is_pause], before[is_pause], since[is_pause])


def _between_heartbeats(ids: Ints, pauses: MarketTimes, patience: int) -> MarketTimes:
    """Return the times of markets, around their pauses, in which snapshot followed snapshot."""
    if not len(pauses.markets):
        return MarketTimes.of_rows([])
    # Snapshots of one bin are never too far apart, so that its first and its last one are enough.
    found = read_integers(
        """
        SELECT n - 1, (extract(epoch FROM min(timestamp)) * 1000000)::bigint,
            (extract(epoch FROM max(timestamp)) * 1000000)::bigint
        FROM unnest(%(ids)s::bigint[], %(since)s::bigint[], %(until)s::bigint[])
            WITH ORDINALITY AS pause (id, since, until, n)
        JOIN markets_marketsnapshot ON market_id = pause.id AND source = 'POLL'
            AND timestamp > 'epoch'::timestamptz
                + (since - %(patience)s) * interval '1 microsecond'
            AND timestamp < 'epoch'::timestamptz + until * interval '1 microsecond'
            -- This lets the planner prune to these days' partitions.
            AND timestamp > %(first)s AND timestamp < %(last)s
        GROUP BY n, date_bin(%(patience)s * interval '1 microsecond', timestamp, 'epoch')
        """,
        {
            "ids": array_of(ids[pauses.markets].tolist()),
            "since": array_of(pauses.since.tolist()),
            "until": array_of(pauses.until.tolist()),
            "patience": patience,
            "first": instant(int(pauses.since.min()) - patience),
            "last": instant(int(pauses.until.max())),
        },
        ("pause", "first", "last"),
    )
    order = np.lexsort((found["first"], found["pause"]))
    pause, first, last = (column[order] for column in found.values())
    apart = (pause[1:] != pause[:-1]) | (first[1:] - last[:-1] > patience)
    begins, ends = np.append(True, apart)[: len(pause)], np.append(apart, True)[: len(pause)]
    return MarketTimes(pauses.markets[pause[begins]], first[begins], last[ends] + patience)


def _dropped_days(window: TimeWindow) -> list[tuple[int, int]]:
    """Return the parts of a window whose snapshots are no longer kept."""
    edges = [window.start]
    for kept in ArchivedDay.objects.kept_snapshots():
        edges += [min(max(microseconds(at), window.start), window.end) for at in kept]
    between = zip(edges[::2], [*edges[1::2], window.end], strict=True)
    return [(start, end - 1) for start, end in between if start < end]
