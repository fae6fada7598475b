"""Searches in chunks: claimed, computed, stored once, lost, cancelled, resumed and summed up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backtests import catalogue, strategies
from backtests import runner as runs
from backtests.catalogue import UnusableStrategy
from backtests.models import (
    BacktestResult,
    BacktestStatus,
    ChunkStatus,
    HeartbeatReply,
    Search,
    SearchChunk,
    SearchPoint,
    Trial,
)
from backtests.models.results import LOST_AFTER
from backtests.models.searches import CHUNK_SIZES, IDLE_AFTER
from backtests.searches import requests, results, runner, universes
from backtests.searches.requests import MAX_UNFINISHED, TooManySearches
from backtests.strategies.base import HOLD
from backtests.strategies.fade_longshots import FadeLongshots
from backtests.tests.factories import a_user
from backtests.tests.search_builders import a_request, a_search, pnls, record_days, run_all
from kalshi_insights.bad_input import BadInput

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _days(monkeypatch):
    record_days()
    monkeypatch.setitem(CHUNK_SIZES, "kernel", 2)
    yield
    universes.forget()


def now():
    return datetime.now(UTC)


def claim(search):
    return SearchChunk.objects.claim_next(search.pk, now=now())


# --- points --------------------------------------------------------------------------------------


def test_every_point_is_what_a_backtest_of_it_is():
    search = run_all(a_search({"contracts": [1, 7], "edge": [0.0, 0.02]}))
    assert search.status == BacktestStatus.DONE
    points = list(SearchPoint.objects.of_search(search.pk))
    assert len(points) == 4
    for point in points:
        request = a_request().run
        columns = type(request)(
            strategy=request.strategy,
            selection=request.selection,
            params=search.params_of(point.params),
            execution=request.execution,
        ).validated(now=now())
        figures = runs.compute(BacktestResult(**columns, created_at=now())).columns["figures"]
        assert point.pnl == figures["money"]["pnl"]
        assert point.fees == figures["money"]["fees"]
        assert point.fills == figures["activity"]["fills"]
        assert point.events == figures["events"]["traded"]
        assert point.won == figures["events"]["won"]
    assert search.markets == 4
    assert search.data_fingerprint
    assert search.code_fingerprint["strategy"]


def test_the_best_point_is_named_and_the_walk_forward_chooses_on_the_past():
    search = run_all(a_search({"contracts": [1, 10]}, folds=1))
    figures = search.figures
    assert figures["ran"] == 2
    walk = figures["walk_forward"]
    # NO won twice, so ten contracts were chosen; later it lost once and won once.
    assert walk["folds"] == [{"point": 2, "train": 1_874_000, "test": -8_126_000, "rank": 2}]
    assert walk["pnl"] == -8_126_000
    assert walk["out_of_sample"][0] == 10_000_000_000
    assert walk["out_of_sample"][-1] == 10_000_000_000 - 8_126_000
    assert len(walk["out_of_sample"]) == len(search.plan["t"])
    assert search.plan["folds"][0]["train"] == 2
    assert search.plan["folds"][0]["test"] == 2
    changes = results.changes_of(search.points.all())
    assert changes.shape == (len(search.plan["t"]) - 1, 2)
    assert changes[:, 1].sum() / 1_000_000 == pytest.approx(float(pnls(search)[1]), abs=0.01)
    assert 0 <= figures["probability_of_overfitting"] <= 1


class Touchy(FadeLongshots):
    name = "touchy"
    refused = (5,)

    def targets(self, history):
        if self.p.contracts in self.refused:
            raise ZeroDivisionError("five")
        return super().targets(history)


class Broken(FadeLongshots):
    name = "broken"

    def targets(self, history):
        return [HOLD, self.p.missing]


def test_a_point_that_raises_has_its_error_and_the_others_go_on(monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, "touchy", Touchy)
    search = run_all(a_search(strategy="touchy"))
    assert search.status == BacktestStatus.DONE
    assert [bool(pnl) for pnl in pnls(search)] == [True, False, True]
    assert search.points.get(number=2).error.startswith("The strategy raised ZeroDivisionError")
    assert search.figures["ran"] == 2


def test_every_point_that_has_run_is_a_trial_also_of_a_search_that_is_cancelled():
    search = a_search()
    runner.run_chunk(search.pk)
    Search.objects.cancel(search.pk, now=now())
    assert Trial.objects.of_family("fade-longshots").count() == 2
    requests.resume(search.pk, user=a_user())
    run_all(search)
    trials = Trial.objects.of_family("fade-longshots").order_by("pk")
    assert [trial.parameters["contracts"] for trial in trials] == [1, 5, 10]
    assert {trial.parameters["edge"] for trial in trials} == {0.01}
    point = search.points.get(number=3)
    assert (trials[2].periods, trials[2].sharpe) == (point.days, point.sharpe)


def test_a_point_is_the_same_trial_as_a_backtest_of_it():
    search = run_all(a_search({"contracts": [1, 7]}))
    [_, trial] = Trial.objects.order_by("pk")
    request = a_request().run
    run = replace(request, params={"contracts": 7}).validated(now=now())
    queued = BacktestResult.objects.queue(run, user=None, now=search.created_at)
    runs.run(queued.pk)
    other = Trial.objects.latest("pk")
    assert other.pk != trial.pk
    for name in ("strategy", "parameters_hash", "universe", "code", "periods"):
        assert getattr(other, name) == getattr(trial, name), name
    for name in ("sharpe", "skewness", "kurtosis"):
        assert getattr(other, name) == pytest.approx(getattr(trial, name))


def test_a_search_of_which_no_point_could_run_has_failed(monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, "broken", Broken)
    search = run_all(a_search(strategy="broken"))
    assert search.status == BacktestStatus.FAILED
    assert search.error.startswith("None of its points could run. The strategy raised Attribute")


def test_one_that_is_resumed_without_anything_left_to_run_ends_again(monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, "broken", Broken)
    search = run_all(a_search(strategy="broken"))
    assert Search.objects.resume(search.pk)
    assert run_all(search).status == BacktestStatus.FAILED


def test_points_that_failed_run_again_once_it_is_resumed_and_no_others(monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, "touchy", Touchy)
    search = a_search(strategy="touchy")
    runner.run_chunk(search.pk)
    Search.objects.cancel(search.pk, now=now())
    monkeypatch.setattr(Touchy, "refused", ())
    assert Search.objects.resume(search.pk)
    assert run_all(search).status == BacktestStatus.DONE
    assert all(pnls(search))
    assert not search.points.exclude(error="").exists()
    trials = Trial.objects.of_family("touchy").order_by("pk")
    assert [trial.parameters["contracts"] for trial in trials] == [1, 5, 10]


def test_a_search_that_cannot_be_summed_up_has_failed():
    search = a_search()
    runner.run_chunk(search.pk)
    SearchPoint.objects.filter(search=search, number=1).update(changes=b"odd")
    assert run_all(search).status == BacktestStatus.FAILED
    assert search.error


def test_one_that_was_cancelled_when_its_points_had_run_is_summed_up_once_it_is_resumed():
    search = run_all(a_search())
    Search.objects.filter(pk=search.pk).update(status=BacktestStatus.CANCELLED, figures={})
    assert Search.objects.resume(search.pk)
    assert run_all(search).status == BacktestStatus.DONE
    assert search.figures


def test_a_strategy_whose_file_is_changed_this_moment_is_refused_by_name(monkeypatch):
    def changed(name: str) -> None:
        raise UnusableStrategy("cheap_side.py was changed this moment. Try again.")

    monkeypatch.setattr(catalogue, "sources", changed)
    with pytest.raises(BadInput, match="strategy: cheap_side"):
        a_search()


def test_folds_that_lack_markets_fail_the_search_by_their_name():
    search = run_all(a_search(folds=4))
    assert search.status == BacktestStatus.FAILED
    assert search.error == "folds: 4 of the markets have a result: too few for 4 folds."


def test_strategies_with_orders_of_their_own_are_searched_point_by_point():
    search = a_search({"edge": [0.0, 0.5]}, strategy="exclusive-arbitrage", folds=1)
    assert search.chunks.count() == 2
    assert run_all(search).status == BacktestStatus.DONE


def test_a_signal_is_searched_by_backtrader_with_the_same_result():
    fast, slow = (run_all(a_search(engine=each, folds=1)) for each in ("kernel", "backtrader"))
    assert pnls(fast) == pnls(slow)
    assert fast.figures == slow.figures


# --- chunks --------------------------------------------------------------------------------------


def test_chunks_are_claimed_once_and_the_search_runs_with_the_first():
    search = a_search()
    first, second = claim(search), claim(search)
    assert [(c.first, c.size) for c in (first, second)] == [(1, 2), (3, 1)]
    assert claim(search) is None
    search.refresh_from_db()
    assert search.status == BacktestStatus.RUNNING
    assert search.progress().running == 2


def test_a_heartbeat_tells_the_progress_and_hears_of_the_end():
    search = a_search()
    held = claim(search)
    assert held.heartbeat(progress=0.5, doing="", now=now()) is HeartbeatReply.GO_ON
    assert search.progress().share == pytest.approx(1 / 3)
    Search.objects.cancel(search.pk, now=now())
    assert held.heartbeat(progress=0.5, doing="", now=now()) is HeartbeatReply.CANCELLED
    SearchChunk.objects.requeue(search.pk, search.points.all())
    assert held.heartbeat(progress=0.5, doing="", now=now()) is HeartbeatReply.TAKEN


def test_the_chunk_of_a_dead_worker_is_taken_again_and_nothing_else_is_lost():
    search = a_search()
    dead = claim(search)
    runner.run_chunk(search.pk)
    assert search.progress().done == 1
    later = now() + LOST_AFTER + timedelta(seconds=1)
    assert SearchChunk.objects.requeue_lost(now=later) == [search.pk]
    assert Search.objects.uncalled(now=later) == [search.pk]
    assert run_all(search).status == BacktestStatus.DONE
    assert search.chunks.get(number=1).attempts == 2
    # One that was only silent comes too late to store anything.
    before = pnls(search)
    assert not results.store(dead, [], universes.loaded(search, runs.ignore_progress), {})
    assert pnls(search) == before


def test_a_chunk_that_kills_its_worker_twice_fails_the_search():
    search = a_search()
    for _ in range(2):
        claim(search)
        SearchChunk.objects.requeue_lost(now=now() + LOST_AFTER + timedelta(seconds=1))
    search.refresh_from_db()
    assert search.status == BacktestStatus.FAILED
    assert "died twice" in search.error
    assert claim(search) is None


def test_a_chunk_that_was_stored_meanwhile_is_not_lost():
    search = a_search()
    claim(search)
    SearchChunk.objects.requeue_lost(now=now() + LOST_AFTER + timedelta(seconds=1))
    held = claim(search)
    SearchChunk.objects.mark_done(held)
    SearchChunk.objects.lose(held, "It has gone.", now=now())
    search.refresh_from_db()
    assert search.status == BacktestStatus.RUNNING


def test_a_chunk_is_given_back_whose_search_ends_before_it_is_stored(monkeypatch):
    class Cancels(FadeLongshots):
        name = "cancels"

        def targets(self, history):
            Search.objects.cancel(search.pk, now=now())
            return super().targets(history)

    monkeypatch.setitem(strategies.STRATEGIES, "cancels", Cancels)
    search = a_search(strategy="cancels")
    assert not runner.run_chunk(search.pk)
    assert search.progress().running == 0
    assert search.chunks.get(number=1).attempts == 0
    assert pnls(search) == ["", "", ""]


def test_a_worker_with_other_data_or_code_fails_the_search():
    search = a_search()
    runner.run_chunk(search.pk)
    Search.objects.filter(pk=search.pk).update(data_fingerprint={"quotes": "0" * 64})
    runner.run_chunk(search.pk)
    search.refresh_from_db()
    assert search.status == BacktestStatus.FAILED
    assert "A worker differed from the one that began it: " in search.error
    assert "quotes" in search.error
    assert search.progress().done == 2


def test_a_worker_keeps_the_universe_until_the_search_is_over():
    search = a_search()
    runner.run_chunk(search.pk)
    assert search.pk in universes._kept
    run_all(search)
    assert not universes._kept


# --- the life of a search ------------------------------------------------------------------------


def test_a_cancelled_search_keeps_what_is_done_and_goes_on_where_it_stopped():
    search = a_search()
    runner.run_chunk(search.pk)
    assert Search.objects.cancel(search.pk, now=now())
    assert not Search.objects.cancel(search.pk, now=now())
    assert not runner.run_chunk(search.pk)
    assert search.progress().done == 2
    user = a_user()
    assert requests.resume(search.pk, user=user)
    assert not requests.resume(search.pk, user=user)
    assert run_all(search).status == BacktestStatus.DONE
    assert search.chunks.get(number=1).attempts == 1


def test_a_search_is_called_for_when_nobody_has_begun_it_or_summed_it_up():
    search = a_search()
    later = now() + IDLE_AFTER + timedelta(seconds=1)
    assert Search.objects.uncalled(now=now()) == []
    assert Search.objects.uncalled(now=later) == [search.pk]
    claim(search)
    assert Search.objects.uncalled(now=later) == []
    SearchChunk.objects.update(status=ChunkStatus.DONE, token=None)
    assert Search.objects.uncalled(now=later) == [search.pk]


def test_nobody_has_more_unfinished_searches_than_so_many():
    user = a_user()
    for _ in range(MAX_UNFINISHED):
        requests.submit(a_request(), user=user, now=now())
    cancelled = a_search(user=user)
    Search.objects.cancel(cancelled.pk, now=now())
    with pytest.raises(TooManySearches, match="2 unfinished searches"):
        requests.submit(a_request(), user=user, now=now())
    with pytest.raises(TooManySearches):
        requests.resume(cancelled.pk, user=user)
    with pytest.raises(TooManySearches, match="Its owner already has 2 unfinished"):
        requests.resume(cancelled.pk, user=a_user("boss", is_staff=True))
    cancelled.refresh_from_db()
    assert cancelled.status == BacktestStatus.CANCELLED
    unfinished = Search.objects.unfinished().first()
    assert not requests.resume(unfinished.pk, user=user)
    cancelled.delete()
    assert Search.objects.count() == MAX_UNFINISHED


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"varied": {"odd": [1]}}, "vary.odd"),
        ({"varied": {"edge": "0.1:x"}}, "vary.edge"),
        ({"varied": {"contracts": list(range(1, 6_000))}}, "vary.contracts"),
        ({"runs": 0}, "runs"),
        ({"runs": 5_001}, "runs"),
        ({"seed": -1}, "seed"),
        ({"folds": -1}, "folds"),
        ({"embargo_hours": float("inf")}, "embargo_hours"),
        ({"params": {"contracts": 5}}, "vary.contracts"),
        ({"strategy": "crystal-ball"}, "strategy"),
    ],
)
def test_bad_input_is_named_and_nothing_is_stored(values, field):
    with pytest.raises(BadInput) as fault:
        a_search(**values)
    assert fault.value.field == field
    assert not Search.objects.exists()


def test_a_random_search_of_a_grid_that_is_too_large_is_possible():
    search = a_search({"contracts": "1:9000:1"}, runs=5, seed=3)
    assert search.points_count == 5
    assert [point.params for point in search.points.all()] == [
        point.params for point in a_search({"contracts": "1:9000:1"}, runs=5, seed=3).points.all()
    ]
