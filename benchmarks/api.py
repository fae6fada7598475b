"""The API as the image serves it, to twenty clients at a fixed rate, who keep their connections.

`make bench` has it read a day of snapshots, 1.7 million. Fifty million, which take a quarter of an
hour and 15 GB to make, are asked for by a number of days, and kept in the folder that is named:

    python -m kalshi_insights.embedded --folder var/bench -- python -m benchmarks.api 30
"""

import io
import json
import os
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

from benchmarks import measure
from benchmarks.large import days_on_record, made
from benchmarks.measure import median, percentile, report
from benchmarks.reading import responses
from benchmarks.spending import database_seconds
from kalshi_insights.embedded.servers import free_port
from kalshi_insights.rest.pagination import OffsetPages
from markets.api.serializers import MARKET_ROW
from markets.filters import MarketListFilter
from markets.models import Market
from markets.storage.partitions import SNAPSHOTS, Piece

CLIENTS = 20
RATE = 50  # requests a second, of all clients together
EACH = 25  # requests of each client
WARM_UP = 4
LIST = "/api/v1/markets/?limit=100"
ROOT = "/api/v1/"
WHOLE, IN_DATABASE, IN_DATABASE_FOR_BUCKETS = 25, 5, 10  # milliseconds
ROUNDS = 5
IN_A_ROUND = 40
TIMES = 5

Address = Callable[[int], str]


def main() -> None:
    measure.migrate()
    days = days_on_record() or made(int(sys.argv[1]) if sys.argv[1:] else 1)
    reads = reads_of(days)
    with served() as web:
        for address in (lambda n: ROOT, *reads.values()):
            under_load(web.port, address, each=WARM_UP)
        floor = percentile(under_load(web.port, lambda n: ROOT), 0.95)
        print(
            f"  {days[-1]} and {len(days) - 1} days before; whole responses at {RATE} requests/s by"
            f" {CLIENTS} clients\n  the root, which asks no database: p95 {floor * 1000:.1f} ms"
        )
        for name, address in reads.items():
            tell_whole(name, under_load(web.port, address), floor)
        tell_whole("all of these in turn", under_load(web.port, in_turn([*reads.values()])), floor)
    responses("the root", lambda n: ROOT)  # loads what a process loads once
    for name, address in reads.items():
        tell_database(name, address)
    compare_throughput()


def reads_of(days: Sequence[date]) -> dict[str, Address]:
    """What is asked for, the n-th time: each time of another market and another day."""
    tickers = list(Market.objects.order_by("ticker").values_list("ticker", flat=True))
    random = Random(1)
    markets = [f"/api/v1/markets/{ticker}" for ticker in random.choices(tickers, k=1_000)]
    starts = [Piece(SNAPSHOTS, day).span[0] for day in random.choices(days, k=len(markets))]

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
def served() -> Iterator[Web]:
    """A server that runs as in the image."""
    port = free_port()
    gunicorn = ["-m", "gunicorn", "--workers", "2", "--threads", "4", "--no-control-socket"]
    command = [*gunicorn, "--bind", f"127.0.0.1:{port}", "kalshi_insights.wsgi"]
    process = subprocess.Popen(
        [sys.executable, *command],
        # What each request writes into the log is part of what it costs.
        env={**os.environ, "DEBUG": "false", "SECRET_KEY": "bench", "LOG_LEVEL": "INFO"}
        | {"API_RATE_ANONYMOUS": "none"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
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
    raise SystemExit("gunicorn has ended")


def under_load(port: int, address: Address, *, each: int = EACH) -> list[float]:
    """Seconds until each response was there, counted from the instant it was due to be asked for.

    So a server that falls behind is told of, though its clients wait for it.
    """
    began = time.perf_counter() + 0.1
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = pool.map(partial(client, port, address, began, each), range(CLIENTS))
        return [seconds for waited in clients for seconds in waited]


def client(port: int, address: Address, began: float, each: int, number: int) -> list[float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    waited = []
    for n in range(number, each * CLIENTS, CLIENTS):
        due = began + n / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.request("GET", address(n), headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        answer.read()
        waited.append(time.perf_counter() - due)
        assert answer.status == 200, (address(n), answer.status)
    connection.close()
    return waited


def tell_whole(name: str, waited: list[float], floor: float) -> None:
    typical, longest = median(waited) * 1000, max(waited) * 1000
    p95 = percentile(waited, 0.95)
    report(
        name,
        f"{p95 * 1000:.1f} ms",
        ratio=f"p50 {typical:.1f}, max {longest:.1f} ms; {p95 / floor:.1f} x the root",
        target=f"target {WHOLE} ms",
    )


def tell_database(name: str, address: Address) -> None:
    python, database = time.process_time(), database_seconds()
    seconds, _ = responses(name, address)
    python, database = time.process_time() - python, database_seconds() - database
    each = 1000 / len(seconds)
    target = IN_DATABASE_FOR_BUCKETS if "candlesticks" in name else IN_DATABASE
    report(
        f"  in the database: {name}",
        f"{percentile(seconds, 0.95) * 1000:.1f} ms",
        ratio=f"p50 {median(seconds) * 1000:.1f} ms; of a processor {python * each:.1f} ms Python"
        f" and {database * each:.1f} ms database",
        target=f"target {target} ms",
    )


# --- The list as the framework's own tutorial has it --------------------------------------------


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
    """One process without a server about it, everything else included; no compression."""
    application = get_wsgi_application()
    with override_settings(ROOT_URLCONF=__name__):
        plain = get(application)
    assert json.loads(get(application))["results"] == json.loads(plain)["results"]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(rate_of(application))
        with override_settings(ROOT_URLCONF=__name__):
            theirs.append(rate_of(application))
    report(
        "markets/?limit=100, by one process",
        f"{median(ours):.0f}/s",
        ratio=f"{median(ours) / median(theirs):.1f} x a plain ModelSerializer"
        f" ({median(theirs):.0f}/s)",
        target=f"target {TIMES} x",
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
