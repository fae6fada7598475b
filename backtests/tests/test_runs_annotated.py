"""Runs store what their strategy stated, and their pages show it."""

import math
import re
from typing import ClassVar

import backtrader as bt
import numpy as np
import pytest

from backtests import report, runner, strategies
from backtests.charted_series import ChartedSeries
from backtests.models import BacktestResult, Engine
from backtests.requests import BacktestRequest, MarketSelection
from backtests.rules.execution import ExecutionModel
from backtests.strategies.base import HOLD, Signal, Strategy
from backtests.tests.factories import NOON, a_recorded_day
from backtests.tests.record_builders import HOUR

pytestmark = [
    pytest.mark.django_db,
    # WhiteNoise looks for the files that `collectstatic` makes.
    pytest.mark.filterwarnings("ignore:No directory at"),
]


class Reasoning(Signal):
    name, version, summary = "reasoning", "1", "Gives reasons."

    def targets(self, history):
        return np.where(self.condition("cheap", history.ask < self.limit), 10, HOLD)

    limit = 0.2

    def probabilities(self, history):
        return np.full(len(history), 0.3)

    def reasons(self, history, rows):
        return [f"<{each:.2f}> & cheap" for each in history.ask[rows]]

    def series(self, history):
        return {"size": history.bid_size}


class Choosy(Reasoning):
    name, limit = "choosy", 0.01


class Analyzing(Strategy):
    name, version, summary = "analyzing", "1", "Analyzes."
    analyzers: ClassVar = {"drawdown": bt.analyzers.DrawDown, "endless": None}

    def next(self):
        if len(self) == 1:
            self.buy(size=1, reason="why not")


class Endless(bt.Analyzer):
    def get_analysis(self):
        return {"ratio": math.inf}


Analyzing.analyzers["endless"] = Endless


def ran(monkeypatch, kind, engine=Engine.KERNEL):
    monkeypatch.setitem(strategies.STRATEGIES, kind.name, kind)
    a_recorded_day()
    selection = MarketSelection(tickers=["KXRAIN-26NOV21"], start=NOON, end=NOON + 6 * HOUR)
    request = BacktestRequest(
        strategy=kind.name,
        selection=selection,
        engine=engine,
        execution=ExecutionModel(across_gaps="wait"),
    )
    now = NOON + 400 * HOUR
    result = BacktestResult.objects.queue(request.validated(now=now), user=None, now=now)
    runner.run(result.pk)
    result.refresh_from_db()
    assert result.error == ""
    return result


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.mark.parametrize("engine", [Engine.KERNEL, Engine.BACKTRADER])
def test_reasons_and_series_are_stored_with_a_run(monkeypatch, engine):
    done = ran(monkeypatch, Reasoning, engine)
    assert {each.stated_reason for each in done.executions.filter(kind="fill")} == {
        "<0.12> & cheap"
    }
    drawn = {each.name: each for each in ChartedSeries.objects.of_result(done.pk)}
    assert list(drawn) == ["size", "stated probability", "bid", "ask"]
    assert drawn["size"].values[:2] == [200, 201]
    assert drawn["bid"].values == [0.1]
    assert done.figures["probabilities"]["markets"] == 1
    assert done.figures["probabilities"]["brier"] == pytest.approx(0.09)
    assert runner.reproduce(done).identical


def test_the_page_shows_reasons_series_and_scores(monkeypatch, client):
    done = ran(monkeypatch, Reasoning)
    html = client.get(f"/backtests/{done.pk}/").content.decode()
    assert "&lt;0.12&gt; &amp; cheap" in html
    assert f'data-url="/api/v1/backtests/{done.pk}/series/"' in html
    assert 'data-series="stated probability"' in html
    assert 'data-series="bid"' not in html
    assert "Brier score of the midpoint" in text_of(html)
    assert "What stood in the way" not in html
    csv = client.get(f"/api/v1/backtests/{done.pk}/executions/?format=csv").getvalue().decode()
    assert "<0.12> & cheap" in csv


def test_a_run_without_an_order_says_what_stood_in_the_way(monkeypatch, client):
    done = ran(monkeypatch, Choosy)
    assert done.conditions == [{"name": "cheap", "asked": 36, "held": 0, "held_with_earlier": 0}]
    assert any(
        each.startswith("No order was sent. Rows of quotes: 36") for each in done.assumptions
    )
    text = text_of(client.get(f"/backtests/{done.pk}/").content.decode())
    assert "What stood in the way" in text
    assert "cheap 36 0 0" in text
    assert "  cheap: 0 of 36 times, 0 with those before it" in list(report.summary(done))


def test_analyses_are_stored_or_refused_with_words(monkeypatch, client):
    done = ran(monkeypatch, Analyzing, Engine.BACKTRADER)
    assert done.analyses["drawdown"]["analysis"]["max"]["drawdown"] >= 0
    assert done.analyses["endless"] == {"refused": "ratio is inf, which is not finite"}
    text = text_of(client.get(f"/backtests/{done.pk}/").content.decode())
    assert "Not kept: ratio is inf, which is not finite." in text
    assert client.get(f"/api/v1/backtests/{done.pk}/").json()["analyses"] == done.analyses


def test_an_analyzer_may_be_called_items(monkeypatch, client):
    named = type("Named", (Analyzing,), {"analyzers": {"items": bt.analyzers.DrawDown}})
    done = ran(monkeypatch, named, Engine.BACKTRADER)
    page = client.get(f"/backtests/{done.pk}/")
    assert page.status_code == 200
    assert "moneydown" in page.content.decode()


def test_a_signal_s_analyzers_need_the_engine_backtrader(monkeypatch):
    analyzed = type("Analyzed", (Reasoning,), {"analyzers": {"drawdown": bt.analyzers.DrawDown}})
    done = ran(monkeypatch, analyzed)
    assert done.analyses == {}
    assert "Its analyzers did not run: they need the engine backtrader." in done.assumptions


def test_series_go_with_their_run(monkeypatch):
    done = ran(monkeypatch, Reasoning)
    BacktestResult.objects.filter(pk=done.pk).delete()
    assert not ChartedSeries.objects.exists()
