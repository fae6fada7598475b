"""The recorder's tick with 2,000 hot markets, end to end against the simulated exchange.

Everything runs five times as fast as in production, with a tick a second; only the deadlines of a
tick stay the same.
"""

import time
from functools import partial
from statistics import mean

from django.conf import settings
from django.db import connection
from django.test import override_settings

from benchmarks import measure
from benchmarks.cpu_time import NO_TIME, Stopwatch, measure_cpu_time
from benchmarks.exchange_process import simulated_exchange, wait_until_up
from benchmarks.measure import median, percentile, report, timed
from kalshi_insights.token_bucket import TokenBucket
from markets.kalshi.client import KalshiClient, ticker_batches
from markets.models import Market, Poll
from markets.recording.recorder import record_tick

MARKETS = 2_500
HOT = 2_000
SPEED = 5
TICKS = 60
INTERVAL = 5 / SPEED
RATE = 60 * SPEED
FAST_SETTINGS = {
    "HOT_MARKETS": HOT,
    "KALSHI_RATE": RATE,
    "POLL_INTERVAL": INTERVAL,
    "UNIVERSE_INTERVAL": 30 / SPEED,
}


def main() -> None:
    measure.migrate()
    with (
        simulated_exchange(markets=MARKETS, speed=SPEED) as url,
        override_settings(**FAST_SETTINGS),
    ):
        bucket = TokenBucket.from_url(settings.REDIS_URL, rate=RATE)
        with KalshiClient(url, bucket=bucket) as client, KalshiClient(url) as idle:
            wait_until_up(client)
            warm_up(client)
            fetching = [timed(partial(fetch_hot_markets, idle)) for _ in range(10)]
            report_ticks("as quotes move", client, fetching)
            # This is as if every market's heartbeat were due at once.
            with override_settings(HOT_HEARTBEAT=-1):
                report_ticks("every quote written", client, fetching)
            with override_settings(RECORD_TRADES="none"):
                report_ticks("as quotes move, without trades", client, fetching)


def warm_up(client: KalshiClient) -> None:
    """Record until the hot list is full and its markets are stored."""
    while len(Market.objects.hot_tickers()) < HOT:
        tick(client)
    for _ in range(5):
        tick(client)


def tick(client: KalshiClient) -> tuple[float, Poll]:
    """Run one tick; returns its seconds and its row."""
    began = time.perf_counter()
    poll = record_tick(client, interval=INTERVAL)
    seconds = time.perf_counter() - began
    time.sleep(max(INTERVAL - seconds, 0))
    assert poll is not None
    assert not poll.error, poll.error
    return seconds, poll


def fetch_hot_markets(client: KalshiClient) -> None:
    """Fetch the hot markets and discard the replies."""
    for batch in ticker_batches(Market.objects.hot_tickers()):
        client.markets(tickers=batch)


def report_ticks(when: str, client: KalshiClient, fetching: list[float]) -> None:
    ticks: list[tuple[float, Poll]] = []
    watch = Stopwatch()
    with connection.execute_wrapper(watch):
        used = sum(
            (measure_cpu_time(lambda: ticks.append(tick(client))) for _ in range(TICKS // 2)),
            NO_TIME,
        )
    seconds, polls = [seconds for seconds, _ in ticks], [poll for _, poll in ticks]
    reference = median(fetching)
    report(
        f"tick of {len(Market.objects.hot_tickers()):,} hot markets, {when}: p50",
        f"{median(seconds) * 1000:.0f} ms",
        ratio=f"{median(seconds) / reference:.1f} x only fetching ({reference * 1000:.0f} ms)",
    )
    report(
        f"  p99, the slowest of {len(ticks)}",
        f"{percentile(seconds, 0.99) * 1000:.0f} ms",
        target="target 1,000 ms",
    )
    report(
        "  CPU of a tick, in Python and in the database",
        f"{used.processor / len(ticks) * 1000:.0f} ms",
        ratio=(
            f"{used.python / len(ticks) * 1000:.0f} and {used.database / len(ticks) * 1000:.0f} ms,"
            f" {watch.statements / len(ticks):.0f} statements"
        ),
    )
    written = mean(poll.snapshots for poll in polls)
    report(
        "  requests per tick",
        f"{mean(poll.requests for poll in polls):.1f}",
        ratio=f"{mean(p.markets for p in polls):,.0f} quotes read, {written:,.0f} written",
    )


if __name__ == "__main__":
    main()
