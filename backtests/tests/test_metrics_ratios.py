import math

import empyrical
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from backtests.metrics.drawdown import deepest
from backtests.metrics.events import clustered_error, wilson
from backtests.metrics.ratios import Ratios, ratios, returns
from backtests.metrics.sharpe import NORMAL, SharpeSample


def daily_equity(changes):
    """Daily equity that starts at ten thousand dollars."""
    growth = np.cumprod([1, *(1 + change for change in changes)])
    return np.round(10_000_000_000 * growth).astype(np.int64)


CHANGES = st.lists(st.floats(-0.3, 0.3), min_size=35, max_size=80).filter(
    lambda changes: np.std(changes) > 1e-4
)


@given(CHANGES, st.floats(0, 0.1))
def test_ratios_are_those_of_empyrical(changes, rate):
    daily = daily_equity(changes)
    change, riskless = returns(daily), (1 + rate) ** (1 / 365) - 1

    figures = ratios(daily, days=len(changes), rate=rate)

    year = {"annualization": 365}
    assert figures.volatility == pytest.approx(empyrical.annual_volatility(change, **year))
    assert figures.sharpe == pytest.approx(empyrical.sharpe_ratio(change, riskless, **year))
    # empyrical returns infinity where no day fell short.
    sortino = math.inf if figures.sortino is None else figures.sortino
    assert sortino == pytest.approx(empyrical.sortino_ratio(change, riskless, **year))
    assert figures.annual_return == pytest.approx(empyrical.annual_return(change, **year))


@given(CHANGES)
def test_the_deepest_drawdown_is_that_of_empyrical(changes):
    daily = daily_equity(changes)

    fall = deepest(np.arange(len(daily)), daily)

    assert -fall.share == pytest.approx(empyrical.max_drawdown(returns(daily)), abs=1e-12)


def test_the_error_of_a_sharpe_ratio_grows_with_skewness_and_fat_tails():
    """The example of Bailey and Lopez de Prado (2012): 24 months at 1.59 a year are 98 % certain
    if returns are normal, and 91 % with the skewness and the tails that hedge funds have."""
    ratio = 1.585 / math.sqrt(12)

    normal, skewed = SharpeSample(ratio, 24), SharpeSample(ratio, 24, -2.448, 10.164)

    assert normal.probability_above() == pytest.approx(0.982, abs=5e-4)
    assert skewed.probability_above() == pytest.approx(0.913, abs=5e-4)
    assert NORMAL.cdf(ratio / normal.error) == normal.probability_above()


@given(CHANGES)
def test_the_interval_of_sharpe_follows_from_the_moments_of_the_days(changes):
    excess = np.array(changes)
    ratio = excess.mean() / excess.std(ddof=1)
    skewness = scipy.stats.skew(excess)
    kurtosis = scipy.stats.kurtosis(excess, fisher=False)
    spread = 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2
    error = math.sqrt(max(0, spread) / (len(excess) - 1))

    sample = SharpeSample.of(excess)
    assert sample
    low, high = sample.interval()

    assert tuple(sample) == pytest.approx((ratio, len(excess), skewness, kurtosis))
    assert (low + high) / 2 == pytest.approx(ratio)
    assert high - low == pytest.approx(2 * 1.959964 * error, rel=1e-6)
    assert sample.probability_above() == pytest.approx(scipy.stats.norm.cdf(ratio / error))


def test_figures_of_a_year_are_those_of_a_day_by_the_root_of_its_days():
    daily = daily_equity([0.02, -0.01, 0.01, -0.015, 0.005] * 8)
    figures, change = ratios(daily, days=40, rate=0), returns(daily)
    assert change is not None
    sample = SharpeSample.of(change)
    assert sample
    low, high = sample.interval()
    year = math.sqrt(365)
    assert figures.sharpe == pytest.approx(sample.sharpe * year)
    assert (figures.sharpe_low, figures.sharpe_high) == pytest.approx((low * year, high * year))
    assert (figures.periods, figures.skewness, figures.kurtosis) == sample[1:]


def test_a_record_as_long_as_the_least_is_as_certain_as_it_claims():
    pattern = np.array([0.02, -0.01, 0.01, -0.015, 0.005])
    least = SharpeSample.of(np.tile(pattern, 8)).least_track_record() or 0
    longer = SharpeSample.of(np.tile(pattern, round(least / 5)))

    assert 40 < least < 500
    assert longer.probability_above() == pytest.approx(0.95, abs=0.01)


def test_no_record_is_long_enough_for_a_strategy_that_loses():
    assert SharpeSample.of(np.array([0.01, -0.02] * 20)).least_track_record() is None


def test_without_a_day_that_fell_short_there_is_no_sortino():
    assert ratios(daily_equity([0.01, 0.02] * 20), days=40, rate=0).sortino is None


@pytest.mark.parametrize(
    ("daily", "reason"),
    [
        ([100, 100, 100], "daily equity did not vary"),
        ([100, 0, 0], "equity fell to nothing"),
        ([100, 200], "daily equity did not vary"),
    ],
)
def test_days_that_carry_no_ratio_say_why(daily, reason):
    assert ratios(np.array(daily), days=3, rate=0.04) == Ratios(withheld=reason)


def test_the_interval_of_a_win_rate_is_wilson_s():
    """Nine of ten: 0.5958 and 0.9821, by the formula with z = 1.96 by hand."""
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1


@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_a_share_lies_within_its_interval(share):
    low, high = wilson(*share)
    assert 0 <= low <= share[0] / share[1] <= high <= 1
    reference = scipy.stats.binomtest(*share).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx(tuple(reference), abs=1e-9)


@given(st.lists(st.integers(-1_000, 1_000), min_size=2, max_size=50))
def test_in_clusters_of_one_the_error_is_the_ordinary_one(values):
    assert clustered_error([[v] for v in values]) == pytest.approx(scipy.stats.sem(values))


def test_values_that_move_together_are_less_sure_than_their_number():
    together, alone = [[1, 1], [5, 5]], [[1], [1], [5], [5]]
    # Means 1 and 5 of two clusters: half their distance.
    assert clustered_error(together) == pytest.approx(2)
    # The root of 16 / 4^2 x 4 / 3.
    assert clustered_error(alone) == pytest.approx(math.sqrt(4 / 3))


def test_one_cluster_alone_says_nothing_of_the_error():
    assert clustered_error([[1, 5]]) is None
