"""The whole site with 80,000 open markets: pages, bytes, memory, disk and cadence.

It runs on request only, for most of an hour: `make bench ARGS=universe80k`. Every list is timed
beside the recorder, and before that with 1,000 markets. To try it out with fewer markets, and with
fewer seconds of watching the recorder while nobody asks for anything:

    BENCH_MARKETS=3000 BENCH_SECONDS=30 make bench ARGS=universe80k
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta

from benchmarks import end_in_order
from benchmarks.list_requests import (
    Timing,
    report_lists,
    report_seconds,
    requests_of,
    time_requests,
    wrong_requests,
)
from benchmarks.measure import now, report
from benchmarks.process_memory import pss_by_role
from benchmarks.recorded_universe import Site, progress, recorded_universe
from benchmarks.recording_account import report_start, report_stretch, report_updates, slots
from benchmarks.visits import measure_site
from kalshi_insights.embedded import BASE_DIR
from markets.models import Market

MARKETS, REFERENCE = 80_000, 1_000
STRETCH = 300.0
MEMORY_TARGETS = {"everything but the exchange": 1_200, "beat": 100}  # megabytes


def main() -> None:
    markets = int(os.environ.get("BENCH_MARKETS", MARKETS))
    seconds = float(os.environ.get("BENCH_SECONDS", STRETCH))
    end_in_order()
    with recorded_universe(REFERENCE) as site:
        site.settle()
        before = time_lists(site)
    with recorded_universe(markets) as site:
        report_start(site)
        report_stretch(site, seconds)
        report_visits(site)
        report_requests(site, before)
        report_memory(site)
        # Whatever is written from here on is written by this process alone.
        site.roles.end()
        report_updates()


# --- lists --------------------------------------------------------------------------------------


def time_lists(site: Site) -> dict[str, Timing]:
    return time_requests(site.port, requests_of(Market.objects.open().count()))


def report_requests(site: Site, before: Mapping[str, Timing]) -> None:
    count, began = Market.objects.open().count(), now()
    print(f"  lists of {count:,} open markets, beside the same of {REFERENCE:,}")
    report_lists(requests_of(count), time_lists(site), before=before)
    print("  what does not exist")
    for name, timing in time_requests(site.port, wrong_requests()).items():
        report_seconds(name, timing)
    slots("while lists were asked for", began)


# --- bytes --------------------------------------------------------------------------------------


def report_visits(site: Site) -> None:
    progress("visits and refreshes, the page of a result among them")
    [ticker] = Market.objects.most_traded(1)
    backtest(ticker)
    measure_site(f"http://127.0.0.1:{site.port}")


def backtest(ticker: str) -> None:
    """Run a backtest of a market, and say so where it fails."""
    start = f"{now() - timedelta(days=1):%Y-%m-%d}"
    command = [sys.executable, "manage.py", "runbacktest", "favourite-hold"]
    command += ["--ticker", ticker, "--start", start]
    ran = subprocess.run(command, cwd=BASE_DIR, capture_output=True, check=False)
    if ran.returncode:
        progress(ran.stderr.decode())


# --- memory -------------------------------------------------------------------------------------


def report_memory(site: Site) -> None:
    """Report the memory of each role, after everything above has been asked of it."""
    megabytes = pss_by_role(site.pids)
    everything = {"everything but the exchange": sum(megabytes.values())}
    for role, size in (everything | megabytes).items():
        target = f"target {MEMORY_TARGETS[role]:,} MB" if role in MEMORY_TARGETS else ""
        report(f"memory (PSS): {role}", f"{size:,.0f} MB", target=target)


if __name__ == "__main__":
    main()
