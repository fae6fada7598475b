"""The tape beside the other tiers: 300 trades a second, a minute of ten times as many, and after.

The exchange is the simulated one, but for its trades, which this process makes by the clock. It
runs on request only, some eight minutes in real time: `make bench ARGS=tape`. To try it out:

    TAPE_MARKETS=2000 TAPE_SUSTAINED=20 TAPE_BURST=5 TAPE_AFTER=30 make bench ARGS=tape
"""

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import msgspec
from django.conf import settings

from benchmarks import measure
from benchmarks.exchange_process import simulated_exchange, wait_until_up
from benchmarks.measure import median, percentile, report
from kalshi_insights.token_bucket import TokenBucket
from markets.intervals import Interval
from markets.kalshi.client import KalshiClient
from markets.models import DiskUsage, Market, Poll, Sweep, TapeSpan, Tier, Trade
from markets.recording.recorder import record_tick
from markets.storage.partitions import TRADES

RATE, BURST_RATE = 300, 3_000
MARKETS, SUSTAINED, BURST, AFTER = (
    float(os.environ.get(f"TAPE_{name}", default))
    for name, default in (("MARKETS", 20_000), ("SUSTAINED", 60), ("BURST", 60), ("AFTER", 300))
)
LONGEST_PAGE = 1_000
# Numbers that follow each other get ids and markets far apart.
SCATTER = 0x9E3779B97F4A7C15F39CC0605CEDC835


@dataclass
class Tape(httpx.BaseTransport):
    """Makes trades at a steady rate but for a burst; everything else comes from an exchange."""

    tickers: list[str] = field(default_factory=list)
    exchange: httpx.BaseTransport = field(default_factory=httpx.HTTPTransport)
    began: float = field(default_factory=time.time)
    burst_at: float = float("inf")
    requests: int = 0

    def count(self, at: float) -> int:
        """Return how many trades have happened by an instant."""
        in_burst = min(max(at - self.burst_at, 0), BURST)
        return int(RATE * (at - self.began) + (BURST_RATE - RATE) * in_burst)

    def time_of(self, number: int) -> float:
        """Return the instant of a trade by its number."""
        before, within = RATE * (self.burst_at - self.began), BURST_RATE * BURST
        if number <= before:
            return self.began + number / RATE
        if number <= before + within:
            return self.burst_at + (number - before) / BURST_RATE
        return self.burst_at + BURST + (number - before - within) / RATE

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/markets/trades"):
            return self.exchange.handle_request(request)
        self.requests += 1
        return httpx.Response(200, content=self.page(request.url.params))

    def page(self, params: httpx.QueryParams) -> bytes:
        until = min(time.time(), float(params.get("max_ts") or "inf"))
        since = max(self.began, float(params.get("min_ts") or 0))
        newest = int(params.get("cursor") or self.count(until))
        last = max(newest - int(params["limit"]), self.count(since))
        trades = [self.trade(number) for number in range(newest, last, -1)]
        cursor = str(last) if last > self.count(since) else ""
        return msgspec.json.encode({"trades": trades, "cursor": cursor})

    def trade(self, number: int) -> dict[str, object]:
        at = datetime.fromtimestamp(self.time_of(number), UTC)
        scattered = number * SCATTER % 2**128
        return {
            "trade_id": str(UUID(int=scattered)),
            "ticker": self.tickers[scattered % len(self.tickers)],
            "count_fp": f"{scattered % 500 + 1}.00",
            "yes_price_dollars": f"0.{scattered % 99 + 1:02}00",
            "taker_outcome_side": "yes",
            "taker_book_side": "bid",
            "created_time": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "is_block_trade": False,
        }


