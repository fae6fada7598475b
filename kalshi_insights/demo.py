"""`make demo`: the whole site as children of this process, recording a simulated exchange.

`LIVE=1` records the real exchange into `var/live`. The demo ends with all of its children on
Ctrl-C or SIGTERM, or `DEMO_SECONDS` after it was ready; it fails when a child ends by itself.
Where this process is killed, the kernel ends the children.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from kalshi_insights import embedded
from kalshi_insights.embedded.servers import Server, free_port, is_free, tail
from kalshi_insights.processes.parents import ends_with_parent

BASE_DIR = embedded.BASE_DIR

READY_WITHIN = 120.0
# A worker finishes the running tick of the recorder before it ends.
STOPPED_WITHIN = 20.0

# Without a key, so that simulated data are never mixed with an account; and with heartbeats short
# enough for a hundred snapshots of every market a day.
SIMULATED = {
    "SIMULATED": "true",
    "KALSHI_API_KEY_ID": "",
    "KALSHI_PRIVATE_KEY_PATH": "",
    "HOT_HEARTBEAT": "300",
    "HEARTBEAT": "600",
}
RECORDING = ("beat", "recorder", "worker", "past")
# The strategies that are run once a day of data is recorded.
BACKTESTS = ("fade-longshots", "favourite-hold")
A_DAY = timedelta(days=1)

Answer = TypeVar("Answer")


class DemoError(Exception):
    """The demo cannot continue; the message is for the user who started it."""


@dataclass(frozen=True)
class DemoOptions:
    live: bool
    port: int
    seconds: float | None

    @property
    def folder(self) -> Path:
        return embedded.LIVE if self.live else embedded.DEMO

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def read_options(environment: dict[str, str]) -> DemoOptions:
    seconds = environment.get("DEMO_SECONDS")
    try:
        port = int(environment.get("PORT") or 8000)
        options = DemoOptions(
            environment.get("LIVE", "0") not in ("", "0"), port, float(seconds or 0) or None
        )
    except ValueError as error:
        raise DemoError(f"PORT and DEMO_SECONDS must be numbers: {error}.") from None
    if not 0 < port < 65536:
        raise DemoError(f"PORT must lie between 1 and 65535, not {port}.")
    if not is_free(port):
        raise DemoError(f"Port {port} is in use. Choose another: make demo PORT={port + 1}")
    return options


@dataclass
class Children:
    """The processes of the demo, each with its own process group and its own log."""

    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)
    # The function to call when a child that is meant to end has succeeded.
    on_success: dict[str, Callable[[], None]] = field(default_factory=dict)
    # Those that may also fail.
    may_fail: set[str] = field(default_factory=set)

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
        """Raise DemoError where a child has ended that was not meant to, or that has failed."""
        processes = {**self.running, **{server.name: server.process for server in self.servers}}
        for name, process in processes.items():
            if process is None or process.poll() is None:
                continue
            if name in self.may_fail:
                del self.running[name]
                continue
            if process.returncode == 0 and name in self.on_success:
                del self.running[name]
                self.on_success.pop(name)()
                continue
            log = next((s.log for s in self.servers if s.name == name), self.logs / f"{name}.log")
            raise DemoError(f"{name} has ended, code {process.returncode}. {log}:\n{tail(log)}")

    def wait_until(self, condition: Callable[[], Answer], *, seconds: float) -> Answer | None:
        """Ask again until the answer is true; returns that answer, or None after the seconds."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            self.check()
            if time.monotonic() > deadline:
                return None
            time.sleep(0.1)
        return answer

    def end(self) -> None:
        # A running tick still needs the exchange, so the recording processes end first.
        recording = [p for name, p in self.running.items() if name in RECORDING]
        self._end(recording)
        self._end([p for p in self.running.values() if p not in recording])

    def _end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOPPED_WITHIN
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        _demonstrate(read_options(dict(os.environ)))
    except (DemoError, embedded.EmbeddedError) as error:
        sys.exit(f"demo: {error}")


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    # A second Ctrl-C must not interrupt the orderly end that begins now.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _demonstrate(options: DemoOptions) -> NoReturn:
    log = StartupLog()
    with ExitStack() as stack:
        _claim(options.folder, stack)
        stack.callback(log.write, "ended")
        exchange = "" if options.live else _simulated_address()
        services = stack.enter_context(_services(options, exchange))
        _configure(options.folder)
        log.write("database and broker are ready")
        children = Children(options.folder / "logs", servers=services.servers)
        stack.callback(children.end)
        if exchange:
            _start_exchange(children, exchange)
        else:
            _start_check(children, log)
        # Beat sends its first tick one interval after its start, which leaves time to migrate.
        _start_watched(children, "beat")
        credentials = _prepare_site(log)
        _start_watched(children, "recorder")
        _start_web(children, options.port)
        recording = _announce(options, children, log, credentials=credentials)
        _start_watched(children, "worker")
        _start_watched(children, "backtester")
        if exchange:
            _start_recording_past(children, log, lambda: _run_backtests(options, log, credentials))
        _stay(options, children, log, recording=recording)
        # Leaving the block normally would wait for shells that are attached to the services.
        sys.exit(0)


