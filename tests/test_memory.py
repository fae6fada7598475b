"""Every process loads what its role needs: libraries that take tens of megabytes stay away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from backtests.tests.factories import a_backtest
from kalshi_insights.processes.supervisor import ROLES

ROOT = Path(__file__).resolve().parent.parent
ENGINES = {"numpy", "numba", "backtrader", "matplotlib"}
TABLES = {"pyarrow", "pandas"}
PAGES = {"markets.views", "backtests.views", "rest_framework.viewsets", "markets.admin"}
# The interactive shell of Celery's command line, and what signs requests, which takes a key.
UNUSED = {"prompt_toolkit", "cryptography.hazmat.bindings._rust"}
DJANGO_AND_CELERY = {"django", "celery", "redis", "structlog"}
MODELS_AND_TASKS = {"django.db.models", "markets.models", "markets.tasks", "celery.worker"}
ABSENT = {
    "recorder": ENGINES | TABLES | PAGES | UNUSED,
    "worker": ENGINES | TABLES | PAGES | UNUSED,
    "backtester": TABLES | PAGES | UNUSED,
    "beat": ENGINES | TABLES | PAGES | UNUSED | MODELS_AND_TASKS,
}
# Runs a module as `python -m` does, and prints the names of its modules once it is at work.
STARTED = """
import os, runpy, signal, sys
from celery import signals

def tell(**_):
    sys.__stdout__.write(" ".join(sys.modules))
    sys.__stdout__.flush()
    os.kill(os.getpid(), signal.SIGTERM)

signals.worker_ready.connect(tell)
signals.beat_init.connect(tell)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
SERVED = """
import sys
from django.test import Client
from kalshi_insights import asgi

for address in sys.argv[1:]:
    answer = Client(HTTP_HOST="localhost").get(address)
    assert answer.status_code == 200, address
    assert b"".join(answer), address
print(*sys.modules)
"""
READS = (
    "/markets/",
    "/recorder/",
    "/backtests/",
    "/backtests/new/",
    "/backtests/new/?strategy=exclusive-arbitrage",
    "/api/v1/markets/",
    "/api/v1/strategies/",
    "/api/v1/backtests/",
    "/backtests/{id}/",
    "/api/v1/backtests/{id}/",
    "/api/v1/backtests/{id}/equity/",
    "/api/v1/backtests/{id}/executions/?format=csv",
)


def modules_of(code: str, *arguments: str, **variables: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout, ran.stderr
    # Beat and worker print a banner first.
    return set(ran.stdout.split())


@pytest.mark.system
@pytest.mark.parametrize("role", ROLES)
def test_a_role_starts_without_what_it_does_not_need(role):
    # Messages of other tests are nothing for this worker.
    apart = settings.REDIS_URL.removesuffix("/0") + "/7"
    modules = modules_of(STARTED, *ROLES[role], REDIS_URL=apart)
    assert "kalshi_insights.processes.broker" in modules
    assert modules & ABSENT[role] == set()


@pytest.mark.django_db(transaction=True)
def test_the_site_serves_pages_and_the_api_without_engines_and_files_of_tables():
    address, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    database = f"{address}/{connection.settings_dict['NAME']}"
    addresses = [address.format(id=a_backtest().pk) for address in READS]
    modules = modules_of(SERVED, *addresses, DATABASE_URL=database)
    assert "backtests.api.viewsets" in modules
    assert modules & (ENGINES | TABLES | {"celery.worker"}) == set()


@pytest.mark.parametrize("module", ["supervisor", "checkhealth"])
def test_what_watches_over_processes_loads_neither_django_nor_celery_nor_servers(module):
    code = f"import sys, kalshi_insights.processes.{module}; print(*sys.modules)"
    assert modules_of(code) & (DJANGO_AND_CELERY | {"kalshi_insights.embedded"}) == set()


def test_the_command_line_helps_without_engines_and_files_of_tables():
    code = "import sys, manage; sys.argv[1:] = ['help']; manage.main(); print(*sys.modules)"
    modules = modules_of(code)
    assert modules & (ENGINES | TABLES | PAGES) == set()


def test_numpy_is_loaded_once_an_array_is_made():
    code = """
import sys
from kalshi_insights.arrays import np
loaded = "numpy" in sys.modules
print(loaded, np.zeros(3).sum(), np.zeros is sys.modules["numpy"].zeros)
"""
    assert modules_of(code) == {"False", "0.0", "True"}


def test_the_demo_itself_stays_without_django():
    code = "import sys, kalshi_insights.demo; print(*sys.modules)"
    assert modules_of(code) & DJANGO_AND_CELERY == set()
