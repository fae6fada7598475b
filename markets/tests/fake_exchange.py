"""An exchange held in dictionaries, which answers the client's requests in tests."""

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx

from kalshi_insights.token_bucket import TokenBucket
from markets.kalshi.client import KalshiClient
from markets.kalshi.signing import Signer
from markets.tests.fake_tape import FakeTape

URL = "http://exchange.test/trade-api/v2"
PAGE = 2


def market_json(ticker: str, **changes: Any) -> dict[str, Any]:
    """A market as Kalshi's contract of October 2026 has it."""
    return {
        "ticker": ticker,
        "event_ticker": ticker.rsplit("-", 1)[0],
        "market_type": "binary",
        "title": f"Will {ticker} happen?",
        "yes_sub_title": "It happens",
        "no_sub_title": "It does not",
        "created_time": "2026-11-01T12:00:00Z",
        "updated_time": "2026-11-01T12:00:00Z",
        "open_time": "2026-11-01T14:00:00Z",
        "close_time": "2030-01-01T15:00:00Z",
        "expected_expiration_time": "2030-01-01T15:00:00Z",
        "latest_expiration_time": "2030-01-08T15:00:00Z",
        "settlement_timer_seconds": 300,
        "status": "active",
        "notional_value_dollars": "1.0000",
        "yes_bid_dollars": "0.4200",
        "yes_ask_dollars": "0.4500",
        "no_bid_dollars": "0.5500",
        "no_ask_dollars": "0.5800",
        "yes_bid_size_fp": "100.00",
        "yes_ask_size_fp": "12.50",
        "last_price_dollars": "0.4300",
        "previous_yes_bid_dollars": "0.4000",
        "previous_yes_ask_dollars": "0.4400",
        "previous_price_dollars": "0.4100",
        "volume_fp": "1000.00",
        "volume_24h_fp": "50.00",
        "open_interest_fp": "700.00",
        "result": "",
        "can_close_early": True,
        "expiration_value": "",
        "rules_primary": "If it happens, the market resolves to Yes.",
        "rules_secondary": "",
        "price_level_structure": "linear_cent",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        "settlement_bounds_type": "default",
        "exchange_index": 0,
        **changes,
    }


