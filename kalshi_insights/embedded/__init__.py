"""PostgreSQL and Valkey for whoever has configured none, while a block or a command runs.

One process owns a folder (`var/live`, `var/demo`, …) by a lock and starts the servers; others
with the same folder attach to them through its `state.json` and stop nothing. The servers die
with their owner; what an owner killed by force has left is ended before anything is started.
Enter `services()` in the main thread: the kernel ties the servers to the thread that made them.
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

from kalshi_insights.embedded.locations import EmbeddedError, place_of, remove
from kalshi_insights.embedded.servers import READY_WITHIN, Postgres, Server, Valkey

__all__ = [
    "DEMO",
    "LIVE",
    "EmbeddedError",
    "Services",
    "lock",
    "remove",
    "say",
    "secret",
    "services",
]

BASE_DIR = Path(__file__).resolve().parent.parent.parent
LIVE = BASE_DIR / "var" / "live"
DEMO = BASE_DIR / "var" / "demo"


@dataclass
class Services:
    """What runs, and what the environment says of it. Attached users have no servers here."""

    folder: Path = LIVE
    environment: dict[str, str] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)

    @property
    def postgres(self) -> Postgres:
        return next(server for server in self.servers if isinstance(server, Postgres))

    @property
    def valkey(self) -> Valkey:
        return next(server for server in self.servers if isinstance(server, Valkey))


KINDS: dict[str, type[Server]] = {"DATABASE_URL": Postgres, "REDIS_URL": Valkey}


@contextmanager
def services(
    folder: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    always: bool = False,
    durable: bool = True,
) -> Iterator[Services]:
    """Has PostgreSQL and Valkey running, and `os.environ` say where, until the end of the block.

    Does nothing about those that `os.environ` or `.env` name already, unless `always`.
    `environment` is set too, and handed on to every process that attaches. Without a `folder`
    it is the running demo's, else `var/live`. A block that ends without an exception waits for
    attached processes, where the data are `durable`. Raises EmbeddedError.
    """
    wanted = [name for name in KINDS if always or not _is_configured(name)]
    if not wanted:
        yield Services()
        return
    with ExitStack() as stack:
        found = None
        if folder is None and len(wanted) == len(KINDS):
            found = _attached(DEMO.resolve(), wanted, stack)
        found = found or _owned_or_attached(
            (folder or LIVE).resolve(), wanted, stack, durable=durable, extra=environment or {}
        )
        stack.enter_context(_environment(found.environment))
        yield found
        if found.servers and durable:
            _wait_for_others(found.folder)


def _owned_or_attached(
    folder: Path, wanted: list[str], stack: ExitStack, *, durable: bool, extra: Mapping[str, str]
) -> Services:
    while (held := lock(folder / "lock", fcntl.LOCK_EX)) is None:
        if found := _attached(folder, wanted, stack):
            return found
    stack.callback(os.close, held)
    state = folder / "state.json"
    state.unlink(missing_ok=True)
    found = Services(folder, dict(extra))
    place, password = place_of(folder), secret(folder / "password")
    for name in wanted:
        server = KINDS[name](place, password, durable=durable)
        stack.callback(server.stop)
        server.start()
        found.servers.append(server)
        found.environment[name] = server.url
    _write_secret(state, json.dumps({"pid": os.getpid(), "environment": found.environment}))
    stack.callback(state.unlink, missing_ok=True)
    return found


def _attached(folder: Path, wanted: list[str], stack: ExitStack) -> Services | None:
    """The services of the process that owns the folder, waited for; None where nobody does."""
    deadline = time.monotonic() + READY_WITHIN
    while _is_owned(folder):
        if (users := lock(folder / "users", fcntl.LOCK_SH)) is not None:
            if environment := _handed_on(folder):
                stack.callback(os.close, users)
                return _as_attached(folder, environment, wanted)
            os.close(users)
        if time.monotonic() > deadline:
            raise EmbeddedError(f"The owner of {folder} is not ready after {READY_WITHIN:.0f} s.")
        time.sleep(0.02)
    return None


def _handed_on(folder: Path) -> dict[str, str] | None:
    """None while the owner is starting or ending, also where a killed one has left its word."""
    try:
        state = json.loads((folder / "state.json").read_text())
        os.kill(state["pid"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    environment: dict[str, str] = state["environment"]
    return environment


def _as_attached(folder: Path, environment: dict[str, str], wanted: list[str]) -> Services:
    if missing := [name for name in wanted if name not in environment]:
        raise EmbeddedError(
            f"The services in {folder} were started by a process whose {' and '.join(missing)}"
            " was set. Set it here too, or end that process."
        )
    if environment.get("SIMULATED") == "true":
        say(f"Using the running demo in {folder}: simulated data.")
    return Services(folder, environment)


def _wait_for_others(folder: Path) -> None:
    held = lock(folder / "users", fcntl.LOCK_EX)
    if held is None:
        say(f"Other processes use the services in {folder}: waiting for them. Ctrl-C ends both.")
        held = os.open(folder / "users", os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
    # From here on nobody attaches.
    (folder / "state.json").unlink(missing_ok=True)
    os.close(held)


def lock(path: Path, kind: int) -> int | None:
    """A descriptor that holds the lock until it is closed; None where the lock is taken."""
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
    held = lock(folder / "lock", fcntl.LOCK_SH)
    if held is not None:
        os.close(held)
    return held is None


def secret(path: Path) -> str:
    """What the file holds, made up at random the first time; nobody else can read it."""
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


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
