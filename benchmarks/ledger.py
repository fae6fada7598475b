"""The ledger of observations: what it takes on disk, and how long reading it takes.

An hour of an exchange of 80,000 markets is recorded without HTTP: the events that its listing has,
in pages of 200 as the recorder requests them, and a hot list of which a few change every half
minute. A day is that hour 24 times.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from random import Random

from django.db import connection

from benchmarks import measure
from benchmarks.measure import chunks, median, now, report, timed
from benchmarks.storage import (
    EXCHANGE,
    HOT,
    INTERVAL,
    MARKETS_PER_REQUEST,
    open_events,
    record_tick,
    settle,
)
from markets.coverage.coverage import coverage
from markets.coverage.many_markets import coverage_of
from markets.models import HotPeriod, Market, Sweep, Tier
from markets.recording.listings import EVENTS_PER_PAGE
from markets.recording.shown import NamesMemory, ShownNames
from markets.simulator.board import Listings
from markets.simulator.universe import SimulatedUniverse
from markets.storage import partitions
from markets.storage.partitions import SNAPSHOTS, DayPartition

EVERY = 30  # seconds from one sweep of the universe to the next
CHANGING = 3  # hot markets that others take the place of in that time
HOURS, FEW, MANY = 24, 500, 70_000
ROUNDS = 5


def main() -> None:
    measure.migrate()
    yesterday = now().date() - timedelta(days=1)
    start, end = DayPartition(SNAPSHOTS, yesterday).bounds
    partitions.create_missing(SNAPSHOTS, [yesterday])
    listings = Listings(SimulatedUniverse(seed=1, markets=EXCHANGE))
    board = listings.live(int(start.timestamp()))
    events = open_events(board)
    for selected in chunks(events, 10 * EVENTS_PER_PAGE):
        record_tick(board, selected, hot=[])
    settle()
    hot = Market.objects.most_traded(HOT)
    used = fill_hour(listings, start, hot)
    report_size(len(events))
    for tier, seconds in used.items():
        report(f"writing the names of a sweep, {tier}", f"{median(seconds) * 1000:.2f} ms")
    repeat(start)
    fill_rows(start, end)
    # The record goes on after the window.
    report_reads(start, end - timedelta(minutes=5), hot)


# --- the record ---------------------------------------------------------------------------------


def fill_hour(listings: Listings, start: datetime, hot: list[str]) -> dict[Tier, list[float]]:
    """Write the sweeps of an hour, page by page; return the time that the names of each took."""
    memory, random = NamesMemory(), Random(1)
    used: dict[Tier, list[float]] = {Tier.HOT: [], Tier.UNIVERSE: []}
    others = list(Market.objects.exclude(ticker__in=hot).values_list("ticker", flat=True)[:HOT])
    newest: dict[str, tuple[Sweep, ShownNames]] = {}
    for second in range(0, 3600, INTERVAL):
        at = start + timedelta(seconds=second)
        if second % EVERY == 0:
            board = listings.live(int(at.timestamp()))
            names = [board.events[n].ticker for n in open_events(board)]
            pages = list(chunks(names, EVENTS_PER_PAGE))
            sweep = Sweep(tier=Tier.UNIVERSE, started_at=at)
            used[Tier.UNIVERSE].append(timed(partial(fill_sweep, memory, sweep, pages, newest)))
            save(memory, sweep, newest)
            # The last of the list come and go.
            for place in random.sample(range(HOT - 2 * CHANGING, HOT), CHANGING):
                hot[place], others[place] = others[place], hot[place]
        pages = list(chunks(sorted(hot), MARKETS_PER_REQUEST))
        sweep = Sweep(tier=Tier.HOT, started_at=at)
        used[Tier.HOT].append(timed(partial(fill_sweep, memory, sweep, pages, newest)))
        save(memory, sweep, newest)
    return used


def fill_sweep(
    memory: NamesMemory,
    sweep: Sweep,
    pages: Sequence[list[str]],
    newest: dict[str, tuple[Sweep, ShownNames]],
) -> None:
    before = newest.get(sweep.tier)
    names = memory.begin(sweep, after=before[0] if before else None)
    for n, page in enumerate(pages):
        received = sweep.started_at + timedelta(microseconds=100_003 + n * 400_007)
        sweep.add_page(received, markets=len(page), skipped=[], cursor="", first=page[0])
        names.add_page(sweep, page)
    sweep.finish(sweep.started_at + timedelta(seconds=1))
    names.finish(sweep)
    newest[sweep.tier] = sweep, names


def save(memory: NamesMemory, sweep: Sweep, newest: dict[str, tuple[Sweep, ShownNames]]) -> None:
    sweep.save()
    memory.remember(*newest[sweep.tier])


def repeat(start: datetime) -> None:
    """Make a day of the first hour, with the runs and the hot periods that belong to it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO markets_sweep (tier, started_at, finished_at, complete, markets, skipped,
                pages, contents, based_on, cursor, by_market)
            SELECT tier, started_at + n * interval '1h', finished_at + n * interval '1h', complete,
                markets, skipped, (
                    SELECT jsonb_agg(jsonb_build_array((page->>0)::numeric + n * 3600, page->1,
                        page->2)) FROM jsonb_array_elements(pages) AS page),
                contents, based_on + n * interval '1h', cursor, by_market
            FROM markets_sweep CROSS JOIN generate_series(1, %s) AS n ORDER BY n, id
            """,
            [HOURS - 1],
        )
        cursor.execute(
            """
            INSERT INTO markets_poll (started_at, finished_at, pages, requests, bytes, throttled,
                markets, snapshots, rejected, order_books, rejects, ages, error, warning,
                since_last)
            SELECT at, at + interval '4 s', 9, 9, 0, 0, 2000, 98, 0, 0, '[]', '{}', '', '',
                interval '1 s'
            FROM generate_series(%s::timestamptz, %s, interval '5 s') AS at
            """,
            [start, start + timedelta(hours=HOURS)],
        )
    Sweep.objects.filter(started_at__gte=start).store_lateness()


def fill_rows(start: datetime, end: datetime) -> None:
    """Give each market a heartbeat in each of the last three hours, and the hot ones changes."""
    lasting = Market.objects.most_traded(HOT - 2 * CHANGING)
    hot = Market.objects.filter(ticker__in=lasting)
    HotPeriod.objects.bulk_create(HotPeriod(market=each, started_at=start) for each in hot)
    with connection.cursor() as cursor:
        for ids, first, apart in (
            (None, end - timedelta(hours=3), "50 minutes"),
            (list(hot.values_list("id", flat=True)), start, "40 seconds"),
        ):
            cursor.execute(
                """
                INSERT INTO markets_marketsnapshot (id, market_id, timestamp, recorded_at, source,
                    quality, yes_bid, yes_ask)
                SELECT gen_random_uuid(), id, at + id %% 1000 * interval '1 ms', at, 'POLL', 0, .42,
                    .45
                FROM markets_market
                CROSS JOIN generate_series(%s::timestamptz, %s, %s::interval) AS at
                WHERE %s::bigint[] IS NULL OR id = ANY(%s) ON CONFLICT DO NOTHING
                """,
                [first, end, apart, ids, ids],
            )
        cursor.execute("VACUUM ANALYZE")


# --- figures ------------------------------------------------------------------------------------


def report_size(events: int) -> None:
    report("listed events", f"{events:,}", ratio=f"{Market.objects.count():,} markets")
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT tier, count(*), sum(pg_column_size(contents)), sum(pg_column_size(pages)),
                max(octet_length(contents))
            FROM markets_sweep GROUP BY tier ORDER BY tier
            """
        )
        for tier, count, contents, pages, largest in cursor.fetchall():
            report(
                f"names of the {tier}'s pages, a day",
                f"{contents * HOURS / 1e6:.1f} MB",
                ratio=f"{contents / count:,.0f} bytes a sweep, {largest:,} at most;"
                f" instants {pages * HOURS / 1e6:.1f} MB",
            )


