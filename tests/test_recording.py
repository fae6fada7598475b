"""The whole recorder: real beat, real workers, a simulated exchange over HTTP, real faults.

Everything runs on services of its own, so that they can be killed. The short lengths are for
`make test`; `make faults` runs the same cases for as long as they would last in earnest.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kalshi_insights import embedded
from markets.simulator.faults import Fault
from markets.simulator.server import Running, running
from markets.simulator.universe import Universe

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
INTERVAL = 1.0
# A tick that ended in time to leave its slot's successor free.
ON_TIME = 0.9


@dataclass
class Stage:
    """Services, an exchange, and the processes that a test lets loose on them."""

    services: embedded.Services
    exchange: Running
    environment: dict[str, str]
    logs: Path
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def manage(self, *arguments: str) -> None:
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(command, cwd=ROOT, env=self.environment, check=True, capture_output=True)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.logs / f"{len(self.children)}.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def start_worker(self) -> subprocess.Popen[bytes]:
        name = f"recorder{len(self.children)}@test"
        worker = ("worker", "-Q", "recorder", "-c", "1", "-n", name, "--without-gossip")
        return self.start("-m", "celery", "-A", "kalshi_insights", *worker, "--without-mingle")

    def start_beat(self) -> subprocess.Popen[bytes]:
        schedule = str(self.logs / f"beat{len(self.children)}")
        arguments = ("beat", "--schedule", schedule, "--pidfile=")
        return self.start("-m", "celery", "-A", "kalshi_insights", *arguments)

    def end(self) -> None:
        for child in self.children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self.children.clear()

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as connection:
            return connection.execute(question).fetchall()

    def good_polls(self) -> int:
        question = "SELECT count(*) FROM markets_poll WHERE finished_at IS NOT NULL AND error = ''"
        return int(self.ask(question)[0][0])

    def wait_for_polls(self, more: int, *, within: float) -> float:
        """Seconds until so many more good ticks were on record."""
        began = time.monotonic()
        wanted = self.good_polls() + more
        while self.good_polls() < wanted:
            assert time.monotonic() - began < within, self.told()
            time.sleep(0.1)
        return time.monotonic() - began

    def told(self) -> str:
        """What the processes and the ledger say, for a failing test."""
        logs = "\n".join(
            path.read_text(errors="replace")[-1500:] for path in self.logs.glob("*.log")
        )
        return f"{logs}\n{self.ask('SELECT * FROM markets_poll ORDER BY id DESC LIMIT 5')}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("recording")
    with ExitStack() as stack:
        services = stack.enter_context(
            embedded.services(folder / "services", always=True, durable=False)
        )
        exchange = stack.enter_context(running(Universe(seed=1, markets=300)))
        environment = {
            **os.environ,
            "KALSHI_API_URL": exchange.url,
            "KALSHI_RATE": "100000",
            "POLL_INTERVAL": str(INTERVAL),
            "UNIVERSE_INTERVAL": "2",
            "SIMULATED": "true",
        }
        stage = Stage(services, exchange, environment, folder)
        stage.manage("migrate", "--verbosity", "0")
        yield stage


@pytest.fixture(autouse=True)
def clean(stage: Stage) -> Iterator[None]:
    stage.ask("DELETE FROM markets_poll RETURNING 1")
    stage.ask("DELETE FROM markets_sweep RETURNING 1")
    yield
    stage.end()
    stage.exchange.behave()


def assert_nothing_doubled_or_half_written(stage: Stage) -> None:
    """What must hold after any fault."""
    overlaps = """
        SELECT count(*) FROM markets_poll AS one JOIN markets_poll AS other
        ON other.id > one.id AND other.started_at < one.finished_at"""
    assert stage.ask(overlaps) == [(0,)]
    doubles = """
        SELECT count(*) - count(DISTINCT (market_id, timestamp, source))
        FROM markets_marketsnapshot"""
    assert stage.ask(doubles) == [(0,)]
    newest = """
        SELECT count(*) FROM markets_market AS market WHERE quoted_at IS DISTINCT FROM
            (SELECT max(timestamp) FROM markets_marketsnapshot WHERE market_id = market.id)"""
    assert stage.ask(newest) == [(0,)]


def test_beat_and_worker_record_at_a_steady_cadence(stage):
    stage.start_worker()
    stage.start_beat()
    stage.wait_for_polls(2, within=40)
    seconds = stage.wait_for_polls(12, within=30)
    assert 12 * INTERVAL * 0.75 < seconds < 12 * INTERVAL * 1.4
    assert stage.ask("SELECT count(*) > 300 FROM markets_marketsnapshot") == [(True,)]
    assert stage.ask("SELECT DISTINCT error FROM markets_poll") == [("",)]
    assert stage.ask("SELECT count(*) > 3 FROM markets_sweep WHERE tier = 'universe'") == [(True,)]
    assert_nothing_doubled_or_half_written(stage)


def test_two_beats_and_three_workers_record_as_one(stage):
    for _ in range(3):
        stage.start_worker()
    for _ in range(2):
        stage.start_beat()
    stage.wait_for_polls(3, within=60)
    seconds = stage.wait_for_polls(10, within=30)
    assert seconds > 10 * INTERVAL * 0.75
    assert_nothing_doubled_or_half_written(stage)


def lasting(short: float, full: float) -> list[Any]:
    return [
        pytest.param(short, id="short"),
        pytest.param(full, id="full", marks=pytest.mark.faults),
    ]


@pytest.mark.parametrize("seconds", lasting(2, 30))
def test_a_killed_database_is_survived(stage, seconds):
    stage.start_worker()
    stage.start_beat()
    stage.wait_for_polls(2, within=40)
    stage.services.postgres.kill()
    time.sleep(seconds)
    stage.services.postgres.start()
    stage.wait_for_polls(2, within=20)
    assert_nothing_doubled_or_half_written(stage)


@pytest.mark.parametrize("seconds", lasting(2, 30))
def test_a_killed_broker_is_survived(stage, seconds):
    stage.start_worker()
    stage.start_beat()
    stage.wait_for_polls(2, within=40)
    stage.services.valkey.kill()
    time.sleep(seconds)
    stage.services.valkey.start()
    stage.wait_for_polls(2, within=60)
    assert_nothing_doubled_or_half_written(stage)


def test_a_killed_worker_leaves_its_trace_and_its_successor_goes_on(stage):
    stage.exchange.misbehave(Fault(path="/events", latency=2.0))
    worker = stage.start_worker()
    stage.start_beat()
    while stage.ask("SELECT count(*) FROM markets_poll WHERE finished_at IS NULL") == [(0,)]:
        time.sleep(0.05)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    stage.exchange.behave()
    stage.start_worker()
    stage.wait_for_polls(2, within=40)
    assert stage.ask("SELECT count(*) FROM markets_poll WHERE finished_at IS NULL") == [(1,)]
    assert_nothing_doubled_or_half_written(stage)


def test_a_terminated_worker_finishes_its_tick(stage):
    stage.exchange.misbehave(Fault(path="/events", latency=0.4))
    worker = stage.start_worker()
    stage.start_beat()
    while stage.ask("SELECT count(*) FROM markets_poll WHERE finished_at IS NULL") == [(0,)]:
        time.sleep(0.05)
    worker.terminate()
    assert worker.wait(timeout=30) == 0
    assert stage.ask("SELECT count(*) FROM markets_poll WHERE finished_at IS NULL") == [(0,)]
    assert_nothing_doubled_or_half_written(stage)


@pytest.mark.parametrize("seconds", lasting(3, 60))
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(rate_limited=True),
        Fault(cut=True),
        Fault(malformed=True),
        Fault(latency=30.0),
    ],
    ids=["500", "429", "cut", "malformed", "silent"],
)
def test_an_exchange_that_fails_is_told_of_and_survived(stage, fault, seconds):
    stage.start_worker()
    stage.start_beat()
    stage.wait_for_polls(2, within=40)
    stage.exchange.misbehave(fault)
    time.sleep(seconds)
    stage.exchange.behave()
    # An unanswered request is waited for as long as the client's own timeout.
    stage.wait_for_polls(2, within=25)
    assert stage.ask("SELECT count(*) > 0 FROM markets_poll WHERE error <> ''") == [(True,)]
    assert_nothing_doubled_or_half_written(stage)


def test_the_command_records_a_single_tick_without_celery(stage):
    stage.manage("pollmarkets", "--once")
    assert stage.good_polls() == 1


def test_the_command_ends_in_good_order_on_sigterm(stage):
    child = stage.start("manage.py", "pollmarkets")
    stage.wait_for_polls(2, within=30)
    child.terminate()
    assert child.wait(timeout=15) == 0
    assert stage.ask("SELECT count(*) FROM markets_poll WHERE finished_at IS NULL") == [(0,)]
