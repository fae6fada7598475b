"""A recorder on services of its own, which can be killed, and the simulated exchange it records.

The exchange's clock runs fast and lies in the past throughout: markets end all the time, and by
our clock every one of them is past its close and awaits its settlement.
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
BEHIND = 20 * DAY
STARTING = 60.0
# What each process says of itself once it is at work.
READY = {"worker": b" ready.", "beat": b"beat: Starting"}


class Ended(msgspec.Struct):
    """A market's end, as the exchange tells it."""

    ticker: str
    status: str
    result: str
    settlement_ts: datetime | None = None


@dataclass
class Stage:
    """Services, an exchange, and the processes that a test lets loose on them."""

    services: embedded.Services
    exchange: RunningExchange
    environment: dict[str, str]
    logs: Path
    interval: float
    started: int = 0
    children: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)

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
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.children.setdefault(kind, []).append(child)
        return child

    def start_celery(self, kind: str) -> subprocess.Popen[bytes]:
        name, schedule = f"recorder{self.started}@test", str(self.logs / f"beat{self.started}")
        arguments = {
            "worker": ("-Q", "recorder", "-c", "1", "-n", name, "--without-gossip"),
            "beat": ("--schedule", schedule, "--pidfile="),
        }
        command = ("celery", "-A", "kalshi_insights", kind, "--loglevel", "INFO")
        return self.start(kind, "-m", *command, *arguments[kind])

    def start_loop(self) -> subprocess.Popen[bytes]:
        return self.start("loop", "manage.py", "pollmarkets")

    def record(self) -> None:
        """Have one worker and one beat at work, those of the test before where they are."""
        for kind in READY:
            if not any(child.poll() is None for child in self.children.get(kind, [])):
                self.start_celery(kind)
        self.wait_for_polls(1, within=STARTING)

    def wait_until_ready(self, kind: str) -> None:
        """Until the process of this kind that was started last is at work."""
        log = self.logs / f"{self.started}-{kind}.log"
        until = time.monotonic() + STARTING
        while READY[kind] not in log.read_bytes():
            assert time.monotonic() < until, self.told()
            time.sleep(0.02)

    def kill(self, *kinds: str) -> None:
        for kind in kinds or tuple(self.children):
            for child in self.children.pop(kind, []):
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def put_right(self) -> None:
        """The exchange and the services as they should be, whatever a failed test has left."""
        self.exchange.clear_faults()
        for server in self.services.servers:
            if server.process is None or server.process.poll() is not None:
                server.start()

    # --- what is on record ------------------------------------------------------------------

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as connection:
            return connection.execute(question, values).fetchall()

    def good_polls(self, *, since: datetime) -> list[datetime]:
        """When runs without an error were finished."""
        question = """
            SELECT finished_at FROM markets_poll
            WHERE finished_at BETWEEN %s AND clock_timestamp() AND error = '' ORDER BY 1"""
        return [row[0] for row in self.ask(question, since)]

    def wait_for_polls(self, more: int, *, within: float) -> float:
        """Seconds until so many more good ticks were on record."""
        began = datetime.now(UTC)
        until = time.monotonic() + within
        while len(good := self.good_polls(since=began)) < more:
            assert time.monotonic() < until, self.told()
            time.sleep(0.05)
        return (good[more - 1] - began).total_seconds()

    @contextmanager
    def mid_write(self) -> Iterator[None]:
        """While a tick is in the middle of writing; it goes on afterwards, if it can."""
        with closing(psycopg.connect(self.environment["DATABASE_URL"])) as holder:
            holder.execute("LOCK TABLE markets_marketsnapshot IN SHARE MODE")
            while self.ask("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(0,)]:
                time.sleep(0.02)
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Has the models read this record."""
        own = connections["default"]
        there = own.copy()
        there.settings_dict |= environ.Env.db_url_config(self.environment["DATABASE_URL"])
        connections["default"] = there
        try:
            with override_settings(POLL_INTERVAL=self.interval):
                yield
        finally:
            there.close()
            connections["default"] = own

    def outages(self, since: datetime) -> list[Gap]:
        with self.reading():
            return outages(since, datetime.now(UTC))

    def hot_slots(self, start: datetime, end: datetime) -> Slots:
        with self.reading():
            return hot_slots(start, end)

    def told(self) -> str:
        """What the processes and the ledger say, for a failing test."""
        logs = "\n".join(
            path.read_text(errors="replace")[-1500:] for path in self.logs.glob("*.log")
        )
        return f"{logs}\n{self.ask('SELECT * FROM markets_poll ORDER BY id DESC LIMIT 5')}"

    # --- what the exchange says -------------------------------------------------------------

    def ended(self) -> dict[str, Ended]:
        """The ends of the markets on record, wherever the exchange tells of them now."""
        tickers = [row[0] for row in self.ask("SELECT ticker FROM markets_market")]
        with KalshiClient(self.exchange.url) as client:
            pages = [
                fetch(tickers=batch)
                for batch in ticker_batches(tickers)
                for fetch in (client.markets, client.historical_markets)
            ]
        told = (msgspec.json.decode(raw, type=Ended) for page in pages for raw in page.items)
        return {market.ticker: market for market in told if market.status == "finalized"}

    def settled_on_record(self, start: datetime, end: datetime) -> int:
        """How many markets known before `start` the exchange settled until `end`, by our clock."""
        question = """
            SELECT count(*) FROM markets_market WHERE status = 'finalized'
                AND settlement_ts BETWEEN %s AND %s AND EXISTS (
                    SELECT FROM markets_marketrevision
                    WHERE market_id = markets_market.id AND known_at < %s)"""
        theirs = (self.exchange_time(start), self.exchange_time(end))
        return int(self.ask(question, *theirs, start)[0][0])

    def exchange_time(self, at: datetime) -> datetime:
        clock = self.exchange.service.clock
        seconds = clock.origin + (at.timestamp() - clock.started) * clock.speed
        return datetime.fromtimestamp(seconds, UTC)

    def await_settlement_passes(self, count: int) -> None:
        """Let these passes be due now, instead of in half a minute each."""
        [(newest,)] = self.ask("SELECT coalesce(max(id), 0) FROM markets_sweep")
        until = time.monotonic() + 30
        made = (
            "SELECT count(*) FROM markets_sweep WHERE tier = 'settlement' AND complete AND id > %s"
        )
        while self.ask(made, newest)[0][0] < count:
            assert time.monotonic() < until, self.told()
            self.ask("""
                UPDATE markets_sweep SET started_at = finished_at - interval '31 s'
                WHERE tier = 'settlement' AND finished_at > now() - interval '30 s' RETURNING 1""")
            time.sleep(0.1)


@contextmanager
def a_stage(
    folder: Path, *, interval: float, markets: int, speed: float, **variables: str
) -> Iterator[Stage]:
    clock = SimulatedClock.starting(speed=speed, origin=time.time() - BEHIND)
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
        stage = Stage(services, stack.enter_context(exchange), environment, folder, interval)
        environment["KALSHI_API_URL"] = stage.exchange.url
        stage.manage("migrate", "--verbosity", "0")
        stack.callback(stage.kill)
        yield stage


def assert_nothing_doubled_or_half_written(stage: Stage) -> None:
    """What must hold after any fault."""
    overlaps = """
        SELECT count(*) FROM markets_poll AS one JOIN markets_poll AS other
        ON other.id > one.id AND other.started_at < one.finished_at
            AND other.finished_at > one.started_at"""
    assert stage.ask(overlaps) == [(0,)]
    doubles = """
        SELECT count(*) - count(DISTINCT (market_id, timestamp, source))
        FROM markets_marketsnapshot"""
    assert stage.ask(doubles) == [(0,)]
    # Of one statement, since recording goes on meanwhile.
    unaccounted = """
        SELECT (SELECT count(*) FROM markets_marketsnapshot)
            - (SELECT sum(snapshots) FROM markets_poll)"""
    assert stage.ask(unaccounted) == [(0,)]
    newest = """
        SELECT count(*) FROM markets_market AS market WHERE quoted_at IS DISTINCT FROM
            (SELECT max(timestamp) FROM markets_marketsnapshot WHERE market_id = market.id)"""
    assert stage.ask(newest) == [(0,)]


def assert_no_result_is_lost(stage: Stage) -> dict[str, Ended]:
    """Whatever has ended is on record with its result two passes later. Returns those ends."""
    ended = stage.ended()
    stage.await_settlement_passes(2)
    rows = stage.ask("SELECT ticker, result FROM markets_market WHERE status = 'finalized'")
    known = dict(rows)
    assert {t: known.get(t) for t in ended} == {t: end.result for t, end in ended.items()}
    return ended
