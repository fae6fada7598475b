"""A walk-forward: each fold's choice, and the equity of all tests."""

import numpy as np
import pytest

from backtests.analysis.walk_forward import FoldPnl, best_point, choices, joined

POINTS = {
    1: [FoldPnl(5, -1), FoldPnl(2, 7)],
    2: [FoldPnl(3, 9), FoldPnl(4, 1)],
    3: [FoldPnl(5, 4), FoldPnl(4, 8)],
}


def test_each_fold_chooses_the_best_on_its_past_and_of_equal_ones_the_first():
    first, second = choices(POINTS, count=2)
    assert (first.point, first.pnl, first.rank) == (1, FoldPnl(5, -1), 3)
    assert (second.point, second.pnl, second.rank) == (2, FoldPnl(4, 1), 3)


def test_a_choice_does_not_look_at_the_test():
    others = {n: [each._replace(test=-each.test) for each in folds] for n, folds in POINTS.items()}
    assert [c.point for c in choices(others, count=2)] == [
        c.point for c in choices(POINTS, count=2)
    ]


def test_without_a_point_there_is_nothing_to_choose():
    assert best_point({}) is None
    with pytest.raises(ValueError, match="no point"):
        choices({}, count=1)


def test_tests_are_joined_by_adding_up_their_gains():
    tests = [np.array([0, 5, -2, 0]), np.array([0, 0, 0, 4])]
    assert joined(tests, cash=100).tolist() == [100, 100, 105, 103, 107]
