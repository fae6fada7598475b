"""Settlements of an import, as revisions of their markets."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from kalshi_insights.arrays import Bools
from markets.importing.imported_revisions import write_revisions
from markets.importing.parsed_rows import MISSING, ParsedRows
from markets.importing.row_ids import PlacedRows
from markets.models import Import, Market, MarketRevision, Status
from markets.models.imports import Kind
from markets.models.observations import instant

VALUES = {"yes": Decimal(1), "no": Decimal(0)}


class StatedResult(NamedTuple):
    """The result of a market as a row states it; the time and the value may be unknown.

    `place` is that of the row.
    """

    place: int
    market_id: int
    settled_at: datetime | None
    result: str
    value: Decimal | None

    @property
    def settlement_value(self) -> Decimal | None:
        return VALUES.get(self.result) if self.value is None else self.value

    @property
    def word(self) -> str:
        by_value = {value: word for word, value in VALUES.items()}
        return self.result or by_value.get(self.value or Decimal(0), "scalar")

    def known_at(self, row: Import) -> datetime:
        """Return when it was known; without a time, that is assumed where revisions are read."""
        return self.settled_at or row.started_at


def write_settlements(placed: PlacedRows, rows: ParsedRows, recorded_at: datetime) -> Bools:
    """Write the results that the record does not have; return which rows were written.

    Where the exchange's own result is on record, it stays alone. Of a market's results in this
    import the first one at an instant is written.
    """
    row, results = placed.import_row, list(_stated(placed, rows))
    unsettled = Market.objects.filter(pk__in={each.market_id for each in results}, result="")
    markets = set(unsettled.values_list("pk", flat=True))
    stated = {
        each.place: _revision(row, each, recorded_at=recorded_at)
        for each in results
        if each.market_id in markets
    }
    return write_revisions(row, stated, rows=len(placed.at))


def _stated(placed: PlacedRows, rows: ParsedRows) -> Iterator[StatedResult]:
    """Yield the results of rows; a row without a result states none."""
    times = rows.at if rows.kind == Kind.SETTLEMENTS else rows.numbers["settlement_ts"]
    columns = (placed.market, times, rows.numbers["settlement_value"])
    for place, (id, at, value, result) in enumerate(
        zip(*(each.tolist() for each in columns), rows.texts["result"], strict=True)
    ):
        if result or value != MISSING:
            known = None if value == MISSING else Decimal(value).scaleb(-6)
            yield StatedResult(place, id, None if at == MISSING else instant(at), result, known)


def _revision(row: Import, stated: StatedResult, *, recorded_at: datetime) -> MarketRevision:
    return MarketRevision(
        market_id=stated.market_id,
        known_at=stated.known_at(row),
        known_at_assumed=stated.settled_at is None,
        recorded_at=recorded_at,
        status=Status.FINALIZED,
        result=stated.word,
        settlement_value=stated.settlement_value,
        settlement_ts=stated.settled_at,
        import_row=row,
    )
