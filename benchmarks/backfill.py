"""Throughput and memory of a backfill of one-minute candles for 1,000 markets.

The exchange is canned: it answers at once with prepared candles, because the simulated exchange
renders them more slowly than they are stored. This fills three windows of 99 minutes, the longest
that one request may cover for a hundred markets; `make bench ARGS=week` fills seven days.
"""

from datetime import UTC, datetime, timedelta
from random import Random

import httpx
import msgspec
import redis
from django.conf import settings

from benchmarks import measure
from benchmarks.cpu_time import measure_cpu_time
from benchmarks.measure import chunks, market_with_quote, peak_megabytes, report, tickers
from benchmarks.recording import store_markets
from kalshi_insights.token_bucket import TokenBucket
from markets.backfill.progress import BackfillProgress
from markets.backfill.request import BackfillRequest
from markets.backfill.runner import backfill
from markets.kalshi.client import TOKENS_PER_REQUEST, KalshiClient

NAMES = tickers(1_000)
START = datetime(2026, 11, 2, tzinfo=UTC)
WINDOW = timedelta(minutes=99)
# Tokens a second: practically unlimited, the limit without a key, and a sixth of that.
RATES = (1_000_000, 60, 10)
URL = "http://exchange.test/trade-api/v2"
PREPARED = 997


def main() -> None:
    create_markets()
    for n, rate in enumerate(RATES):
        fill(START + n * WINDOW, START + (n + 1) * WINDOW, rate=rate)
    report_memory()


def create_markets() -> None:
    measure.migrate()
    for chunk in chunks(NAMES, 250):
        store_markets(chunk)


def fill(start: datetime, end: datetime, *, rate: float) -> None:
    """Backfill a window for all markets, and compare with the time that the tokens take."""
    bucket = TokenBucket(
        redis.Redis.from_url(settings.REDIS_URL), rate=rate, capacity=TOKENS_PER_REQUEST
    )
    request = BackfillRequest(start=start, end=end, tickers=NAMES, interval=1)
    with KalshiClient(URL, transport=httpx.MockTransport(answer), bucket=bucket) as client:
        done: list[BackfillProgress] = []
        took = measure_cpu_time(
            lambda: done.append(backfill(client, request, on_progress=lambda progress: None))
        )
        tokens = client.requests * TOKENS_PER_REQUEST / rate
    count = done[0].candlesticks
    assert count == len(NAMES) * (end - start) // timedelta(minutes=1)
    report(
        f"{count:,} candles at {rate:,} tokens a second",
        f"{count / took.clock:,.0f}/s",
        ratio=f"{took.clock:.1f} s, {tokens:.1f} s of tokens; {took.parts}",
    )


def report_memory() -> None:
    report("peak memory", f"{peak_megabytes():.0f} MB", target="target 400 MB")


# --- the canned exchange ------------------------------------------------------------------------


def answer(request: httpx.Request) -> httpx.Response:
    path, parameters = request.url.path.removeprefix("/trade-api/v2"), request.url.params
    if path == "/historical/cutoff":
        return httpx.Response(200, content=CUTOFF)
    names = (parameters.get("tickers") or parameters["market_tickers"]).split(",")
    if path == "/markets":
        markets = [
            market_with_quote(name, 0) | {"open_time": "2026-11-01T00:00:00Z"} for name in names
        ]
        return httpx.Response(200, content=msgspec.json.encode({"markets": markets, "cursor": ""}))
    first, last = int(parameters["start_ts"]), int(parameters["end_ts"])
    ends = range(-(-first // 60) * 60, last + 1, 60)
    found = (
        b'{"market_ticker":"%s","candlesticks":[%s]}' % (name.encode(), candles(n, ends))
        for n, name in enumerate(names)
    )
    return httpx.Response(200, content=b'{"markets":[%s]}' % b",".join(found))


def candles(market: int, ends: range) -> bytes:
    return b",".join(
        b'{"end_period_ts":%d,%s' % (end, CANDLES[(31 * market + end // 60) % PREPARED])
        for end in ends
    )


def candle(random: Random) -> bytes:
    bid = random.randrange(1, 97)
    sides = {"yes_bid": bid, "yes_ask": bid + 2, "price": bid + 1}
    body = {side: dollars(cents, random) for side, cents in sides.items()}
    if random.random() < 0.5:
        body["price"] = dict.fromkeys(body["price"]) | {"previous_dollars": f"{bid / 100:.4f}"}
    counts = {"volume_fp": "120.00", "open_interest_fp": f"{random.randrange(10**6) / 100:.2f}"}
    return msgspec.json.encode(body | counts)[1:]


def dollars(cents: int, random: Random) -> dict[str, str | None]:
    ends = [cents, min(cents + 1, 99), max(cents - 1, 1), cents]
    names = ("open", "high", "low", "close")
    return {f"{name}_dollars": f"{c / 100:.4f}" for name, c in zip(names, ends, strict=True)}


_random = Random(1)
CANDLES = [candle(_random) for _ in range(PREPARED)]
LONG_AGO = "2026-10-01T00:00:00Z"
CUTOFF = msgspec.json.encode(
    dict.fromkeys(("market_settled_ts", "trades_created_ts", "orders_updated_ts"), LONG_AGO)
)

if __name__ == "__main__":
    main()
