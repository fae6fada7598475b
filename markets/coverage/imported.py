"""The time that imported rows prove of a market, as far as was said of their imports."""

from datetime import UTC, datetime

from django.db import connection

from markets.intervals import Interval
from markets.models import ImportedSpan, Market, Source
from markets.models.imports import LINE_BITS

# A row proves its instant; beside that the time until a gap, where that was stated, or the time
# until the next row of its import, where rows were recorded on change.
UNPROVED = """
    WITH proved AS (
        SELECT timestamp AS since, CASE
            WHEN said->>'gap_after' IS NOT NULL
                THEN timestamp + (said->>'gap_after')::float * interval '1 s'
            WHEN said->>'recording' = 'on-change'
                THEN lead(timestamp, 1, timestamp) OVER (PARTITION BY import.id ORDER BY timestamp)
            ELSE timestamp END AS until
        FROM markets_marketsnapshot JOIN markets_import AS import
            ON import.id = sequence >> %(line_bits)s
        WHERE market_id = %(market)s AND source = %(source)s
            AND import.id = ANY(%(imports)s) AND timestamp < %(end)s AND timestamp >= coalesce((
                -- The last row before may prove what follows.
                SELECT max(timestamp) FROM markets_marketsnapshot WHERE market_id = %(market)s
                    AND source = %(source)s AND sequence >> %(line_bits)s = ANY(%(imports)s)
                    AND timestamp < %(start)s AND timestamp >= %(first)s), %(start)s)
    )
    SELECT at, next FROM (
        SELECT %(start)s AS at, min(since) AS next FROM proved HAVING count(*) > 0
        UNION ALL
        SELECT greatest(max(until) OVER rows, %(start)s), lead(since, 1, %(end)s) OVER rows
        FROM proved WINDOW rows AS (ORDER BY since, until)
    ) AS pairs WHERE next > at ORDER BY at
"""


def unproved_by_imports(
    market: Market, around: Interval, *, import_id: int | None = None
) -> list[Interval]:
    """Return when no imported row proves the quote, oldest first; nothing without such a row.

    All imports that are finished count, or the one that is named.
    """
    spans = ImportedSpan.objects.of_quotes().finished().filter(market=market)
    before = spans.within(datetime.min.replace(tzinfo=UTC), around.end)
    if import_id is not None:
        before = before.filter(import_row=import_id)
    found = dict(before.values_list("import_row_id", "first_at"))
    if not found:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            UNPROVED,
            {
                "market": market.pk,
                "source": Source.IMPORT.value,
                "line_bits": LINE_BITS,
                "imports": list(found),
                "first": min(found.values()),
                **around._asdict(),
            },
        )
        rows: list[tuple[datetime, datetime]] = cursor.fetchall()
    return [Interval(*row) for row in rows]
