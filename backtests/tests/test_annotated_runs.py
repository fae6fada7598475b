"""Runs keep what their strategy stated: the same in both engines where it is a signal."""

import math
import re
from dataclasses import astuple
from typing import Any, ClassVar

import backtrader as bt
import numpy as np
import pytest

from backtests.analysis.evaluation import Evaluation
from backtests.analysis.no_orders import QuoteCounts, explain_no_orders
from backtests.annotations.checks import BadAnnotation
from backtests.data.universe import MONEY, SECOND, Settlement
from backtests.rules import journal
from backtests.rules.execution import ExecutionModel
from backtests.strategies.base import HOLD, Signal, Strategy
from backtests.tests.contract import ARGUMENTS, STRATEGY
from backtests.tests.scripted import Scripted
from backtests.tests.test_execution import NOW, book, universe_of

ANALYZERS = sorted(
    name
    for name, each in vars(bt.analyzers).items()
    if isinstance(each, type) and issubclass(each, bt.Analyzer) and each is not bt.Analyzer
)
LONG_AGO = Settlement(NOW + 100 * SECOND, NOW + 100 * SECOND, MONEY)


class Believer(Signal):
    """Buys below its probability of one half, and says why."""

    name, version, summary = "believer", "1", "Believes in one half."

    def targets(self, history):
        cheap = self.condition("cheap", history.ask <= 0.45)
        late = self.condition("late", history.at > NOW)
        return np.where(cheap & late, 10, HOLD)

    def probabilities(self, history):
        return np.where(history.at > NOW, 0.5, np.nan)

    def reasons(self, history, rows):
        return [f"ask {each:.2f}" for each in history.ask[rows]]

    def series(self, history):
        return {"spread": history.spread, "score": 10 * history.mid}


class Nervous(Believer):
    """Decides every five seconds, whether or not the quote has changed."""

    decide_every = 5.0


class Talker(Strategy):
    """Buys at the second step, and states all that a strategy can state."""

    name, version, summary = "talker", "1", "Talks."
    analyzers: ClassVar = {
        "trades": bt.analyzers.TradeAnalyzer,
        "returns": (bt.analyzers.TimeReturn, {"timeframe": bt.TimeFrame.NoTimeFrame}),
    }

    def next(self):
        (feed, *_) = self.datas
        self.plot("steps", feed, len(self))
        self.state_probability(feed, 0.4 + len(self) / 10)
        if self.condition("second step", len(self) == 2):
            self.buy(feed, 10, reason="the second step")


def evaluated(strategy, universe, *, in_kernel=True):
    return Evaluation(
        universe=universe,
        strategy=strategy,
        params={},
        execution=ExecutionModel(),
        cash=1_000 * MONEY,
        start=NOW,
        end=NOW + 200 * SECOND,
        in_kernel=in_kernel,
    )


def outcome_of(strategy, universe, *, in_kernel=True):
    results = evaluated(strategy, universe, in_kernel=in_kernel).results(lambda *_: None)
    return results.headline.outcome, results.headline.figures


def drawn(outcome):
    return {
        (each.name, each.market): dict(
            zip(((each.at - NOW) / SECOND).tolist(), each.values.round(6).tolist(), strict=True)
        )
        for each in outcome.annotations.series.series
    }


def entries(universe, outcome):
    return list(journal.entries(universe, outcome, cash=1_000 * MONEY, latency=SECOND))


QUOTES = (book(42, 45), book(40, 44), book(41, 44), book(50, 52))


