"""Overfitting: the deflated Sharpe ratio, and the probability that the best trial is luck."""

import math
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backtests.metrics.overfitting import (
    deflated_sharpe,
    expected_maximum_sharpe,
    probability_of_overfitting,
)
from backtests.metrics.sharpe import SharpeSample
from backtests.tests.noise import (
    best_of_noise,
    fat_tailed,
    favourites,
    normal,
    undeflated_of_best,
)

# The example of Bailey and Lopez de Prado (2014): five years of 250 days at 2.5 a year, the best of
# 100 trials whose annual ratios have a variance of 1/2.
EXAMPLE = SharpeSample(2.5 / math.sqrt(250), 1250, skewness=-3, kurtosis=10)
VARIANCE = 1 / 2 / 250


def test_the_best_of_a_hundred_trials_is_expected_where_the_paper_has_it():
    assert expected_maximum_sharpe(100, VARIANCE) == pytest.approx(0.1132, abs=5e-5)


def test_the_deflated_ratio_of_the_paper_s_example_is_the_paper_s():
    deflated = deflated_sharpe(EXAMPLE, trials=100, variance=VARIANCE)
    assert deflated == pytest.approx(0.9004, abs=5e-5)


def test_with_46_trials_or_with_88_of_normal_returns_it_would_have_been_certain():
    normal = EXAMPLE._replace(skewness=0.0, kurtosis=3.0)
    assert deflated_sharpe(EXAMPLE, trials=46, variance=VARIANCE) == pytest.approx(0.9505, abs=5e-5)
    assert deflated_sharpe(normal, trials=88, variance=VARIANCE) == pytest.approx(0.9505, abs=5e-4)


@pytest.mark.parametrize(
    ("periods_of_a_year", "moments", "years"),
    [(250, (0, 3), 2.73), (52, (0, 3), 2.83), (12, (0, 3), 3.24), (12, (-0.72, 5.78), 4.99)],
)
def test_the_least_track_record_is_that_of_the_paper(periods_of_a_year, moments, years):
    """Bailey and Lopez de Prado (2012): a ratio of 2 a year, to be above 1 with 95 %."""
    root = math.sqrt(periods_of_a_year)
    sample = SharpeSample(2 / root, 100, *moments)
    least = sample.least_track_record(1 / root)
    assert least / periods_of_a_year == pytest.approx(years, abs=5e-3)


def test_the_best_of_few_is_expected_where_order_statistics_have_it():
    """Of two, three and five normal numbers: 0.564, 0.846 and 1.163; the formula is for many."""
    found = [expected_maximum_sharpe(trials, 1.0) for trials in (2, 3, 5, 1_000)]
    assert found == pytest.approx([0.564, 0.846, 1.163, 3.241], abs=0.05)
    assert expected_maximum_sharpe(1, 1.0) == 0


@given(st.integers(1, 10**6), st.floats(1e-6, 1))
def test_more_trials_and_more_variance_deflate_more(trials, variance):
    numbers = ((1, 1.0), (trials, variance), (trials + 1, variance), (trials + 1, 2 * variance))
    found = [
        deflated_sharpe(EXAMPLE, trials=number, variance=each) or 0 for number, each in numbers
    ]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("sample", "trials", "variance"),
    [
        (None, 1, None),
        (EXAMPLE._replace(periods=4), 1, None),
        (EXAMPLE, 2, None),
        (EXAMPLE, 2, 0.0),
    ],
)
def test_what_cannot_be_deflated_is_unknown(sample, trials, variance):
    assert deflated_sharpe(sample, trials=trials, variance=variance) is None


def test_returns_that_did_not_vary_have_no_ratio():
    assert SharpeSample.of(np.full(40, 0.01)) is None
    assert SharpeSample.of(np.array([0.01])) is None


@pytest.mark.parametrize("trials", [1, 2, 10, 100])
@pytest.mark.parametrize("returns", [normal, partial(fat_tailed, freedom=5)])
def test_on_noise_the_deflated_ratio_rejects_no_more_often_than_it_says(trials, returns):
    deflated = best_of_noise(returns, 400, trials, 60, seed=trials)
    # Three standard errors of a share of 5 % in 400.
    assert np.mean(deflated > 0.95) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_on_noise_the_best_of_a_hundred_looks_certain_where_nobody_counts():
    plain = undeflated_of_best(normal, 200, 100, 60, seed=1)
    assert np.mean(plain > 0.95) > 0.9


