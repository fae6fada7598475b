"""A harness for tests of the whole recorder, with its own services and simulated exchange.

The services and processes can be killed. The exchange's clock runs fast and stays in the past, so
markets end all the time, and by our clock each is past its close and waits for its settlement.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import environ
import msgspec
import psycopg
from django.db import connections
from django.test import override_settings

from kalshi_insights import embedded
from markets.coverage.causes import Gap, outages
from markets.coverage.slots import Slots, hot_slots
from markets.kalshi.client import KalshiClient, ticker_batches
from markets.simulator.cadence import DAY, HOUR
from markets.simulator.server import RunningExchange, SimulatedClock, running_exchange
from markets.simulator.universe import SimulatedUniverse

ROOT = Path(__file__).resolve().parent.parent
CLOCK_OFFSET = 20 * DAY
STARTUP_TIMEOUT = 60.0
# What each process logs once it is ready.
READY = {"worker": b" ready.", "beat": b"beat: Starting"}


class FinalizedMarket(msgspec.Struct):
    """A finalized market as the exchange reports it."""

    ticker: str
    status: str
    result: str
    settlement_ts: datetime | None = None


@dataclass
class RecorderHarness:
    """Services, an exchange, and the recorder processes that a test starts and kills."""

    services: embedded.Services
    exchange: RunningExchange
    environment: dict[str, str]
    logs: Path
    interval: float
    started: int = 0
    children: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)
    # What the recorder's processes see differently.
    for_children: dict[str, str] = field(default_factory=dict)

    # --- processes --------------------------------------------------------------------------

    def manage(self, *arguments: str) -> None:
        command = [sys.executable, "manage.py", *arguments]
        run = subprocess.run(
            command, cwd=ROOT, env=self.environment, check=False, capture_output=True
        )
        assert run.returncode == 0, run.stderr.decode()

    def start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        self.started += 1
        with (self.logs / f"{self.started}-{kind}.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**self.environment, **self.for_children},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.children.setdefault(kind, []).append(child)
        return child

    def start_celery(self, kind: str) -> subprocess.Popen[bytes]:
        worker = ("celery", "-A", "kalshi_insights", "worker", "-n", f"recorder{self.started}@test")
        command = {
            "worker": (*worker, "-Q", "recorder", "-c", "1", "--without-gossip"),
            "beat": ("kalshi_insights.processes.beat",),
        }
        return self.start(kind, "-m", *command[kind], "--loglevel", "INFO")

    def start_supervisor(self, *roles: str) -> subprocess.Popen[bytes]:
        return self.start("supervisor", "-m", "kalshi_insights.processes.supervisor", *roles)

    def start_pollmarkets(self) -> subprocess.Popen[bytes]:
        return self.start("loop", "manage.py", "pollmarkets")

    def ensure_recording(self) -> None:
        """Make sure that a worker and a beat run, if need be by starting them."""
        for kind in READY:
            if not any(child.poll() is None for child in self.children.get(kind, [])):
                self.start_celery(kind)
        self.wait_for_polls(1, within=STARTUP_TIMEOUT)

    def wait_until_ready(self, kind: str) -> None:
        """Wait until the newest process of this kind is ready."""
        log = self.logs / f"{self.started}-{kind}.log"
        until = time.monotonic() + STARTUP_TIMEOUT
        while READY[kind] not in log.read_bytes():
            assert time.monotonic() < until, self.diagnostics()
            time.sleep(0.02)

    def kill(self, *kinds: str) -> None:
        for kind in kinds or tuple(self.children):
            for child in self.children.pop(kind, []):
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def restore(self) -> None:
        """Clear faults and restart dead services, which a failed test may have left."""
        self.exchange.clear_faults()
        for server in self.services.servers:
            if server.process is None or server.process.poll() is not None:
                server.start()

    # --- the database -----------------------------------------------------------------------

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def poll_finish_times(self, *, since: datetime) -> list[datetime]:
        """List when the polls without an error finished."""
        statement = """
            SELECT finished_at FROM markets_poll
            WHERE finished_at BETWEEN %s AND clock_timestamp() AND error = '' ORDER BY 1"""
        return [row[0] for row in self.query(statement, since)]

    def wait_for_polls(self, more: int, *, within: float) -> float:
        """Wait for this many more good polls; returns the seconds that they took."""
        began = datetime.now(UTC)
        until = time.monotonic() + within
        while len(good := self.poll_finish_times(since=began)) < more:
            assert time.monotonic() < until, self.diagnostics()
            time.sleep(0.05)
        return (good[more - 1] - began).total_seconds()

    def wait_for_silence(self, seconds: float, *, since: datetime) -> None:
        """Wait until no poll has ended for so long; one may be under way, for longer when busy."""
        silent = 0.0
        while silent < seconds:
            time.sleep(min(seconds - silent, 0.2))
            newest = max([since, *self.poll_finish_times(since=since)])
            silent = (datetime.now(UTC) - newest).total_seconds()

    @contextmanager
    def blocked_write(self) -> Iterator[None]:
        """Hold a tick in the middle of its write during a `with` block."""
        with closing(psycopg.connect(self.environment["DATABASE_URL"])) as holder:
            holder.execute("LOCK TABLE markets_marketsnapshot IN SHARE MODE")
            while self.query("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
                time.sleep(0.02)
            yield

    @contextmanager
    def models_on_this_database(self) -> Iterator[None]:
        """Let Django's models use the harness's database during a `with` block."""
        previous = connections["default"]
        connection = previous.copy()
        connection.settings_dict |= environ.Env.db_url_config(self.environment["DATABASE_URL"])
        connections["default"] = connection
        try:
            with override_settings(POLL_INTERVAL=self.interval):
                yield
        finally:
            connection.close()
            connections["default"] = previous

    def outages(self, since: datetime) -> list[Gap]:
        with self.models_on_this_database():
            return outages(since, datetime.now(UTC))

    def hot_slots(self, start: datetime, end: datetime) -> Slots:
        with self.models_on_this_database():
            return hot_slots(start, end)

    def diagnostics(self) -> str:
        """The logs of the processes and the newest polls, for a failing test."""
        logs = "\n".join(
            path.read_text(errors="replace")[-1500:] for path in self.logs.glob("*.log")
        )
        return f"{logs}\n{self.query('SELECT * FROM markets_poll ORDER BY id DESC LIMIT 5')}"

    # --- the exchange -----------------------------------------------------------------------

    def finalized_markets(self) -> dict[str, FinalizedMarket]:
        """Fetch the recorded markets that are finalized, from the live and the historical tier."""
        tickers = [row[0] for row in self.query("SELECT ticker FROM markets_market")]
        with KalshiClient(self.exchange.url) as client:
            pages = [
                fetch(tickers=batch)
                for batch in ticker_batches(tickers)
                for fetch in (client.markets, client.historical_markets)
            ]
        raws = (raw for page in pages for raw in page.items)
        markets = (msgspec.json.decode(raw, type=FinalizedMarket) for raw in raws)
        return {market.ticker: market for market in markets if market.status == "finalized"}

    def wait_for_settlements(self, start: datetime, *, within: float) -> None:
        """Wait until markets known before `start` that were settled since have their results."""
        until = time.monotonic() + within
        while self.count_settlements(start, datetime.now(UTC)) == 0:
            assert time.monotonic() < until, self.diagnostics()
            self.wait_for_settlement_sweeps(1)

    def count_settlements(self, start: datetime, end: datetime) -> int:
        """Count the markets known before `start` that the exchange settled until `end`."""
        statement = """
            SELECT count(*) FROM markets_market WHERE status = 'finalized'
                AND settlement_ts BETWEEN %s AND %s AND EXISTS (
                    SELECT FROM markets_marketrevision
                    WHERE market_id = markets_market.id AND known_at < %s)"""
        theirs = (self.exchange_time(start), self.exchange_time(end))
        return int(self.query(statement, *theirs, start)[0][0])

    def exchange_time(self, at: datetime) -> datetime:
        clock = self.exchange.service.clock
        seconds = clock.origin + (at.timestamp() - clock.started) * clock.speed
        return datetime.fromtimestamp(seconds, UTC)

    def wait_for_settlement_sweeps(self, count: int) -> None:
        """Wait for settlement sweeps, which are made due now instead of every half minute."""
        [(newest,)] = self.query("SELECT coalesce(max(id), 0) FROM markets_sweep")
        until = time.monotonic() + 30
        created = (
            "SELECT count(*) FROM markets_sweep WHERE tier = 'settlement' AND complete AND id > %s"
        )
        while self.query(created, newest)[0][0] < count:
            assert time.monotonic() < until, self.diagnostics()
            self.query("""
                UPDATE markets_sweep SET started_at = finished_at - interval '31 s'
                WHERE tier = 'settlement' AND finished_at > now() - interval '30 s' RETURNING 1""")
            time.sleep(0.1)


@contextmanager
def recorder_harness(
    folder: Path, *, interval: float, markets: int, speed: float, **variables: str
) -> Iterator[RecorderHarness]:
    clock = SimulatedClock.starting(speed=speed, origin=time.time() - CLOCK_OFFSET)
    with ExitStack() as stack:
        services = stack.enter_context(
            embedded.services(folder / "services", always=True, durable=False)
        )
        universe = SimulatedUniverse(seed=1, markets=markets)
        exchange = running_exchange(universe, clock=clock, pauses=False, retention=2 * HOUR)
        environment = {
            **os.environ,
            "POLL_INTERVAL": str(interval),
            "SIMULATED": "true",
            **variables,
        }
        harness = RecorderHarness(
            services, stack.enter_context(exchange), environment, folder, interval
        )
        environment["KALSHI_API_URL"] = harness.exchange.url
        harness.manage("migrate", "--verbosity", "0")
        stack.callback(harness.kill)
        yield harness


def assert_consistent(harness: RecorderHarness) -> None:
    """Check that nothing was stored twice or in part, which must hold after any fault."""
    overlaps = """
        SELECT count(*) FROM markets_poll AS one JOIN markets_poll AS other
        ON other.id > one.id AND other.started_at < one.finished_at
            AND other.finished_at > one.started_at"""
    assert harness.query(overlaps) == [(0,)]
    doubles = """
        SELECT count(*) - count(DISTINCT (market_id, timestamp, source))
        FROM markets_marketsnapshot"""
    assert harness.query(doubles) == [(0,)]
    # This is one statement, because recording goes on meanwhile.
    unaccounted = """
        SELECT (SELECT count(*) FROM markets_marketsnapshot)
            - (SELECT sum(snapshots) FROM markets_poll)"""
    assert harness.query(unaccounted) == [(0,)]
    newest = """
        SELECT count(*) FROM markets_market AS market WHERE quoted_at IS DISTINCT FROM
            (SELECT max(timestamp) FROM markets_marketsnapshot WHERE market_id = market.id)"""
    assert harness.query(newest) == [(0,)]


def assert_all_results_recorded(harness: RecorderHarness) -> dict[str, FinalizedMarket]:
    """Check that every finalized market has its result two sweeps later; returns these markets."""
    finalized = harness.finalized_markets()
    harness.wait_for_settlement_sweeps(2)
    rows = harness.query("SELECT ticker, result FROM markets_market WHERE status = 'finalized'")
    recorded = dict(rows)
    expected = {ticker: market.result for ticker, market in finalized.items()}
    assert {ticker: recorded.get(ticker) for ticker in finalized} == expected
    return finalized
