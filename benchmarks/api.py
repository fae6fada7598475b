"""Latency of the API behind gunicorn, with twenty keep-alive clients at a fixed request rate.

`make bench` reads from one day of snapshots, 1.7 million. An argument gives another number of days.
Thirty days are fifty million snapshots, which take a quarter of an hour and 15 GB to create, and
they are kept in the folder that is named:

    python -m kalshi_insights.embedded --folder var/bench -- python -m benchmarks.api 30
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from http.client import HTTPConnection
from random import Random
from typing import Any, NamedTuple
from wsgiref.types import WSGIApplication

from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory, override_settings
from django.urls import path
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin
from rest_framework.renderers import JSONRenderer
from rest_framework.viewsets import GenericViewSet

from benchmarks import WITHOUT_LIMITS, measure
from benchmarks.cpu_time import database_seconds
from benchmarks.large import create_days, days_on_record
from benchmarks.measure import median, percentile, report
from benchmarks.reading import response_times
from kalshi_insights.embedded.servers import free_port
from kalshi_insights.processes.parents import ends_with_parent
from kalshi_insights.rest.pagination import OffsetPages
from markets.api.serializers import MARKET_ROW
from markets.filters import MarketListFilter
from markets.models import Market
from markets.storage.partitions import SNAPSHOTS, DayPartition

CLIENTS = 20
RATE = 50  # requests a second, of all clients together
EACH = 25  # requests of each client
WARM_UP = 4
LIST = "/api/v1/markets/?limit=100"
ROOT = "/api/v1/"
WHOLE, IN_DATABASE, IN_DATABASE_FOR_BUCKETS = 25, 5, 10  # milliseconds
ROUNDS = 5
IN_A_ROUND = 40
TARGET_RATIO = 5

Address = Callable[[int], str]


def main() -> None:
    measure.migrate()
    days = days_on_record() or create_days(int(sys.argv[1]) if sys.argv[1:] else 1)
    reads = request_addresses(days)
    with running_server() as web:
        for address in (lambda n: ROOT, *reads.values()):
            under_load(web.port, address, each=WARM_UP)
        floor = percentile(under_load(web.port, lambda n: ROOT), 0.95)
        print(
            f"  {days[-1]} and {len(days) - 1} days before; {RATE} requests/s, {CLIENTS} clients"
            f"\n  the API root, which needs no database: p95 {floor * 1000:.1f} ms"
        )
        for name, address in reads.items():
            report_response_times(name, under_load(web.port, address), floor)
        report_response_times(
            "all of these in turn", under_load(web.port, in_turn([*reads.values()])), floor
        )
    response_times("the root", lambda n: ROOT)  # fills the caches of the process
    for name, address in reads.items():
        report_database_time(name, address)
    compare_throughput()


def request_addresses(days: Sequence[date]) -> dict[str, Address]:
    """Map each kind of read to the address of its n-th request, which varies market and day."""
    tickers = list(Market.objects.order_by("ticker").values_list("ticker", flat=True))
    random = Random(1)
    markets = [f"/api/v1/markets/{ticker}" for ticker in random.choices(tickers, k=1_000)]
    starts = [
        DayPartition(SNAPSHOTS, day).bounds[0] for day in random.choices(days, k=len(markets))
    ]

    def snapshots(n: int) -> str:
        return f"{markets[n]}/snapshots/?limit=1000&start={starts[n]:%Y-%m-%dT%H:%M:%SZ}"

    def candlesticks(n: int) -> str:
        end = starts[n] + timedelta(days=1)
        window = f"start={starts[n]:%Y-%m-%dT%H:%M:%SZ}&end={end:%Y-%m-%dT%H:%M:%SZ}"
        return f"{markets[n]}/candlesticks/?format=columns&interval=1m&{window}"

    return {
        "markets/?limit=100": lambda n: f"{LIST}&skip={n % len(tickers) // 2}",
        "one market": lambda n: f"{markets[n]}/",
        "newest quote": lambda n: f"{markets[n]}/latest/",
        "the first 1,000 snapshots of a day": snapshots,
        "a day of candlesticks of a minute, columns": candlesticks,
    }


def in_turn(addresses: Sequence[Address]) -> Address:
    return lambda n: addresses[n % len(addresses)](n)


# --- A web server, and clients ------------------------------------------------------------------


class Web(NamedTuple):
    port: int
    pid: int


@contextmanager
def running_server() -> Iterator[Web]:
    """Run gunicorn as the image does."""
    port = free_port()
    gunicorn = ["-m", "gunicorn", "--workers", "2", "--no-control-socket"]
    command = [*gunicorn, "--bind", f"127.0.0.1:{port}", "kalshi_insights.asgi"]
    process = subprocess.Popen(
        [sys.executable, *command],
        # Logging is part of the cost of a request, so it stays on.
        env={**os.environ, "DEBUG": "false", "SECRET_KEY": "bench", "LOG_LEVEL": "INFO"}
        | WITHOUT_LIMITS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=ends_with_parent(signal.SIGTERM),  # noqa: PLW1509
    )
    try:
        wait_for(port, process)
        yield Web(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{ROOT}", timeout=10).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("gunicorn exited before it was ready")


def under_load(port: int, address: Address, *, each: int = EACH) -> list[float]:
    """Measure each response from the instant when its request was due.

    A server that falls behind is thus visible, although its clients wait for it.
    """
    began = time.perf_counter() + 0.1
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = pool.map(partial(client, port, address, began, each), range(CLIENTS))
        return [seconds for latencies in clients for seconds in latencies]


def client(port: int, address: Address, began: float, each: int, number: int) -> list[float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    latencies = []
    for n in range(number, each * CLIENTS, CLIENTS):
        due = began + n / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.request("GET", address(n), headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        answer.read()
        latencies.append(time.perf_counter() - due)
        assert answer.status == 200, (address(n), answer.status)
    connection.close()
    return latencies


def report_response_times(name: str, latencies: list[float], floor: float) -> None:
    typical, longest = median(latencies) * 1000, max(latencies) * 1000
    p95 = percentile(latencies, 0.95)
    report(
        name,
        f"{p95 * 1000:.1f} ms",
        ratio=f"p50 {typical:.1f}, max {longest:.1f} ms; {p95 / floor:.1f} x the root",
        target=f"target {WHOLE} ms",
    )


def report_database_time(name: str, address: Address) -> None:
    python, database = time.process_time(), database_seconds()
    seconds, _ = response_times(name, address)
    python, database = time.process_time() - python, database_seconds() - database
    each = 1000 / len(seconds)
    target = IN_DATABASE_FOR_BUCKETS if "candlesticks" in name else IN_DATABASE
    report(
        f"  in the database: {name}",
        f"{percentile(seconds, 0.95) * 1000:.1f} ms",
        ratio=f"p50 {median(seconds) * 1000:.1f} ms; CPU {python * each:.1f} ms Python"
        f" and {database * each:.1f} ms database",
        target=f"target {target} ms",
    )


# --- The same list with a plain ModelSerializer -------------------------------------------------


class PlainMarketSerializer(serializers.ModelSerializer[Market]):
    series_ticker = serializers.CharField(source="event.series.ticker")
    event_ticker = serializers.CharField(source="event.ticker")
    event_title = serializers.CharField(source="event.title")
    category = serializers.CharField(source="event.series.category")

    class Meta:
        model = Market
        fields = MARKET_ROW


class PlainMarkets(ListModelMixin, GenericViewSet[Market]):
    queryset = Market.objects.select_related("event__series").order_by("ticker")
    serializer_class = PlainMarketSerializer
    filterset_class = MarketListFilter
    pagination_class = OffsetPages
    renderer_classes = [JSONRenderer]


urlpatterns = [path("api/v1/markets/", PlainMarkets.as_view({"get": "list"}))]


def compare_throughput() -> None:
    """Compare requests a second in one process, without a web server and without compression."""
    application = get_wsgi_application()
    with override_settings(ROOT_URLCONF=__name__):
        plain = get(application)
    assert json.loads(get(application))["results"] == json.loads(plain)["results"]
    ours, plain_rates = [], []
    for _ in range(ROUNDS):
        ours.append(rate_of(application))
        with override_settings(ROOT_URLCONF=__name__):
            plain_rates.append(rate_of(application))
    report(
        "markets/?limit=100, by one process",
        f"{median(ours):.0f}/s",
        ratio=f"{median(ours) / median(plain_rates):.1f} x a plain ModelSerializer"
        f" ({median(plain_rates):.0f}/s)",
        target=f"target {TARGET_RATIO} x",
    )


def rate_of(application: WSGIApplication) -> float:
    began = time.perf_counter()
    for _ in range(IN_A_ROUND):
        get(application)
    return IN_A_ROUND / (time.perf_counter() - began)


def get(application: WSGIApplication) -> bytes:
    request = RequestFactory(headers={"host": "localhost", "accept": "application/json"}).get(LIST)
    environ: Mapping[str, Any] = {**request.environ, "wsgi.input": io.BytesIO()}
    answer = application(dict(environ), lambda status, headers, _=None: io.BytesIO().write)
    try:
        return b"".join(answer)
    finally:
        answer.close()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