@dataclass
class Exchange:
    """A fake exchange that serves the markets, order books, fees and hours that a test sets."""

    markets: dict[str, dict[str, Any]] = field(default_factory=dict)
    historical: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing: dict[str, httpx.Response] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    combos: list[str] = field(default_factory=list)
    event_titles: dict[str, str] = field(default_factory=dict)
    fee_changes: list[dict[str, Any]] = field(default_factory=list)
    event_fee_changes: list[dict[str, Any]] = field(default_factory=list)
    fee_multiplier: float = 0.5
    books: dict[str, dict[str, Any]] = field(default_factory=dict)
    tape: FakeTape = field(default_factory=FakeTape)
    # By how much its answers tell a later time than ours; None: they tell none.
    clock_ahead: timedelta | None = None
    maintenance: list[dict[str, str]] = field(default_factory=list)
    trading_active: bool = True
    # Any reply that holds one of these texts fails, if this is a part of its path.
    poison: set[str] = field(default_factory=set)
    poisoned_path: str = ""
    # Seconds that each reply of a path takes.
    slow: dict[str, float] = field(default_factory=dict)
    timing_out: set[str] = field(default_factory=set)
    # Replaced in the text of each reply: characters that no JSON encoder writes.
    garbled: dict[str, str] = field(default_factory=dict)
    # Filters that have no effect, and pages of updates that are listed before those of a test.
    ignored: set[str] = field(default_factory=set)
    long_listing: int = 0
    # Every page of events repeats the first one, while the cursor advances.
    repeats_first_page: bool = False
    # Pages of events that are served before the next one fails with this status.
    pages_left: int | None = None
    status_afterwards: int = 404

    def list(self, *tickers: str, **changes: Any) -> None:
        for ticker in tickers:
            self.markets[ticker] = market_json(ticker, **changes)

    def quote(self, ticker: str, bid: str, ask: str, **changes: Any) -> None:
        self.markets[ticker] |= {"yes_bid_dollars": bid, "yes_ask_dollars": ask, **changes}

    def client(
        self, signer: Signer | None = None, bucket: TokenBucket | None = None
    ) -> KalshiClient:
        transport = httpx.MockTransport(self.answer_dated)
        return KalshiClient(URL, transport=transport, signer=signer, bucket=bucket)

    def answer_dated(self, request: httpx.Request) -> httpx.Response:
        response = self.answer(request)
        if self.clock_ahead is not None:
            now = datetime.now(UTC) + self.clock_ahead
            response.headers["Date"] = format_datetime(now, usegmt=True)
        return response

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.removeprefix("/trade-api/v2")
        time.sleep(self.slow.get(path, 0))
        if path in self.timing_out:
            raise httpx.ReadTimeout("no answer", request=request)
        if path in self.failing:
            return self.failing[path]
        if path == "/events" and self.runs_out_of_pages():
            return httpx.Response(self.status_afterwards, json={"code": "enough"})
        if path.endswith("/orderbook"):
            return self.book(path.split("/")[2])
        if path.startswith("/events/") and path not in HANDLERS:
            return self.reply(path, {"event": self.event_json(path.split("/")[2])})
        if path.startswith("/series/") and path not in HANDLERS:
            return self.reply(path, {"series": series_json(path.split("/")[2])})
        return self.reply(path, getattr(self, HANDLERS[path])(request))

    def reply(self, path: str, content: dict[str, Any]) -> httpx.Response:
        text = json.dumps(content)
        if self.poisoned_path in path and any(f'"{each}"' in text for each in self.poison):
            return httpx.Response(500, json={"code": "internal"})
        for written, sent in self.garbled.items():
            text = text.replace(written, sent)
        return httpx.Response(200, content=text.encode())

    def book(self, ticker: str) -> httpx.Response:
        if ticker not in self.books:
            return httpx.Response(404, json={"code": "not_found"})
        return httpx.Response(200, json={"orderbook_fp": self.books[ticker]})

    def runs_out_of_pages(self) -> bool:
        if self.pages_left is None:
            return False
        self.pages_left -= 1
        return self.pages_left < 0

    def trades_page(self, request: httpx.Request) -> dict[str, Any]:
        return self.tape.page(request, is_past=False)

    def historical_trades_page(self, request: httpx.Request) -> dict[str, Any]:
        return self.tape.page(request, is_past=True)

    def cutoff(self, request: httpx.Request) -> dict[str, Any]:
        return {"market_settled_ts": None, "trades_created_ts": self.tape.cutoff_text}

    def books_page(self, request: httpx.Request) -> dict[str, Any]:
        requested = request.url.params.get_list("tickers")
        books = [{"ticker": t, "orderbook_fp": self.books[t]} for t in requested if t in self.books]
        return {"orderbooks": books}

    def events_page(self, request: httpx.Request) -> dict[str, Any]:
        if "tickers" in request.url.params:
            requested = request.url.params["tickers"].split(",")
            return {"events": [self.event_json(ticker) for ticker in requested], "cursor": ""}
        tickers = sorted({market["event_ticker"] for market in self.markets.values()})
        if self.repeats_first_page:
            next_page = str(int(request.url.params.get("cursor") or 0) + PAGE)
            return {"events": [self.event_json(t) for t in tickers[:PAGE]], "cursor": next_page}
        events = [self.event_json(ticker) for ticker in tickers]
        if "limit" in request.url.params and "with_nested_markets" not in request.url.params:
            events = [event | {"markets": []} for event in events]
        return one_page("events", events, request)

    def event_json(self, ticker: str) -> dict[str, Any]:
        return {
            "event_ticker": ticker,
            "series_ticker": ticker.split("-", maxsplit=1)[0],
            "title": self.event_titles.get(ticker, f"What of {ticker}?"),
            "sub_title": "",
            "collateral_return_type": "MECNET",
            "mutually_exclusive": True,
            "settlement_sources": [],
            "exchange_index": 0,
            "markets": [m for m in self.markets.values() if m["event_ticker"] == ticker],
        }

    def markets_page(self, request: httpx.Request) -> dict[str, Any]:
        params = request.url.params
        if "min_updated_ts" in params:
            return self.updates_page(request)
        if "tickers" in params and "tickers" not in self.ignored:
            return self.by_ticker(self.markets, request)
        listed = [
            market
            for market in self.markets.values()
            if params.get("event_ticker", market["event_ticker"]) == market["event_ticker"]
        ]
        return one_page("markets", listed, request)

    def updates_page(self, request: httpx.Request) -> dict[str, Any]:
        """The updates of a test, after a listing that may be longer than any run can read."""
        start = int(request.url.params.get("cursor") or 0)
        if start >= self.long_listing:
            return {"markets": self.updates, "cursor": ""}
        updated = "2026-11-01T12:00:00Z" if "min_updated_ts" in self.ignored else just_now()
        listed = [
            market_json(f"KXOLD-{start}-{n}", updated_time=updated, status="finalized")
            for n in range(PAGE)
        ]
        return {"markets": listed, "cursor": str(start + 1)}

    def historical_page(self, request: httpx.Request) -> dict[str, Any]:
        return self.by_ticker(self.historical, request)

    def by_ticker(
        self, markets: dict[str, dict[str, Any]], request: httpx.Request
    ) -> dict[str, Any]:
        requested = request.url.params["tickers"].split(",")
        return {"markets": [markets[t] for t in requested if t in markets], "cursor": ""}

    def series_list(self, request: httpx.Request) -> dict[str, Any]:
        tickers = sorted({m["event_ticker"].split("-")[0] for m in self.markets.values()})
        changes = {"fee_multiplier": self.fee_multiplier}
        return {"series": [series_json(ticker) | changes for ticker in tickers]}

    def series_changes(self, request: httpx.Request) -> dict[str, Any]:
        return {"series_fee_change_arr": self.fee_changes}

    def event_changes(self, request: httpx.Request) -> dict[str, Any]:
        return {"event_fee_changes": self.event_fee_changes, "cursor": ""}

    def status(self, request: httpx.Request) -> dict[str, Any]:
        return {"exchange_active": True, "trading_active": self.trading_active}

    def schedule(self, request: httpx.Request) -> dict[str, Any]:
        always = [{"open_time": "00:00", "close_time": "00:00"}]
        days = ("monday", "tuesday", "wednesday", "friday", "saturday", "sunday")
        sessions = [
            {"open_time": "00:00", "close_time": "03:00"},
            {"open_time": "05:00", "close_time": "00:00"},
        ]
        week = dict.fromkeys(days, always) | {"thursday": sessions}
        span = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2050-01-01T00:00:00Z"}
        hours = {"standard_hours": [span | week], "maintenance_windows": self.maintenance}
        return {"schedule": hours}

    def multivariate_page(self, request: httpx.Request) -> dict[str, Any]:
        nests = "with_nested_markets" in request.url.params
        events = [
            self.event_json(ticker) | {"markets": [market_json(f"{ticker}-X")] if nests else []}
            for ticker in self.combos
        ]
        return one_page("events", events, request)


