"""The runner: from the claim of a run to its stored result, with all that can end it."""

import signal
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import ClassVar

import pytest

from backtests import runner, strategies, tasks
from backtests.models import LOST_AFTER, BacktestResult, BacktestStatus, HeartbeatReply
from backtests.requests import BacktestRequest
from backtests.rules.execution import ExecutionModel
from backtests.strategies.base import Signal, Strategy
from backtests.tests.record_builders import (
    END,
    HOUR,
    START,
    queue_backtest,
    record_market,
    record_quote,
    record_settlement,
    selection_of,
)
from kalshi_insights.bad_input import BadInput
from kalshi_insights.celery import app
from markets.models import Source

pytestmark = pytest.mark.django_db
LONG = LOST_AFTER + timedelta(seconds=1)


def a_market(ticker="KXRAIN-26OCT02"):
    """A market that was quoted at 42 to 45 cents three times, and settled as no."""
    market = record_market(ticker)
    for hour in (1, 2, 3):
        record_quote(market, START + hour * HOUR)
    record_settlement(market, END, "no")
    return market


def now():
    return datetime.now(UTC)


@pytest.fixture
def at_once():
    """Celery tasks run at once, in this process."""
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


def again(result):
    result.refresh_from_db()
    return result


def ran(result, **options):
    runner.run(result.pk, **options)
    return again(result)


def claimed(result):
    held = BacktestResult.objects.claim(result.pk, now=now())
    assert held
    return held


def money(text):
    return Decimal(text)


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["kernel", "backtrader"])
def test_the_audit_of_a_run_adds_up_by_hand(engine):
    result = ran(queue_backtest(a_market(), engine=engine))
    assert (result.status, result.error) == (BacktestStatus.DONE, "")
    columns = ("kind", "outcome_side", "count", "price", "settlement_value", "fee", "cash_change")
    # Ten NO at 58 cents; 0.07 x 10 x 0.42 x 0.58 is $0.17052, up to the next hundredth of a cent.
    ten, nothing = money("10"), money("0")
    assert list(result.executions.values_list(*columns)) == [
        ("order", "no", ten, money("0.42"), None, nothing, nothing),
        ("fill", "no", ten, money("0.42"), None, money("0.1706"), money("-5.9706")),
        ("settled", "no", ten, None, nothing, nothing, ten),
    ]
    assert result.final_cash == money("10004.0294")
    last = result.executions.last()
    assert (last.cash, last.position, last.at) == (result.final_cash, 0, END)
    assert result.figures["money"]["final_cash"] == 10_004_029_400


def test_a_fill_shows_the_quote_it_was_made_on():
    result = ran(queue_backtest(a_market()))
    fill = result.executions.get(kind="fill")
    assert (fill.at, fill.quote_at, fill.liquidity) == (START + 2 * HOUR, fill.at, "taker")
    assert (fill.yes_bid, fill.yes_ask) == (money("0.42"), money("0.45"))
    assert (fill.yes_bid_size, fill.yes_ask_size) == (100, 100)


def test_an_audit_outlives_what_it_was_made_of():
    market = a_market()
    result = ran(queue_backtest(market))
    market.snapshots.all().delete()
    assert result.executions.get(kind="fill").yes_bid == money("0.42")


def test_a_result_is_shown_beside_the_yardsticks_with_the_same_contracts():
    result = ran(queue_backtest(a_market(), params={"contracts": 7}))
    assert set(result.yardsticks) == set(strategies.YARDSTICKS)
    same = result.yardsticks["always-no"]["money"]
    assert same == result.figures["money"]
    assert result.yardsticks["do-nothing"]["money"]["pnl"] == 0
    assert "do-nothing earned $0.00" in result.verdict


def test_takers_get_the_same_whatever_becomes_of_resting_orders():
    result = ran(queue_backtest(a_market()))
    assert result.band["fewest"] == result.band["most"] == result.figures


def test_an_order_that_rests_gives_a_band():
    market = record_market()
    for hour, bid, ask in ((1, "0.4200", "0.4500"), (2, "0.4200", "0.4500"), (3, "0.4500", None)):
        record_quote(market, START + hour * HOUR, bid, ask)
    record_settlement(market, END, "no")
    execution = ExecutionModel(make=True, across_gaps="wait")
    result = ran(queue_backtest(market, execution=execution))
    # A bid at its price touches the order, and does not go through it.
    assert result.band["fewest"]["activity"]["fills"] == 0
    assert result.band["most"]["money"]["pnl"] == 4_500_000
    assert "between $0.00 and $4.50 depending on fills" in result.verdict


def test_the_rules_of_a_run_s_time_are_stored_with_it():
    result = ran(queue_backtest(a_market(), execution=ExecutionModel(through_broker=True)))
    assert result.fees == {
        "account": "through a broker",
        "roundings": [{"since": START.isoformat(), "step": 1, "grid": 10_000, "rebate": 10_000}],
    }
    assert result.execution["through_broker"] is True
    data = {"quotes", "observed", "gaps", "tape", "candles", "listings", "settlements", "terms"}
    assert set(result.data_fingerprint) == data | {"grids"}
    assert {"rules", "strategy", "python", "numba"} <= set(result.code_fingerprint)
    assert (result.snapshots, result.markets, result.progress) == (3, 1, 1)


