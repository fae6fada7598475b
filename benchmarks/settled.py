"""The backfill of a hundred thousand settled markets from the simulated exchange.

Most of the time is the exchange's, which computes each book anew and has a process of its own;
what is ours is told by CPU time, with the database server's. It runs on request only:
`make bench ARGS=settled`.
"""

import sys
from datetime import UTC, datetime, timedelta

from benchmarks import measure
from benchmarks.cpu_time import CpuTime, measure_cpu_time
from benchmarks.exchange_process import simulated_exchange, wait_until_up
from benchmarks.measure import peak_megabytes, report
from markets.backfill.settled.request import SettledRequest
from markets.backfill.settled.runner import (
    SettledProgress,
    SettledWork,
    fill_settled,
    find_settled,
)
from markets.kalshi.client import KalshiClient

# Of so many open markets about a hundred thousand are settled in these days, the first of which are
# in the historical tier by now.
OPEN_MARKETS = 20_000
DAYS, LIVE_DAYS = 45, 44
# Requests a second without a key.
RATE = 6
REPORT_EVERY = 100


def main() -> None:
    measure.migrate()
    with (
        simulated_exchange(markets=OPEN_MARKETS, retention_days=LIVE_DAYS) as url,
        KalshiClient(url) as client,
    ):
        wait_until_up(client)
        progress = SettledProgress()
        work = find(client, progress)
        fill(client, work, progress)
    report("peak memory", f"{peak_megabytes():.0f} MB", target="target 400 MB")


def find(client: KalshiClient, progress: SettledProgress) -> SettledWork:
    now = datetime.now(UTC)
    request = SettledRequest(start=now - timedelta(days=DAYS), end=now)
    found: list[SettledWork] = []
    took = measure_cpu_time(
        lambda: found.append(find_settled(client, request, progress, on_progress=tell))
    )
    tell_rate(f"{progress.markets:,} settled markets found", progress.markets, took)
    work = found[0]
    report(
        "calls to find them, live tier, historical tier",
        f"{client.requests:,}",
        ratio=f"{work.live.calls:,} + {work.historical.calls:,}",
        target=f"{(client.requests + work.calls) / RATE / 60:.0f} min at {RATE} a second",
    )
    return work


def fill(client: KalshiClient, work: SettledWork, progress: SettledProgress) -> None:
    took = measure_cpu_time(lambda: fill_settled(client, work, progress, on_progress=tell))
    tell_rate(f"{progress.candlesticks:,} candlesticks of them", progress.markets, took)


def tell_rate(what: str, markets: int, took: CpuTime) -> None:
    ours = f"{markets / took.processor:,.0f} a second of our CPU"
    report(what, f"{markets / took.clock:,.0f}/s", ratio=f"{ours}; {took.parts}")


def tell(progress: SettledProgress) -> None:
    if progress.calls_done % REPORT_EVERY == 0:
        done = f"{progress.markets:,} found, {progress.calls_done:,} of {progress.calls:,} calls"
        sys.stderr.write(f"\r  {done}")


if __name__ == "__main__":
    main()
