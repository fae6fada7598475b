"""Settled markets without a date, and unusual replies of the exchange to their backfill."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from markets.backfill.settled.request import SettledRequest
from markets.backfill.settled.runner import SettledProgress, fill_settled, find_settled
from markets.kalshi.client import KalshiClient
from markets.models import BackfillSpan, Candlestick, Drift, Market
from markets.tests.fake_exchange import URL, market_json

pytestmark = pytest.mark.django_db(transaction=True)

CLOSE = datetime(2026, 11, 20, 17, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SERIES = {
    "ticker": "KXA",
    "title": "A",
    "category": "Sports",
    "frequency": "daily",
    "fee_type": "quadratic",
    "fee_multiplier": 1,
}


def an_event(ticker: str, **changes: Any) -> dict[str, Any]:
    return {
        "event_ticker": ticker,
        "series_ticker": "KXA",
        "title": "What of it?",
        "sub_title": "",
        "collateral_return_type": "",
        "mutually_exclusive": False,
        **changes,
    }


def settled(ticker: str, *, at: datetime = CLOSE + HOUR, **changes: Any) -> dict[str, Any]:
    """A market of thirty days, settled an hour after its close."""
    times = {"open_time": CLOSE - 30 * DAY, "close_time": CLOSE, "settlement_ts": at}
    texts = {name: instant.isoformat() for name, instant in times.items()}
    result = {"status": "finalized", "result": "yes", "settlement_value_dollars": "1.0000"}
    return market_json(ticker, **(texts | result | changes))


def candle(at: datetime, bid: str = "0.4000", **changes: Any) -> dict[str, Any]:
    names = ("open_dollars", "low_dollars", "high_dollars", "close_dollars")
    return {
        "end_period_ts": int(at.timestamp()),
        "yes_bid": dict.fromkeys(names, bid),
        "yes_ask": dict.fromkeys(names, "0.4300"),
        "price": {},
        "volume_fp": "0.00",
        "open_interest_fp": "1.00",
        **changes,
    }


@dataclass
class SettledExchange:
    """A fake exchange whose markets are all settled, with candlesticks by ticker."""

    live: list[dict[str, Any]] = field(default_factory=list)
    historical: list[dict[str, Any]] = field(default_factory=list)
    strike_date: datetime | None = CLOSE
    candles: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    # Markets of which the batches of candlesticks know nothing.
    moved: set[str] = field(default_factory=set)
    # Those of them that no tier has.
    gone: set[str] = field(default_factory=set)
    # What batches have beside the markets that were asked for.
    beside: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    # A listing with this market is never answered.
    culprit: str = ""
    cutoff: datetime = CLOSE - 60 * DAY
    page: int = 2
    requests: list[httpx.Request] = field(default_factory=list)

    def client(self) -> KalshiClient:
        return KalshiClient(URL, transport=httpx.MockTransport(self.answer), sleep=lambda _: None)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.removeprefix("/trade-api/v2")
        parameters = request.url.params
        if path == "/markets/candlesticks":
            return self.batch(parameters)
        if path.endswith("/candlesticks"):
            return self.single(path, parameters)
        if path in ("/markets", "/historical/markets"):
            return self.list_markets(path, parameters)
        return httpx.Response(200, json=self.others(path, parameters))

    def others(self, path: str, parameters: httpx.QueryParams) -> Any:
        cutoff = self.cutoff.isoformat()
        date = {"strike_date": self.strike_date.isoformat()} if self.strike_date else {}
        events = [an_event(each, **date) for each in parameters.get("tickers", "").split(",")]
        return {
            "/historical/cutoff": {"market_settled_ts": cutoff, "trades_created_ts": cutoff},
            "/series": {"series": [SERIES]},
            "/series/KXA": {"series": SERIES},
            "/events": {"events": events},
            "/exchange/status": {"exchange_active": True, "trading_active": True},
        }[path]

    def list_markets(self, path: str, parameters: httpx.QueryParams) -> httpx.Response:
        listed = self.live if path == "/markets" else self.historical
        if "min_settled_ts" in parameters:
            low, high = int(parameters["min_settled_ts"]), int(parameters["max_settled_ts"])
            listed = [each for each in listed if low <= settled_at(each) <= high]
        start, limit = int(parameters.get("cursor") or 0), int(parameters["limit"])
        end = start + min(limit, self.page)
        page, more = listed[start:end], str(end) if end < len(listed) else ""
        if self.culprit in [each["ticker"] for each in page]:
            return httpx.Response(500)
        return httpx.Response(200, json={"markets": page, "cursor": more})

    def batch(self, parameters: httpx.QueryParams) -> httpx.Response:
        asked = parameters["market_tickers"].split(",")
        if len(asked) > 100 or len(asked) * periods(parameters) > 10_000:
            return httpx.Response(400)
        names = [ticker for ticker in asked if ticker not in self.moved]
        found = {name: self.between(name, parameters) for name in names} | self.beside
        markets = [{"market_ticker": t, "candlesticks": each} for t, each in found.items()]
        return httpx.Response(200, json={"markets": markets})

    def single(self, path: str, parameters: httpx.QueryParams) -> httpx.Response:
        ticker, is_historical = path.split("/")[-2], path.startswith("/historical")
        if periods(parameters) > 5_000:
            return httpx.Response(400)
        if ticker in self.gone or (ticker in self.moved and not is_historical):
            return httpx.Response(404)
        text = json.dumps({"candlesticks": self.between(ticker, parameters)})
        if is_historical:
            text = text.replace("_dollars", "").replace("_fp", "")
        return httpx.Response(200, text=text)

    def between(self, ticker: str, parameters: httpx.QueryParams) -> list[dict[str, Any]]:
        low, high = int(parameters["start_ts"]), int(parameters["end_ts"])
        return [c for c in self.candles.get(ticker, []) if low <= c["end_period_ts"] <= high]

    def asked(self, path: str) -> list[httpx.Request]:
        return [each for each in self.requests if each.url.path.endswith(path)]


def periods(parameters: httpx.QueryParams) -> float:
    """Return the candlesticks of one market that a request may be answered with."""
    seconds = int(parameters["end_ts"]) - int(parameters["start_ts"])
    return seconds / 60 / int(parameters["period_interval"]) + 1


def settled_at(market: dict[str, Any]) -> float:
    return datetime.fromisoformat(market["settlement_ts"]).timestamp()


def fill(exchange: SettledExchange, **changes: Any) -> SettledProgress:
    words = {"start": CLOSE - DAY, "end": CLOSE + DAY} | changes
    progress = SettledProgress()
    with exchange.client() as client:
        request = SettledRequest(**words)
        work = find_settled(client, request, progress, on_progress=lambda _: None)
        fill_settled(client, work, progress, on_progress=lambda _: None)
    return progress


def written() -> list[tuple[str, int, datetime]]:
    return list(
        Candlestick.objects.order_by("end_period_ts").values_list(
            "market__ticker", "period_interval", "end_period_ts"
        )
    )


# --- markets without a date ---------------------------------------------------------------------


def test_without_a_schedule_the_first_two_sided_quote_is_fetched():
    opened = CLOSE - 30 * DAY
    exchange = SettledExchange([settled("KXA-1-X")], strike_date=None)
    exchange.candles["KXA-1-X"] = [
        candle(opened + HOUR, bid="0.0000"),
        candle(opened + 2 * HOUR),
        candle(opened + 3 * HOUR),
    ]
    progress = fill(exchange)
    assert progress.plan.anchors == {"schedule unknown": 1}
    assert written() == [("KXA-1-X", 60, opened + 2 * HOUR)]


def test_a_market_that_closed_as_planned_has_lead_times_and_a_first_quote():
    planned = settled("KXA-1-X", can_close_early=False, expected_expiration_time=CLOSE.isoformat())
    exchange = SettledExchange([planned], strike_date=None)
    first, last = CLOSE - 30 * DAY + HOUR, CLOSE - 10 * MINUTE
    exchange.candles["KXA-1-X"] = [candle(first), candle(last)]
    assert fill(exchange).plan.anchors == {"final close": 1}
    assert written() == [("KXA-1-X", 60, first), ("KXA-1-X", 1, last)]


def test_the_last_candlestick_of_a_quiet_market_is_kept_with_its_own_instant():
    exchange = SettledExchange([settled("KXA-1-X")])
    last = CLOSE - HOUR - 9 * MINUTE
    exchange.candles["KXA-1-X"] = [candle(last - MINUTE), candle(last)]
    fill(exchange)
    assert written() == [("KXA-1-X", 1, last)]


def test_one_candlestick_may_stand_for_two_lead_times():
    exchange = SettledExchange([settled("KXA-1-X")])
    exchange.candles["KXA-1-X"] = [candle(CLOSE - HOUR - 2 * MINUTE)]
    assert fill(exchange).candlesticks == 1
    assert not BackfillSpan.objects.filter(finished_at=None).exists()


def test_combos_and_markets_of_other_spans_are_left_out():
    exchange = SettledExchange(
        [settled("KXA-1-X"), settled("KXMVEA-1-X"), settled("KXA-2-X", at=CLOSE + 3 * DAY)],
        historical=[settled("KXA-3-X", at=CLOSE - 3 * DAY)],
        cutoff=CLOSE - 2 * DAY,
    )
    exchange.live.append(settled("KXA-4-X", mve_collection_ticker="KXMVEB"))
    assert fill(exchange, start=CLOSE - 2 * DAY - HOUR).markets == 1
    assert Market.objects.get().ticker == "KXA-1-X"


# --- unusual replies ----------------------------------------------------------------------------


def test_a_market_that_fails_the_listing_costs_its_second_alone():
    exchange = SettledExchange(
        [settled(f"KXA-{n}-X", at=CLOSE + n * 10 * MINUTE) for n in range(5)], culprit="KXA-3-X"
    )
    progress = fill(exchange)
    assert progress.markets == 4
    at = f"settled at {CLOSE + 30 * MINUTE:%Y-%m-%d %H:%M}"
    assert any(reason.startswith(at) for reason in progress.reasons)
    exchange.culprit = ""
    assert fill(exchange).markets == 5


def test_the_historical_tier_is_read_back_to_the_start_of_the_span():
    markets = [settled(f"KXA-{n}-X", at=CLOSE - n * DAY) for n in range(12)]
    exchange = SettledExchange(historical=markets, cutoff=CLOSE + DAY)
    assert fill(exchange, start=CLOSE - 3 * DAY).markets == 4
    assert len(exchange.asked("/historical/markets")) == 4
    assert exchange.asked("/trade-api/v2/markets") == []
    assert not Drift.objects.exists()


def test_a_historical_tier_that_is_not_in_order_is_read_to_its_end_and_is_drift():
    days = (0, 9, 1, 8, 2, 7, 3, 6, 4, 5)
    markets = [settled(f"KXA-{n}-X", at=CLOSE - n * DAY) for n in days]
    exchange = SettledExchange(historical=markets, cutoff=CLOSE + DAY, page=1)
    assert fill(exchange, start=CLOSE - 3 * DAY).markets == 4
    assert Drift.objects.get().where == "/historical/markets: not newest first"


def test_a_market_that_has_moved_meanwhile_is_fetched_from_the_other_tier():
    exchange = SettledExchange([settled("KXA-1-X")], moved={"KXA-1-X"})
    exchange.candles["KXA-1-X"] = [candle(CLOSE - HOUR)]
    fill(exchange)
    assert written() == [("KXA-1-X", 1, CLOSE - HOUR)]


def test_a_market_that_no_tier_has_is_asked_for_once_a_call_and_told():
    exchange = SettledExchange([settled("KXA-1-X")], moved={"KXA-1-X"}, gone={"KXA-1-X"})
    progress = fill(exchange)
    assert progress.absent == {"KXA-1-X"}
    singles = [each.url.path for each in exchange.requests if "/KXA-1-X/" in each.url.path]
    assert len(singles) == 2 * progress.calls
    assert not Candlestick.objects.exists()
    exchange.gone = set()
    exchange.candles["KXA-1-X"] = [candle(CLOSE - HOUR)]
    assert fill(exchange).candlesticks == 1


def test_a_market_that_is_listed_by_both_tiers_counts_once():
    market = settled("KXA-1-X")
    exchange = SettledExchange([market], historical=[market], cutoff=CLOSE - HOUR)
    progress = fill(exchange)
    assert (progress.markets, progress.plan.anchors) == (1, {"strike date": 1})
    assert len(progress.plan.historical) == 1


def test_an_unreadable_candlestick_is_refused_and_asked_for_again():
    exchange = SettledExchange([settled("KXA-1-X"), settled("KXA-2-X")])
    at = CLOSE - 6 * HOUR
    exchange.candles = {
        "KXA-1-X": [candle(at, volume_fp="NaN")],
        "KXA-2-X": [candle(at)],
    }
    progress = fill(exchange)
    assert (progress.candlesticks, progress.rejected) == (1, 1)
    assert "KXA-1-X lead-time" in progress.reasons[0]
    exchange.candles["KXA-1-X"] = [candle(at)]
    again = fill(exchange)
    assert (again.calls, again.candlesticks) == (1, 1)
    assert not BackfillSpan.objects.refused().exists()


def test_an_unreadable_candlestick_without_an_instant_is_refused_once_for_each_window():
    exchange = SettledExchange([settled("KXA-1-X")])
    exchange.beside = {"KXA-1-X": [candle(CLOSE - HOUR), candle(CLOSE, end_period_ts="soon")]}
    progress = fill(exchange)
    assert progress.rejected == BackfillSpan.objects.filter(refusal="").count()


def test_what_was_not_asked_for_is_not_written_and_is_drift():
    exchange = SettledExchange([settled("KXA-1-X")])
    exchange.candles["KXA-1-X"] = [candle(CLOSE - HOUR)]
    exchange.beside = {
        "KXB-1-X": [candle(CLOSE - HOUR)],
        "KXA-1-X": [candle(CLOSE - 20 * DAY), candle(CLOSE - HOUR)],
    }
    fill(exchange)
    assert written() == [("KXA-1-X", 1, CLOSE - HOUR)]
    assert set(Drift.objects.values_list("where", flat=True)) == {
        "candlesticks: a market that was not asked for",
        "candlesticks: outside the time that was asked for",
    }


def test_a_category_is_listed_by_its_series():
    exchange = SettledExchange([settled("KXA-1-X")])
    assert fill(exchange, category="Sports").markets == 1
    assert exchange.asked("/trade-api/v2/markets")[0].url.params["series_ticker"] == "KXA"
