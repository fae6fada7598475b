"""A result is judged by the number of trials of its strategy, in figures and in words."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from backtests.metrics.deflation import FamilyTrials, deflate
from backtests.metrics.ratios import Ratios, ratios


@pytest.fixture(scope="module")
def stored():
    """Ratios as a result stores them: a hundred days that gained more often than not."""
    changes = np.random.default_rng(5).normal(0.002, 0.01, 100)
    daily = np.round(10_000_000_000 * np.cumprod([1, *(1 + changes)])).astype(np.int64)
    return asdict(ratios(daily, days=100, rate=0.04))


def judge(ratios, family, *, traded=120, won=80):
    return deflate({"ratios": ratios, "events": {"traded": traded, "won": won}}, family)


def test_the_first_trial_needs_no_deflation(stored):
    found = judge(stored, FamilyTrials(1))
    assert found.deflated_sharpe == pytest.approx(stored["probabilistic_sharpe"])
    assert found.expected_maximum_sharpe == 0
    assert found.words().startswith("The only trial of this strategy so far. Its true Sharpe ratio")


def test_the_more_was_tried_the_less_a_result_says(stored):
    deflated = [
        judge(stored, FamilyTrials(trials, spread=1.0)).deflated_sharpe or 0
        for trials in (1, 2, 10, 100, 1_000)
    ]
    assert deflated == sorted(deflated, reverse=True)
    assert deflated[0] > deflated[-1]


def test_trials_of_another_length_are_scaled_to_the_result_s(stored):
    """A spread of one is the error of a ratio without skill, whatever its length."""
    found = judge(stored, FamilyTrials(100, spread=1.0))
    assert found.expected_maximum_sharpe == pytest.approx(2.5306 * math.sqrt(365 / 99), rel=1e-3)
    assert found.periods == 100


def test_luck_and_more_than_luck_are_told_in_words(stored):
    luck = judge(stored, FamilyTrials(5_000, spread=1.5)).words()
    assert luck.startswith("5,000 trials of this strategy so far, in every version")
    assert "it may well be luck" in luck
    skill = judge(stored | {"sharpe": 12.0}, FamilyTrials(10, spread=1.0)).words()
    assert "more than the luck of many trials explains" in skill
    assert "It would take" not in skill


def test_a_record_that_is_too_short_says_how_long_it_would_have_to_be(stored):
    found = judge(stored | {"sharpe": 5.0}, FamilyTrials(10, spread=1.0))
    least = found.least_track_record or 0
    assert least > 100
    days = f"{math.ceil(least):,}"
    assert f"It would take {days} days of such returns to be 95 % certain" in found.words()
    never = judge(stored | {"sharpe": 0.1}, FamilyTrials(10, spread=1.0))
    assert never.least_track_record is None
    assert "No record of such returns would be long enough" in never.words()


@pytest.mark.parametrize(
    ("changed", "family", "reason"),
    [
        (asdict(Ratios(withheld="12 days: too few to annualise")), FamilyTrials(3, 1.0), "12 days"),
        ({"kurtosis": None}, FamilyTrials(3, 1.0), "did not keep the moments"),
        ({}, FamilyTrials(3), "no two of them differ and have 30 days"),
        ({}, FamilyTrials(3, 0.0), "no two of them differ"),
        ({"sharpe": None, "withheld": ""}, FamilyTrials(3, 1.0), "it has no Sharpe ratio"),
    ],
)
def test_what_is_withheld_says_why(stored, changed, family, reason):
    found = judge(stored | changed, family)
    assert found.deflated_sharpe is None
    assert reason in found.withheld
    assert found.withheld in found.words()
    assert found.trials == 3


@pytest.mark.parametrize(("won", "is_judged"), [(120, False), (116, False), (115, True)])
def test_a_strategy_that_hardly_ever_lost_is_not_judged(stored, won, is_judged):
    found = judge(stored, FamilyTrials(10, spread=1.0), won=won)
    assert (found.deflated_sharpe is not None) is is_judged
    assert is_judged or f"only {120 - won} of its events lost" in found.withheld


def test_a_result_without_ratios_is_not_judged():
    assert deflate({}, FamilyTrials(2, 1.0)).withheld == "it has no Sharpe ratio"
