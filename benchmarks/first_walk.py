"""The first walk over 80,000 markets into an empty database, and the passes after it.

The exchange answers at once, and after 200 and 400 ms, as a real one does. Runs come every five
seconds at the default rate of tokens. Its pages have 90 events, so that there are as many of them
as the real exchange has, whose events are smaller. It runs on request only:
`make bench ARGS=first_walk`; `python -m benchmarks.first_walk 8000` tries it with fewer markets.
"""

import sys
import time
import urllib.request
from dataclasses import fields
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
from django.conf import settings
from django.core.management import call_command

from benchmarks import measure
from benchmarks.exchange_process import simulated_exchange, wait_until_up
from benchmarks.measure import report
from kalshi_insights.token_bucket import TokenBucket
from markets.coverage.causes import outages
from markets.kalshi.client import KalshiClient
from markets.models import Market, Poll, Sweep, Tier
from markets.recording import listings
from markets.recording.pace import Pace, pace
from markets.recording.recorder import record_tick

MARKETS = 80_000
LATENCIES = (0.0, 0.2, 0.4)
INTERVAL = 5.0
LATER_PASSES = 3
EVENTS_PER_PAGE = 90
# A walk that takes longer than this is reported as it is.
MOST_RUNS = 120


def main() -> None:
    markets = int(sys.argv[1]) if len(sys.argv) > 1 else MARKETS
    measure.migrate()
    listings.EVENTS_PER_PAGE = EVENTS_PER_PAGE
    with simulated_exchange(markets=markets) as url:
        bucket = TokenBucket.from_url(settings.REDIS_URL, rate=settings.KALSHI_RATE)
        with KalshiClient(url, bucket=bucket) as client:
            wait_until_up(client)
            for latency in LATENCIES:
                walk(client, url, latency)


def walk(client: KalshiClient, url: str, latency: float) -> None:
    """Record an empty database's first pass and some later ones, and report them."""
    call_command("flush", verbosity=0, interactive=False)
    forget_pace()
    delay_replies(url, latency)
    began = datetime.now(UTC)
    record_until_whole(client, passes=1)
    report_first_walk(began, latency)
    later = datetime.now(UTC)
    record_until_whole(client, passes=1 + LATER_PASSES)
    report_later_passes(later, latency)


def forget_pace() -> None:
    """Let the process know as little of its pace as one that has just started."""
    for each in fields(Pace):
        setattr(pace, each.name, getattr(Pace(), each.name))


def delay_replies(url: str, seconds: float) -> None:
    address = url.removesuffix("/trade-api/v2") + "/simulator/faults"
    body = msgspec.json.encode({"latency": seconds})
    for method, data in (("DELETE", None), ("POST", body)):
        request = urllib.request.Request(address, data=data, method=method)  # noqa: S310
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


def record_until_whole(client: KalshiClient, *, passes: int) -> None:
    """Run a tick every five seconds, as beat does, until so many passes are complete."""
    due = time.monotonic()
    for _ in range(MOST_RUNS):
        time.sleep(max(due - time.monotonic(), 0))
        due += INTERVAL
        record_tick(client, interval=INTERVAL)
        if Sweep.objects.filter(tier=Tier.UNIVERSE, complete=True).count() >= passes:
            time.sleep(max(due - time.monotonic(), 0))
            return


def report_first_walk(began: datetime, latency: float) -> None:
    runs = list(Poll.objects.order_by("started_at"))
    first = Sweep.objects.filter(tier=Tier.UNIVERSE).earliest("id")
    whole = (first.finished_at or datetime.now(UTC)) - began
    report(
        f"first walk, {latency * 1000:.0f} ms a reply: seconds until it is whole",
        f"{whole.total_seconds():.0f} s",
        ratio=f"{Market.objects.count():,} markets, {len(first.pages)} pages, {len(runs)} runs",
    )
    report("  longest run", f"{longest(runs):.1f} s", target="target 5 s")
    report(
        "  failed runs, outages, late runs",
        f"{sum(bool(run.error) for run in runs)}, "
        f"{len(outages(began, datetime.now(UTC)))}, {late(runs)}",
        target="target 0",
    )


def report_later_passes(since: datetime, latency: float) -> None:
    passes = list(
        Sweep.objects.filter(tier=Tier.UNIVERSE, complete=True, started_at__gt=since).order_by("id")
    )
    runs = list(Poll.objects.filter(started_at__gt=since).order_by("started_at"))
    lasted = [(s.finished_at - s.started_at).total_seconds() for s in passes if s.finished_at]
    apart = [(b.started_at - a.started_at).total_seconds() for a, b in pairwise(passes)]
    report(
        f"  later passes, {latency * 1000:.0f} ms a reply: longest",
        f"{max(lasted, default=0):.1f} s",
        ratio=f"begun {', '.join(f'{each:.1f}' for each in apart)} s apart",
        target=f"target {settings.UNIVERSE_INTERVAL:g} s",
    )
    report("  longest run, late runs", f"{longest(runs):.1f} s, {late(runs)}")


def longest(runs: list[Poll]) -> float:
    return max((run.seconds or 0.0 for run in runs), default=0.0)


def late(runs: list[Poll]) -> int:
    """Count the runs that began later than half an interval after their time."""
    pairs = pairwise(run.started_at for run in runs)
    return sum((b - a).total_seconds() > 1.5 * INTERVAL for a, b in pairs)


if __name__ == "__main__":
    main()
