"""The whole site: a simulated exchange of any size, its recorder, and a web server as the image's.

What is recorded lies in a database beside the configured one, so that nothing else is touched.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from signal import SIGKILL
from typing import NamedTuple, TypeVar
from unittest import mock
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import connection

from benchmarks import simulator
from benchmarks.api import Web, running_server
from benchmarks.exchange_process import simulated_exchange, wait_until_up
from benchmarks.measure import now
from benchmarks.process_memory import parent_of
from kalshi_insights.demo import Children
from kalshi_insights.embedded import print_status
from markets.kalshi.client import KalshiClient
from markets.models import Poll, Sweep, Tier

ROLES = ("beat", "recorder", "worker", "backtester")
# As users have it without a key; beside these, everything is as by default.
ENVIRONMENT = {
    "SIMULATED": "true",
    "KALSHI_API_KEY_ID": "",
    "KALSHI_PRIVATE_KEY_PATH": "",
    "DEBUG": "false",
    "SECRET_KEY": "for benchmarks",
    "LOG_LEVEL": "WARNING",
}
# A first run comes soon, and a first pass of all markets may take many.
FIRST_RUN_WITHIN, WHOLE_WITHIN = 120.0, 1_200.0
# Beat sends everything for the first time within a minute.
SETTLED_AFTER = 75.0

Answer = TypeVar("Answer")


class Site(NamedTuple):
    web: Web
    roles: Children

    @property
    def port(self) -> int:
        return self.web.port

    @property
    def pids(self) -> dict[str, int]:
        """The first process of each role."""
        roles = {role: process.pid for role, process in self.roles.running.items()}
        return {**roles, "web": self.web.pid, "postgres": postgres_pid(), "valkey": valkey_pid()}

    def wait_until(self, condition: Callable[[], Answer | None], *, seconds: float) -> Answer:
        answer = self.roles.wait_until(condition, seconds=seconds)
        if answer is None:
            raise SystemExit(f"Nothing was recorded within {seconds:.0f} s.")
        return answer

    def first_run(self) -> datetime:
        return self.wait_until(Poll.objects.began, seconds=FIRST_RUN_WITHIN)

    def first_pass(self) -> Sweep:
        """Wait until all open markets have been recorded once."""
        return self.wait_until(
            lambda: Sweep.objects.newest_complete(Tier.UNIVERSE), seconds=WHOLE_WITHIN
        )

    def settle(self) -> None:
        """Wait until categories and names of all series have come too, and today's partitions."""
        self.first_pass()
        self.stay(SETTLED_AFTER)

    def stay(self, seconds: float) -> None:
        """Let it record; a process that ends by itself ends the benchmark."""
        self.roles.wait_until(lambda: False, seconds=seconds)


@contextmanager
def recorded_universe(markets: int) -> Iterator[Site]:
    """Record an exchange of about this many open markets, from nothing, during a `with` block."""
    progress(f"an exchange of {markets:,} markets")
    with (
        tempfile.TemporaryDirectory(prefix="kalshi-bench-") as folder,
        simulated_exchange(markets=markets) as exchange,
        own_database() as database,
        mock.patch.dict(os.environ, ENVIRONMENT),
    ):
        os.environ |= {"DATABASE_URL": database, "KALSHI_API_URL": exchange, "PULSE_PATH": folder}
        warm_up(exchange)
        with running_server() as web, running_roles(Path(folder)) as roles:
            yield Site(web, roles)


@contextmanager
def own_database() -> Iterator[str]:
    """Use an empty database of its own, as tests do; yields its address."""
    configured = connection.settings_dict["NAME"]
    name = connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        yield urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
    finally:
        connection.creation.destroy_test_db(configured, verbosity=0)


def warm_up(exchange: str) -> None:
    """Let the exchange render every market, which it does once and not the recorder's fault."""
    with KalshiClient(exchange) as client:
        wait_until_up(client)
        simulator.events(client)


@contextmanager
def running_roles(folder: Path) -> Iterator[Children]:
    roles = Children(folder / "logs")
    try:
        for role in ROLES:
            # Its process is killed with it, as in the demo.
            roles.start(role, "-m", "kalshi_insights.processes.supervisor", role, orphaned=SIGKILL)
        yield roles
    finally:
        roles.end()


def postgres_pid() -> int:
    connection.ensure_connection()
    return parent_of(connection.connection.info.backend_pid)


def valkey_pid() -> int:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        pid: int = client.info("server")["process_id"]
    return pid


def progress(words: str) -> None:
    print_status(f"{now():%H:%M:%S}  {words}")
