"""Pages while two hundred clients send their requests byte by byte, or read exports so."""

import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from threading import Event, Thread

from django.db import connection

from benchmarks import measure
from benchmarks.api import running_server
from benchmarks.measure import now, percentile, report
from benchmarks.synthetic_history import create_markets, fill_day, foreign_keys_unchecked
from markets.models import Market
from markets.storage import partitions
from markets.storage.partitions import SNAPSHOTS

SLOW = 200
REQUESTS = 60
TARGET = 1_000  # milliseconds
DRIP_SECONDS = 0.2
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = b"POST /api/v1/backtests/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"


def main() -> None:
    measure.migrate()
    day = now().date() - timedelta(days=1)
    create_markets(200, before=day)
    partitions.create_missing(SNAPSHOTS, [day])
    with foreign_keys_unchecked():
        fill_day(day, markets=1, each=1)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    ticker = Market.objects.earliest("ticker").ticker
    path = f"/api/v1/markets/{ticker}/snapshots/?format=csv"
    crowds: dict[str, tuple[bytes, Callable[[socket.socket], object]]] = {
        "200 dripping heads": (HEAD, lambda client: client.send(b"x")),
        "200 dripping bodies": (BODY, lambda client: client.send(b"0")),
        "200 dripping exports": (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
            lambda client: client.recv(1),
        ),
    }
    with running_server() as web:
        page_times(web.port)
        report_pages("nobody else", page_times(web.port))
        for name, (beginning, step) in crowds.items():
            with crowd(web.port, beginning, step):
                report_pages(name, page_times(web.port))


@contextmanager
def crowd(port: int, beginning: bytes, step: Callable[[socket.socket], object]) -> Iterator[None]:
    stop = Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(SLOW)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", port))
            client.sendall(beginning)
            client.setblocking(False)
        thread = Thread(target=go_on, args=(clients, step, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def go_on(
    clients: list[socket.socket], step: Callable[[socket.socket], object], stop: Event
) -> None:
    while not stop.wait(DRIP_SECONDS):
        for client in clients:
            try:
                step(client)
            except OSError:
                continue


def page_times(port: int) -> list[float]:
    """The milliseconds of the market list, again and again for six seconds."""
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read()
        times.append((time.perf_counter() - began) * 1000)
        time.sleep(0.1)
    return times


def report_pages(name: str, times: list[float]) -> None:
    report(
        f"market list beside {name}: p50, p95, max",
        f"{percentile(times, 0.5):.0f}, {percentile(times, 0.95):.0f}, {max(times):.0f} ms",
        target=f"target {TARGET} ms",
    )


if __name__ == "__main__":
    main()
