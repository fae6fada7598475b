"""Plots are drawn without a screen."""

import numpy as np
import pytest

from backtests.data.universe import MONEY
from backtests.engine.event_driven import cerebro
from backtests.engine.plotting import MOST_MARKETS, plot, plot_most_traded
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import DoNothing, Momentum
from backtests.strategies.base import Strategy
from backtests.tests.random_universes import random_universe
from backtests.tests.test_execution import book, universe_of


class Turning(Strategy):
    name, version, summary = "turning", "1", "Buys, then sells."

    def next(self):
        (self.buy if len(self) == 1 else self.sell)(size=1)


def test_a_picture_shows_each_fill_and_needs_no_screen(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    books = book(40, 44), book(40, 44), book(42, 46), book(None, 46)
    universe, rules = universe_of(*books), ExecutionModel()
    outcome = cerebro.run(universe, Turning, rules, FillModel.EXPECTED, cash=100 * MONEY).outcome
    figure = plot(universe, outcome, "T0")
    bought, sold = figure.axes[0].collections[1:]
    assert np.array(bought.get_offsets())[:, 1].tolist() == [0.44]
    assert np.array(sold.get_offsets())[:, 1].tolist() == [0.42]
    assert not np.array_equal(bought.get_facecolor(), sold.get_facecolor())
    figure.savefig(tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 5_000


def test_series_have_the_axis_of_the_price_or_one_of_their_own():
    class Drawing(Turning):
        def next(self):
            super().next()
            self.plot("limit", self.data, 0.4)
            self.plot("step", self.data, 10 * len(self))

    universe, rules = universe_of(book(40, 44), book(42, 46)), ExecutionModel()
    outcome = cerebro.run(universe, Drawing, rules, FillModel.EXPECTED, cash=100 * MONEY).outcome
    prices, others = plot(universe, outcome, "T0").axes
    assert prices.get_legend_handles_labels()[1] == ["limit"]
    assert others.get_legend_handles_labels()[1] == ["step"]


def test_a_market_that_was_not_part_of_the_run_is_named():
    universe = universe_of(book(40, 44))
    outcome = cerebro.run(
        universe, Turning, ExecutionModel(), FillModel.EXPECTED, cash=MONEY
    ).outcome
    with pytest.raises(ValueError, match="NOBODY"):
        plot(universe, outcome, "NOBODY")


def test_the_markets_that_were_traded_most_come_first_each_with_its_own_time():
    universe = random_universe(3, markets=12)
    outcome = cerebro.run(
        universe, Momentum(fast=2, slow=5), ExecutionModel(), FillModel.EXPECTED, cash=100 * MONEY
    ).outcome
    figure = plot_most_traded(universe, outcome)
    assert len(figure.axes) == MOST_MARKETS
    figure.draw_without_rendering()
    fills = [
        sum(len(np.array(sides.get_offsets())) for sides in axes.collections[1:])
        for axes in figure.axes
    ]
    assert fills == sorted(fills, reverse=True)
    assert fills[0] > 0
    assert all(axes.get_xticklabels()[0].get_visible() for axes in figure.axes)


def test_a_run_without_a_fill_shows_its_quotes():
    universe = universe_of(book(40, 44), book(41, 45))
    outcome = cerebro.run(
        universe, DoNothing(), ExecutionModel(), FillModel.EXPECTED, cash=MONEY
    ).outcome
    (axes,) = plot_most_traded(universe, outcome).axes
    assert axes.get_title() == "T0"
