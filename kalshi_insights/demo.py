"""`make demo`: the whole site as children of this process, recording a simulated exchange.

`LIVE=1` records the real one, into `var/live`. The demo ends, and every child with it, on Ctrl-C
or SIGTERM, `DEMO_SECONDS` after it was ready, and in failure when a child ends by itself. Where
this process is killed by force, the kernel ends the children.
"""

import fcntl
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import django
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection

from kalshi_insights import embedded
from kalshi_insights.embedded.servers import Server, ends_with_parent, free_port, is_free, tail

BASE_DIR = embedded.BASE_DIR

READY_WITHIN = 120.0
# A tick of the recorder is finished before its worker ends.
ENDED_WITHIN = 20.0

# Simulated data never meet a key, and every market has a hundred snapshots of each day.
SIMULATED = {
    "SIMULATED": "true",
    "KALSHI_API_KEY_ID": "",
    "KALSHI_PRIVATE_KEY_PATH": "",
    "HOT_HEARTBEAT": "300",
    "HEARTBEAT": "600",
}
RECORDING = ("beat", "recorder", "work", "past")
# What the site has to show once a day is on record.
BACKTESTS = ("fade-longshots", "favourite-hold")
A_DAY = timedelta(days=1)
CELERY = ("-m", "celery", "-A", "kalshi_insights")
WORKER = ("worker", "--without-gossip", "--without-mingle", "--without-heartbeat")


class DemoError(Exception):
    """The demo cannot go on; the message is for whoever started it."""


@dataclass(frozen=True)
class Plan:
    live: bool
    port: int
    seconds: float | None

    @property
    def folder(self) -> Path:
        return embedded.LIVE if self.live else embedded.DEMO

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def plan_from(environment: dict[str, str]) -> Plan:
    seconds = environment.get("DEMO_SECONDS")
    try:
        port = int(environment.get("PORT") or 8000)
        plan = Plan(
            environment.get("LIVE", "0") not in ("", "0"), port, float(seconds or 0) or None
        )
    except ValueError as error:
        raise DemoError(f"PORT and DEMO_SECONDS must be numbers: {error}.") from None
    if not 0 < port < 65536:
        raise DemoError(f"PORT must lie between 1 and 65535, not {port}.")
    if not is_free(port):
        raise DemoError(f"Port {port} is in use. Choose another: make demo PORT={port + 1}")
    return plan


