"""Plots are drawn without a screen."""

import logging
from dataclasses import replace
from datetime import UTC

import numpy as np
import pytest

from backtests.data.causes import CAUSES
from backtests.data.gaps import MarketGaps
from backtests.data.universe import MONEY, SECOND, Settlement
from backtests.engine.event_driven import cerebro
from backtests.engine.plotting import MOST_MARKETS, DrawnBook, plot, plot_most_traded
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import DoNothing, Momentum
from backtests.strategies.base import Strategy
from backtests.tests.random_universes import random_universe
from backtests.tests.test_execution import NOW, book, universe_of


class Turning(Strategy):
    name, version, summary = "turning", "1", "Buys, then sells."

    def next(self):
        (self.buy if len(self) == 1 else self.sell)(size=1)


def drawn(universe, strategy=DoNothing, *, ticker="T0"):
    made = strategy() if strategy is DoNothing else strategy
    outcome = cerebro.run(
        universe, made, ExecutionModel(), FillModel.EXPECTED, cash=100 * MONEY
    ).outcome
    return plot(universe, outcome, ticker).axes


def parts(axes):
    """What an axis has, by its label."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def a_gap(since, until, cause="our outage"):
    """A gap of the only market, in seconds from the first row on."""
    begun, over = (np.array([NOW + each * SECOND]) for each in (since, until))
    return MarketGaps(np.array([0, 1]), begun, over, np.array([CAUSES.index(cause)]))


def test_a_picture_shows_each_fill_and_needs_no_screen(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    books = book(40, 44), book(40, 44), book(42, 46), book(None, 46)
    universe, rules = universe_of(*books), ExecutionModel()
    outcome = cerebro.run(universe, Turning, rules, FillModel.EXPECTED, cash=100 * MONEY).outcome
    figure = plot(universe, outcome, "T0")
    there = parts(figure.axes[0])
    bought, sold = there["bought YES"], there["sold YES or bought NO"]
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
    assert "limit" in parts(prices)
    assert list(parts(others)) == ["step"]
    explained = [text.get_text() for text in prices.get_legend().get_texts()]
    assert explained[-1] == "step"
    assert {"limit", "from bid to ask"} < set(explained)


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
    sides = ("bought YES", "sold YES or bought NO")
    fills = [
        sum(len(parts(axes)[side].get_offsets()) for side in sides if side in parts(axes))
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


def test_no_line_crosses_a_gap_which_is_hatched_and_has_its_cause():
    universe = replace(universe_of(book(40, 44), book(41, 45), seconds=30), gaps=a_gap(10, 20))
    standing = DrawnBook.of(universe, 0)
    assert ((standing.at - NOW) // SECOND).tolist() == [0, 10, 20, 30]
    np.testing.assert_equal(standing.bid, [0.40, np.nan, 0.40, 0.41])
    np.testing.assert_equal(standing.ask, [0.44, np.nan, 0.44, 0.45])
    (axes,) = drawn(universe)
    assert parts(axes)["not observed: our outage"].get_hatch()
    for line in axes.lines:
        assert np.isnan(np.asarray(line.get_ydata())[1])


def test_a_gap_without_an_end_reaches_to_the_end_of_the_market():
    gaps = a_gap(10, 20)._replace(until=np.array([2**63 - 1]))
    settled = Settlement(NOW + 60 * SECOND, NOW + 60 * SECOND, MONEY)
    universe = replace(universe_of(book(40, 44), settlement=settled), gaps=gaps)
    standing = DrawnBook.of(universe, 0)
    assert ((standing.at - NOW) // SECOND).tolist() == [0, 10, 60]
    assert standing.gaps.until.tolist() == [NOW + 60 * SECOND]


def test_causes_have_hatches_of_their_own():
    hatches = set()
    for cause in CAUSES:
        universe = replace(universe_of(book(40, 44), book(41, 45)), gaps=a_gap(1, 2, cause))
        (axes,) = drawn(universe)
        hatches.add(parts(axes)[f"not observed: {cause}"].get_hatch())
    assert len(hatches) == len(CAUSES)


def test_nothing_is_drawn_where_a_market_does_not_trade():
    pause = book(40, 44, tradable=False)
    standing = DrawnBook.of(universe_of(book(40, 44), pause, book(None, 46)), 0)
    np.testing.assert_equal(standing.bid, [0.40, np.nan, np.nan])
    np.testing.assert_equal(standing.ask, [0.44, np.nan, 0.46])


def test_the_last_quote_stands_to_the_settlement_which_is_drawn():
    settled = Settlement(NOW + 60 * SECOND, NOW + 90 * SECOND, MONEY)
    universe = universe_of(book(40, 44), book(42, 46), settlement=settled)
    assert DrawnBook.of(universe, 0).at[-1] == NOW + 60 * SECOND
    (axes,) = drawn(universe)
    ((_, value),) = parts(axes)["settled at $1"].get_offsets()
    assert value == 1


def test_times_are_utc_and_say_so(monkeypatch):
    (axes,) = drawn(universe_of(book(40, 44), book(42, 46)))
    assert axes.get_xlabel() == "UTC"
    assert axes.xaxis.get_major_locator().tz is UTC


def test_the_name_of_a_series_is_no_formula(tmp_path):
    class Drawing(Turning):
        def next(self):
            self.plot("$\\x$", self.data, 0.4)

    (axes,) = drawn(universe_of(book(40, 44), book(42, 46)), Drawing)
    axes.get_figure().savefig(tmp_path / "run.png")


def test_the_library_tells_nothing_of_its_fonts():
    assert not logging.getLogger("matplotlib.font_manager").isEnabledFor(logging.INFO)
