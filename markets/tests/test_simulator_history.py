"""The live and the historical tier of the simulated exchange complement each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from markets.simulator import SimulatedClock, SimulatedUniverse, running_exchange

NOW = int(datetime(2026, 11, 20, 20, 0, 2, tzinfo=UTC).timestamp())
MINUTE, HOUR, DAY = 60, 3600, 86_400


@contextmanager
def client_at(at: int, **options: Any) -> Iterator[httpx.Client]:
    clock = SimulatedClock.starting(speed=0.0, origin=at)
    with (
        running_exchange(SimulatedUniverse(markets=900), clock=clock, **options) as exchange,
        httpx.Client(base_url=exchange.url, timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with client_at(NOW) as client:
        yield client


def listed(client: httpx.Client, path: str, name: str, **params: Any) -> list[Any]:
    items, cursor = [], ""
    while True:
        page = client.get(path, params=params | {"cursor": cursor}).json()
        items += page[name]
        cursor = page["cursor"]
        if not cursor:
            return items


def cutoff_of(client: httpx.Client, name: str) -> float:
    return seconds(client.get("/historical/cutoff").json()[name])


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def trades_of(client: httpx.Client, ticker: str) -> tuple[list[Any], list[Any]]:
    """The live and the historical trades of a market."""
    paths = ("/markets/trades", "/historical/trades")
    live, past = (listed(client, path, "trades", ticker=ticker, limit=150) for path in paths)
    return live, past


def test_trades_are_in_the_tier_of_their_time(client):
    cutoff = cutoff_of(client, "trades_created_ts")
    market = client.get("/markets", params={"series_ticker": "KXFEDDECISION"}).json()["markets"][2]
    live, past = trades_of(client, market["ticker"])
    times = [seconds(trade["created_time"]) for trade in live + past]
    assert times == sorted(times, reverse=True)
    assert min(times[: len(live)]) > cutoff >= times[len(live)]
    total = sum(float(trade["count_fp"]) for trade in live + past)
    assert total == pytest.approx(float(market["volume_fp"]))


def test_trades_of_both_kinds_of_markets_come_newest_first(client):
    cutoff = int(cutoff_of(client, "trades_created_ts"))
    # A quarter-hour market was settled in between.
    since, until = cutoff - 18 * MINUTE, cutoff - 13 * MINUTE
    span = {"min_ts": since, "max_ts": until}
    small = listed(client, "/historical/trades", "trades", limit=370, **span)
    assert small == listed(client, "/historical/trades", "trades", limit=1000, **span)
    times = [seconds(trade["created_time"]) for trade in small]
    assert times == sorted(times, reverse=True)
    assert len({trade["trade_id"] for trade in small}) == len(small) > 1000
    assert since <= times[-1] <= times[0] <= until
    traded = {trade["ticker"] for trade in small}
    live = {market["ticker"] for market in listed(client, "/markets", "markets", limit=1000)}
    assert traded & live
    assert traded - live
    blocks = listed(client, "/historical/trades", "trades", is_block_trade="true", **span)
    assert blocks == [trade for trade in small if trade["is_block_trade"]]


def test_the_live_tier_forgets_a_market_whole(client):
    gone = client.get("/historical/markets", params={"limit": 1}).json()["markets"][0]["ticker"]
    span = {"start_ts": NOW - 5 * DAY, "end_ts": NOW, "period_interval": 60}
    live, past = trades_of(client, gone)
    assert live == []
    assert past
    batch = client.get("/markets/candlesticks", params={"market_tickers": gone, **span}).json()
    assert batch == {"markets": []}
    series = gone.partition("-")[0]
    single = client.get(f"/series/{series}/markets/{gone}/candlesticks", params=span)
    assert single.status_code == 404
    assert client.get("/historical/trades", params={"ticker": "KXNONE"}).status_code == 404


def test_history_tells_the_same_candles_in_other_words(client):
    settled = {"series_ticker": "KXHIGHNY", "status": "settled"}
    ticker = client.get("/markets", params=settled).json()["markets"][0]["ticker"]
    span = {"start_ts": NOW - 3 * DAY, "end_ts": NOW, "period_interval": 60}
    past = f"/historical/markets/{ticker}/candlesticks"
    assert client.get(past, params=span).status_code == 404
    live = client.get(f"/series/KXHIGHNY/markets/{ticker}/candlesticks", params=span).json()
    with client_at(NOW + 3 * DAY) as later:
        moved = later.get(past, params=span).json()
    assert len(moved["candlesticks"]) == len(live["candlesticks"]) > 10
    for new, old in zip(live["candlesticks"], moved["candlesticks"], strict=True):
        assert old["yes_bid"]["open"] == new["yes_bid"]["open_dollars"]
        assert old["price"]["mean"] == new["price"]["mean_dollars"]
        assert (old["volume"], old["open_interest"]) == (new["volume_fp"], new["open_interest_fp"])
        assert set(old["price"]) == {"open", "low", "high", "close", "mean", "previous"}


def test_the_cutoffs_move_every_hour(client):
    with client_at(NOW + HOUR) as later:
        moved = cutoff_of(later, "market_settled_ts")
    assert moved == cutoff_of(client, "market_settled_ts") + HOUR
