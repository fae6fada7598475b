"""The parts of a run's annotations: names, reasons, conditions, series and analyses."""

import math
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.annotations import analyses, checks
from backtests.annotations.checks import BadAnnotation
from backtests.annotations.conditions import MOST_CONDITIONS, ConditionCounts, check_rows
from backtests.annotations.reasons import MOST_CHARACTERS, reason_of
from backtests.annotations.series import (
    MOST_HELD,
    MOST_MARKETS,
    MOST_NAMES,
    MOST_POINTS,
    HeldSeries,
    SeriesRecorder,
    thinned,
)


class TestChecks:
    @pytest.mark.parametrize("value", [-0.01, 1.01, math.inf, -math.inf, "often", None, [0.5]])
    def test_what_is_no_probability_is_refused(self, value):
        with pytest.raises(BadAnnotation, match=r"^probability must be"):
            checks.probability(value)

    @pytest.mark.parametrize("value", [0, 1, 0.5, np.float64(0.25), Decimal("0.1")])
    def test_a_probability_may_be_of_any_type_of_number(self, value):
        assert checks.probability(value) == float(value)

    def test_no_probability_is_nan(self):
        assert math.isnan(checks.probability(math.nan))

    @pytest.mark.parametrize("value", ["", "  ", None, 3, "x" * 61])
    def test_what_is_no_name_is_refused(self, value):
        with pytest.raises(BadAnnotation, match=r"^name must"):
            checks.name_of("name", value)


class TestReasons:
    def test_a_reason_is_kept_as_it_is(self):
        assert reason_of("cheap: 0.42 < 0.45") == "cheap: 0.42 < 0.45"

    def test_a_long_reason_is_cut_off(self):
        cut = reason_of("x" * 201)
        assert len(cut) == MOST_CHARACTERS
        assert cut.endswith("x…")

    @given(st.text(max_size=300))
    def test_any_reason_can_be_stored(self, text):
        kept = reason_of(text)
        assert len(kept) <= MOST_CHARACTERS
        assert "\0" not in kept
        kept.encode()

    def test_what_is_no_text_is_refused(self):
        with pytest.raises(BadAnnotation, match="reason must be a text, not 7"):
            reason_of(7)


class TestConditions:
    def test_rows_are_counted_alone_and_with_those_before(self):
        counts = ConditionCounts()
        for half in ([True, True, False], [True, False]):
            counts.begin_rows()
            counts.count_rows("narrow", np.array(half))
            counts.count_rows("late", ~np.array(half))
        narrow, late = counts.counts.values()
        assert (narrow.asked, narrow.held, narrow.held_with_earlier) == (5, 3, 3)
        assert (late.asked, late.held, late.held_with_earlier) == (5, 2, 0)

    def test_single_conditions_are_counted(self):
        counts = ConditionCounts()
        assert [counts.count("two legs", legs) for legs in (1, 0, "x")] == [True, False, True]
        (two,) = counts.counts.values()
        assert (two.asked, two.held, two.held_with_earlier) == (3, 2, None)

    @pytest.mark.parametrize("held", [True, [True], np.array([[True]]), np.array([0.5, 1.0])])
    def test_what_has_no_rows_is_refused(self, held):
        with pytest.raises(BadAnnotation, match="'narrow' must be an array: true or false"):
            check_rows("narrow", held, None)

    def test_other_rows_are_refused(self):
        check_rows("late", np.array([True, False]), 2)
        with pytest.raises(BadAnnotation, match="'late' has 2 rows, not 1"):
            check_rows("late", np.array([True, False]), 1)

    def test_conditions_beyond_so_many_are_counted_as_one(self):
        counts = ConditionCounts()
        for n in range(MOST_CONDITIONS + 3):
            counts.count(f"{n}", held=True)
        assert len(counts.counts) == MOST_CONDITIONS + 1
        assert counts.counts["others"].asked == 3