@dataclass(frozen=True)
class Credentials:
    password: str
    token: str


class StartupLog:
    """Prints lines with the seconds since the start of the demo."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def write(self, words: str) -> None:
        print_line(f"{time.monotonic() - self.started:6.1f} s  {words}")


def print_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _claim(folder: Path, stack: ExitStack) -> None:
    demo_lock = embedded.lock(folder / "demo.lock", fcntl.LOCK_EX)
    if demo_lock is None:
        raise DemoError("A demo of this checkout is running already.")
    stack.callback(os.close, demo_lock)


def _simulated_address() -> str:
    return f"http://127.0.0.1:{free_port()}/trade-api/v2"


@contextmanager
def _services(options: DemoOptions, exchange: str) -> Iterator[embedded.Services]:
    if options.live:
        with embedded.services(options.folder) as services:
            yield services
        return
    if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
        print_line(
            "DATABASE_URL and REDIS_URL are ignored: simulated data are only stored in var/demo."
        )
    settings = {**SIMULATED, "KALSHI_API_URL": exchange}
    with embedded.services(options.folder, environment=settings, always=True) as services:
        if not services.servers:
            raise DemoError(f"Another process uses {options.folder}. End it first.")
        yield services


def _configure(folder: Path) -> None:
    """Configure this process and its children as in production, but for plain HTTP."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "kalshi_insights.settings",
        "ENVIRONMENT": "development",
        "DEBUG": "false",
        "SECRET_KEY": embedded.read_or_create_secret(folder / "secret_key"),
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "PULSE_PATH": str(folder / "pulse"),
    }


def _start_exchange(children: Children, exchange: str) -> None:
    port = str(urlsplit(exchange).port)
    # Without the exchange's weekly pause, so that prices move whenever the demo is tried.
    arguments = ("--port", port, "--markets", "800", "--seed", "1", "--no-pauses")
    children.start("exchange", "-m", "markets.simulator", *arguments)


def _start_check(children: Children, log: StartupLog) -> None:
    """Check the connection to the exchange, and tell what is wrong while everything else starts."""
    children.may_fail.add("check")
    check = children.start("check", "manage.py", "checkkalshi")

    def tell() -> None:
        check.wait()
        for line in (children.logs / "check.log").read_text().splitlines():
            if line.startswith("WRONG"):
                log.write(line)

    threading.Thread(target=tell, daemon=True).start()


def _prepare_site(log: StartupLog) -> Credentials:
    """Migrate the database and create the user, in a process of its own.

    This one stays as long as the demo, and Django would stay in its memory.
    """
    ran = subprocess.run(
        [sys.executable, "manage.py", "preparedemo"],
        cwd=BASE_DIR,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=ends_with_parent(signal.SIGTERM),
    )
    if ran.returncode:
        raise DemoError(f"The database is not migrated:\n{ran.stderr}")
    log.write("the database is migrated")
    return Credentials(**json.loads(ran.stdout.splitlines()[-1]))