@pytest.mark.parametrize("in_kernel", [True, False])
class TestSignals:
    def test_the_reason_of_a_row_goes_with_its_order(self, in_kernel):
        universe = universe_of(*QUOTES, settlement=LONG_AGO)
        outcome, _ = outcome_of(Believer, universe, in_kernel=in_kernel)
        assert [(each.kind, each.stated_reason) for each in entries(universe, outcome)] == [
            ("order", "ask 0.44"),
            ("fill", "ask 0.44"),
            ("settled", ""),
        ]

    def test_a_row_between_two_quotes_has_its_own_reason_and_probability(self, in_kernel):
        universe = universe_of(
            book(50, 55), book(42, 45, at=1), book(42, 45, at=1, market=1),
            book(42, 45, at=60, market=1), book(42, 45, at=61), markets=2,
        )  # fmt: skip
        outcome, _ = outcome_of(Nervous, universe, in_kernel=in_kernel)
        assert set(outcome.annotations.reasons.values()) == {"ask 0.45"}
        assert set(outcome.annotations.probabilities.of_orders.values()) == {0.5}

    def test_the_first_probability_is_scored_and_the_fill_has_its_edge(self, in_kernel):
        universe = universe_of(*QUOTES, settlement=LONG_AGO)
        _, figures = outcome_of(Believer, universe, in_kernel=in_kernel)
        scores = figures.probabilities
        assert (scores.markets, scores.brier) == (1, 0.25)
        assert scores.midpoint_brier == pytest.approx(0.58**2)
        # Ten at 44 cents, without a fee.
        assert (scores.fills, scores.stated_edge, scores.settled_edge) == (1, 600_000, 5_600_000)

    def test_series_stand_beside_the_book(self, in_kernel):
        outcome, _ = outcome_of(Believer, universe_of(*QUOTES), in_kernel=in_kernel)
        series = drawn(outcome)
        assert [name for name, _ in series] == [
            "spread", "score", "stated probability", "bid", "ask",
        ]  # fmt: skip
        assert series["spread", 0] == {0: 0.03, 5: 0.04, 10: 0.03, 15: 0.02}
        assert series["bid", 0] == {0: 0.42, 5: 0.4, 10: 0.41, 15: 0.5}

    def test_conditions_are_counted_where_no_order_was_sent(self, in_kernel):
        universe = universe_of(book(42, 45), book(50, 55), book(52, None))
        evaluation = evaluated(Believer, universe, in_kernel=in_kernel)
        outcome = evaluation.results(lambda *_: None).headline.outcome
        assert explain_no_orders(universe, ExecutionModel()) == (
            "No order was sent. Rows of quotes: 3; with both sides: 2; of these while the market"
            " was trading: 2; and observed again in time for an order: 2."
        )
        assert [astuple(each) for each in outcome.annotations.conditions] == [
            ("cheap", 3, 1, 1),
            ("late", 3, 2, 0),
        ]

    def test_conditions_are_not_kept_where_an_order_was_sent(self, in_kernel):
        outcome, _ = outcome_of(Believer, universe_of(*QUOTES), in_kernel=in_kernel)
        assert outcome.annotations.conditions == ()


@pytest.mark.parametrize(
    ("method", "values", "words"),
    [
        (
            "series",
            lambda h: {"x": h.mid[1:]},
            r"series.* must return 4 values for 'x', not 3",
        ),
        (
            "series",
            lambda h: {"x": h.mid / 0},
            r"series.*py, line.*: 'x' must be finite, or NaN for none",
        ),
        ("series", lambda h: {"bid": h.mid}, "charts have the bid already"),
        ("series", lambda h: {"\0": h.mid, "\\x00": h.mid}, "is there twice"),
        (
            "series",
            lambda h: {"x": h.mid.astype(str)},
            r"series.*py, line.*: 'x' must be numbers",
        ),
        ("reasons", lambda h, rows: [], r"reasons\(\) \(.*\) must return 1 reasons, not 0"),
        ("reasons", lambda h, rows: [7], "reason must be a text, not 7"),
    ],
)
def test_what_a_signal_states_wrongly_is_refused_by_name(method, values, words):
    def stated(self, *given):
        return values(*given)

    stated.__name__ = method
    wrong = type("Wrong", (Believer,), {method: stated})
    with np.errstate(divide="ignore"), pytest.raises(BadAnnotation, match=words):
        outcome_of(wrong, universe_of(*QUOTES))