class TestSeries:
    def test_values_that_repeat_are_left_out(self):
        series = thinned("x", 0, np.arange(5), np.array([1.0, 1.0, np.nan, np.nan, 2.0]))
        assert series.at.tolist() == [0, 2, 4]
        assert not series.is_thinned

    def test_many_points_become_few(self):
        at = np.arange(100_000)
        series = thinned("x", 0, at, np.sin(at))
        assert series.is_thinned
        assert len(series.at) <= MOST_POINTS
        assert series.at[-1] == at[-1]

    @given(st.lists(st.tuples(st.integers(0, 10**12), st.floats(0, 1)), max_size=30))
    def test_held_series_and_columns_come_to_the_same(self, points):
        points = sorted(dict(points).items())
        held = HeldSeries()
        for at, value in points:
            held.add(at, value)
        at, values = np.array(points, float).reshape(-1, 2).T
        ours, theirs = held.drawn("x", 0), thinned("x", 0, at.astype(np.int64), values)
        assert ours.at.tolist() == theirs.at.tolist()
        assert ours.values.tolist() == theirs.values.tolist()

    def test_a_held_series_stays_small(self):
        held = HeldSeries()
        for at in range(0, 50_000 * 7, 7):
            held.add(at, at % 1_000)
        series = held.drawn("x", 0)
        assert len(held.at) <= 2 * MOST_POINTS
        assert len(series.at) <= MOST_POINTS
        assert series.is_thinned
        assert (series.at[-1], series.values[-1]) == (49_999 * 7, 49_999 * 7 % 1_000)

    def test_a_later_value_of_the_same_instant_counts(self):
        held = HeldSeries()
        for value in (1, 2):
            held.add(5, value)
        assert held.drawn("x", 0).values.tolist() == [2]

    def test_the_markets_with_the_most_fills_are_kept(self):
        recorder = SeriesRecorder()
        for market in range(MOST_MARKETS + 2):
            recorder.add("x", market, at=0, value=0.5)
        kept = recorder.kept({MOST_MARKETS + 1: 3})
        markets = {series.market for series in kept.series}
        assert markets == {*range(MOST_MARKETS - 1), MOST_MARKETS + 1}
        assert kept.notes == ()

    def test_a_run_holds_so_many_and_says_so(self):
        recorder = SeriesRecorder()
        for market in range(MOST_HELD + 1):
            recorder.add("x", market, at=0, value=0.5)
        assert len(recorder.held) == MOST_HELD
        assert recorder.kept({}).notes == (
            "Of more than 5,000 series of a market, those begun later are not kept.",
        )

    def test_there_may_be_so_many_names(self):
        recorder = SeriesRecorder()
        for n in range(MOST_NAMES):
            recorder.add(f"{n}", 0, at=0, value=1)
        with pytest.raises(BadAnnotation, match="can draw 12 series, not 'one more' too"):
            recorder.add("one more", 0, at=0, value=1)

    @pytest.mark.parametrize("value", [math.inf, "high", None])
    def test_what_cannot_be_drawn_is_refused(self, value):
        with pytest.raises(BadAnnotation, match=r"^value must be"):
            SeriesRecorder().add("x", 0, at=0, value=value)

    @pytest.mark.parametrize("name", ["bid", "ask", "stated probability"])
    def test_the_names_of_our_own_are_refused(self, name):
        with pytest.raises(BadAnnotation, match="charts have the"):
            SeriesRecorder().add(name, 0, at=0, value=1)


class TestAnalyses:
    def test_an_analysis_becomes_json(self):
        noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
        value = OrderedDict({noon: np.float64(0.5), 1: [Decimal("1.5"), None, True], "n": (1, "x")})
        assert analyses.stored(lambda: value) == {
            "analysis": {"2026-11-20T12:00:00+00:00": 0.5, "1": [1.5, None, True], "n": [1, "x"]}
        }

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ({"sharpe": {"ratio": math.nan}}, "sharpe.ratio is nan, which is not finite"),
            ([1, np.inf], "1 is inf, which is not finite"),
            ({"at": object()}, "at is of the type object, which JSON does not have"),
            ("x" * 60_000, "it has 60,002 characters as JSON, and may have 50,000"),
            (np.zeros(10**6), "it has more than 25,000 values"),
            ([[0] * 200] * 200, "it has more than 25,000 values"),
            ({"n": 10**5000}, "n is a whole number of more than 63 bits"),
            ({-(2**63): 1}, "a name in it is a whole number of more than 63 bits"),
            ({"years": {2026: 1, "2026": 2}}, "years.2026 is there twice as JSON"),
            (Decimal("sNaN"), "it is sNaN, which is not finite"),
            ({"x": Decimal("1e999")}, "x is 1E+999, which is not finite"),
        ],
    )
    def test_what_cannot_be_kept_is_refused_with_words(self, value, words):
        assert analyses.stored(lambda: value) == {"refused": words}

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (np.array(3.5), 3.5),
            (np.array("x"), "x"),
            ({"array": np.array([[1, 2]])}, {"array": [[1, 2]]}),
            (2**63 - 1, 2**63 - 1),
            ({2026: 0.5, 2027: True}, {"2026": 0.5, "2027": True}),
        ],
    )
    def test_arrays_and_whole_numbers_are_kept_as_they_are(self, value, kept):
        assert analyses.stored(lambda: value) == {"analysis": kept}

    def test_what_holds_itself_is_refused(self):
        value: dict[str, Any] = {}
        value["again"] = value
        assert "nested more than" in analyses.stored(lambda: value)["refused"]


def test_an_analysis_may_fail_with_an_error_that_has_no_words():
    class Wordless(ValueError):
        def __str__(self) -> str:
            raise RuntimeError

    def read() -> None:
        raise Wordless

    assert "Wordless" in analyses.stored(read)["refused"]