def test_what_a_result_rests_on_is_said():
    market = record_market()
    for hour in (1, 2):
        unknown = {"yes_bid_size": None, "yes_ask_size": None}
        record_quote(market, START + hour * HOUR, source=Source.BACKFILL, **unknown)
    assert ran(queue_backtest(market)).assumptions == [
        "100% of the quoted prices have no known size, so they filled nothing: an assumed size"
        " would say how many contracts they have.",
        "No order was sent. Rows of quotes: 2; with both sides: 2; of these while the market was"
        " trading: 2; and observed again in time for an order: 1.",
        "1 of 1 markets have no result on record.",
    ]
    assumed = ran(queue_backtest(market, execution=ExecutionModel(assumed_size=5)))
    assert assumed.assumptions[0] == "Unknown sizes were assumed: 5 contracts."
    assert assumed.executions.get(kind="fill").count == 5


def test_what_the_simulator_told_is_called_simulated(settings):
    settings.SIMULATED = True
    assert "Recorded from the simulated exchange." in ran(queue_backtest(a_market())).assumptions


# --- once and only once ---------------------------------------------------------------------------


def test_a_message_that_comes_twice_runs_once():
    result = queue_backtest(a_market())
    tasks.run_backtest(result.pk)
    first = again(result).finished_at
    tasks.run_backtest(result.pk)
    assert (again(result).finished_at, result.attempts) == (first, 1)
    assert result.executions.count() == 3


def test_what_one_has_claimed_no_other_can():
    result = queue_backtest(a_market())
    assert BacktestResult.objects.claim(result.pk, now=now())
    assert BacktestResult.objects.claim(result.pk, now=now()) is None


def test_what_a_dead_worker_left_is_picked_up(at_once):
    result = queue_backtest(a_market())
    BacktestResult.objects.claim(result.pk, now=now() - LONG)
    BacktestResult.objects.update(created_at=now() - LONG)
    tasks.pick_up_backtests()
    assert (again(result).status, result.attempts) == (BacktestStatus.DONE, 2)


def test_a_worker_that_is_only_slow_is_left_alone():
    result = queue_backtest(a_market())
    BacktestResult.objects.claim(result.pk, now=now())
    assert BacktestResult.objects.requeue_lost(now=now()) == []
    assert again(result).status == BacktestStatus.RUNNING


def test_a_run_that_kills_its_worker_twice_has_failed():
    result = queue_backtest(a_market())
    for _ in range(2):
        assert BacktestResult.objects.claim(result.pk, now=now())
        BacktestResult.objects.requeue_lost(now=now() + LONG)
    assert again(result).status == BacktestStatus.FAILED
    assert "died twice" in result.error


def test_a_run_that_nobody_was_called_for_is_called_for():
    result = queue_backtest(a_market())
    assert BacktestResult.objects.requeue_lost(now=now()) == []
    assert BacktestResult.objects.requeue_lost(now=now() + LONG) == [result.pk]


def test_a_clock_that_was_set_back_hides_no_dead_worker_and_no_run_that_waits():
    dead, waiting = queue_backtest(a_market()), queue_backtest(a_market("KXSNOW-26NOV21"))
    assert BacktestResult.objects.claim(dead.pk, now=now() + LONG)
    BacktestResult.objects.filter(pk=waiting.pk).update(created_at=now() + LONG)
    assert BacktestResult.objects.requeue_lost(now=now()) == [waiting.pk]
    assert again(dead).status == BacktestStatus.QUEUED


def test_who_was_given_up_for_lost_stores_nothing():
    result = queue_backtest(a_market())
    held = claimed(result)
    computed = runner.compute(held)
    BacktestResult.objects.requeue_lost(now=now() + LONG)
    other = claimed(result)
    heard = BacktestResult.objects.heartbeat(held, progress=0.5, doing="", now=now())
    assert heard is HeartbeatReply.TAKEN
    assert not BacktestResult.objects.finish(held, computed.columns, computed.entries())
    BacktestResult.objects.fail(held, "late", now=now())
    assert (again(result).status, result.token) == (BacktestStatus.RUNNING, other.token)
    assert not result.executions.exists()


def test_it_has_finished_once_its_executions_are_written():
    result = queue_backtest(a_market())
    held = claimed(result)
    computed = runner.compute(held)
    written = []

    def entries():
        yield from computed.entries()
        written.append(now())

    assert BacktestResult.objects.finish(held, computed.columns, entries())
    assert again(result).finished_at >= written[0]


# --- cancelled, late, broken ----------------------------------------------------------------------


