"""What tables tell, put on record as if the exchange itself had remembered it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db import transaction

from markets import prices
from markets.importing.tables import Malformed, Row
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
from markets.storage import partitions

Tell = Callable[[float, str], None]

HOUR = 60  # minutes of a candle
KNOWN_AFTER = timedelta(days=1)
BATCH = 5_000


class Imported(NamedTuple):
    """What was new."""

    markets: int
    candlesticks: int
    snapshots: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A market as a table tells it. `scheduled`: its close was announced when it opened.

    Its result was known at `known_at`, or else a day after the close.
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
class Family:
    """An event and its series."""

    event: str
    series: str
    title: str
    category: str
    mutually_exclusive: bool


@transaction.atomic
def define(
    families: Sequence[Family], definitions: Sequence[Definition]
) -> tuple[dict[str, int], int]:
    """Put what is not on record there; ids by ticker, and how many of them were new."""
    now = datetime.now(UTC)
    events = _families(families, now=now)
    for each in definitions:
        if each.event not in events:
            raise Malformed(f"{each.ticker}: no table has its event {each.event}")
    series = Series.objects.ids(family.series for family in families)
    assume_fees(series, since=min(each.open_time for each in definitions), now=now)
    tickers = {each.ticker for each in definitions}
    known = Market.objects.ids(tickers)
    fresh = [each for each in definitions if each.ticker not in known]
    Market.objects.bulk_create(
        [_market(each, events[each.event], now=now) for each in fresh], batch_size=1000
    )
    ids = Market.objects.ids(tickers)
    MarketRevision.objects.add(
        revision for each in fresh for revision in _revisions(each, ids[each.ticker], now=now)
    )
    return ids, len(fresh)


def _families(families: Sequence[Family], *, now: datetime) -> dict[str, int]:
    categories = {family.series: family.category for family in families}
    Series.objects.bulk_create(
        [Series(ticker=ticker, category=category) for ticker, category in categories.items()],
        ignore_conflicts=True,
    )
    series = Series.objects.ids(categories)
    Event.objects.bulk_create(
        [
            Event(
                ticker=family.event,
                series_id=series[family.series],
                title=family.title,
                mutually_exclusive=family.mutually_exclusive,
                recorded_at=now,
            )
            for family in families
        ],
        ignore_conflicts=True,
    )
    return Event.objects.ids(family.event for family in families)


def assume_fees(series: Mapping[str, int], *, since: datetime, now: datetime) -> None:
    """The plain fees, for series of which none are on record."""
    told = set(
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
        if id not in told
    )


def _market(told: Definition, event_id: int, *, now: datetime) -> Market:
    return Market(
        ticker=told.ticker,
        event_id=event_id,
        title=told.title,
        yes_sub_title=told.yes_sub_title,
        status=Status.FINALIZED if told.result else Status.CLOSED,
        result=told.result,
        settlement_value=_value(told.result),
        open_time=told.open_time,
        close_time=told.close_time,
        strike_type=told.strike_type,
        floor_strike=told.floor_strike,
        cap_strike=told.cap_strike,
        raw_data={},
        definition_mark=0,
        recorded_at=now,
    )


def _revisions(told: Definition, market_id: int, *, now: datetime) -> Iterator[MarketRevision]:
    """Its opening, and its result where it has one."""
    both = {
        "market_id": market_id,
        "known_at_assumed": True,
        "recorded_at": now,
        "open_time": told.open_time,
    }
    yield MarketRevision(
        **both,
        known_at=told.open_time,
        status=Status.ACTIVE,
        close_time=told.close_time if told.scheduled else None,
    )
    if told.result:
        yield MarketRevision(
            **both,
            known_at=told.known_at or told.close_time + KNOWN_AFTER,
            status=Status.FINALIZED,
            result=told.result,
            settlement_value=_value(told.result),
            close_time=told.close_time,
        )


def _value(result: str) -> Decimal | None:
    return {"yes": Decimal(1), "no": Decimal(0)}.get(result)


def record_candles(candles: Sequence[Candle], *, tell: Tell, doing: str) -> tuple[int, int]:
    """Candles and each one's closing quote, batch by batch; how many of both were new."""
    partitions.create_missing(
        partitions.SNAPSHOTS, {candle.end_period_ts.date() for candle in candles}
    )
    candlesticks = snapshots = 0
    for start in range(0, len(candles), BATCH):
        with transaction.atomic():
            written = Candlestick.objects.record(
                candles[start : start + BATCH],
                period_interval=HOUR,
                source=Source.BACKFILL,
                recorded_at=datetime.now(UTC),
            )
        candlesticks += written.candlesticks
        snapshots += written.snapshots
        tell(min(1.0, (start + BATCH) / len(candles)), doing)
    return candlesticks, snapshots


def quality(bid: Decimal | None, ask: Decimal | None) -> int:
    # No table tells the grid.
    return int(prices.quality(bid, ask, ()))


def id_of(row: Row, ids: Mapping[str, int]) -> int:
    ticker = row.text("ticker")
    if ticker not in ids:
        raise row.fault("ticker", f"no table has the market {ticker}")
    return ids[ticker]
