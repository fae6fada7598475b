"""Fee terms that whoever imports states for series whose fees nobody knows."""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal

from django.db.models import Q

from markets.importing.placeholders import guessed_parents
from markets.models import FeeChange, Import, Market


def assume_stated(row: Import, first: Mapping[int, datetime], *, now: datetime) -> None:
    """Assume the fees that an import states for the series of markets that have none on record.

    `first` has the instant of each market's first row. What is on record, or was assumed by this
    import before, stays.
    """
    if not row.said.get("fee_type"):
        return
    series = dict(Market.objects.filter(pk__in=first).values_list("pk", "event__series_id"))
    on_record = FeeChange.objects.filter(Q(import_row=None) | Q(import_row=row))
    known = set(on_record.filter(series_id__in=series.values()).values_list("series_id", flat=True))
    since: dict[int, datetime] = {}
    for market_id, series_id in series.items():
        if series_id not in known:
            since[series_id] = min(since.get(series_id, first[market_id]), first[market_id])
    FeeChange.objects.add(
        FeeChange(
            series_id=series_id,
            fee_type=row.said["fee_type"],
            fee_multiplier=Decimal(str(row.said.get("fee_multiplier") or 1)),
            effective_at=at,
            known_at=at,
            known_at_assumed=True,
            recorded_at=now,
            import_row=row,
        )
        for series_id, at in since.items()
    )


def series_without_fees(tickers: Collection[str]) -> list[str]:
    """Return the series of markets of which no fees are on record, by name.

    That of a market which is not on record is guessed, as its placeholder's is.
    """
    written = Market.objects.as_written(tickers)
    found = Market.objects.filter(ticker__in=written.values())
    on_record = dict(found.values_list("ticker", "event__series__ticker"))
    series = {
        on_record.get(written.get(ticker, ""), guessed_parents(ticker).series) for ticker in tickers
    }
    known = FeeChange.objects.filter(import_row=None, series__ticker__in=series)
    return sorted(series - set(known.values_list("series__ticker", flat=True)))