def test_what_waits_is_cancelled_at_once():
    result = queue_backtest(a_market())
    assert BacktestResult.objects.request_cancel(result.pk, now=now())
    assert ran(result).status == BacktestStatus.CANCELLED


def test_what_was_cancelled_at_the_last_moment_is_not_stored():
    result = queue_backtest(a_market())

    def tell(progress, doing):
        if doing == "running do-nothing":
            BacktestResult.objects.request_cancel(result.pk, now=now())

    assert ran(result, on_progress=tell).status == BacktestStatus.CANCELLED
    assert (result.final_cash, result.executions.count()) == (None, 0)


def test_what_has_ended_cannot_be_cancelled():
    result = ran(queue_backtest(a_market()))
    assert not BacktestResult.objects.request_cancel(result.pk, now=now())
    assert again(result).status == BacktestStatus.DONE


def test_what_its_worker_died_on_after_it_was_cancelled_is_cancelled():
    result = queue_backtest(a_market())
    BacktestResult.objects.claim(result.pk, now=now())
    BacktestResult.objects.request_cancel(result.pk, now=now())
    BacktestResult.objects.requeue_lost(now=now() + LONG)
    assert again(result).status == BacktestStatus.CANCELLED


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_a_person_who_interrupts_it_has_cancelled_it():
    result = queue_backtest(a_market())

    def tell(progress, doing):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runner.run(result.pk, on_progress=tell)
    assert again(result).status == BacktestStatus.CANCELLED


@pytest.mark.parametrize("engine", ["kernel", "backtrader"])
def test_a_run_that_takes_too_long_has_failed(settings, engine):
    result = queue_backtest(a_market(), engine=engine)
    settings.BACKTEST_SECONDS = 0
    assert ran(result).status == BacktestStatus.FAILED
    assert result.error.startswith("It took longer than 0 seconds.")


def test_quotes_that_have_gone_meanwhile_are_missed_by_name():
    market = a_market()
    result = queue_backtest(market)
    market.snapshots.all().delete()
    assert (ran(result).status, result.error) == (
        BacktestStatus.FAILED,
        "ticker: No quotes are recorded for it.",
    )


class BreaksAsSignal(Signal):
    name = "breaks"
    version = "1"
    summary = "Divides by nothing."
    schema: ClassVar = {}

    def targets(self, history):
        return history.market // (1 // 0)


class BreaksAsStrategy(Strategy):
    name = "breaks"
    version = "1"
    summary = "Divides by nothing after its first order."
    schema: ClassVar = {}

    def next(self):
        if self.fresh and self.now > 0:
            self.sell(data=self.fresh[0], size=1 // len(self.broker.journal))


@pytest.mark.parametrize("kind", [BreaksAsSignal, BreaksAsStrategy])
def test_a_strategy_that_raises_is_told_where_and_stores_nothing(monkeypatch, kind):
    monkeypatch.setitem(strategies.STRATEGIES, "breaks", kind)
    result = ran(queue_backtest(a_market(), strategy="breaks"))
    assert result.status == BacktestStatus.FAILED
    assert result.error.startswith("The strategy raised ZeroDivisionError: ")
    assert "test_runner.py, line " in result.error
    assert (result.figures, result.executions.count(), result.token) == ({}, 0, None)


def test_what_breaks_elsewhere_is_named_without_its_words():
    with pytest.raises(OSError, match="secret") as caught:
        raise OSError("postgres://kalshi:secret@somewhere")
    message = runner.error_for_user(caught.value, "always-no")
    assert message.startswith("Internal error: OSError (test_runner.py, line ")
    assert "secret" not in message


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"strategy": "sorcery"}, "strategy"),
        ({"params": {"contracts": 0}}, "params.contracts"),
        ({"params": {"luck": 7}}, "params.luck"),
        ({"cash": Decimal(0)}, "cash"),
        ({"cash": Decimal(-1)}, "cash"),
        ({"cash": Decimal("NaN")}, "cash"),
        ({"cash": Decimal("0.0000001")}, "cash"),
        ({"cash": Decimal(10) ** 12}, "cash"),
        ({"engine": "abacus"}, "engine"),
        ({"strategy": "exclusive-arbitrage", "engine": "kernel"}, "engine"),
        ({"strategy": "exclusive-arbitrage", "execution": ExecutionModel(make=True)}, "make"),
        ({"execution": ExecutionModel(across_gaps="hope")}, "across_gaps"),
        ({"execution": ExecutionModel(latency_seconds=float("nan"))}, "latency_seconds"),
        ({"execution": ExecutionModel(assumed_size=0)}, "assumed_size"),
        ({"execution": ExecutionModel(position_limit=0)}, "position_limit"),
    ],
)
def test_what_cannot_be_run_names_its_field(values, field):
    request = BacktestRequest(
        **{"strategy": "always-no", "selection": selection_of(record_market()), **values}
    )
    with pytest.raises(BadInput) as caught:
        request.validated(now=now())
    assert caught.value.field == field
    assert not BacktestResult.objects.exists()
