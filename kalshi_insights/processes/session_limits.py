"""Time limits of database sessions for statements, locks and idling, by purpose.

The limits are the server's: it ends what a process leaves behind that is stopped, killed or cut
off, together with the locks that it held.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

DEFAULT = "default"


class SessionLimits(NamedTuple):
    """Seconds, 0 for no limit. The fields are PostgreSQL's settings."""

    statement_timeout: float
    lock_timeout: float
    idle_in_transaction_session_timeout: float

    @property
    def milliseconds(self) -> dict[str, int]:
        return {name: int(seconds * 1000) for name, seconds in self._asdict().items()}

    @property
    def options(self) -> str:
        """The limits as libpq's `options`, with which a session begins."""
        return " ".join(f"-c {name}={value}" for name, value in self.milliseconds.items())


# Commands, migrations and background tasks take as long as they take; whatever stops in the
# middle of a transaction for this long will not go on.
UNHURRIED = SessionLimits(0, 0, 600)
# Nobody waits longer for a page.
WEB = SessionLimits(15, 5, 60)
# A file is sent for as long as its reader reads.
EXPORT_SECONDS = 3600


def limit_web_sessions() -> None:
    """Let every session that this process opens from now on have the limits of the web."""
    options = connections.settings[DEFAULT]["OPTIONS"]
    # The last word counts, and the first of the two are the limits of all processes.
    own = options["options"].removeprefix(UNHURRIED.options)
    options["options"] = f"{WEB.options}{own}"


@contextmanager
def limited(connection: BaseDatabaseWrapper, limits: SessionLimits) -> Iterator[None]:
    """Give a session these limits for the time of a block."""
    with _changed(connection, limits.milliseconds):
        yield


@contextmanager
def short_waits(connection: BaseDatabaseWrapper, *, seconds: float) -> Iterator[None]:
    """Let statements of a block wait for locks no longer than this."""
    with _changed(connection, {"lock_timeout": int(seconds * 1000)}):
        yield


@contextmanager
def long_statement(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let the statement of an export take its time."""
    with _changed(connection, {"statement_timeout": EXPORT_SECONDS * 1000}):
        yield


@contextmanager
def _changed(connection: BaseDatabaseWrapper, settings: dict[str, int]) -> Iterator[None]:
    change = ", ".join(["current_setting(%s), set_config(%s, %s, false)"] * len(settings))
    with connection.cursor() as cursor:
        values = [word for name, value in settings.items() for word in (name, name, str(value))]
        cursor.execute(f"SELECT {change}", values)
        before = cursor.fetchone()[::2]
    try:
        yield
    finally:
        # A session that has ended took its settings along.
        if connection.connection is not None:
            with suppress(DatabaseError), connection.cursor() as cursor:
                back = ", ".join(["set_config(%s, %s, false)"] * len(settings))
                pairs = zip(settings, before, strict=True)
                cursor.execute(f"SELECT {back}", [word for pair in pairs for word in pair])
