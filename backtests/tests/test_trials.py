"""Every run counts as a trial of its strategy, whatever becomes of it."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any, cast

import numpy as np
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations import RunPython
from django.db.migrations.executor import MigrationExecutor

from backtests import runner
from backtests.metrics.deflation import FamilyTrials
from backtests.models import BacktestResult, Trial, TrialRow
from backtests.models.trials import hash_of
from backtests.tests.factories import a_backtest
from backtests.tests.record_builders import END, START, queue_backtest, record_market
from backtests.tests.test_runner import a_market

pytestmark = pytest.mark.django_db


def a_row(sharpe=0.1, *, strategy="momentum", contracts=1, periods=60, universe="a"):
    parameters = {"contracts": contracts}
    return TrialRow(strategy, parameters, universe, "code", periods, sharpe, 0.0, 3.0)


# --- runs -----------------------------------------------------------------------------------------


def test_a_run_that_is_stored_leaves_its_trial():
    result = queue_backtest(a_market(), params={"contracts": 7})
    runner.run(result.pk)
    result.refresh_from_db()
    trial = Trial.objects.get()
    assert (trial.strategy, trial.parameters) == ("always-no", {"contracts": 7})
    assert trial.universe == hash_of(result.data_fingerprint)
    assert trial.code == hash_of(result.code_fingerprint)
    # Two days, of which one fell short of what bills pay.
    assert trial.periods == 2
    assert (trial.sharpe or 0) > 0


def test_a_trial_has_its_ratio_where_the_figures_withhold_it():
    runner.run(queue_backtest(a_market()).pk)
    assert BacktestResult.objects.get().figures["ratios"]["sharpe"] is None
    assert Trial.objects.get().sharpe is not None


def test_a_strategy_that_never_traded_leaves_a_trial_without_a_ratio():
    runner.run(queue_backtest(a_market(), strategy="do-nothing", params={}).pk)
    assert Trial.objects.get().sharpe is None


def test_a_run_that_is_not_stored_leaves_its_trial_too():
    a_market()
    words = ("--ticker", "KXRAIN-26OCT02", "--start", "2026-10-01", "--end", "2026-10-03")
    out = StringIO()
    call_command("runbacktest", "always-no", *words, "--no-save", stdout=out)
    assert (BacktestResult.objects.count(), Trial.objects.count()) == (0, 1)
    assert "Overfitting. The only trial of this strategy so far." in out.getvalue()


def test_what_ended_without_a_result_is_no_trial():
    """Nobody saw a figure of it, so nobody could choose by one."""
    cancelled, failed = queue_backtest(a_market()), queue_backtest(record_market("KXSNOW-26OCT02"))
    BacktestResult.objects.request_cancel(cancelled.pk, now=datetime.now(UTC))
    for result in (cancelled, failed):
        runner.run(result.pk)
    assert set(BacktestResult.objects.values_list("status", flat=True)) == {"cancelled", "failed"}
    assert not Trial.objects.exists()


def test_a_run_that_was_taken_meanwhile_leaves_no_trial():
    result = queue_backtest(a_market())
    held = BacktestResult.objects.claim(result.pk, now=datetime.now(UTC))
    assert held
    computed = runner.compute(held)
    BacktestResult.objects.filter(pk=result.pk).update(cancel_requested=True)
    stored = BacktestResult.objects.finish(held, computed.columns, (), (), [computed.trial])
    assert not stored
    assert not Trial.objects.exists()


def test_to_reproduce_a_run_is_no_trial():
    result = queue_backtest(a_market())
    runner.run(result.pk)
    result.refresh_from_db()
    assert runner.reproduce(result).identical
    assert Trial.objects.count() == 1


def test_a_deleted_run_stays_a_trial():
    result = queue_backtest(a_market())
    runner.run(result.pk)
    BacktestResult.objects.filter(pk=result.pk).delete()
    assert Trial.objects.count() == 1


# --- families -------------------------------------------------------------------------------------


def test_a_strategy_without_trials_has_none():
    assert Trial.objects.family("momentum") == FamilyTrials(0, None)


def test_all_trials_of_a_name_are_one_family_and_those_of_others_are_not():
    Trial.objects.record_all([a_row(0.1), a_row(0.3, contracts=2), a_row(9, strategy="other")])
    found = Trial.objects.family("momentum")
    assert found.trials == 2
    assert found.spread == pytest.approx(np.var([0.1 * 59**0.5, 0.3 * 59**0.5], ddof=1))


def test_the_spread_compares_trials_of_different_lengths_by_their_errors():
    Trial.objects.record_all([a_row(0.1, periods=101), a_row(0.1, periods=401, contracts=2)])
    assert Trial.objects.family("momentum").spread == pytest.approx(np.var([1, 2], ddof=1))
    assert FamilyTrials(2, spread=4.0).variance(101) == pytest.approx(0.04)


def test_a_run_that_is_repeated_counts_but_makes_the_spread_no_smaller():
    rows = [a_row(0.1), a_row(0.3, contracts=2)]
    Trial.objects.record_all(rows)
    spread = Trial.objects.family("momentum").spread
    Trial.objects.record_all([rows[1]] * 10)
    found = Trial.objects.family("momentum")
    assert (found.trials, found.spread) == (12, pytest.approx(spread))


def test_trials_without_a_ratio_and_short_ones_count_but_are_not_compared():
    Trial.objects.record_all(
        [a_row(0.1), a_row(0.3, contracts=2), a_row(None, contracts=3), a_row(5.0, periods=29)]
    )
    found = Trial.objects.family("momentum")
    assert found.trials == 4
    assert found.spread == pytest.approx(59 * np.var([0.1, 0.3], ddof=1))


def test_the_trials_of_a_family_are_read_in_two_queries(django_assert_num_queries):
    Trial.objects.record_all([a_row(n / 100, contracts=n) for n in range(1, 1_200)])
    with django_assert_num_queries(2):
        assert Trial.objects.family("momentum").trials == 1_199


def test_parameters_are_the_same_in_any_order():
    assert hash_of({"a": 1, "b": 0.5}) == hash_of({"b": 0.5, "a": 1}) != hash_of({"a": 2, "b": 0.5})


# --- results from before --------------------------------------------------------------------------


def count_results():
    executor = MigrationExecutor(connection)
    (name,) = (name for app, name in executor.loader.disk_migrations if name.endswith("_trials"))
    migration = executor.loader.get_migration("backtests", name)
    (fill,) = (each for each in migration.operations if isinstance(each, RunPython))
    fill.code(cast(Any, apps), cast(Any, None))


def test_results_from_before_count_as_trials():
    figures = {"days": 61.0, "ratios": {"sharpe": 1.9, "withheld": ""}}
    values: dict[str, Any] = {"start": START, "end": END, "data_fingerprint": {"quotes": "abc"}}
    stored = a_backtest(figures=figures, params={"contracts": 3}, **values)
    short = a_backtest(figures={"days": 1.5, "ratios": {"sharpe": None}}, **values)
    a_backtest("failed")
    count_results()
    first, second = Trial.objects.order_by("id")
    assert (first.strategy, first.parameters) == (stored.strategy, {"contracts": 3})
    assert first.parameters_hash == hash_of({"contracts": 3})
    assert first.universe == hash_of({"quotes": "abc"}) == second.universe
    assert (first.periods, first.made_at) == (61, stored.finished_at)
    assert first.sharpe == pytest.approx(1.9 / 365**0.5)
    assert (second.periods, second.sharpe, short.status) == (2, None, "done")
