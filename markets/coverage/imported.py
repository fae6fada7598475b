"""The time that imported rows prove of a market, as far as was said of their imports."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db import connection

from markets.intervals import Interval
from markets.models import ImportedSpan, Market, Source
from markets.models.imports import LINE_BITS

# A row proves its instant, and the time until the gap that was stated of its import. Of an import
# of which none was stated, `known` has the time from the first row to the last.
UNPROVED = """
    WITH proved AS (
        SELECT * FROM unnest(%(first)s::timestamptz[], %(last)s::timestamptz[])
            AS known (since, until)
        UNION ALL
        SELECT timestamp, timestamp + gap_after
        FROM markets_marketsnapshot
            JOIN unnest(%(imports)s::bigint[], %(gaps)s::interval[]) AS named (id, gap_after)
            ON named.id = sequence >> %(line_bits)s
        WHERE market_id = %(market)s AND source = %(source)s AND timestamp < %(end)s
            AND timestamp > %(start)s - gap_after
            -- This lets the planner prune to these days' partitions.
            AND timestamp > %(start)s - %(longest)s * interval '1 second'
    )
    SELECT at, next FROM (
        SELECT %(start)s AS at, coalesce(min(since), %(end)s) AS next FROM proved
        UNION ALL
        SELECT greatest(max(until) OVER rows, %(start)s), lead(since, 1, %(end)s) OVER rows
        FROM proved WINDOW rows AS (ORDER BY since, until)
    ) AS pairs WHERE next > at ORDER BY at
"""


def unproved_by_imports(
    market: Market, around: Interval, *, import_id: int | None = None
) -> list[Interval] | None:
    """Return when no imported row proves the quote, oldest first; None without an import of it.

    All imports that are finished count, or the one that is named.
    """
    spans = ImportedSpan.objects.of_quotes().finished().filter(market=market)
    spans = spans.within(datetime.min.replace(tzinfo=UTC), around.end)
    if import_id is not None:
        spans = spans.filter(import_row=import_id)
    found = list(spans.select_related("import_row"))
    return _unproved(market, around, found) if found else None


def _unproved(market: Market, around: Interval, spans: Sequence[ImportedSpan]) -> list[Interval]:
    stated = {each.import_row_id: each.import_row.gap_after for each in spans}
    gaps = {id: gap_after for id, gap_after in stated.items() if gap_after is not None}
    known = [each for each in spans if each.import_row_id not in gaps]
    with connection.cursor() as cursor:
        cursor.execute(
            UNPROVED,
            {
                "first": [each.first_at for each in known],
                "last": [each.last_at for each in known],
                "imports": list(gaps),
                "gaps": list(gaps.values()),
                "longest": max(gaps.values(), default=timedelta()).total_seconds(),
                "market": market.pk,
                "source": Source.IMPORT.value,
                "line_bits": LINE_BITS,
                **around._asdict(),
            },
        )
        rows: list[tuple[datetime, datetime]] = cursor.fetchall()
    return [Interval(*row) for row in rows]
