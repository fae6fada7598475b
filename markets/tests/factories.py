"""Factories of markets and of rows that the recorder writes."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from model_bakery import baker

from markets.models import (
    Event,
    EventSearchText,
    Market,
    MarketSearchText,
    MarketSnapshot,
    Poll,
    SeriesSearchText,
    Source,
    Sweep,
    Trade,
    TradeOrigin,
)
from markets.models.fields import Quote
from markets.models.snapshots import content_of, snapshot_id
from markets.models.trades import TakerSide, trade_uuid

CENT_GRID = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


def dollars(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def a_market(ticker: str = "KXRAIN-26NOV21", **values: Any) -> Market:
    """Create an open market quoted at 42 to 45 cents; `event` may be an event or its title."""
    now = datetime.now(UTC)
    event = values.pop("event", "Rain in New York")
    if isinstance(event, str):
        event = an_event(event, ticker=ticker.rpartition("-")[0] or ticker)
    market: Market = baker.make(
        Market,
        **{
            "ticker": ticker,
            "event": event,
            "yes_sub_title": "Yes",
            "status": "active",
            "open_time": now - timedelta(days=2),
            "close_time": now + timedelta(days=1),
            "price_ranges": CENT_GRID,
            "raw_data": {},
            "definition_mark": 0,
            "recorded_at": now,
            "yes_bid": Decimal("0.4200"),
            "yes_ask": Decimal("0.4500"),
            "yes_bid_size": Decimal(100),
            "yes_ask_size": Decimal(250),
            "last_price": Decimal("0.4400"),
            "previous_price": Decimal("0.4000"),
            "volume": Decimal(9000),
            "volume_24h": Decimal(1000),
            "open_interest": Decimal(5000),
            "quoted_at": now,
            **values,
        },
    )
    MarketSearchText.objects.refresh([market.pk])
    return market


def an_event(title: str, *, ticker: str = "KXRAIN", category: str = "Climate") -> Event:
    if existing := Event.objects.filter(ticker=ticker).first():
        return existing
    event: Event = baker.make(
        Event,
        ticker=ticker,
        title=title,
        series__ticker=f"S{ticker}",
        series__category=category,
        recorded_at=datetime.now(UTC),
    )
    EventSearchText.objects.refresh([event.pk])
    SeriesSearchText.objects.refresh([event.series_id])
    return event


def observe(market: Market, at: datetime, bid: str | None, ask: str | None, **others: Any) -> None:
    """Store a snapshot of a market that is also its newest quote."""
    quote = {
        "yes_bid": dollars(bid),
        "yes_ask": dollars(ask),
        "last_price": others.get("last", market.last_price),
        "volume": others.get("volume", market.volume),
    }
    a_snapshot(market, at, **quote).save()
    Market.objects.filter(pk=market.pk).update(quoted_at=at, **quote)


def a_snapshot(market: Market, at: datetime, **quote: Any) -> MarketSnapshot:
    values = (quote.get(name) for name in Quote._fields)
    content = content_of(None if each is None else Decimal(each) for each in values)
    return MarketSnapshot(
        id=snapshot_id(market.pk, at, Source.POLL, None, content=content),
        market=market,
        timestamp=at,
        recorded_at=at,
        source=Source.POLL,
        **quote,
    )


def a_trade(market: Market, at: datetime, name: str = "a", **values: Any) -> Trade:
    """Store a trade of 1.50 contracts at 42 cents; its id is made of its name."""
    return Trade.objects.create(
        **{
            "trade_id": trade_uuid(name),
            "market": market,
            "created_time": at,
            "known_at": at,
            "recorded_at": at,
            "contracts": 150,
            "price": 4200,
            "source_code": TradeOrigin.BACKFILL,
            "taker_side": TakerSide.YES,
            "is_block_trade": False,
            **values,
        }
    )


def a_poll(started_at: datetime, *, seconds: float = 1, error: str = "") -> Poll:
    return baker.make(
        Poll,
        started_at=started_at,
        finished_at=started_at + timedelta(seconds=seconds),
        error=error,
    )


def a_sweep(tier: str, started_at: datetime, *, complete: bool = True, **values: Any) -> Sweep:
    sweep: Sweep = baker.make(
        Sweep,
        tier=tier,
        started_at=started_at,
        finished_at=started_at + timedelta(seconds=1),
        complete=complete,
        **values,
    )
    return sweep
