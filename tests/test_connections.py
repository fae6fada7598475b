"""Every connection of every process notices a peer that has gone, and no session waits for ever."""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import pytest
import redis
import yaml
from django.conf import settings
from django.core.cache import caches
from django.db import InternalError, OperationalError, connection

from backtests import tasks as backtest_tasks
from kalshi_insights.celery import app
from kalshi_insights.embedded import BASE_DIR
from kalshi_insights.embedded.servers import POSTGRES_SETTINGS
from kalshi_insights.export.postgres import ExportQuery
from kalshi_insights.processes.session_limits import WEB, SessionLimits, limited
from kalshi_insights.rest.throttling import RateLimiter
from kalshi_insights.token_bucket import TokenBucket
from markets import tasks as market_tasks

IN_A_WEB_PROCESS = """
import kalshi_insights.wsgi
from django.db import connection
with connection.cursor() as cursor:
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        cursor.execute(f"SHOW {name}")
        print(cursor.fetchone()[0])
"""


def tcp_options(descriptor: int) -> dict[str, int]:
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    with socket.socket(fileno=socket.dup(descriptor)) as end:
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return {name: end.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}


NOTICES = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 3,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 20_000,
}


@pytest.mark.django_db
def test_a_database_connection_notices_a_peer_that_has_gone():
    connection.ensure_connection()
    assert tcp_options(connection.connection.fileno()) == NOTICES
    assert connection.get_connection_params()["connect_timeout"] == 5


def broker():
    channel: Any = app.connection_for_write().default_channel
    return channel.client


def bucket():
    return TokenBucket.from_url(settings.REDIS_URL, rate=1)._script.registered_client


def django_cache():
    own: Any = caches["default"]
    return own._cache.get_client()


@pytest.mark.parametrize(
    ("client", "seconds"),
    [
        (broker, 3),
        (django_cache, 3),
        (bucket, 1),
        (lambda: RateLimiter(settings.REDIS_URL)._server, 0.25),
    ],
    ids=["broker", "cache", "token bucket", "rate limits"],
)
def test_a_connection_to_redis_notices_a_peer_that_has_gone(client, seconds):
    with closing(client()) as server:
        link = server.connection_pool.get_connection()
        assert tcp_options(link._sock.fileno()) == NOTICES
        assert (link.socket_timeout, link.socket_connect_timeout) == (seconds, seconds)
        assert link.health_check_interval == 5
        link.disconnect()


def test_an_address_may_set_its_own_options():
    script = "from django.conf import settings; print(settings.DATABASES['default']['OPTIONS'])"
    url = f"{database_url()}?keepalives_idle=60&options=-cwork_mem=5MB"
    options = run(script, DATABASE_URL=url)
    assert "'keepalives_idle': 60" in options
    assert "idle_in_transaction_session_timeout=600000 -cwork_mem=5MB" in options


def test_a_session_of_a_command_takes_its_time_but_leaves_no_transaction_behind():
    script = IN_A_WEB_PROCESS.replace(
        "import kalshi_insights.wsgi", "import django; django.setup()"
    )
    assert run(script).split() == ["0", "0", "10min"]


def test_a_session_of_the_web_is_short():
    assert run(IN_A_WEB_PROCESS).split() == ["15s", "5s", "1min"]


def test_the_limits_of_the_web_leave_an_addresses_own_options_alone():
    script = IN_A_WEB_PROCESS.replace("lock_timeout", "work_mem")
    url = f"{database_url()}?options=-cwork_mem=5MB"
    assert run(script, DATABASE_URL=url).split() == ["15s", "5MB", "1min"]


@pytest.mark.django_db(transaction=True)
def test_an_export_has_an_hour_and_the_next_statement_has_not():
    query = ExportQuery("SELECT current_setting('statement_timeout') AS it", [], {"it": "text"})
    before = show("statement_timeout")
    with limited(connection, WEB):
        assert b"".join(query.csv()) == b"it\n1h\n"
        assert show("statement_timeout") == "15s"
    assert show("statement_timeout") == before


@pytest.mark.django_db(transaction=True)
def test_a_session_that_ends_within_its_limits_is_no_fault_of_theirs():
    before = show("statement_timeout")
    with limited(connection, SessionLimits(7, 7, 7)):
        connection.close()
    assert show("statement_timeout") == before


@pytest.mark.django_db(transaction=True)
def test_a_statement_ends_at_its_limit():
    with (
        limited(connection, SessionLimits(0.1, 0, 0)),
        pytest.raises(OperationalError, match="statement timeout"),
    ):
        execute("SELECT pg_sleep(5)")


@pytest.mark.django_db(transaction=True)
def test_a_wait_for_a_lock_ends_at_its_limit():
    with closing(connection.copy()) as other, other.cursor() as holder:
        holder.execute("SELECT pg_advisory_lock(1)")
        with (
            limited(connection, SessionLimits(0, 0.1, 0)),
            pytest.raises(OperationalError, match="lock timeout"),
        ):
            execute("SELECT pg_advisory_lock(1)")


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_idles_is_ended_with_its_locks():
    with limited(connection, SessionLimits(0, 0, 0.1)):
        execute("BEGIN; SELECT pg_advisory_xact_lock(2)")
        time.sleep(0.5)
        with pytest.raises(InternalError, match="idle-in-transaction timeout"):
            execute("SELECT 1")
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(2), pg_advisory_unlock(2)")
        assert cursor.fetchone()[0]


@pytest.mark.django_db
def test_a_server_that_we_start_notices_a_client_that_has_gone():
    assert (show("tcp_keepalives_idle"), show("tcp_user_timeout")) == ("5", "60000")
    assert show("client_connection_check_interval") == "5s"
    with redis.Redis.from_url(settings.REDIS_URL) as server:
        assert server.config_get("tcp-keepalive") == {"tcp-keepalive": "5"}


def test_the_servers_of_the_containers_notice_it_as_soon():
    services = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())["services"]
    given = dict(word[2:].split("=") for word in services["postgres"]["command"][1:])
    ours = {name: POSTGRES_SETTINGS[name].replace("s", "000") for name in given}
    assert given == ours
    command = services["redis"]["command"]
    assert command[command.index("--tcp-keepalive") + 1] == "5"


@pytest.mark.parametrize("module", [market_tasks, backtest_tasks])
def test_every_task_has_a_time_limit(module):
    tasks = [task for name, task in app.tasks.items() if name.startswith(module.__name__)]
    assert len(tasks) > 1
    for task in tasks:
        assert (task.time_limit or app.conf.task_time_limit) >= 60


def show(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        value: str = cursor.fetchone()[0]
    return value


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def database_url() -> str:
    return os.environ["DATABASE_URL"]


def run(script: str, **environment: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "kalshi_insights.settings", **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return answer.stdout