HANDLERS = {
    "/events": "events_page",
    "/markets": "markets_page",
    "/historical/markets": "historical_page",
    "/series": "series_list",
    "/series/fee_changes": "series_changes",
    "/events/fee_changes": "event_changes",
    "/markets/orderbooks": "books_page",
    "/markets/trades": "trades_page",
    "/historical/trades": "historical_trades_page",
    "/historical/cutoff": "cutoff",
    "/events/multivariate": "multivariate_page",
    "/exchange/status": "status",
    "/exchange/schedule": "schedule",
}


def one_page(key: str, items: list[dict[str, Any]], request: httpx.Request) -> dict[str, Any]:
    """The items from the cursor on, at most as many as the limit says."""
    start = int(request.url.params.get("cursor") or 0)
    end = start + min(PAGE, int(request.url.params.get("limit") or PAGE))
    return {key: items[start:end], "cursor": str(end) if end < len(items) else ""}


def just_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def series_json(ticker: str) -> dict[str, Any]:
    return {
        "ticker": ticker,
        "frequency": "daily",
        "title": f"Series {ticker}",
        "category": "Economics",
        "categories": ["Economics"],
        "tags": None,
        "settlement_sources": [],
        "contract_url": "",
        "contract_terms_url": "",
        "fee_type": "quadratic",
        "fee_multiplier": 0.5,
        "additional_prohibitions": [],
        "exchange_index": 0,
    }
