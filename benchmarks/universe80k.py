"""The whole site with 80,000 open markets: pages, bytes, memory, disk and cadence.

It runs on request only, for most of an hour: `make bench ARGS=universe80k`. Every list is timed
beside the recorder, and before that with 1,000 markets. To try it out with fewer markets, and with
fewer seconds of watching the recorder while nobody asks for anything:

    BENCH_MARKETS=3000 BENCH_SECONDS=30 make bench ARGS=universe80k
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from types import FrameType
from typing import NoReturn

from django.urls import reverse

from benchmarks.browser import Tab
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
from kalshi_insights.embedded import BASE_DIR
from markets.models import Market

MARKETS, REFERENCE = 80_000, 1_000
STRETCH = 300.0
REFRESHES, REFRESH_EVERY = 12, 5.0
REFRESH_TARGET, VISIT_TARGET = 15, 250  # kilobytes
MEMORY_TARGETS = {"everything but the exchange": 1_200, "beat": 100}  # megabytes


def main() -> None:
    markets = int(os.environ.get("BENCH_MARKETS", MARKETS))
    seconds = float(os.environ.get("BENCH_SECONDS", STRETCH))
    signal.signal(signal.SIGTERM, leave)
    with recorded_universe(REFERENCE) as site:
        site.settle()
        before = time_lists(site)
    with recorded_universe(markets) as site:
        report_start(site)
        report_stretch(site, seconds)
        report_tabs(site.port)
        report_requests(site, before)
        report_memory(site)
        # Whatever is written from here on is written by this process alone.
        site.roles.end()
        report_updates()


def leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit("ended by a signal")


# --- lists --------------------------------------------------------------------------------------


def time_lists(site: Site) -> dict[str, Timing]:
    requests = requests_of(Market.objects.open().count())
    progress(f"{len(requests)} kinds of lists")
    return time_requests(site.port, requests)


def report_requests(site: Site, before: Mapping[str, Timing]) -> None:
    count, began = Market.objects.open().count(), now()
    print(f"  lists of {count:,} open markets, beside the same of {REFERENCE:,}")
    report_lists(requests_of(count), time_lists(site), before=before)
    print("  what does not exist")
    for name, timing in time_requests(site.port, wrong_requests()).items():
        report_seconds(name, timing)
    slots("while lists were asked for", began)


# --- bytes --------------------------------------------------------------------------------------


def report_tabs(port: int) -> None:
    """Report the bytes of first visits, and those of a minute of three open tabs."""
    progress("visits and refreshes")
    market = Market.objects.with_event().open().ordered_by("-volume_24h")[0]
    others = [reverse("account_login"), reverse("backtests:list"), reverse("backtests:new")]
    if result := stored_result(market):
        others.append(reverse("backtests:detail", args=[result]))
    watched = [reverse("markets:list"), market.get_absolute_url(), reverse("markets:recorder")]
    tabs = {address: Tab(port, address) for address in watched}
    for address, tab in (tabs | {address: Tab(port, address) for address in others}).items():
        report_visit(address, tab)
    refreshes = []
    for _ in range(REFRESHES):
        time.sleep(REFRESH_EVERY)
        refreshes.append({address: tab.refresh() for address, tab in tabs.items()})
    for address in tabs:
        report_refreshes(address, [sizes[address] for sizes in refreshes])


def report_visit(address: str, tab: Tab) -> None:
    largest = sorted(tab.sizes.items(), key=lambda part: -part[1])[:3]
    names = {part: part.partition("?")[0].rstrip("/").rpartition("/")[2] for part, _ in largest}
    report(
        f"first visit of {address}",
        f"{sum(tab.sizes.values()) / 1e3:.0f} kB",
        ratio=", ".join(f"{names[part]} {size / 1e3:.0f}" for part, size in largest),
        target=f"target {VISIT_TARGET} kB",
    )


def report_refreshes(address: str, sizes: list[dict[str, int]]) -> None:
    sums = [sum(parts.values()) for parts in sizes]
    means = {part: sum(each[part] for each in sizes) / len(sizes) / 1e3 for part in sizes[0]}
    hourly = sum(means.values()) * 3.6 / REFRESH_EVERY
    parts = ", ".join(f"{part} {kilobytes:.1f}" for part, kilobytes in means.items())
    report(
        f"refresh of {address}, mean of {REFRESHES}",
        f"{sum(means.values()):.1f} kB",
        ratio=f"at most {max(sums) / 1e3:.1f}, {hourly:.0f} MB/h: {parts}",
        target=f"target {REFRESH_TARGET} kB",
    )


def stored_result(market: Market) -> int | None:
    """Run a backtest of a market; return the number of its result, None where it fails."""
    start = f"{now() - timedelta(days=1):%Y-%m-%d}"
    command = [sys.executable, "manage.py", "runbacktest", "favourite-hold", "--json"]
    command += ["--ticker", market.ticker, "--start", start]
    ran = subprocess.run(command, cwd=BASE_DIR, capture_output=True, check=False)
    if ran.returncode:
        progress(ran.stderr.decode())
        return None
    number: int = json.loads(ran.stdout)["id"]
    return number


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