@dataclass
class Children:
    """The processes of the demo, each in a group of its own and with a log of its own."""

    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)
    # What to do when a child that is meant to end has ended well.
    errands: dict[str, Callable[[], None]] = field(default_factory=dict)

    def start(
        self, name: str, *arguments: str, orphaned: signal.Signals = signal.SIGTERM
    ) -> subprocess.Popen[bytes]:
        self.logs.mkdir(exist_ok=True)
        with (self.logs / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=ends_with_parent(orphaned),  # noqa: PLW1509
            )
        return self.running[name]

    def check(self) -> None:
        """Raises where one has ended, but for an errand that ended well."""
        processes = {**self.running, **{server.name: server.process for server in self.servers}}
        for name, process in processes.items():
            if process is None or process.poll() is None:
                continue
            if process.returncode == 0 and name in self.errands:
                del self.running[name]
                self.errands.pop(name)()
                continue
            log = next((s.log for s in self.servers if s.name == name), self.logs / f"{name}.log")
            raise DemoError(f"{name} has ended, code {process.returncode}. {log}:\n{tail(log)}")

    def wait_until(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def end(self) -> None:
        # A tick in flight still needs its exchange, so those that record go first.
        recording = [p for name, p in self.running.items() if name in RECORDING]
        self._end(recording)
        self._end([p for p in self.running.values() if p not in recording])

    def _end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + ENDED_WITHIN
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def main() -> None:
    # backtrader's, when it is compiled for the first time.
    warnings.simplefilter("ignore", SyntaxWarning)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        _demonstrate(plan_from(dict(os.environ)))
    except (DemoError, embedded.EmbeddedError) as error:
        sys.exit(f"demo: {error}")


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    # What comes now is the orderly end, which must not be interrupted by a second Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _demonstrate(plan: Plan) -> NoReturn:
    clock = Clock()
    with ExitStack() as stack:
        _claim(plan.folder, stack)
        stack.callback(clock.say, "ended")
        exchange = "" if plan.live else _simulated_address()
        found = stack.enter_context(_services(plan, exchange))
        _configure(plan.folder)
        clock.say("database and broker are ready")
        children = Children(plan.folder / "logs", servers=found.servers)
        stack.callback(children.end)
        if exchange:
            _start_exchange(children, exchange)
        # Its first tick comes an interval after its start: time to migrate in.
        _start_beat(children, plan.folder)
        keys = _prepare_site(clock)
        _start_worker(children, "recorder")
        _start_web(children, plan.port)
        _announce(plan, children, clock, keys)
        _start_worker(children, "work")
        _start_worker(children, "backtests")
        if exchange:
            _start_recording_past(children, clock, lambda: _run_backtests(plan, clock, keys))
        _stay(children, plan.seconds)
        # Not by the end of the block: that would wait for shells attached to the services.
        sys.exit(0)


@dataclass(frozen=True)
class Keys:
    password: str
    token: str


class Clock:
    def __init__(self) -> None:
        self.started = time.monotonic()

    def say(self, words: str) -> None:
        say(f"{time.monotonic() - self.started:6.1f} s  {words}")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _claim(folder: Path, stack: ExitStack) -> None:
    held = embedded.lock(folder / "demo.lock", fcntl.LOCK_EX)
    if held is None:
        raise DemoError("A demo of this checkout is running already.")
    stack.callback(os.close, held)


def _simulated_address() -> str:
    return f"http://127.0.0.1:{free_port()}/trade-api/v2"


@contextmanager
def _services(plan: Plan, exchange: str) -> Iterator[embedded.Services]:
    if plan.live:
        with embedded.services(plan.folder) as found:
            yield found
        return
    if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
        say("DATABASE_URL and REDIS_URL are left alone: simulated data go into var/demo only.")
    settings = {**SIMULATED, "KALSHI_API_URL": exchange}
    with embedded.services(plan.folder, environment=settings, always=True) as found:
        if not found.servers:
            raise DemoError(f"Another process uses {plan.folder}. End it first.")
        yield found


def _configure(folder: Path) -> None:
    """For this process and its children: as in production, but on plain HTTP."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "kalshi_insights.settings",
        "ENVIRONMENT": "development",
        "DEBUG": "false",
        "SECRET_KEY": embedded.secret(folder / "secret_key"),
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
    }


def _start_exchange(children: Children, exchange: str) -> None:
    port = str(urlsplit(exchange).port)
    # Whoever tries it on a Thursday morning wants to see something move, too.
    arguments = ("--port", port, "--markets", "800", "--seed", "1", "--no-pauses")
    children.start("exchange", "-m", "markets.simulator", *arguments)


def _prepare_site(clock: Clock) -> Keys:
    """Migrates and makes the user."""
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    clock.say("the database is migrated")
    password = secrets.token_urlsafe(9)
    user, _ = get_user_model().objects.update_or_create(
        username="demo", defaults={"is_staff": True, "is_superuser": True}
    )
    user.set_password(password)
    user.save()
    token = call_command("createapitoken", "demo", "--rotate", stdout=io.StringIO())
    connection.close()
    return Keys(password, token)


def _start_recording_past(children: Children, clock: Clock, then: Callable[[], None]) -> None:
    def done() -> None:
        clock.say("the last 24 hours are on record too")
        then()

    children.errands["past"] = done
    children.start("past", "manage.py", "recordpast")


def _run_backtests(plan: Plan, clock: Clock, keys: Keys) -> None:
    """Ask the site for some, as anybody would, where it has none to show yet."""
    try:
        if _asked(plan, "backtests/?status=done&limit=1")["count"]:
            return
        series = [each["ticker"] for each in _asked(plan, "series/?limit=1000")["results"]]
        end = datetime.now(UTC)
        window = {"start": (end - A_DAY).isoformat(), "end": end.isoformat()}
        for strategy in BACKTESTS:
            wish = {"strategy": strategy, "series": series, **window}
            _asked(plan, "backtests/", wish, token=keys.token)
    except (OSError, HTTPException) as fault:
        clock.say(f"no backtest was started: {fault}")
    else:
        clock.say(f"backtests are running: {plan.address}backtests/")


def _asked(plan: Plan, path: str, wish: object = None, *, token: str = "") -> Any:
    """What the API says, to a wish or without one."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Token {token}"
    body = None if wish is None else json.dumps(wish).encode()
    request = urllib.request.Request(f"{plan.address}api/v1/{path}", body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.load(response)


def _start_web(children: Children, port: int) -> None:
    place = ("--bind", f"127.0.0.1:{port}", "--no-control-socket")
    manner = ("--threads", "8", "--graceful-timeout", "5")
    children.start("web", "-m", "gunicorn", *place, *manner, "kalshi_insights.wsgi")


def _start_beat(children: Children, folder: Path) -> None:
    children.start("beat", *CELERY, "beat", "--schedule", str(folder / "beat"), "--pidfile=")


def _start_worker(children: Children, queue: str) -> None:
    name = ("--queues", queue, "--concurrency", "1", "--hostname", f"{queue}@demo")
    tasks = ("--include", "backtests.tasks") if queue == "backtests" else ()
    # Without its broker a worker cannot end in good order, and one that is starting waits for it.
    children.start(queue, *CELERY, *WORKER, *name, *tasks, orphaned=signal.SIGKILL)


def _announce(plan: Plan, children: Children, clock: Clock, keys: Keys) -> None:
    say("          Until the next start:")
    say(f"          Sign in as demo with the password {keys.password}")
    say(f"          Ask the API more often with the header Authorization: Token {keys.token}")
    recorded = children.wait_until(lambda: _records(plan), seconds=READY_WITHIN)
    if recorded:
        clock.say(f"READY  {plan.address}")
    elif plan.live and _answers(plan.address):
        clock.say(f"READY  {plan.address} but nothing is recorded yet: see {children.logs}")
    else:
        raise DemoError(f"Not ready after {READY_WITHIN:.0f} s. The logs are in {children.logs}.")


def _stay(children: Children, seconds: float | None) -> None:
    say("Ctrl-C ends it." if seconds is None else f"It ends by itself in {seconds:g} s.")
    children.wait_until(lambda: False, seconds=float("inf") if seconds is None else seconds)


def _answers(url: str) -> bool:
    return _fetch(url) is not None


def _records(plan: Plan) -> bool:
    """Whether the site answers and says that the recorder's last run was a good one."""
    answer = _fetch(f"{plan.address}api/v1/health/")
    return answer is not None and json.loads(answer)["status"] == "recording"


def _fetch(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
            body: bytes = response.read()
    except (OSError, HTTPException):
        return None
    return body


if __name__ == "__main__":
    main()
