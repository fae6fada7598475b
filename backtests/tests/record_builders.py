"""Builders of recorded markets, revisions and quotes, and of backtests on them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from backtests.data.universe import Universe
from backtests.loading import load
from backtests.models import BacktestResult
from backtests.requests import BacktestRequest, MarketSelection
from backtests.rules.execution import AcrossGaps, ExecutionModel
from markets.models import (
    Event,
    EventRevision,
    FeeChange,
    Market,
    MarketRevision,
    MarketSnapshot,
    Poll,
    Source,
    Sweep,
    Tier,
)
from markets.models.snapshots import snapshot_id
from markets.tests.factories import a_market, dollars

START = datetime(2026, 10, 1, tzinfo=UTC)
END = START + timedelta(days=2)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def record_market(ticker: str = "KXRAIN-26OCT02", **values: Any) -> Market:
    """Record a market with quadratic fees; nothing is known of it before its first revision."""
    market = a_market(ticker, **{"open_time": START - HOUR, "close_time": END, **values})
    FeeChange.objects.get_or_create(
        series=market.event.series,
        effective_at=START - HOUR,
        defaults={
            "fee_type": "quadratic",
            "fee_multiplier": Decimal(1),
            "known_at": START - HOUR,
            "recorded_at": START - HOUR,
        },
    )
    return market


def record_revision(market: Market, at: datetime, **values: Any) -> None:
    """Record a revision of a market, which is active with its own close unless `values` differ."""
    MarketRevision.objects.create(
        market=market,
        known_at=at,
        recorded_at=values.pop("recorded_at", at),
        open_time=market.open_time,
        **{"status": "active", "close_time": market.close_time, **values},
    )


def record_event_revision(event: Event, at: datetime, **values: Any) -> None:
    """Record a revision of an event."""
    recorded_at = values.pop("recorded_at", at)
    EventRevision.objects.create(event=event, known_at=at, recorded_at=recorded_at, **values)


def record_settlement(market: Market, at: datetime, result: str = "yes", **values: Any) -> None:
    record_revision(market, at, status="finalized", result=result, settlement_ts=at, **values)


def record_quote(
    market: Market,
    at: datetime,
    bid: str | None = "0.4200",
    ask: str | None = "0.4500",
    *,
    source: str = Source.POLL,
    **values: Any,
) -> None:
    """Record a snapshot with a hundred contracts on either side."""
    sizes = {"yes_bid_size": Decimal(100), "yes_ask_size": Decimal(100)}
    MarketSnapshot.objects.create(
        id=snapshot_id(market.pk, at, source, values.get("sequence"), content=f"{bid} {ask}"),
        market=market,
        timestamp=at,
        recorded_at=values.pop("recorded_at", at),
        source=source,
        yes_bid=dollars(bid),
        yes_ask=dollars(ask),
        **{**sizes, **values},
    )


def record_passes(start: datetime, end: datetime) -> None:
    """Record that the recorder ran every five seconds and listed the universe every thirty."""
    tick, listing = timedelta(seconds=5), timedelta(seconds=30)
    Poll.objects.bulk_create(
        Poll(
            started_at=at,
            finished_at=at + tick / 5,
            observed_from=at,
            since_last=tick,
            exchange_active=True,
            trading_active=True,
        )
        for at in _instants(start, end, tick)
    )
    Sweep.objects.bulk_create(
        Sweep(
            tier=Tier.UNIVERSE,
            started_at=at,
            finished_at=at + tick / 5,
            complete=True,
            since_last=listing,
            pages=[[(at + tick / 5).timestamp(), 1, ""]],
        )
        for at in _instants(start, end, listing)
    )


def _instants(start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    return [start + n * step for n in range((end - start) // step)]


def selection_of(*markets: Market, **values: Any) -> MarketSelection:
    tickers = [market.ticker for market in markets]
    return MarketSelection(**{"start": START, "end": END, "tickers": tickers, **values})


def load_universe(*markets: Market, known_by: datetime = END + 9 * HOUR, **values: Any) -> Universe:
    return load(selection_of(*markets, **values), known_by=known_by)


def queue_backtest(*markets: Market, strategy: str = "always-no", **values: Any) -> BacktestResult:
    """Queue a backtest, which may buy ten contracts in each market.

    Unless `values` have an execution model, its orders wait: these quotes are hours apart.
    """
    values.setdefault("execution", ExecutionModel(across_gaps=AcrossGaps.WAIT))
    request = BacktestRequest(strategy=strategy, selection=selection_of(*markets), **values)
    now = datetime.now(UTC)
    return BacktestResult.objects.queue(request.validated(now=now), user=None, now=now)
