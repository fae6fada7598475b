"""Settlements of an import, as revisions of their markets."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Max

from markets.importing.parsed_rows import MISSING, ParsedRows
from markets.importing.row_ids import PlacedRows
from markets.models import Import, ImportedSpan, Market, MarketRevision, Status
from markets.models.imports import Kind
from markets.models.observations import instant

# A result that tells no time counts as known so long after its market's close or last row.
KNOWN_AFTER = timedelta(days=1)
VALUES = {"yes": Decimal(1), "no": Decimal(0)}
# The kinds whose rows tell that a market was traded at their instants.
OBSERVED = (Kind.QUOTES, Kind.BOOKS, Kind.TRADES)


class StatedResult(NamedTuple):
    """The result of a market as a row states it; the time and the value may be unknown."""

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


def write_settlements(placed: PlacedRows, rows: ParsedRows, recorded_at: datetime) -> int:
    """Write the results that the record does not have; return how many.

    Where the exchange's own result is on record, it stays alone. Of a market's results in this
    import the first one at an instant is written.
    """
    results = list(_stated(placed, rows))
    unsettled = Market.objects.filter(pk__in={each.market_id for each in results}, result="")
    markets = {market.pk: market for market in unsettled.defer("raw_data")}
    ends = _last_rows(markets)
    revisions = [
        _revision(placed.import_row, markets[each.market_id], each, ends, recorded_at=recorded_at)
        for each in results
        if each.market_id in markets
    ]
    once = {(each.market_id, each.known_at): each for each in reversed(revisions)}
    MarketRevision.objects.bulk_create(once.values(), ignore_conflicts=True, batch_size=1000)
    return len(once)


def _stated(placed: PlacedRows, rows: ParsedRows) -> Iterator[StatedResult]:
    """Yield the results of rows; a row without a result states none."""
    times = rows.at if rows.kind == Kind.SETTLEMENTS else rows.numbers["settlement_ts"]
    columns = (placed.market, times, rows.numbers["settlement_value"])
    for id, at, value, result in zip(
        *(each.tolist() for each in columns), rows.texts["result"], strict=True
    ):
        if result or value != MISSING:
            known = None if value == MISSING else Decimal(value).scaleb(-6)
            yield StatedResult(id, None if at == MISSING else instant(at), result, known)


def _last_rows(ids: Iterable[int]) -> dict[int, datetime]:
    """Return the instant of the last imported quote or trade of markets."""
    spans = ImportedSpan.objects.filter(market__in=list(ids), import_row__kind__in=OBSERVED)
    return dict(spans.order_by().values_list("market_id").annotate(last=Max("last_at")))


def _revision(
    row: Import,
    market: Market,
    stated: StatedResult,
    ends: Mapping[int, datetime],
    *,
    recorded_at: datetime,
) -> MarketRevision:
    end = market.close_time or ends.get(market.pk)
    assumed = recorded_at if end is None else end + KNOWN_AFTER
    return MarketRevision(
        market=market,
        known_at=stated.settled_at or assumed,
        known_at_assumed=stated.settled_at is None,
        recorded_at=recorded_at,
        status=Status.FINALIZED,
        result=stated.word,
        settlement_value=stated.settlement_value,
        settlement_ts=stated.settled_at,
        open_time=market.open_time,
        close_time=market.close_time,
        price_ranges=market.price_ranges,
        import_row=row,
    )
