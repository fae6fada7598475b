"""Observations that no run made: all of them, cut off anywhere, and without a part of them."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtests.analysis.counterfactuals import mirrored, truncated
from backtests.data import observations
from backtests.data.standing_quotes import StandingTime, with_standing
from backtests.data.universe import SECOND
from backtests.tests.observed_builders import observed_at, observed_worlds
from backtests.tests.random_universes import random_universe, watched


def instants_of(observed):
    return [observed.of_market(market).tolist() for market in range(observed.markets)]


@given(observed_worlds())
def test_they_are_the_same_observations(observed):
    plain = observations.without_runs(observed)
    assert instants_of(plain) == instants_of(observed)
    for stream in plain.streams.tolist():
        assert (plain.runs[plain.starts[stream] : plain.starts[stream + 1]] == -1).all()


@given(observed_worlds(), st.integers(0, 99))
def test_cut_off_anywhere_they_are_those_until_then(observed, at):
    cut = observations.known_at(observations.without_runs(observed), at)
    assert instants_of(cut) == [
        [each for each in own if each <= at] for own in instants_of(observed)
    ]


@given(observed_worlds(), st.data())
def test_whatever_is_left_out_what_has_a_place_stays(observed, data):
    plain = observations.without_runs(observed)
    mine = [(market, at) for market, own in enumerate(instants_of(plain)) for at in own]
    wanted = data.draw(st.lists(st.sampled_from(mine))) if mine else []
    market, at = np.array(wanted, np.int64).reshape(-1, 2).T
    kept = np.zeros(len(plain.instants), np.bool_)
    kept[observations.places(plain, market, at)] = True
    left = instants_of(observations.only(plain, kept))
    for market, at in wanted:
        assert at in left[market]


def test_what_is_not_observed_has_no_place():
    observed = observed_at([[(3, -1), (5, -1)], [(4, -1)]], [[(0, 9, 0)], [(0, 9, 1)], []])
    market, at = np.array([(0, 4), (0, 9), (1, 4), (2, 3), (1, 0)]).T
    assert observations.places(observed, market, at).tolist() == [2]


def test_seconds_that_many_markets_share_stay_shared_in_other_futures():
    universe = watched(random_universe(3, markets=30, rows=40), 3)
    begin, end = (int(universe.quotes.at[place]) for place in (0, -1))
    standing = [StandingTime(market, begin, end) for market in range(30)]
    watched_at = universe.observations()
    shared = observations.without_runs(with_standing(watched_at, standing))
    seconds = (end - begin) // SECOND
    assert len(shared.of_market(7)) >= seconds
    assert len(shared.instants) < 3 * seconds
    at = begin + (end - begin) // 2
    world = replace(universe, observed=shared)
    changed = mirrored(world, at, np.random.default_rng(1)).universe.observed
    for market in range(30):
        mine, theirs = shared.of_market(market), changed.of_market(market)
        assert np.array_equal(mine[mine <= at], theirs[theirs <= at])
    assert len(changed.instants) < len(shared.instants)
    cut = truncated(world, at).universe.observed
    assert len(cut.instants) == len(shared.instants)
    assert cut.of_market(7).max() <= at
