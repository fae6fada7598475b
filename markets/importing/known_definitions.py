"""Times of imported markets as they were known, for strategies that look at the close to come."""

from collections.abc import Iterator
from datetime import datetime

from markets.importing.parsed_rows import MISSING, ParsedRows
from markets.importing.row_ids import PlacedRows
from markets.models import Market, MarketRevision, Status
from markets.models.observations import instant


def write_known_definitions(placed: PlacedRows, rows: ParsedRows, recorded_at: datetime) -> None:
    """Write a revision of each placeholder whose row tells since when its definition holds.

    Without that instant nobody knows whether the close was announced, or came as a surprise; one
    after the close tells nothing of the time before it.
    """
    stated = list(_revisions(placed, rows, recorded_at))
    waiting = Market.objects.filter(
        pk__in={each.market_id for each in stated}, is_placeholder=True
    ).in_bulk()
    once = {(each.market_id, each.known_at): each for each in reversed(stated)}
    MarketRevision.objects.bulk_create(
        (each for each in once.values() if each.market_id in waiting),
        ignore_conflicts=True,
        batch_size=1000,
    )


def _revisions(
    placed: PlacedRows, rows: ParsedRows, recorded_at: datetime
) -> Iterator[MarketRevision]:
    columns = (placed.market, placed.at, rows.numbers["open_time"], rows.numbers["close_time"])
    for market_id, at, opens, closes in zip(*(each.tolist() for each in columns), strict=True):
        if at != MISSING and closes > at:
            yield MarketRevision(
                market_id=market_id,
                known_at=instant(at),
                recorded_at=recorded_at,
                status=Status.ACTIVE,
                open_time=None if opens == MISSING else instant(opens),
                close_time=instant(closes),
                import_row=placed.import_row,
            )
