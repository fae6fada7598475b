"""Backtests with a look-ahead check."""

import re
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command

from backtests import runner, strategies
from backtests.analysis.lookahead import MIN_RUNS
from backtests.models import BacktestResult, BacktestStatus
from backtests.tests.leaky_strategies import next_price
from backtests.tests.random_universes import random_universe
from backtests.tests.record_builders import (
    END,
    HOUR,
    START,
    queue_backtest,
    record_market,
    record_quote,
    record_settlement,
)
from backtests.tests.silent_strategies import compute_in_silence

pytestmark = pytest.mark.django_db


@pytest.fixture
def market():
    """A market that was quoted every half hour, up and down, and settled as no."""
    market = record_market("KXRAIN-26OCT02")
    for hour in range(1, 20):
        price = 40 + hour * 7 % 11
        record_quote(market, START + hour * HOUR / 2, f"0.{price}", f"0.{price + 2}")
    record_settlement(market, END, "no")
    return market


def ran(*markets, **values):
    result = queue_backtest(*markets, **values)
    runner.run(result.pk)
    return BacktestResult.objects.get(pk=result.pk)


def test_nothing_is_reported_of_what_was_not_asked(market):
    assert ran(market).lookahead == {}


def test_a_strategy_that_knows_no_future_is_clean(market):
    result = ran(market, check_lookahead=True)
    assert result.status == BacktestStatus.DONE
    assert result.lookahead["verdict"] == "clean"
    assert "decisions compared over" in result.lookahead["words"]


def test_one_that_does_is_told_where(market, monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, next_price.name, next_price)
    result = ran(market, strategy=next_price.name, check_lookahead=True)
    assert result.status == BacktestStatus.DONE
    assert result.lookahead["verdict"] == "looks ahead"
    assert market.ticker in result.lookahead["words"]


def checking(result, heard):
    """Run a backtest and return the progress of its check; `heard` gets the number of reports."""
    reported = []

    def tell(progress, doing):
        if doing == "checking for look-ahead bias":
            reported.append(progress)
            heard(len(reported))

    runner.run(result.pk, on_progress=tell)
    return reported


@pytest.mark.parametrize("strategy", ["momentum", "exclusive-arbitrage"])
def test_a_run_says_that_it_is_alive_all_through_its_check(market, strategy):
    result = queue_backtest(market, strategy=strategy, check_lookahead=True)
    reported = checking(result, lambda times: None)
    result.refresh_from_db()
    runs = int(re.search(r"over (\d+) runs", result.lookahead["words"]).group(1))
    assert len(reported) >= runs >= MIN_RUNS
    assert reported == sorted(reported)
    assert 0 < reported[0] < reported[-1] <= 1


@pytest.mark.django_db(transaction=True)
def test_what_is_cancelled_during_its_check_ends_there(market):
    result = queue_backtest(market, check_lookahead=True)

    def heard(times):
        if times == 2:
            BacktestResult.objects.request_cancel(result.pk, now=datetime.now(UTC))
            compute_in_silence()

    assert len(checking(result, heard)) == 2
    result.refresh_from_db()
    assert (result.status, result.lookahead) == (BacktestStatus.CANCELLED, {})


def test_the_command_asks_for_it_too(market):
    out = StringIO()
    start = datetime.now(UTC) - timedelta(days=400)
    call_command(
        "runbacktest", "always-no", "--ticker", market.ticker, "--start", f"{start:%Y-%m-%d}",
        "--check-lookahead", stdout=out,
    )  # fmt: skip
    assert "Look-ahead check. Clean:" in " ".join(out.getvalue().split())


def test_a_large_universe_is_checked_on_its_first_markets():
    universe = random_universe(2, markets=6, rows=50)
    sizes = [int((universe.quotes.market == place).sum()) for place in range(6)]
    assert universe.first_markets_within(len(universe.quotes)) is universe
    assert len(universe.first_markets_within(sum(sizes[:3])).listings) == 3
    assert len(universe.first_markets_within(sum(sizes[:3]) - 1).listings) == 2
    assert len(universe.first_markets_within(1).listings) == 1
