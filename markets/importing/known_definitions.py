"""Times of imported markets as they were known, for strategies that look at the close to come."""

from datetime import datetime

from kalshi_insights.arrays import Bools, np
from markets.importing.imported_revisions import write_revisions
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
    places = np.arange(len(told))
    columns = (places, placed.market, placed.at, opens, closes)
    stated = {
        place: MarketRevision(
            market_id=market_id,
            known_at=instant(at),
            recorded_at=recorded_at,
            status=Status.ACTIVE,
            open_time=None if opens_at == MISSING else instant(opens_at),
            close_time=instant(closes_at),
            import_row=placed.import_row,
        )
        for place, market_id, at, opens_at, closes_at in zip(
            *(each[told].tolist() for each in columns), strict=True
        )
    }
    return write_revisions(placed.import_row, stated, rows=len(told))
