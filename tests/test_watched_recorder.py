"""Faults that nobody announces: connections cut in silence, processes that hang, clocks set back.

The recorder's processes run under their supervisor, and reach their services through proxies.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kalshi_insights.processes.pulse import LOOP, signs
from tests.recorder_harness import (
    ROOT,
    STARTUP_TIMEOUT,
    RecorderHarness,
    assert_consistent,
    recorder_harness,
)
from tests.silent_proxy import SilentProxy
from tests.wall_clock import WallClock

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="stops processes by /proc"),
]

SHORT_INTERVAL, FULL_INTERVAL = 1.0, 5.0
AGAIN_WITHIN = 30.0
COMMANDS = {"recorder": "processes.worker recorder", "beat": "processes.beat"}


@dataclass
class WatchedRecorder:
    """A recorder under its supervisor, with the proxies of its services."""

    harness: RecorderHarness
    pulses: Path
    proxies: dict[str, SilentProxy] = field(default_factory=dict)
    supervisor: subprocess.Popen[bytes] | None = None

    def ensure_recording(self) -> None:
        if self.supervisor is None or self.supervisor.poll() is not None:
            self.supervisor = self.harness.start_supervisor("recorder", "beat")
        self.harness.wait_for_polls(2, within=STARTUP_TIMEOUT)

    def processes(self, role: str) -> list[int]:
        """The process of a role and, after it, its children."""
        [main] = [
            pid for pid in children_of(self.supervisor.pid) if COMMANDS[role] in command_of(pid)
        ]
        return [main, *children_of(main)]

    def seconds_until(self, words: str, *, within: float) -> float:
        """Wait until the supervisor says these words for the first time from now on."""
        log = self.harness.logs / f"{self.harness.started}-supervisor.log"
        began, observed = time.monotonic(), len(log.read_text())
        while not re.search(words, log.read_text()[observed:]):
            assert time.monotonic() - began < within, self.harness.diagnostics()
            time.sleep(0.05)
        return time.monotonic() - began

    def seconds_to_the_next_run(self, since: datetime) -> float:
        """Wait for a good run that began after an instant; return the seconds until its end."""
        statement = """
            SELECT min(finished_at) FROM markets_poll
            WHERE started_at > %s AND finished_at <= clock_timestamp() AND error = ''"""
        until = time.monotonic() + STARTUP_TIMEOUT
        while (finished := self.harness.query(statement, since)[0][0]) is None:
            assert time.monotonic() < until, self.harness.diagnostics()
            time.sleep(0.05)
        seconds: float = (finished - since).total_seconds()
        return seconds

    def health(self, role: str) -> tuple[int, str]:
        run = subprocess.run(
            [sys.executable, "-m", "kalshi_insights.processes.checkhealth", role],
            cwd=ROOT,
            env={**self.harness.environment, "PULSE_PATH": str(self.pulses)},
            capture_output=True,
            text=True,
            check=False,
        )
        return run.returncode, run.stdout


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture(scope="module")
def shared_recorder(pytestconfig, tmp_path_factory, django_db_blocker) -> Iterator[WatchedRecorder]:
    folder = tmp_path_factory.mktemp("watched")
    interval = FULL_INTERVAL if pytestconfig.option.markexpr == "faults" else SHORT_INTERVAL
    variables = {"KALSHI_RATE": str(300 / interval), "UNIVERSE_INTERVAL": str(2 * interval)}
    with ExitStack() as stack:
        harness = stack.enter_context(
            recorder_harness(folder, interval=interval, markets=300, speed=240.0, **variables)
        )
        recorder = WatchedRecorder(harness, folder / "pulses")
        harness.for_children["PULSE_PATH"] = str(recorder.pulses)
        for name in ("DATABASE_URL", "REDIS_URL"):
            url = harness.environment[name]
            port = int(urlsplit(url).netloc.rpartition(":")[2])
            proxy = stack.enter_context(SilentProxy(port))
            recorder.proxies[name] = proxy
            harness.for_children[name] = url.replace(f":{port}/", f":{proxy.port}/")
        stack.enter_context(django_db_blocker.unblock())
        yield recorder


@pytest.fixture
def recorder(shared_recorder):
    shared_recorder.ensure_recording()
    return shared_recorder


@pytest.mark.faults
@pytest.mark.parametrize("drops_packets", [True, False], ids=["packets lost", "nobody answers"])
@pytest.mark.parametrize("service", ["DATABASE_URL", "REDIS_URL"])
def test_recording_goes_on_half_a_minute_after_a_connection_was_cut_in_silence(
    recorder, service, drops_packets
):
    harness = recorder.harness
    with harness.blocked_write():
        recorder.proxies[service].cut(drops_packets=drops_packets)
        began = datetime.now(UTC)
    assert recorder.seconds_to_the_next_run(began) < AGAIN_WITHIN
    harness.wait_for_polls(2, within=STARTUP_TIMEOUT)
    assert_consistent(harness)


@pytest.mark.faults
def test_a_recorder_that_is_started_anew_after_such_a_cut_does_not_wait_for_the_dead_sessions(
    recorder,
):
    harness = recorder.harness
    with harness.blocked_write():
        recorder.proxies["DATABASE_URL"].cut(drops_packets=False)
        began = datetime.now(UTC)
        for pid in recorder.processes("recorder"):
            os.kill(pid, signal.SIGKILL)
    assert recorder.seconds_to_the_next_run(began) < AGAIN_WITHIN
    assert_consistent(harness)


@pytest.mark.parametrize(
    ("role", "which"),
    [
        ("recorder", "process"),
        pytest.param("recorder", "child", marks=pytest.mark.faults),
        pytest.param("beat", "process", marks=pytest.mark.faults),
    ],
)
def test_a_process_that_is_stopped_is_noticed_and_replaced(recorder, role, which):
    harness = recorder.harness
    stopped = recorder.processes(role)[int(which == "child")]
    with harness.blocked_write():
        os.kill(stopped, signal.SIGSTOP)
    noticed = recorder.seconds_until(f"the {role} hangs", within=STARTUP_TIMEOUT)
    assert noticed < 3 * FULL_INTERVAL + 1
    # Where beat was stopped, a message of its last moment may have come late.
    again = datetime.now(UTC)
    assert noticed + recorder.seconds_to_the_next_run(again) < AGAIN_WITHIN
    assert not is_alive(stopped)
    assert_consistent(harness)


def test_a_process_that_was_killed_is_started_again(recorder):
    [main, *_] = recorder.processes("recorder")
    os.kill(main, signal.SIGKILL)
    recorder.seconds_until("the recorder was killed by signal 9", within=10)
    recorder.harness.wait_for_polls(1, within=STARTUP_TIMEOUT)
    assert recorder.processes("recorder")[0] != main


def test_a_health_check_tells_whether_a_role_is_alive(recorder):
    assert recorder.health("recorder") == (0, "recorder: healthy\n")
    assert recorder.health("beat") == (0, "beat: healthy\n")
    assert recorder.health("worker") == (1, "worker: it is not running\n")
    sign = signs(recorder.pulses / "recorder")[LOOP]
    assert 0 < -sign.overdue < 15


def test_the_supervisor_ends_its_processes_in_order(recorder):
    began = datetime.now(UTC)
    processes = [*recorder.processes("recorder"), *recorder.processes("beat")]
    recorder.supervisor.terminate()
    assert recorder.supervisor.wait(30) == 0
    # A worker's child may be on its way out for a moment after its parents.
    until = time.monotonic() + 10
    while any(map(is_alive, processes)) and time.monotonic() < until:
        time.sleep(0.1)
    assert [pid for pid in processes if is_alive(pid)] == []
    unfinished = "SELECT count(*) FROM markets_poll WHERE finished_at IS NULL AND started_at > %s"
    assert recorder.harness.query(unfinished, began) == [(0,)]


@pytest.mark.skipif(not WallClock.can_be_set(), reason="no C compiler for a clock of its own")
def test_recording_goes_on_when_the_clock_of_its_processes_is_set_back(recorder, tmp_path):
    harness, clock = recorder.harness, WallClock(tmp_path)
    recorder.supervisor.terminate()
    recorder.supervisor.wait(30)
    harness.for_children |= clock.environment
    try:
        recorder.ensure_recording()
        clock.step(-3600)
        # The first of them may have been sent before.
        assert harness.wait_for_polls(4, within=STARTUP_TIMEOUT) < 4 * harness.interval + 10
        [(behind,)] = harness.query(
            "SELECT clock_skew < interval '-59 min' FROM markets_poll"
            " WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1"
        )
        assert behind
    finally:
        recorder.supervisor.terminate()
        recorder.supervisor.wait(30)
        for name in clock.environment:
            del harness.for_children[name]