def main() -> None:
    measure.migrate()
    with simulated_exchange(markets=int(MARKETS)) as url:
        tape = Tape()
        bucket = TokenBucket.from_url(settings.REDIS_URL, rate=settings.KALSHI_RATE)
        with KalshiClient(url, bucket=bucket, transport=tape) as client:
            wait_until_up(client)
            settings.RECORD_TRADES = "none"
            record_universe(client)
            report_ticks("without trades", ticks(client, seconds=SUSTAINED))
            settings.RECORD_TRADES = "all"
            tape.tickers, tape.began = Market.objects.most_traded(int(MARKETS)), time.time()
            began = datetime.now(UTC)
            report_ticks(f"{RATE} trades a second", ticks(client, seconds=SUSTAINED))
            report_open("  open after that", None)
            tape.burst_at = time.time()
            report_ticks(f"{BURST_RATE:,} trades a second", ticks(client, seconds=BURST))
            report_open("  open after that", None)
            closed_in = close(client, tape, seconds=AFTER)
            report_open(f"  open {AFTER:.0f} s later", closed_in)
            report_record(tape, Interval(began, datetime.now(UTC)))


def record_universe(client: KalshiClient) -> None:
    """Record until a whole pass over the universe is done and its markets are stored."""
    while not Sweep.objects.newest_complete(Tier.UNIVERSE):
        tick(client)


def tick(client: KalshiClient) -> tuple[float, Poll]:
    """Run one tick in its slot; returns its seconds and its row."""
    began = time.perf_counter()
    poll = record_tick(client, interval=settings.POLL_INTERVAL)
    seconds = time.perf_counter() - began
    time.sleep(max(settings.POLL_INTERVAL - seconds, 0))
    assert poll is not None
    assert not poll.error, poll.error
    return seconds, poll


def ticks(client: KalshiClient, *, seconds: float) -> list[tuple[float, Poll]]:
    until, run = time.monotonic() + seconds, []
    while time.monotonic() < until:
        run.append(tick(client))
    return run


def close(client: KalshiClient, tape: Tape, *, seconds: float) -> float | None:
    """Record for some more time; returns after how many seconds nothing was open any more."""
    began, closed = time.monotonic(), None
    run = []
    while time.monotonic() < began + seconds:
        run.append(tick(client))
        if closed is None and not TapeSpan.objects.open().exists():
            closed = time.monotonic() - began
    report_ticks("after the burst", run)
    return closed


def report_ticks(when: str, run: list[tuple[float, Poll]]) -> None:
    seconds = [seconds for seconds, _ in run]
    report(
        f"tick of {len(Market.objects.hot_tickers()):,} hot markets, {when}: p50",
        f"{median(seconds):.2f} s",
        ratio=f"slowest {percentile(seconds, 1):.2f} s of {len(seconds)}",
    )
    passes = [
        (sweep.finished_at - sweep.started_at).total_seconds()
        for sweep in Sweep.objects.filter(tier=Tier.UNIVERSE, complete=True)[:3]
        if sweep.finished_at
    ]
    if passes:
        report("  the newest passes over the universe took", f"{median(passes):.0f} s")


def report_open(what: str, closed_in: float | None) -> None:
    length = sum((span.length for span in TapeSpan.objects.open()), timedelta())
    report(
        what,
        f"{length.total_seconds():.0f} s",
        ratio="" if closed_in is None else f"closed after {closed_in:.0f} s",
        target="target 0 s" if closed_in is not None else "",
    )


def report_record(tape: Tape, window: Interval) -> None:
    """Compare what is whole with what happened, and report its size."""
    wrong = 0
    whole = TapeSpan.objects.whole(window)
    for span in whole:
        stored = Trade.objects.between(*span).count()
        happened = tape.count(span.end.timestamp()) - tape.count(span.start.timestamp())
        wrong += abs(stored - happened) > 1
    count = Trade.objects.count()
    report(
        "trades recorded",
        f"{count:,}",
        ratio=f"{sum((each.length for each in whole), timedelta()) / window.length:.1%} whole",
    )
    report("  whole spans that lack a trade", f"{wrong}", target="target 0")
    report("  requests for trades", f"{tape.requests:,}")
    size = DiskUsage.objects.measure(at=measure.now()).sizes[TRADES]
    report("  bytes of a trade on disk", f"{size / count:.0f}", target="target 180")


if __name__ == "__main__":
    main()