def report_reads(start: datetime, end: datetime, hot: list[str]) -> None:
    few = list(Market.objects.filter(ticker__in=hot).values_list("id", flat=True)[:FEW])
    many = list(Market.objects.order_by("id").values_list("id", flat=True)[:MANY])
    hour = end - timedelta(hours=1)
    for ids, first, what in ((few, start, "a day"), (many, hour, "an hour")):
        seconds = [timed(lambda: observe(ids, first, end)) for _ in range(ROUNDS)]  # noqa: B023
        report(f"observations of {len(ids):,} markets, {what}", f"{median(seconds):.2f} s")
        seconds = [timed(lambda: coverage_of(ids, first, end)) for _ in range(ROUNDS)]  # noqa: B023
        report(f"coverage of {len(ids):,} markets, {what}", f"{median(seconds):.2f} s")
    observed = Sweep.objects.observed(few, start, end, known_by=end)
    looks = sum(len(observed.of_market(n)) for n in range(observed.markets))
    size = sum(column.nbytes for column in observed)
    report(f"  looks of {len(few)} markets in a day", f"{looks:,}", ratio=f"{size / 1e6:.1f} MB")
    one = [timed(lambda: coverage(each, start, end)) for each in sample(few)]  # noqa: B023
    report("coverage of one market's day, by itself", f"{median(one) * 1000:.1f} ms")


def observe(ids: list[int], start: datetime, end: datetime) -> None:
    Sweep.objects.observed(ids, start, end, known_by=end)


def sample(ids: list[int]) -> Iterator[Market]:
    return Market.objects.select_related("event").filter(pk__in=ids[::25]).iterator()


if __name__ == "__main__":
    main()
