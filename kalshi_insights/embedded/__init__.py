"""Embedded PostgreSQL and Valkey, for the time that a block or a command runs.

They are started where DATABASE_URL or REDIS_URL is unset. One process owns a folder (`var/live`,
`var/demo`, …) by a lock and starts the servers; other processes with the same folder attach to
them through its `state.json` and stop nothing. The servers end with their owner. Servers that an
owner left behind when it was killed are ended before new ones start. Enter `services()` in the
main thread, since the kernel ends the servers together with the thread that started them.
"""

import fcntl
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kalshi_insights.embedded.locations import EmbeddedError, locate, remove
from kalshi_insights.embedded.servers import READY_WITHIN, Postgres, Server, Valkey

__all__ = [
    "DEMO",
    "LIVE",
    "EmbeddedError",
    "Services",
    "lock",
    "print_status",
    "read_or_create_secret",
    "remove",
    "services",
]

BASE_DIR = Path(__file__).resolve().parent.parent.parent
LIVE = BASE_DIR / "var" / "live"
DEMO = BASE_DIR / "var" / "demo"


@dataclass
class Services:
    """The running servers and the variables that point to them; no servers where attached."""

    folder: Path = LIVE
    environment: dict[str, str] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)


KINDS: dict[str, type[Server]] = {"DATABASE_URL": Postgres, "REDIS_URL": Valkey}


@contextmanager
def services(
    folder: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    always: bool = False,
    durable: bool = True,
) -> Iterator[Services]:
    """Run PostgreSQL and Valkey until the end of the block, with their URLs in `os.environ`.

    A service that `os.environ` or `.env` configures is left alone, unless `always`. The variables
    in `environment` are set as well, here and in every process that attaches. The default folder
    is that of the running demo, else `var/live`. A block that ends without an exception waits for
    attached processes, where the data are `durable`. Raises EmbeddedError.
    """
    missing = [name for name in KINDS if always or not _is_configured(name)]
    if not missing:
        yield Services()
        return
    with ExitStack() as stack:
        running = None
        if folder is None and len(missing) == len(KINDS):
            running = _attach(DEMO.resolve(), missing, stack)
        running = running or _start_or_attach(
            (folder or LIVE).resolve(), missing, stack, durable=durable, extra=environment or {}
        )
        stack.enter_context(_environment(running.environment))
        yield running
        if running.servers and durable:
            _wait_for_attached(running.folder)


def _start_or_attach(
    folder: Path, names: list[str], stack: ExitStack, *, durable: bool, extra: Mapping[str, str]
) -> Services:
    while (owner_lock := lock(folder / "lock", fcntl.LOCK_EX)) is None:
        if attached := _attach(folder, names, stack):
            return attached
    stack.callback(os.close, owner_lock)
    state = folder / "state.json"
    state.unlink(missing_ok=True)
    started = Services(folder, dict(extra))
    location, password = locate(folder), read_or_create_secret(folder / "password")
    for name in names:
        server = KINDS[name](location, password, durable=durable)
        stack.callback(server.stop)
        server.start()
        started.servers.append(server)
        started.environment[name] = server.url
    _write_secret(state, json.dumps({"pid": os.getpid(), "environment": started.environment}))
    stack.callback(state.unlink, missing_ok=True)
    return started


def _attach(folder: Path, names: list[str], stack: ExitStack) -> Services | None:
    """Wait for the services of the process that owns the folder; None where no process does."""
    deadline = time.monotonic() + READY_WITHIN
    while _is_owned(folder):
        if (users_lock := lock(folder / "users", fcntl.LOCK_SH)) is not None:
            if environment := _read_state(folder):
                stack.callback(os.close, users_lock)
                return _attached(folder, environment, names)
            os.close(users_lock)
        if time.monotonic() > deadline:
            raise EmbeddedError(f"The owner of {folder} is not ready after {READY_WITHIN:.0f} s.")
        time.sleep(0.02)
    return None


def _read_state(folder: Path) -> dict[str, str] | None:
    """The variables that the owner has published.

    None while it is starting or ending, and where an owner that was killed has left its file.
    """
    try:
        state = json.loads((folder / "state.json").read_text())
        os.kill(state["pid"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    environment: dict[str, str] = state["environment"]
    return environment


def _attached(folder: Path, environment: dict[str, str], names: list[str]) -> Services:
    if missing := [name for name in names if name not in environment]:
        raise EmbeddedError(
            f"The services in {folder} were started by a process whose {' and '.join(missing)}"
            " was set. Set it here too, or end that process."
        )
    if environment.get("SIMULATED") == "true":
        print_status(f"Using the running demo in {folder}: simulated data.")
    return Services(folder, environment)


def _wait_for_attached(folder: Path) -> None:
    users_lock = lock(folder / "users", fcntl.LOCK_EX)
    if users_lock is None:
        print_status(f"Waiting for other processes that use the services in {folder}.")
        print_status("Ctrl-C ends the services at once.")
        users_lock = os.open(folder / "users", os.O_RDWR)
        fcntl.flock(users_lock, fcntl.LOCK_EX)
    # Without this file no other process can attach.
    (folder / "state.json").unlink(missing_ok=True)
    os.close(users_lock)


def lock(path: Path, kind: int) -> int | None:
    """Return a descriptor that holds the lock until it is closed; None where the lock is taken."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError:
        raise EmbeddedError(
            f"{path.parent} belongs to another user. Remove it, or set DATABASE_URL and REDIS_URL."
        ) from None
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _is_owned(folder: Path) -> bool:
    if not (folder / "lock").exists():
        return False
    owner_lock = lock(folder / "lock", fcntl.LOCK_SH)
    if owner_lock is not None:
        os.close(owner_lock)
    return owner_lock is None


def read_or_create_secret(path: Path) -> str:
    """Read the secret in a file that only its owner can read; create a random one at first."""
    if not path.exists():
        _write_secret(path, secrets.token_hex(24))
    return path.read_text()


def _write_secret(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def _is_configured(name: str) -> bool:
    if name in os.environ:
        return bool(os.environ[name])
    dotenv = BASE_DIR / ".env"
    text = dotenv.read_text() if dotenv.exists() else ""
    setting = rf"""^\s*(export\s+)?{name}\s*=\s*['"]?[^\s#'"]"""
    return re.search(setting, text, re.MULTILINE) is not None


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def print_status(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
