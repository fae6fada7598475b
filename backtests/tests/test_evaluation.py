"""An evaluation runs a strategy under the other fill models only where they differ."""

import pytest

from backtests.analysis.evaluation import Evaluation
from backtests.data.universe import MONEY, SECOND
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import AlwaysNo
from backtests.tests.test_execution import NOW, book, universe_of


def evaluated(*books, in_kernel=True, **execution):
    """The results of buying ten NO, and what was being done meanwhile."""
    evaluation = Evaluation(
        universe=universe_of(*books),
        strategy=AlwaysNo,
        params={"contracts": 10},
        execution=ExecutionModel(**execution),
        cash=1_000 * MONEY,
        start=NOW,
        end=NOW + 60 * SECOND,
        in_kernel=in_kernel,
    )
    done = []
    results = evaluation.results(lambda share, doing: done.append(doing))
    return results, {doing for doing in done if doing.startswith("running it with")}


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_taker_that_met_one_book_is_run_once(in_kernel):
    results, again = evaluated(book(42, 45), book(42, 45), in_kernel=in_kernel)
    assert not again
    assert results.band[FillModel.FEWEST] is results.headline.figures
    assert results.headline.figures.activity.fills == 1


def test_a_book_whose_other_side_moved_gives_no_band():
    _, again = evaluated(book(42, 45), book(42, 47), book(42, 47))
    assert not again


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_taker_that_may_have_met_two_books_is_run_three_times(in_kernel):
    results, again = evaluated(book(42, 45), book(40, 45), in_kernel=in_kernel)
    assert len(again) == 2
    assert [results.band[each].activity.fills for each in FillModel] == [0, 0, 1]


def test_an_order_that_rested_is_run_three_times():
    _, again = evaluated(book(42, 45), book(42, 45), book(42, 45), make=True)
    assert len(again) == 2
