"""Store the definitions and candles of research tables as if they had been backfilled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db import transaction

from markets import prices
from markets.importing.table_reader import MalformedTable, TableRow
from markets.models import (
    Candlestick,
    Event,
    FeeChange,
    Market,
    MarketRevision,
    Series,
    Source,
    Status,
)
from markets.models.candlesticks import Candle
from markets.models.imported_periods import ImportedRows
from markets.models.search import EventSearchText, MarketSearchText, SeriesSearchText
from markets.storage import partitions

OnProgress = Callable[[float, str], None]

HOURLY = 60  # minutes of a candle
KNOWN_AFTER = timedelta(days=1)
CANDLES_PER_BATCH = 5_000


class ImportResult(NamedTuple):
    """The numbers of rows, and a note for whoever backtests on them."""

    markets: int  # the new ones, as below
    candlesticks: int
    snapshots: int
    differing: int  # results and candles that the record has otherwise, which stays
    note: str = ""
    rows: Mapping[int, ImportedRows] = {}  # of each market, where they are no candlesticks


class StoredDefinitions(NamedTuple):
    """The ids of all markets by ticker, and how many are new or have another result on record."""

    ids: dict[str, int]
    new: int
    differing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedMarket:
    """A market as a table has it. `scheduled` is True if its close was announced at the open.

    Its result counts as known at `known_at`, or else a day after the close.
    """

    ticker: str
    event: str
    series: str
    open_time: datetime
    close_time: datetime
    result: str
    title: str = ""
    yes_sub_title: str = ""
    strike_type: str = ""
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    scheduled: bool = False
    known_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedEvent:
    """An event and its series."""

    ticker: str
    series: str
    title: str
    category: str
    mutually_exclusive: bool
    strike_date: datetime | None = None


@transaction.atomic
def store_definitions(
    events: Sequence[ImportedEvent], definitions: Sequence[ImportedMarket]
) -> StoredDefinitions:
    """Store the events and markets that are missing.

    Raises MalformedTable where a market's event is missing.
    """
    now = datetime.now(UTC)
    event_ids = _store_events(events, now=now)
    for each in definitions:
        if each.event not in event_ids:
            raise MalformedTable(f"{each.ticker}: its event {each.event} is in no table")
    series = Series.objects.ids(event.series for event in events)
    assume_fees(series, since=min(each.open_time for each in definitions), now=now)
    tickers = {each.ticker for each in definitions}
    results = dict(Market.objects.filter(ticker__in=tickers).values_list("ticker", "result"))
    missing = [each for each in definitions if each.ticker not in results]
    Market.objects.bulk_create(
        [_market(each, event_ids[each.event], now=now) for each in missing], batch_size=1000
    )
    ids = Market.objects.ids(tickers)
    MarketSearchText.objects.refresh(ids[each.ticker] for each in missing)
    left_out = MarketRevision.objects.add(
        revision for each in missing for revision in _revisions(each, ids[each.ticker], now=now)
    )
    if left_out:
        raise MalformedTable(f"{left_out:,} results were known when their markets opened")
    differing = sum(each.result != results.get(each.ticker, each.result) for each in definitions)
    return StoredDefinitions(ids, len(missing), differing)


def _store_events(events: Sequence[ImportedEvent], *, now: datetime) -> dict[str, int]:
    categories = {event.series: event.category for event in events}
    Series.objects.bulk_create(
        [Series(ticker=ticker, category=category) for ticker, category in categories.items()],
        ignore_conflicts=True,
    )
    series = Series.objects.ids(categories)
    SeriesSearchText.objects.refresh(series.values())
    Event.objects.bulk_create(
        [
            Event(
                ticker=event.ticker,
                series_id=series[event.series],
                title=event.title,
                mutually_exclusive=event.mutually_exclusive,
                strike_date=event.strike_date,
                recorded_at=now,
            )
            for event in events
        ],
        ignore_conflicts=True,
    )
    ids = Event.objects.ids(event.ticker for event in events)
    EventSearchText.objects.refresh(ids.values())
    return ids


def assume_fees(series: Mapping[str, int], *, since: datetime, now: datetime) -> None:
    """Assume the standard fees for series that have none on record, and mark them as assumed."""
    recorded = set(
        FeeChange.objects.filter(series_id__in=series.values()).values_list("series_id", flat=True)
    )
    FeeChange.objects.add(
        FeeChange(
            series_id=id,
            fee_type="quadratic",
            fee_multiplier=Decimal(1),
            effective_at=since,
            known_at=since,
            known_at_assumed=True,
            recorded_at=now,
        )
        for id in series.values()
        if id not in recorded
    )


def _market(definition: ImportedMarket, event_id: int, *, now: datetime) -> Market:
    return Market(
        ticker=definition.ticker,
        event_id=event_id,
        title=definition.title,
        yes_sub_title=definition.yes_sub_title,
        status=Status.FINALIZED if definition.result else Status.CLOSED,
        result=definition.result,
        settlement_value=_value(definition.result),
        open_time=definition.open_time,
        close_time=definition.close_time,
        strike_type=definition.strike_type,
        floor_strike=definition.floor_strike,
        cap_strike=definition.cap_strike,
        raw_data={},
        definition_mark=0,
        recorded_at=now,
    )


def _revisions(
    definition: ImportedMarket, market_id: int, *, now: datetime
) -> Iterator[MarketRevision]:
    """Yield a revision for the opening, and one for the result where there is one."""
    shared = {
        "market_id": market_id,
        "known_at_assumed": True,
        "recorded_at": now,
        "open_time": definition.open_time,
    }
    yield MarketRevision(
        **shared,
        known_at=definition.open_time,
        status=Status.ACTIVE,
        close_time=definition.close_time if definition.scheduled else None,
    )
    if definition.result:
        yield MarketRevision(
            **shared,
            known_at=definition.known_at or definition.close_time + KNOWN_AFTER,
            status=Status.FINALIZED,
            result=definition.result,
            settlement_value=_value(definition.result),
            close_time=definition.close_time,
        )


def _value(result: str) -> Decimal | None:
    return {"yes": Decimal(1), "no": Decimal(0)}.get(result)


def store_candles(
    candles: Sequence[Candle], *, on_progress: OnProgress, activity: str
) -> tuple[int, int, int]:
    """Store candles and their closing quotes in batches.

    Returns the numbers of new ones of both, and of candles that the record has otherwise.
    """
    days = {candle.end_period_ts.date() for candle in candles}
    partitions.create_missing(partitions.SNAPSHOTS, days)
    candlesticks = snapshots = differing = 0
    for start in range(0, len(candles), CANDLES_PER_BATCH):
        with transaction.atomic():
            written = Candlestick.objects.record(
                candles[start : start + CANDLES_PER_BATCH],
                period_interval=HOURLY,
                source=Source.BACKFILL,
                recorded_at=datetime.now(UTC),
            )
        candlesticks += written.candlesticks
        snapshots += written.snapshots
        differing += len(written.differing)
        on_progress(min(1.0, (start + CANDLES_PER_BATCH) / len(candles)), activity)
    return candlesticks, snapshots, differing


def quality_flags(bid: Decimal | None, ask: Decimal | None) -> int:
    # The tables do not have the price grid, so no price counts as off it.
    return int(prices.quality(bid, ask, ()))


def market_id_of(row: TableRow, ids: Mapping[str, int]) -> int:
    ticker = row.ticker("ticker")
    if ticker not in ids:
        raise row.error("ticker", f"the market {ticker} is in no table")
    return ids[ticker]
