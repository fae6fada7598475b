"""Recorded markets to search parameters on, and searches of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User

from backtests.models import Search, SearchPoint
from backtests.requests import BacktestRequest, MarketSelection
from backtests.rules.execution import AcrossGaps, ExecutionModel
from backtests.searches import requests, runner
from backtests.searches.requests import SearchRequest
from markets.models import Event, FeeChange, Market, MarketRevision, Series
from markets.tests.factories import a_market, an_event, observe

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
SERIES = "SKXRAIN"
WINDOW = (datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 15, tzinfo=UTC))
RESULTS = ("no", "no", "yes", "no")


def settled(day: int, result: str) -> Market:
    """A market of one day that was always cheap, settled with this result."""
    opened = NOON + timedelta(days=day)
    end = opened + timedelta(hours=6)
    value = Decimal(result == "yes")
    market = a_market(
        f"KXRAIN-{day}", event=event_of(day), open_time=opened, close_time=end,
        status="finalized", result=result, settlement_value=value, settlement_ts=end,
    )  # fmt: skip
    for hour in range(5):
        observe(market, opened + timedelta(hours=hour), "0.10", "0.12")
        market.snapshots.update(yes_bid_size=100, yes_ask_size=100)
    output = {"open_time": opened, "close_time": end, "price_ranges": market.price_ranges}
    ended = {"result": result, "settlement_value": value, "settlement_ts": end}
    for at, fields in ((opened, {"status": "active"}), (end, {"status": "finalized", **ended})):
        MarketRevision.objects.create(
            market=market, known_at=at, recorded_at=at, **output, **fields
        )
    return market


def event_of(day: int) -> Event:
    """The event of one day; all of them are of one series."""
    event = an_event(f"Rain on day {day}", ticker=f"KXRAIN-D{day}" if day else "KXRAIN")
    event.series = Series.objects.get(ticker=SERIES)
    event.save()
    return event


def record_days(results: tuple[str, ...] = RESULTS) -> list[Market]:
    """Markets of one day each, one after the other, with quadratic fees."""
    markets = [settled(day, result) for day, result in enumerate(results)]
    FeeChange.objects.create(
        series=markets[0].event.series, fee_type="quadratic", fee_multiplier=1,
        effective_at=NOON - timedelta(days=30), known_at=NOON, recorded_at=NOON,
    )  # fmt: skip
    return markets


def a_request(varied: dict[str, Any] | None = None, **values: Any) -> SearchRequest:
    """A search of the recorded days, whose orders wait: their quotes are hours apart."""
    tickers = list(Market.objects.order_by("pk").values_list("ticker", flat=True))
    run: dict[str, Any] = {
        "strategy": "fade-longshots",
        "selection": MarketSelection(start=WINDOW[0], end=WINDOW[1], tickers=tickers),
        "execution": ExecutionModel(across_gaps=AcrossGaps.WAIT),
        **{name: values.pop(name) for name in ("strategy", "params", "engine") if name in values},
    }
    varied = varied or {"contracts": [1, 5, 10]}
    return SearchRequest(run=BacktestRequest(**run), varied=varied, **values)


def a_search(
    varied: dict[str, Any] | None = None, *, user: User | None = None, **values: Any
) -> Search:
    return requests.store(a_request(varied, **values), user=user, now=datetime.now(UTC))


def run_all(search: Search) -> Search:
    """Run a search to its end in this process."""
    while runner.run_chunk(search.pk):
        pass
    search.refresh_from_db()
    return search


def pnls(search: Search) -> list[str]:
    """The P&L of each point in dollars."""
    points = SearchPoint.objects.of_search(search.pk).narrow()
    return ["" if p.pnl is None else f"{Decimal(p.pnl) / 1_000_000:.2f}" for p in points]
