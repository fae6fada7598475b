"""Curve, scores, returns and trail of calibration, from arrays alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.calibration import reliability as curves
from markets.calibration import returns as purchases
from markets.calibration import scores as scoring
from markets.calibration.reliability import bins_of
from markets.calibration.resampling import MOST_GROUPS, EventResamples
from markets.calibration.returns import Purchases
from markets.calibration.scores import GroupedPrices, log_loss
from markets.calibration.trail import CLASSES, MOST_POINTS, score_trail

observation = st.tuples(
    st.integers(1, 9_999), st.integers(0, 100), st.integers(1, 12), st.integers(0, 500)
)
observed = st.lists(observation, min_size=1, max_size=60)
few = settings(max_examples=50, deadline=None)


# A figure that is None fails where it is compared.
def reliability(*columns: Any, **options: Any) -> Any:
    return curves.reliability(*columns, **options)


def scores(*columns: Any, **options: Any) -> Any:
    return scoring.scores(*columns, **options)


def group_scores(*columns: Any, **options: Any) -> Any:
    return scoring.group_scores(*columns, **options)


def returns(*columns: Any, **options: Any) -> Any:
    return purchases.returns(*columns, **options)


def arrays(rows):
    price, outcome, event, fee = (np.array(column) for column in zip(*rows, strict=True))
    return price / 10_000, outcome / 100, event, fee / 10_000


def fair(markets, *, events=None, seed=3):
    """Make markets that come true exactly as often as their price says."""
    chance = np.random.default_rng(seed)
    price = chance.uniform(0.02, 0.98, markets)
    outcome = (chance.uniform(size=markets) < price).astype(float)
    return price, outcome, np.arange(markets) if events is None else np.arange(markets) % events


# --- the curve ----------------------------------------------------------------------------------


@few
@given(observed)
def test_each_bin_has_the_means_that_a_loop_finds(rows):
    price, outcome, event, _ = arrays(rows)
    for each in reliability(price, outcome, event, minimum=1):
        within = [
            (p, o, e)
            for p, o, e in zip(price.tolist(), outcome.tolist(), event.tolist(), strict=True)
            if each.low <= p < each.high
        ]
        assert each.count == len(within)
        assert each.events == len({e for *_, e in within})
        if within:
            assert each.price == pytest.approx(sum(p for p, *_ in within) / len(within))
            assert each.outcome == pytest.approx(sum(o for _, o, _ in within) / len(within))
            assert each.outcome_low <= each.outcome + 1e-12
            assert each.outcome_high >= each.outcome - 1e-12


def test_a_price_on_an_edge_is_in_the_bin_above_it_and_a_dollar_in_the_last():
    edges = np.array([0.0, 0.1, 0.3, 0.29995, 0.7, 0.95, 1.0])
    assert bins_of(edges, 10).tolist() == [0, 1, 3, 2, 7, 9, 9]


def test_a_bin_with_few_events_has_counts_but_no_figures():
    price, event = np.full(30, 0.15), np.arange(30) % 19
    found = reliability(price, np.zeros(30), event)[1]
    assert (found.count, found.events, found.price, found.outcome_high) == (30, 19, None, None)
    assert reliability(price, np.zeros(30), np.arange(30) % 20)[1].price == pytest.approx(0.15)


def test_markets_of_one_event_count_as_one_for_the_interval():
    price, outcome, event = np.full(1_000, 0.55), np.arange(1_000) // 10 % 2, np.arange(1_000)
    alone = reliability(price, outcome.astype(float), event)[5]
    together = reliability(price, outcome.astype(float), event // 10)[5]
    width = together.outcome_high - together.outcome_low
    assert width == pytest.approx(10**0.5 * (alone.outcome_high - alone.outcome_low), rel=0.15)


def test_where_all_ended_alike_the_interval_has_the_width_that_its_events_allow():
    price = np.full(60, 0.03)
    never = reliability(price, np.zeros(60), np.arange(60))[0]
    assert (never.outcome, never.outcome_low) == (0, 0)
    assert never.outcome_high == pytest.approx(1 - 0.025 ** (1 / 60))
    always = reliability(1 - price, np.ones(60), np.arange(60) % 30)[9]
    assert (always.outcome_low, always.outcome_high) == (pytest.approx(0.025 ** (1 / 30)), 1)


def test_of_fair_prices_nearly_all_intervals_hold_the_price():
    missed = total = 0
    for seed in range(15):
        price, outcome, event = fair(2_000, events=500, seed=seed)
        for each in reliability(price, outcome, event):
            total += 1
            missed += not each.outcome_low <= each.price <= each.outcome_high
    assert 0.02 < missed / total < 0.09


def test_many_events_are_grouped_and_the_interval_stays_the_same():
    price, outcome, event = fair(5 * MOST_GROUPS)
    error = (outcome - price)[np.abs(price - 0.55) < 0.05].std()
    found = reliability(price, outcome, event)[5]
    width = 2 * 1.96 * error / found.count**0.5
    assert found.outcome_high - found.outcome_low == pytest.approx(width, rel=0.1)


def test_the_same_observations_have_the_same_intervals_every_time():
    price, outcome, event = fair(500)
    assert reliability(price, outcome, event) == reliability(price, outcome, event)


@pytest.mark.parametrize(("price", "outcome", "name"), [(1.2, 1, "prices"), (0.5, -1, "outcomes")])
def test_what_is_no_price_and_no_outcome_is_refused_by_name(price, outcome, name):
    with pytest.raises(ValueError, match=f"{name} must lie between 0 and 1"):
        reliability(np.array([price]), np.array([float(outcome)]), np.array([1]))
    with pytest.raises(ValueError, match=name):
        scores(np.array([np.nan if price > 1 else price]), np.array([float(outcome)]), np.ones(1))


def test_without_observations_every_bin_is_empty():
    nothing = np.empty(0)
    assert [each.count for each in reliability(nothing, nothing, nothing, bins=5)] == [0] * 5
    assert scores(nothing, nothing, nothing) is None
    assert [
        each.net for each in returns(Purchases(nothing, nothing, nothing, np.arange(0)), bins=5)
    ] == [None] * 5


def test_a_sample_of_events_draws_as_many_as_there_are():
    drawn = EventResamples(np.array([7, 7, 9]), np.zeros(3, np.int64), 1, samples=50)
    # Two events of two markets and of one: 2, 3 or 4 markets.
    assert set(drawn.samples()[:, 0].tolist()) == {2.0, 3.0, 4.0}


# --- scores -------------------------------------------------------------------------------------


@few
@given(observed, st.sampled_from([5, 10, 20]))
def test_the_parts_of_a_brier_score_add_up_to_it(rows, bins):
    price, outcome, event, _ = arrays(rows)
    found = scores(price, outcome, event, bins=bins)
    assert found.brier == pytest.approx(((price - outcome) ** 2).mean())
    parts = found.reliability - found.resolution + found.uncertainty + found.within_bins
    assert parts == pytest.approx(found.brier)
    # Within a bin prices differ from their mean, and outcomes may go with them.
    within = 0.0
    for number in set(bins_of(price, bins).tolist()):
        p, o = (each[bins_of(price, bins) == number] for each in (price, outcome))
        within += len(p) / len(price) * (p.var() - 2 * ((p - p.mean()) * (o - o.mean())).mean())
    assert found.within_bins == pytest.approx(within, abs=1e-9)


def test_of_equal_prices_in_each_bin_the_parts_are_murphys():
    # Two prices, ten forecasts each: 1 of 10 and 8 of 10 came true.
    price = np.repeat([0.2, 0.7], 10)
    outcome = np.array([1.0] + [0.0] * 9 + [1.0] * 8 + [0.0] * 2)
    found = scores(price, outcome, np.arange(20), minimum=2)
    assert found.reliability == pytest.approx(0.5 * 0.1**2 + 0.5 * 0.1**2)
    assert found.resolution == pytest.approx(0.35**2)
    assert found.uncertainty == pytest.approx(0.45 * 0.55)
    assert found.within_bins == pytest.approx(0)
    assert found.skill == pytest.approx(1 - (0.01 - 0.1225 + 0.2475) / 0.2475)


def test_log_loss_is_the_mean_surprise():
    price, outcome = np.array([0.8, 0.3]), np.array([1.0, 0.0])
    assert log_loss(price, outcome) == pytest.approx(-(np.log(0.8) + np.log(0.7)) / 2)
    assert log_loss(np.array([1.0, 0.0]), outcome) == 0
    assert log_loss(np.array([0.0, 0.5]), outcome) is None
    # A market that is settled at 24 cents came true by 24 per cent.
    half = log_loss(np.array([0.24]), np.array([0.24]))
    assert half == pytest.approx(-(0.24 * np.log(0.24) + 0.76 * np.log(0.76)))


def test_a_bias_of_fair_prices_is_within_its_interval_and_a_real_one_is_not():
    price, outcome, event = fair(3_000)
    found = scores(price, outcome, event)
    assert found.bias_low < 0 < found.bias_high
    dear = scores(np.clip(price + 0.05, 0, 1), outcome, event)
    assert dear.bias_high < 0
    assert dear.bias == pytest.approx(found.bias - 0.05, abs=0.003)


@few
@given(observed)
def test_a_group_has_the_scores_that_it_has_alone(rows):
    price, outcome, event, place = arrays(rows)
    place = (place * 10_000).astype(int) % 3
    grouped = GroupedPrices(price, outcome, event, place)
    for number, found in enumerate(group_scores(grouped, "abc", minimum=1)):
        own = place == number
        alone = scores(price[own], outcome[own], event[own], minimum=1)
        assert (found.group, found.count) == ("abc"[number], own.sum())
        if alone is None:
            assert (found.events, found.brier, found.bias_low, found.skill) == (0, None, None, None)
            continue
        for name in ("events", "price", "outcome", "bias", "brier"):
            assert getattr(found, name) == pytest.approx(getattr(alone, name), abs=1e-9)
        assert found.bias_low - 1e-9 <= found.bias <= found.bias_high + 1e-9
        if alone.uncertainty > 1e-9:
            assert found.skill == pytest.approx(alone.skill, abs=1e-4)


def test_a_group_with_few_events_has_counts_but_no_figures():
    price, outcome, event = fair(40)
    grouped = GroupedPrices(price, outcome, event, (event >= 19).astype(int))
    few_events, enough = group_scores(grouped, ["few", "enough"])
    assert (few_events.count, few_events.events, few_events.brier) == (19, 19, None)
    assert (enough.count, enough.brier is None) == (21, False)


def test_of_fair_prices_nearly_all_groups_have_no_bias():
    missed = 0
    for seed in range(6):
        price, outcome, event = fair(4_000, events=1_600, seed=seed)
        grouped = GroupedPrices(price, outcome, event, event % 20)
        found = group_scores(grouped, [str(n) for n in range(20)])
        missed += sum(not each.bias_low <= 0 <= each.bias_high for each in found)
    assert 0.01 < missed / 120 < 0.12


# --- returns ------------------------------------------------------------------------------------


@few
@given(observed)
def test_a_return_is_the_gain_on_all_that_was_spent_in_the_bin(rows):
    price, worth, event, fee = arrays(rows)
    for each in returns(Purchases(price, fee, worth, event), minimum=1):
        within = (each.low <= price) & (price < each.high)
        assert each.count == within.sum()
        if within.any():
            spent = (price + fee)[within].sum()
            assert each.net == pytest.approx((worth[within].sum() - spent) / spent)
            assert each.fee == pytest.approx(fee[within].mean())


def test_fair_prices_return_the_fee_less():
    price, worth, event = fair(20_000)
    found = returns(Purchases(price, np.full(20_000, 0.01), worth, event))[4]
    assert found.net == pytest.approx(-0.01 / (found.price + 0.01), abs=0.05)
    assert found.net_low < found.net < found.net_high


# --- the trail ----------------------------------------------------------------------------------


def test_the_mean_of_the_last_markets_is_known_once_there_are_as_many():
    found = score_trail(np.array([3, 1, 2, 4]) * 1000, np.array([0.3, 0.1, 0.2, 0.4]), window=2)
    assert found.at == [1, 2, 3, 4]
    assert found.score == [0.1, 0.2, 0.3, 0.4]
    assert found.average == [None, 0.15, 0.25, 0.35]


def test_a_market_whose_settlement_has_no_date_is_in_no_place_in_time():
    found = score_trail(np.array([-1, 2_000, 1_000]), np.array([0.9, 0.2, 0.1]), window=2)
    assert (found.at, found.score, found.average) == ([1, 2], [0.1, 0.2], [None, 0.15])
    assert sum(found.classes) == 3


def test_of_many_markets_some_are_drawn_and_all_are_counted():
    markets = 5 * MOST_POINTS + 1
    found = score_trail(np.arange(markets) * 1000, np.linspace(0, 1, markets))
    assert len(found.at) <= MOST_POINTS
    assert found.at[-1] == markets - 1
    assert (len(found.classes), sum(found.classes)) == (CLASSES, markets)
