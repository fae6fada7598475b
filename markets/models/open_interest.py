"""Open interest of markets, as their snapshots tell it."""

from collections.abc import Sequence
from datetime import datetime

from kalshi_insights.arrays import Ints
from kalshi_insights.export.copy import read_integers
from markets.models.imports import LINE_BITS
from markets.models.observations import array_of

# Of two rows of one instant, the one of the better source comes last.
BACKFILLED, IMPORTED, LIVE = 0, 1, 2
COLUMNS = ("market", "at", "origin", "contracts")
# A change of the source counts as well: whoever leaves out rows of one still has each change.
SELECT_CHANGES = f"""
    SELECT market_id, (extract(epoch FROM timestamp) * 1000000)::bigint, origin,
        (open_interest * 100)::bigint
    FROM (
        SELECT *, lag(open_interest) OVER own AS before, lag(origin) OVER own AS origin_before
        FROM (
            SELECT market_id, timestamp, id, open_interest,
                (CASE source WHEN 'BACKFILL' THEN {BACKFILLED} WHEN 'IMPORT' THEN {IMPORTED}
                    ELSE {LIVE} END)::bigint AS origin
            FROM markets_marketsnapshot
            WHERE market_id = ANY(%s::bigint[]) AND timestamp >= %s AND timestamp < %s
                AND recorded_at <= %s
                AND (source <> 'IMPORT' OR sequence >> {LINE_BITS} = ANY(%s::bigint[]))
        ) AS told
        WINDOW own AS (PARTITION BY market_id ORDER BY timestamp, origin, id)
    ) AS found
    WHERE open_interest IS NOT NULL
        AND (open_interest IS DISTINCT FROM before OR origin IS DISTINCT FROM origin_before)
    ORDER BY market_id, timestamp, origin, id
"""


def open_interest_changes(
    ids: Sequence[int],
    start: datetime,
    end: datetime,
    *,
    recorded_by: datetime,
    imports: Sequence[int] = (),
) -> dict[str, Ints]:
    """Return the changes of the open interest of markets, and of its source, as columns by market
    and time: instants in microseconds since 1970, counts in 1/100 contract.

    Snapshots recorded after `recorded_by` are left out, and imported ones but for those of the
    named imports.
    """
    parameters = [array_of(ids), start, end, recorded_by, array_of(imports)]
    return read_integers(SELECT_CHANGES, parameters, COLUMNS)
