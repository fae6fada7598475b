"""The web server of the image with clients that send slowly, read slowly, or disconnect."""

import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from select import select
from threading import Event, Thread
from typing import NamedTuple

import pytest
from django.db import connection

from kalshi_insights.embedded.servers import free_port
from kalshi_insights.serving.site import BODY_WITHIN, PAGE_THREADS, STREAM_THREADS
from kalshi_insights.serving.worker import HEAD_WITHIN
from markets.models import Market
from markets.tests.factories import a_market

pytestmark = [
    pytest.mark.system,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

ROOT = Path(__file__).resolve().parent.parent
GUNICORN = shlex.split("gunicorn --workers 2 --no-control-socket")
SLOW = 200
# At a kilobyte each, they are more than the kernel buffers for a client that does not read.
ROWS = 24_000
FORMS = ("csv", "arrow")
# Requests that never come to an end, sent byte by byte.
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 4_000
BODY = b"POST /api/v1/backtests/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
DRIP_SECONDS = 0.2
# The receive buffer of such a client.
ROOM = 4_096
WITHIN = 30.0
# Allocators keep 30 to 80 MB after the first crowd of clients and settle sooner or later, depending
# on what else the machine does, while a leak grows with every crowd. A settled crowd may add this
# many megabytes.
MOST_CROWDS = 12
MOST_KEPT = 10.0


class Sessions(NamedTuple):
    """The web server's database sessions: all, busy ones, and seconds since one was busy."""

    all: int
    busy: int
    quiet_for: float

    @classmethod
    def now(cls) -> "Sessions":
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT count(*), count(*) FILTER (WHERE state <> 'idle'),
                    coalesce(extract(epoch FROM clock_timestamp() - max(state_change))::float8, 0)
                FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()"""
            )
            return cls(*cursor.fetchone())


@dataclass
class Web:
    """A running web server and the address of a market's snapshots."""

    port: int
    pid: int
    path: str

    def is_up(self, path: str = "/api/v1/") -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=WITHIN).close()
        except OSError:
            return False
        return True

    def connect(self, stack: ExitStack) -> socket.socket:
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        client.settimeout(WITHIN)
        client.connect(("127.0.0.1", self.port))
        return client

    def ask(self, stack: ExitStack, form: str) -> socket.socket:
        client = self.connect(stack)
        head = f"GET {self.path}?format={form} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        client.sendall(head.encode())
        return client

    def workers(self) -> list[str]:
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def megabytes(self) -> float:
        lines = [
            line
            for worker in self.workers()
            for line in Path(f"/proc/{worker}/status").read_text().splitlines()
        ]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@pytest.fixture