class TestStrategies:
    @STRATEGY.ours("state_probability", "plot", "condition")
    @ARGUMENTS.ours("buy(reason)")
    def test_a_strategy_states_and_its_run_keeps_it(self):
        universe = universe_of(*QUOTES, settlement=LONG_AGO)
        outcome, figures = outcome_of(Talker, universe, in_kernel=False)
        annotations = outcome.annotations
        assert {each.stated_reason for each in entries(universe, outcome)[:2]} == {
            "the second step"
        }
        assert annotations.probabilities.first[0].probability == 0.5
        assert annotations.probabilities.first[0].midpoint == pytest.approx(0.435)
        assert figures.probabilities.brier == 0.25
        # The order stood at 0.6 and was filled at 44 cents.
        assert figures.probabilities.stated_edge == 10 * 160_000
        series = drawn(outcome)
        assert series["steps", 0] == {0: 1, 5: 2, 10: 3, 15: 4}
        assert series["stated probability", 0][5] == 0.6

    def test_analyzers_are_kept_by_their_names(self):
        outcome, _ = outcome_of(Talker, universe_of(*QUOTES, settlement=LONG_AGO), in_kernel=False)
        analyses = outcome.annotations.analyses
        assert analyses["trades"]["analysis"]["total"]["total"] == 1
        assert set(analyses) == {"trades", "returns"}
        assert "analysis" in analyses["returns"]

    def test_the_names_of_analyzers_are_kept_as_they_can_be_stored(self):
        named = {"a\0b": bt.analyzers.DrawDown, "\ud800": bt.analyzers.SQN}
        analyzed = type("Analyzed", (Talker,), {"analyzers": named})
        outcome, _ = outcome_of(analyzed, universe_of(*QUOTES), in_kernel=False)
        assert set(outcome.annotations.analyses) == {"a\\x00b", "\\ud800"}

    @pytest.mark.parametrize("name", ANALYZERS)
    def test_each_analyzer_of_backtrader_works_or_is_refused_with_words(self, name):
        analyzed = type("Analyzed", (Talker,), {"analyzers": {"it": getattr(bt.analyzers, name)}})
        if name == "AnnualReturn":
            with pytest.raises(BadAnnotation, match=r"'it' is a return of years .*TimeReturn"):
                outcome_of(analyzed, universe_of(*QUOTES), in_kernel=False)
            return
        outcome, _ = outcome_of(analyzed, universe_of(*QUOTES), in_kernel=False)
        assert outcome.annotations.analyses["it"].keys() <= {"analysis", "refused"}

    @pytest.mark.parametrize("method", ["stop", "get_analysis"])
    def test_an_analyzer_that_fails_at_the_end_costs_its_own_analysis(self, method):
        broken = type("Broken", (bt.Analyzer,), {method: lambda self: 1 / 0})
        named = {"broken": broken, "drawdown": bt.analyzers.DrawDown}
        analyzed = type("Analyzed", (Talker,), {"analyzers": named})
        outcome, _ = outcome_of(analyzed, universe_of(*QUOTES), in_kernel=False)
        analyses = outcome.annotations.analyses
        words = (
            r"it raised ZeroDivisionError: division by zero \(test_annotated_runs.py, line \d+\)"
        )
        assert re.fullmatch(words, analyses["broken"]["refused"])
        assert "analysis" in analyses["drawdown"]

    @pytest.mark.parametrize(
        "named",
        [
            {"x": 3},
            {"x": Strategy},
            {"": bt.analyzers.DrawDown},
            {"x": ()},
            {"x": (bt.analyzers.DrawDown, 3)},
            {"x": (bt.analyzers.DrawDown, {}, 3)},
            {"x": (bt.analyzers.SharpeRatio, {"legacyannual": True})},
            {"append": bt.analyzers.DrawDown},
            {"a\0": bt.analyzers.DrawDown, "a\\x00": bt.analyzers.SQN},
        ],
    )
    def test_what_is_no_analyzer_is_refused_by_name(self, named):
        wrong = type("Wrong", (Scripted,), {"analyzers": named})
        with pytest.raises(BadAnnotation, match="analyzers"):
            outcome_of(wrong, universe_of(*QUOTES), in_kernel=False)

    def test_an_idle_strategy_tells_how_often_its_conditions_held(self):
        idle = type("Idle", (Talker,), {"buy": lambda self, *_, **__: None})
        outcome, _ = outcome_of(idle, universe_of(*QUOTES), in_kernel=False)
        (count,) = outcome.annotations.conditions
        assert (count.name, count.asked, count.held) == ("second step", 4, 1)

    def test_a_probability_that_is_taken_back_stands_no_more(self):
        script = {
            0: lambda s: s.state_probability(s.datas[0], 0.7),
            5: lambda s: s.state_probability(s.datas[0], math.nan),
            10: lambda s: s.buy(s.datas[0], 1),
        }
        scripted = type("Told", (Scripted,), {"script": script})
        outcome, _ = outcome_of(scripted, universe_of(*QUOTES), in_kernel=False)
        assert outcome.annotations.probabilities.first[0].probability == 0.7
        assert outcome.annotations.probabilities.of_orders == {}

    def test_an_amendment_keeps_the_reason_unless_it_has_its_own(self):
        bids: dict[str, Any] = {}

        def amend(s, key, **how):
            bids[key] = s.amend(bids[key], price=0.3, **how)

        script = {
            0: lambda s: bids.update(
                a=s.buy(s.datas[0], 1, 0.2, exectype=bt.Order.Limit, reason="first"),
                b=s.buy(s.datas[0], 1, 0.2, exectype=bt.Order.Limit, reason="second"),
            ),
            5: lambda s: (amend(s, "a"), amend(s, "b", reason="higher")),
        }
        scripted = type("Told", (Scripted,), {"script": script})
        outcome, _ = outcome_of(scripted, universe_of(*QUOTES), in_kernel=False)
        assert list(outcome.annotations.reasons.values()) == [
            "first", "second", "first", "higher",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (lambda s: s.state_probability(s.datas[0], 1.2), "probability must be from 0 to 1"),
            (lambda s: s.state_probability(s.datas[0], "even"), "probability must be a number"),
            (lambda s: s.plot("x", s.datas[0], math.inf), "value must be finite"),
            (lambda s: s.plot("", s.datas[0], 1), "name must be a name"),
            (lambda s: s.plot("x", None, 1), "data must be a feed"),
            (lambda s: s.buy(s.datas[0], 1, reason=7), "reason must be a text"),
            (lambda s: s.condition("", held=True), "condition must be a name"),
        ],
    )
    def test_what_is_wrong_is_refused_at_the_call(self, call, words):
        scripted = type("Told", (Scripted,), {"script": {5: call}})
        with pytest.raises(ValueError, match=words):
            outcome_of(scripted, universe_of(*QUOTES), in_kernel=False)

    def test_nothing_is_stated_before_the_first_step(self):
        early = type(
            "Early", (Scripted,), {"start": lambda s: s.state_probability(s.datas[0], 0.5)}
        )
        with pytest.raises(BadAnnotation, match="for the first step and later ones"):
            outcome_of(early, universe_of(*QUOTES), in_kernel=False)


