"""The recorder's tick with 2,000 hot markets, end to end, beside a simulated exchange.

All runs five times as fast as in life, a tick a second, but for the deadlines of the tick.
"""

import time
from functools import partial
from statistics import mean

from django.conf import settings
from django.test import override_settings

from benchmarks import measure
from benchmarks.exchange import simulated, until_up
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
HURRIED = {
    "HOT_MARKETS": HOT,
    "KALSHI_RATE": RATE,
    "POLL_INTERVAL": INTERVAL,
    "UNIVERSE_INTERVAL": 30 / SPEED,
}


def main() -> None:
    measure.migrate()
    with simulated(markets=MARKETS, speed=SPEED) as url, override_settings(**HURRIED):
        bucket = TokenBucket.from_url(settings.REDIS_URL, rate=RATE)
        with KalshiClient(url, bucket=bucket) as client, KalshiClient(url) as idle:
            until_up(client)
            warm_up(client)
            asking = [timed(partial(ask, idle)) for _ in range(10)]
            tell("as quotes move", client, asking)
            # As when every market's heartbeat is due at once.
            with override_settings(HOT_HEARTBEAT=-1):
                tell("every quote written", client, asking)


def warm_up(client: KalshiClient) -> None:
    """Until the hot list is chosen and what is new of it is on record."""
    while len(Market.objects.hot_tickers()) < HOT:
        tick(client)
    for _ in range(5):
        tick(client)


def tick(client: KalshiClient) -> tuple[float, Poll]:
    """Seconds of one run as it is called, and its row."""
    began = time.perf_counter()
    poll = record_tick(client, interval=INTERVAL)
    seconds = time.perf_counter() - began
    time.sleep(max(INTERVAL - seconds, 0))
    assert poll is not None
    assert not poll.error, poll.error
    return seconds, poll


def ask(client: KalshiClient) -> None:
    """Ask for the hot markets and do nothing with the answers."""
    for batch in ticker_batches(Market.objects.hot_tickers()):
        client.markets(tickers=batch)


def tell(when: str, client: KalshiClient, asking: list[float]) -> None:
    ticks = [tick(client) for _ in range(TICKS // 2)]
    seconds, polls = [seconds for seconds, _ in ticks], [poll for _, poll in ticks]
    beside = median(asking)
    report(
        f"tick of {len(Market.objects.hot_tickers()):,} hot markets, {when}: p50",
        f"{median(seconds) * 1000:.0f} ms",
        ratio=f"{median(seconds) / beside:.1f} x only asking ({beside * 1000:.0f} ms)",
    )
    report(
        f"  p99, the slowest of {len(ticks)}",
        f"{percentile(seconds, 0.99) * 1000:.0f} ms",
        target="target 1,000 ms",
    )
    written = mean(poll.snapshots for poll in polls)
    report(
        "  requests a tick",
        f"{mean(poll.requests for poll in polls):.1f}",
        ratio=f"{mean(p.markets for p in polls):,.0f} quotes read, {written:,.0f} written",
    )


if __name__ == "__main__":
    main()