def test_the_best_of_many_that_buy_favourites_is_not_certain_before_it_has_lost():
    """150 favourites at 97 cents and fair prices: the best of a hundred such has lost none."""
    draw = partial(favourites, bets=5)
    assert np.mean(undeflated_of_best(draw, 100, 100, 30, seed=1) > 0.95) > 0.5
    assert np.mean(best_of_noise(draw, 100, 100, 30, seed=1) > 0.95) <= 0.05


def test_skill_is_found_among_many_trials():
    found = best_of_noise(normal, 50, 100, 365, seed=1, skill_of_one=0.4)
    assert np.mean(found > 0.95) > 0.9


# --- the probability of overfitting ---------------------------------------------------------------


def by_definition(returns, blocks):
    """The same, choice by choice, for distinct gains."""
    parts = np.split(returns[len(returns) % blocks :], blocks)
    worse = 0
    for chosen in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[n] for n in chosen])
        outside = np.concatenate([parts[n] for n in range(blocks) if n not in chosen])
        best = np.argmax(inside.sum(axis=0))
        gains = outside.sum(axis=0)
        rank = np.count_nonzero(gains <= gains[best]) / (1 + len(gains))
        worse += math.log(rank / (1 - rank)) <= 1e-12
    return worse / math.comb(blocks, blocks // 2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_it_is_what_its_definition_counts(seed, blocks):
    returns = np.random.default_rng(seed).normal(0.001, 0.02, (53, 7))
    assert probability_of_overfitting(returns, blocks=blocks) == pytest.approx(
        by_definition(returns, blocks)
    )


def test_of_noise_the_best_half_the_time_is_worse_than_the_median_later():
    rng = np.random.default_rng(1)
    noise = (rng.normal(0, 0.01, (80, 40)) for _ in range(60))
    found = [probability_of_overfitting(returns, blocks=8) or 0 for returns in noise]
    assert np.mean(found) == pytest.approx(0.5, abs=0.07)


def test_a_trial_that_is_always_best_is_not_overfit():
    returns = np.random.default_rng(1).normal(0, 0.01, (64, 20))
    returns[:, 7] += 0.05
    assert probability_of_overfitting(returns) == 0


def test_points_that_differ_in_size_alone_are_ranked_by_what_they_gained():
    one = np.random.default_rng(1).normal(0.01, 0.001, 64)
    assert probability_of_overfitting(np.outer(one, [1, 2, 4])) == 0


def test_a_trial_that_is_best_only_where_others_were_not_is_overfit():
    """Each trial has one good block, so whatever was best had it in the first half."""
    returns = np.random.default_rng(1).normal(0, 0.001, (64, 8))
    for trial in range(8):
        returns[8 * trial : 8 * trial + 8, trial] += 0.02
    assert probability_of_overfitting(returns, blocks=8) == 1


RETURNS = arrays(np.float64, st.tuples(st.integers(10, 40), st.integers(2, 6)),
    elements=st.integers(-100, 100).map(lambda n: n / 1_000))  # fmt: skip


@settings(max_examples=30)
@given(RETURNS)
def test_it_is_a_share_whatever_the_scale_of_the_returns(returns):
    found = probability_of_overfitting(returns, blocks=4)
    assert found is None or 0 <= found <= 1
    # A power of two changes no digit.
    assert probability_of_overfitting(2 * returns, blocks=4) == found


@pytest.mark.parametrize(
    "returns",
    [np.zeros((64, 5)), np.tile(np.linspace(-1, 1, 64)[:, None], 5), np.ones((64, 1)),
     np.random.default_rng(1).normal(0, 1, (8, 5))],
)  # fmt: skip
def test_trials_that_tell_nothing_apart_have_no_probability(returns):
    assert probability_of_overfitting(returns, blocks=8) is None


def test_trials_that_never_traded_count_as_zero():
    returns = np.zeros((64, 3))
    returns[:, 0] = np.random.default_rng(1).normal(0.05, 0.01, 64)
    assert probability_of_overfitting(returns) == 0


@pytest.mark.parametrize("blocks", [0, 1, 7])
def test_blocks_that_cannot_be_halved_are_refused(blocks):
    with pytest.raises(ValueError, match="blocks"):
        probability_of_overfitting(np.zeros((64, 3)), blocks=blocks)


def test_returns_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        probability_of_overfitting(np.array([[1.0, np.nan]] * 40))
