"""Times of imported markets as they were known, for strategies that look at the close to come."""

from datetime import datetime

from kalshi_insights.arrays import Bools, np
from markets.importing.parsed_rows import MISSING, ParsedRows
from markets.importing.row_ids import PlacedRows
from markets.models import MarketRevision, Status
from markets.models.observations import instant


def write_known_definitions(placed: PlacedRows, rows: ParsedRows, recorded_at: datetime) -> Bools:
    """Write a revision for each row that tells since when its definition holds; return which do.

    Without that instant nobody knows whether the close was announced, or came as a surprise; one
    after the close tells nothing of the time before it.
    """
    opens, closes = rows.numbers["open_time"], rows.numbers["close_time"]
    told: Bools = (placed.at != MISSING) & (closes > placed.at)
    columns = (each[told].tolist() for each in (placed.market, placed.at, opens, closes))
    stated = [
        MarketRevision(
            market_id=market_id,
            known_at=instant(at),
            recorded_at=recorded_at,
            status=Status.ACTIVE,
            open_time=None if opens_at == MISSING else instant(opens_at),
            close_time=instant(closes_at),
            import_row=placed.import_row,
        )
        for market_id, at, opens_at, closes_at in zip(*columns, strict=True)
    ]
    places = np.flatnonzero(told).tolist()
    once = {
        (each.market_id, each.known_at): (place, each)
        for place, each in reversed([*zip(places, stated, strict=True)])
    }
    MarketRevision.objects.bulk_create(
        [each for _, each in once.values()], ignore_conflicts=True, batch_size=1000
    )
    written = np.zeros(len(told), np.bool_)
    written[[place for place, _ in once.values()]] = True
    return written
