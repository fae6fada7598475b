"""Factories of backtests, executions, users, and of a recorded day to run on."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import Permission, User
from model_bakery import baker

from backtests.api.examples import BACKTEST, EXECUTION_ENTRY, SEARCH, SEARCH_POINT
from backtests.data.universe import MONEY
from backtests.models import BacktestExecution, BacktestResult, Search, SearchPoint
from markets.models import FeeChange, Market, MarketRevision, MarketSnapshot
from markets.tests.factories import a_market, a_snapshot

NOON = datetime(2025, 11, 20, 12, tzinfo=UTC)
REQUEST_COLUMNS = ("strategy", "strategy_version", "params", "execution")
SEARCH_COLUMNS = (
    "strategy", "strategy_version", "params", "varied", "folds", "embargo_hours", "series",
    "execution", "engine", "status", "snapshots", "markets", "plan", "figures",
    "code_fingerprint", "data_fingerprint",
)  # fmt: skip
RESULT_COLUMNS = ("figures", "band", "yardsticks", "curve", "verdict", "assumptions", "fees")


def a_backtest(status: str = "done", **values: Any) -> BacktestResult:
    """A backtest like the API's example; a finished one has its results."""
    now = datetime.now(UTC)
    of_status: dict[str, dict[str, Any]] = {
        "queued": {},
        "running": {"token": uuid4(), "claimed_at": now, "heartbeat_at": now, "progress": 0.25},
        "done": {"finished_at": now, "progress": 1, "final_cash": Decimal("10014.31")}
        | {name: BACKTEST[name] for name in RESULT_COLUMNS},
        "failed": {"finished_at": now, "error": "The strategy raised ValueError: odd (odd.py)"},
        "cancelled": {"finished_at": now},
    }
    columns = {
        **{name: BACKTEST[name] for name in REQUEST_COLUMNS},
        "series": ["SKXRAIN"],
        "start": NOON,
        "end": NOON + timedelta(hours=6),
        "cash": Decimal(10_000),
        "engine": "kernel",
        "created_at": now,
        "status": status,
        **of_status[status],
        **values,
    }
    result: BacktestResult = baker.make(BacktestResult, **columns)
    return result


def a_done_search(**values: Any) -> Search:
    """A search like the API's example, with one point."""
    columns = {name: SEARCH[name] for name in SEARCH_COLUMNS}
    now = datetime.now(UTC)
    search: Search = baker.make(
        Search,
        **{
            **columns,
            "cash": Decimal(SEARCH["cash"]),
            "points_count": SEARCH["points"],
            "start": NOON,
            "end": NOON + timedelta(hours=6),
            "created_at": now,
            "finished_at": now,
            **values,
        },
    )
    money = ("pnl", "test_pnl", "fees")
    amounts = {name: round(Decimal(SEARCH_POINT[name]) * MONEY) for name in money}
    baker.make(SearchPoint, search=search, **{**SEARCH_POINT, **amounts})
    return search


def a_fill(result: BacktestResult, number: int = 1, **values: Any) -> BacktestExecution:
    entry = {**EXECUTION_ENTRY, "at": NOON + timedelta(minutes=number), "number": number, **values}
    execution: BacktestExecution = baker.make(BacktestExecution, result=result, **entry)
    return execution


def a_user(name: str = "ada", *, may_run: bool = True, **values: Any) -> User:
    user = User.objects.create_user(name, **values)
    if may_run:
        user.user_permissions.add(Permission.objects.get(codename="run_backtest"))
    return user


def a_recorded_day(ticker: str = "KXRAIN-26NOV21", *, hours: int = 6) -> Market:
    """A longshot that was quoted every ten minutes from noon on, and settled as no."""
    opened, closed = NOON - timedelta(days=1), NOON + timedelta(hours=hours)
    market = a_market(ticker, status="finalized", open_time=opened, close_time=closed)
    a_revision(market, opened, closed, status="active")
    a_revision(market, opened, closed, status="finalized", result="no", known_at=closed)
    baker.make(
        FeeChange,
        series=market.event.series,
        fee_type="quadratic",
        fee_multiplier=1,
        effective_at=opened,
        known_at=opened,
        recorded_at=opened,
    )
    MarketSnapshot.objects.bulk_create(
        a_snapshot(
            market,
            NOON + timedelta(minutes=10 * step),
            yes_bid=Decimal("0.10"),
            yes_ask=Decimal("0.12"),
            yes_bid_size=Decimal(200 + step),
            yes_ask_size=Decimal(300),
        )
        for step in range(6 * hours)
    )
    return market


def a_revision(market: Market, opened: datetime, closed: datetime, **values: Any) -> None:
    columns = {"known_at": opened, "recorded_at": opened, "open_time": opened, "close_time": closed}
    grid = market.price_ranges
    baker.make(MarketRevision, market=market, price_ranges=grid, **(columns | values))
