"""Searches over the demo's day, by one, two and three worker processes.

It runs on request only: `make bench ARGS=parameter_search`. The recorded day is the demo's, without
what its recorder adds while it runs. Every worker reads the record for itself, and computes on one
core.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

# This import comes first, because it sets up Django.
from benchmarks import measure

# isort: split

from backtests.models import BacktestStatus, Search
from backtests.requests import BacktestRequest, MarketSelection
from backtests.rules.execution import AcrossGaps, ExecutionModel
from backtests.searches import requests
from backtests.searches.requests import SearchRequest
from benchmarks.exchange_process import simulated_exchange
from benchmarks.measure import now, report
from markets.models import MarketSnapshot, Series

MARKETS = 800
FOLDS = 4
# 500 points, and five times as many, beside which reading the record takes little.
VARIED = {"window": "10:250:10", "enter": "1.0:2.9:0.1"}
FINELY_VARIED = {"window": "10:258:2", "enter": "1.0:2.9:0.1"}
WORKERS = (1, 2, 3)
TARGET = 120.0  # seconds
READY_WITHIN = 120.0


def main() -> None:
    measure.migrate()
    record_day()
    print(f"  {MarketSnapshot.objects.count():,} snapshots; {os.cpu_count()} cores", flush=True)
    report(
        f"500 points of mean-reversion, {FOLDS} folds, 2 worker processes",
        f"{measure_search(VARIED, workers=2):.1f} s",
        target=f"target {TARGET:.0f} s on 2 cores",
    )
    seconds = {count: measure_search(FINELY_VARIED, workers=count) for count in WORKERS}
    for count, taken in seconds.items():
        report(
            f"2,500 points, {count} worker process{'es' if count > 1 else ''}",
            f"{taken:.1f} s",
            ratio=f"{seconds[1] / taken:.2f} x one worker's speed",
        )


def record_day() -> None:
    """Record the exchange until its fees are known, and then its last day."""
    with simulated_exchange(markets=MARKETS) as exchange:
        environment = {**os.environ, "SIMULATED": "true", "KALSHI_API_URL": exchange}
        recorder = begin("pollmarkets", environment)
        while not Series.objects.exists() or Series.objects.filter(fee_type="").exists():
            time.sleep(0.5)
        recorder.terminate()
        recorder.wait()
        if begin("recordpast", environment).wait():
            raise SystemExit("recordpast has failed.")


def begin(command: str, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "manage.py", command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def measure_search(varied: Mapping[str, str], *, workers: int) -> float:
    """The seconds from the request to the figures."""
    end = now()
    request = SearchRequest(
        run=BacktestRequest(
            strategy="mean-reversion",
            selection=MarketSelection(
                start=end - timedelta(days=1),
                end=end,
                series=list(Series.objects.values_list("ticker", flat=True)),
            ),
            execution=ExecutionModel(across_gaps=AcrossGaps.WAIT),
        ),
        varied=varied,
        folds=FOLDS,
    )
    search = requests.store(request, user=None, now=end)
    with running_workers(workers):
        began = time.perf_counter()
        requests.call_worker(search.pk)
        while not search.is_finished:
            time.sleep(0.1)
            search = Search.objects.get(pk=search.pk)
        taken = time.perf_counter() - began
    assert search.status == BacktestStatus.DONE, search.error
    return taken


@contextmanager
def running_workers(count: int) -> Iterator[None]:
    """Run so many workers, which have compiled the engine."""
    command = [sys.executable, "-m", "kalshi_insights.processes.worker", "backtester"]
    with tempfile.TemporaryDirectory(prefix="kalshi-workers-") as folder, ExitStack() as stack:
        logs = [Path(folder) / f"{n}.log" for n in range(count)]
        for log in logs:
            environment = {
                **os.environ,
                "LOG_LEVEL": "INFO",
                "PULSE_PATH": str(log.with_suffix("")),
            }
            with log.open("wb") as out:
                worker = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
        wait_until_ready(logs)
        yield


def wait_until_ready(logs: list[Path]) -> None:
    until = time.monotonic() + READY_WITHIN
    # The banner comes once the engine is compiled.
    while not all("[queues]" in log.read_text() for log in logs):
        if time.monotonic() > until:
            raise SystemExit(logs[0].read_text())
        time.sleep(0.1)


if __name__ == "__main__":
    main()