def test_the_names_of_series_are_kept_as_they_can_be_stored():
    named = type("Named", (Believer,), {"series": lambda self, history: {"a\0b": history.mid}})
    outcome, _ = outcome_of(named, universe_of(*QUOTES))
    assert ("a\\x00b", 0) in drawn(outcome)


@pytest.mark.parametrize("quotes", [QUOTES, QUOTES[3:]])
def test_a_condition_of_other_rows_is_refused_whether_or_not_orders_are_sent(quotes):
    class Halved(Believer):
        def targets(self, history):
            self.condition("half", history.mid[1:] > 0)
            return super().targets(history)

    words = f"'half' has {len(quotes) - 1} rows, not {len(quotes)}"
    with pytest.raises(BadAnnotation, match=words):
        outcome_of(Halved, universe_of(*quotes))


def test_rows_are_counted_as_far_as_orders_could_be_met():
    universe = universe_of(
        book(42, 45), book(42, None), book(42, 45, tradable=False), book(43, 45, at=20_000)
    )
    # After the last row nothing is observed; between the two before it lie five hours.
    assert QuoteCounts.of(universe, ExecutionModel()) == (4, 3, 2, 1)


def test_a_row_that_only_ends_trading_or_moves_the_close_is_no_quote():
    universe = universe_of(
        book(42, 45),
        book(42, 45, close_at=NOW),
        book(42, 45, close_at=NOW, tradable=False),
        book(42, 45, market=1),
        markets=2,
    )
    assert QuoteCounts.of(universe, ExecutionModel()).rows == 2


def test_a_quote_that_is_the_same_again_is_a_quote():
    universe = universe_of(book(42, 45), book(42, 45), book(42, 45))
    assert QuoteCounts.of(universe, ExecutionModel()).rows == 3
