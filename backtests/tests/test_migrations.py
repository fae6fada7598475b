"""Migrations keep the results that existed before them."""

import pytest
from django.db import connection
from django.db.migrations import RunSQL
from django.db.migrations.executor import MigrationExecutor

from backtests.models import BacktestResult
from backtests.tests.factories import a_backtest

pytestmark = pytest.mark.django_db


def test_stored_results_name_their_fill_scenarios_by_what_they_do():
    old = {"pessimistic": {"days": 1}, "expected": {"days": 2}, "optimistic": {"days": 3}}
    stored, queued = a_backtest(band=old), a_backtest("queued", band={})
    executor = MigrationExecutor(connection)
    migration = executor.loader.get_migration("backtests", "0005_fill_scenarios_and_waits")
    rename = migration.operations[0]
    assert isinstance(rename, RunSQL)
    with connection.cursor() as cursor:
        cursor.execute(str(rename.sql))
    bands = dict(BacktestResult.objects.values_list("id", "band"))
    assert bands[stored.pk] == {"fewest": {"days": 1}, "expected": {"days": 2}, "most": {"days": 3}}
    assert bands[queued.pk] == {}
