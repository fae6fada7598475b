"""The web server of the image with clients that stop reading, and with clients that disconnect."""

import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from django.db import connection

from kalshi_insights.embedded.servers import free_port
from markets.models import Market
from markets.tests.factories import a_market

pytestmark = [
    pytest.mark.system,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

ROOT = Path(__file__).resolve().parent.parent
GUNICORN = shlex.split("gunicorn --workers 2 --threads 4 --no-control-socket")
THREADS = 2 * 4
SLOW = 200
# At a kilobyte each, they are more than the kernel buffers for a client that does not read.
ROWS = 24_000
FORMS = ("csv", "arrow")
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

    def is_up(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/", timeout=WITHIN).close()
        except OSError:
            return False
        return True

    def ask(self, stack: ExitStack, form: str) -> socket.socket:
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        client.settimeout(WITHIN)
        client.connect(("127.0.0.1", self.port))
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
    port, its = free_port(), connection.settings_dict
    place = f"{its['USER']}:{its['PASSWORD']}@{its['HOST']}:{its['PORT']}/{its['NAME']}"
    process = subprocess.Popen(
        [sys.executable, "-m", *GUNICORN, "--bind", f"127.0.0.1:{port}", "kalshi_insights.wsgi"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"postgres://{place}", "LOG_LEVEL": "ERROR"},
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
        wait_until(lambda: Sessions.now().busy >= THREADS // 2)
        assert clients[0].recv(5) == b"HTTP/"
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
    assert Sessions.now().all <= THREADS
    assert kept[-1] < MOST_KEPT, kept
    assert web.is_up()