def market() -> Market:
    market = a_market()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO markets_marketsnapshot (id, market_id, timestamp, recorded_at, source,
                yes_bid, yes_ask, yes_bid_size, yes_ask_size, last_price, volume, open_interest,
                quality, raw_data)
            SELECT gen_random_uuid(), %s, at, at, 'POLL', 0.42, 0.45, 10, 20, 0.43, n, n, 0,
                jsonb_build_object('note', repeat('x', 1000))
            FROM generate_series(1, %s) AS n
            CROSS JOIN LATERAL (SELECT now() - n * interval '1 second' AS at) AS time
            """,
            [market.pk, ROWS],
        )
        cursor.execute("ANALYZE markets_marketsnapshot")
    return market


@pytest.fixture
def web(market) -> Iterator[Web]:
    with running_web(market) as web:
        yield web


@contextmanager
def running_web(market: Market, *options: str) -> Iterator[Web]:
    port, database = free_port(), connection.settings_dict
    credentials = "{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    bind = ("--bind", f"127.0.0.1:{port}")
    process = subprocess.Popen(
        [sys.executable, "-m", *GUNICORN, *options, *bind, "kalshi_insights.asgi"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"postgres://{credentials}", "LOG_LEVEL": "ERROR"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        web = Web(port, process.pid, f"/api/v1/markets/{market.ticker}/snapshots/")
        wait_until(web.is_up)
        yield web
    finally:
        process.terminate()
        process.wait()


def wait_until(holds: Callable[[], bool], *, within: float = WITHIN) -> None:
    until = time.monotonic() + within
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def have_slow_clients(web: Web, count: int) -> None:
    """Open exports that nobody reads, and wait until all the clients have disconnected."""
    with ExitStack() as stack:
        clients = [web.ask(stack, "csv") for _ in range(count)]
        # One process may have accepted all of them.
        wait_until(lambda: Sessions.now().busy >= STREAM_THREADS)
        assert select(clients, [], [], WITHIN)[0]
        assert web.is_up("/")
    # The server notices queued clients that have gone one by one.
    wait_until(lambda: Sessions.now().busy == 0 and Sessions.now().quiet_for > 0.3)


def abort(web: Web, form: str) -> None:
    with ExitStack() as stack:
        client = web.ask(stack, form)
        assert client.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: Sessions.now().busy == 1)
    wait_until(lambda: Sessions.now().busy == 0, within=2)


def test_slow_clients_and_aborted_exports_leave_no_connection_and_no_memory_behind(web):
    workers, kept = web.workers(), [MOST_KEPT]
    while kept[-1] >= MOST_KEPT and len(kept) <= MOST_CROWDS:
        before = web.megabytes()
        have_slow_clients(web, SLOW)
        for form in FORMS:
            abort(web, form)
        kept.append(web.megabytes() - before)
    assert web.workers() == workers
    assert Sessions.now().all <= 2 * (PAGE_THREADS + STREAM_THREADS)
    assert kept[-1] < MOST_KEPT, kept
    assert web.is_up()


def drip(clients: list[socket.socket], bytes_of: bytes, stop: Event) -> None:
    """Send the bytes to all clients one at a time, then zeros; a client that is let go is left."""
    n = 0
    while not stop.wait(DRIP_SECONDS):
        byte = bytes_of[n : n + 1] or b"0"
        n += 1
        for client in clients:
            with suppress(OSError):
                client.send(byte)


@contextmanager
def dripping(clients: list[socket.socket], bytes_of: bytes) -> Iterator[None]:
    stop = Event()
    thread = Thread(target=drip, args=(clients, bytes_of, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def is_let_go(client: socket.socket) -> bool:
    """True once the server has closed the connection, with an answer or without."""
    client.setblocking(False)
    try:
        while client.recv(4_096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def are_let_go(clients: list[socket.socket]) -> bool:
    return all(map(is_let_go, clients))


def test_pages_answer_while_requests_drip_in_and_those_are_let_go(web):
    with ExitStack() as stack:
        heads = [web.connect(stack) for _ in range(SLOW // 2)]
        bodies = [web.connect(stack) for _ in range(SLOW // 2)]
        for client in bodies:
            client.sendall(BODY)
        stack.enter_context(dripping(heads, HEAD))
        stack.enter_context(dripping(bodies, b""))
        for path in ("/", "/api/v1/markets/", "/recorder/"):
            assert web.is_up(path)
        assert not are_let_go(heads[:1])
        assert not are_let_go(bodies[:1])
        for clients, within in ((heads, HEAD_WITHIN), (bodies, BODY_WITHIN)):
            wait_until(partial(are_let_go, clients), within=within + WITHIN)
    assert Sessions.now().busy == 0


def test_too_many_connections_cost_the_one_that_has_sent_the_longest(market):
    options = ("--workers", "1", "--worker-connections", "20")
    with running_web(market, *options) as web, ExitStack() as stack:
        clients = [web.connect(stack) for _ in range(20)]
        with dripping(clients, HEAD):
            assert web.is_up("/")
            assert is_let_go(clients[0])
            assert not is_let_go(clients[-1])


def test_pages_answer_while_exports_are_read_byte_by_byte(web):
    with ExitStack() as stack:
        clients = [web.ask(stack, "csv") for _ in range(SLOW)]
        wait_until(lambda: Sessions.now().busy >= STREAM_THREADS)
        for path in ("/", "/api/v1/markets/", "/recorder/"):
            readable, _, _ = select(clients, [], [], WITHIN)
            assert all(client.recv(1) for client in readable)
            assert web.is_up(path)


def test_an_export_that_finds_no_thread_is_told_to_come_back(web):
    with ExitStack() as stack:
        clients = [web.ask(stack, "csv") for _ in range(2 * STREAM_THREADS + 1)]
        until = time.monotonic() + WITHIN
        answered = b""
        while b" 503 " not in answered:
            assert time.monotonic() < until
            readable, _, _ = select(clients, [], [], WITHIN)
            answered = b"".join(client.recv(ROOM, socket.MSG_PEEK)[:400] for client in readable)
            time.sleep(0.1)
        assert b"retry-after: 10" in answered
        assert b"x-request-id: " in answered


def answer_to(web: Web, *parts: bytes) -> bytes:
    """Send a request in parts, and return all that comes back until the server closes."""
    with ExitStack() as stack:
        client = web.connect(stack)
        for part in parts:
            client.sendall(part)
            time.sleep(0.05)
        received = b""
        while chunk := client.recv(ROOM):
            received += chunk
        return received


def test_the_server_itself_believes_no_forwarding_header(web):
    forged = b"X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.1\r\nConnection: close\r\n"
    answer = answer_to(web, b"GET /api/v1/ HTTP/1.1\r\nHost: localhost\r\n" + forged + b"\r\n")
    assert b'"http://localhost/api/v1/markets/"' in answer


def test_a_static_file_arrives_whole(web):
    with urllib.request.urlopen(f"http://127.0.0.1:{web.port}/static/css/app.css") as response:
        assert response.read() == (ROOT / "static" / "css" / "app.css").read_bytes()


POST = b"POST /api/v1/backtests/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


def test_a_body_that_is_too_large_is_refused_in_words(web):
    head = POST + b"Content-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
    answer = answer_to(web, head, b"0" * 100_000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code": "too_large"' in answer