def _start_recording_past(
    children: Children, log: StartupLog, on_success: Callable[[], None]
) -> None:
    def succeed() -> None:
        log.write("the last 24 hours are recorded too")
        on_success()

    children.on_success["past"] = succeed
    children.start("past", "manage.py", "recordpast")


def _run_backtests(options: DemoOptions, log: StartupLog, credentials: Credentials) -> None:
    """Start the backtests through the API, unless there are finished ones."""
    try:
        if _call_api(options, "backtests/?status=done&limit=1")["count"]:
            return
        series = [each["ticker"] for each in _call_api(options, "series/?limit=1000")["results"]]
        end = datetime.now(UTC)
        window = {"start": (end - A_DAY).isoformat(), "end": end.isoformat()}
        for strategy in BACKTESTS:
            body = {"strategy": strategy, "series": series, **window}
            _call_api(options, "backtests/", body, token=credentials.token)
    except (OSError, HTTPException) as fault:
        log.write(f"no backtest was started: {fault}")
    else:
        log.write(f"backtests are running: {options.address}backtests/")


def _call_api(options: DemoOptions, path: str, body: object = None, *, token: str = "") -> Any:
    """Send a GET request, or a POST request with a body, and return the JSON of the response."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Token {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{options.address}api/v1/{path}", data, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.load(response)


def _start_web(children: Children, port: int) -> None:
    address = ("--bind", f"127.0.0.1:{port}", "--no-control-socket")
    stopping = ("--graceful-timeout", "5")
    children.start("web", "-m", "gunicorn", *address, *stopping, "kalshi_insights.asgi")


def _start_watched(children: Children, role: str) -> None:
    """Start a process of the recorder under a supervisor, which replaces it where it hangs."""
    # Its process is killed with it: without a broker it could not end cleanly.
    children.start(
        role, "-m", "kalshi_insights.processes.supervisor", role, orphaned=signal.SIGKILL
    )


def _announce(
    options: DemoOptions, children: Children, log: StartupLog, *, credentials: Credentials
) -> bool:
    """Announce the address once the site is ready; returns whether the exchange is recorded."""
    print_line("          Until the next start:")
    print_line(f"          Sign in as demo with the password {credentials.password}")
    print_line("          For backtests and a higher rate limit, send the API the header")
    print_line(f"          Authorization: Token {credentials.token}")
    health = children.wait_until(lambda: _health_once_ready(options), seconds=READY_WITHIN)
    # A live demo is announced even where nobody knows yet why nothing is recorded.
    health = health or _health(options)
    if _is_recording(health):
        log.write(f"READY  {options.address}")
    elif options.live and health:
        problem = health["problem"] or f"see {children.logs}"
        log.write(f"READY  {options.address} but nothing is recorded yet: {problem}")
        print_line("          It goes on trying; `manage.py checkkalshi` tells more.")
    else:
        raise DemoError(f"Not ready after {READY_WITHIN:.0f} s. The logs are in {children.logs}.")
    return _is_recording(health)


def _stay(options: DemoOptions, children: Children, log: StartupLog, *, recording: bool) -> None:
    seconds = options.seconds
    print_line("Ctrl-C ends the demo." if seconds is None else f"The demo ends in {seconds:g} s.")
    began = time.monotonic()
    patience = float("inf") if seconds is None else seconds
    if not recording and children.wait_until(
        lambda: _is_recording(_health(options)), seconds=patience
    ):
        log.write("the exchange is being recorded")
    children.wait_until(lambda: False, seconds=patience - (time.monotonic() - began))


def _health(options: DemoOptions) -> dict[str, Any] | None:
    """The health that the site reports; None while it does not answer."""
    answer = _fetch(f"{options.address}api/v1/health/")
    return json.loads(answer) if answer else None


def _is_recording(health: dict[str, Any] | None) -> bool:
    return health is not None and health["status"] == "recording"


def _health_once_ready(options: DemoOptions) -> dict[str, Any] | None:
    """The health once the recorder records, or says why it cannot record the real exchange."""
    health = _health(options)
    problem = options.live and health and health["problem"]
    return health if problem or _is_recording(health) else None


def _fetch(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
            body: bytes = response.read()
    except (OSError, HTTPException):
        return None
    return body


if __name__ == "__main__":
    main()
