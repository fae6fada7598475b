"""A pytest plugin that starts PostgreSQL and Valkey for a run, before Django's settings load.

It is loaded by `-p tests.services`. The data lie in `var/test-…` and are removed at the end; the
next run removes what a killed one has left.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.db import connection
from django.test.utils import override_settings

from kalshi_insights import embedded
from kalshi_insights.embedded.servers import Server

VAR = embedded.BASE_DIR / "var"

# Tests never use the real exchange or the settings of a developer's `.env`.
ENVIRONMENT = {
    "ENVIRONMENT": "development",
    "DEBUG": "true",
    "SECRET_KEY": "for tests only, not secret",
    "KALSHI_API_URL": "http://127.0.0.1:9/trade-api/v2",
    "KALSHI_API_KEY_ID": "",
    "KALSHI_PRIVATE_KEY_PATH": "",
    "STRATEGIES_PATH": str(VAR / "no-strategies"),
}
# A machine that is busy with other lanes is slow, and no test is about time. Every run draws other
# examples, so a quarter of the usual number finds the same over four runs.
hypothesis.settings.register_profile(
    "untimed", hypothesis.settings(), deadline=None, max_examples=25
)
hypothesis.settings.load_profile("untimed")
NOWHERE = {"DATABASE_URL": "postgres://127.0.0.1:9/none", "REDIS_URL": "redis://127.0.0.1:9/0"}


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """Use a fast password hasher, because a slow one costs a third of a second per user."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


# More than this is dropped with its files, so that no test finds what another has left behind.
FEW_BYTES = 8_000_000
EMPTYING = """
DO $$
DECLARE name text;
BEGIN
    SET LOCAL session_replication_role = replica;
    IF (SELECT sum(pg_total_relation_size(relid)) FROM unnest(ARRAY[{names}]::regclass[]) AS each,
            LATERAL pg_partition_tree(each) WHERE isleaf) > {bytes} THEN
        TRUNCATE {tables};
    ELSE
        FOREACH name IN ARRAY ARRAY[{names}] LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
    END IF;
END $$
"""


@pytest.fixture(scope="session", autouse=True)
def _quick_emptying() -> Iterator[None]:
    """Empty small tables row by row: new files of tables and indexes cost half of such a test."""
    operations = type(connection.ops)
    plain = operations.sql_flush

    def sql_flush(self: Any, style: Any, tables: Any, **options: bool) -> list[str]:
        if not tables or any(options.values()):
            return list(plain(self, style, tables, **options))
        quoted = [self.quote_name(table) for table in tables]
        names = ", ".join(f"'{name}'" for name in quoted)
        return [EMPTYING.format(names=names, tables=", ".join(quoted), bytes=FEW_BYTES)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "sql_flush", sql_flush)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    os.environ.update(ENVIRONMENT)
    options = early_config.known_args_namespace
    if options.help or options.version or options.collectonly:
        os.environ.update(NOWHERE)
    else:
        early_config.add_cleanup(_start())
    return (yield)


def server_of(services: embedded.Services, name: str) -> Server:
    return next(server for server in services.servers if server.name == name)


def kill(server: Server) -> None:
    """End the server as a crash would, without flushing anything."""
    assert server.process
    server.process.kill()
    server.process.wait()


def _start() -> Callable[[], None]:
    VAR.mkdir(exist_ok=True)
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=VAR))
    folder.chmod(0o755)
    stack = ExitStack()
    stack.callback(embedded.remove, folder)
    try:
        stack.enter_context(embedded.services(folder, environment=ENVIRONMENT, durable=False))
    except embedded.EmbeddedError as error:
        stack.close()
        raise pytest.UsageError(str(error)) from None
    return stack.close


def _remove_leftovers() -> None:
    for folder in VAR.glob("test-*"):
        # A recent one may belong to another run that has not locked it yet.
        if time.time() - folder.stat().st_mtime > 60 and _is_abandoned(folder):
            embedded.remove(folder)


def _is_abandoned(folder: Path) -> bool:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
