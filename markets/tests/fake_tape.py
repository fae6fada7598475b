"""The trades of a fake exchange: newest first, page by page, in a live and a historical tier."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import httpx

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
instant = lru_cache(maxsize=10_000)(datetime.fromisoformat)


def trade_json(number: int, at: datetime, ticker: str = "KXA-1-X", **changes: Any) -> dict:
    """A trade as Kalshi's contract of October 2026 has it."""
    return {
        "trade_id": str(UUID(int=number)),
        "ticker": ticker,
        "count_fp": "12.50",
        "yes_price_dollars": "0.4200",
        "no_price_dollars": "0.5800",
        "taker_outcome_side": "yes",
        "taker_book_side": "bid",
        "created_time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "is_block_trade": False,
        **changes,
    }


@dataclass
class FakeTape:
    """Trades that a test adds. The cursor is a position, so that pages shift as trades come."""

    trades: list[dict[str, Any]] = field(default_factory=list)
    cutoff: datetime | None = LONG_AGO
    per_page: int = 1000
    # Called before each reply, as time passes while a listing is read.
    meanwhile: Callable[[], None] = lambda: None
    ignored: set[str] = field(default_factory=set)

    @property
    def cutoff_text(self) -> str | None:
        return self.cutoff.isoformat() if self.cutoff else None

    def add(self, number: int, at: datetime, ticker: str = "KXA-1-X", **changes: Any) -> None:
        self.trades.append(trade_json(number, at, ticker, **changes))

    def page(self, request: httpx.Request, *, is_past: bool) -> dict[str, Any]:
        self.meanwhile()
        params = request.url.params
        tier = [trade for trade in self.trades if self._is_past(trade) is is_past]
        found = sorted(
            (trade for trade in tier if self._is_within(trade, params)),
            key=lambda trade: (trade["created_time"], trade["trade_id"]),
            reverse=True,
        )
        start = int(params.get("cursor") or 0)
        end = start + min(self.per_page, int(params.get("limit") or self.per_page))
        return {"trades": found[start:end], "cursor": str(end) if end < len(found) else ""}

    def _is_past(self, trade: dict[str, Any]) -> bool:
        at = instant(trade["created_time"])
        return self.cutoff is not None and at < self.cutoff

    def _is_within(self, trade: dict[str, Any], params: httpx.QueryParams) -> bool:
        second = int(instant(trade["created_time"]).timestamp())
        since, until = int(params.get("min_ts") or 0), int(params.get("max_ts") or 2**40)
        if "max_ts" in self.ignored:
            until = 2**40
        return since <= second <= until
