"""Plots of a run, drawn without a screen. They need matplotlib, which comes with the notebooks."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from backtests.annotations.series import ASK, BID, DrawnSeries
from backtests.data.universe import DOLLAR, Ints, Universe, to_floats
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, RunOutcome

BOUGHT, SOLD = "#0b62c4", "#b5480b"
MOST_MARKETS = 8


def plot(universe: Universe, outcome: RunOutcome, ticker: str) -> Figure:
    """Plot the bid and the ask of a market over time in dollars, with the run's fills.

    `figure.savefig(path)` writes it. Raises ValueError where the run has no such market.
    """
    markets = [market for market, each in enumerate(universe.listings) if each.ticker == ticker]
    if not markets:
        raise ValueError(f"{ticker} is not part of this run")
    return _plot_markets(universe, outcome, markets)


def plot_most_traded(universe: Universe, outcome: RunOutcome) -> Figure:
    """Plot the markets that a run traded most, by fills and then by quotes; at most eight."""
    markets = len(universe.listings)
    quoted = np.bincount(universe.quotes.market, minlength=markets)
    filled = outcome.journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL
    traded = outcome.journal[filled, JOURNAL_COLUMN["market"]]
    order = np.lexsort((-quoted, -np.bincount(traded, minlength=markets)))
    return _plot_markets(universe, outcome, order[:MOST_MARKETS].tolist())


def _plot_markets(universe: Universe, outcome: RunOutcome, markets: Sequence[int]) -> Figure:
    figure = Figure(figsize=(10, 4 * len(markets)), layout="constrained")
    for place, market in enumerate(markets, start=1):
        axes = figure.add_subplot(len(markets), 1, place)
        axes.set(title=universe.listings[market].ticker, ylim=(0, 1), ylabel="dollars")
        dates = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(dates)
        # Each market has its own time, and its own labels with the day.
        axes.xaxis.set_major_formatter(ConciseDateFormatter(dates))  # type: ignore[no-untyped-call]
        _draw_market(axes, universe, outcome, market)
    return figure


def _draw_market(axes: Axes, universe: Universe, outcome: RunOutcome, market: int) -> None:
    quotes = universe.quotes.select(universe.quotes.market == market)
    axes.fill_between(
        _times(quotes.at),
        to_floats(quotes.bid, DOLLAR),
        to_floats(quotes.ask, DOLLAR),
        step="post",
        alpha=0.3,
    )
    _draw_series(axes, outcome.annotations.series.series, market)
    columns = {name: outcome.journal[:, column] for name, column in JOURNAL_COLUMN.items()}
    filled = (columns["kind"] == EntryKind.FILL) & (columns["market"] == market)
    for side, marker, colour in ((1, "^", BOUGHT), (-1, "v", SOLD)):
        rows = filled & (columns["side"] == side)
        prices = columns["price"][rows] / DOLLAR
        axes.scatter(_times(columns["at"][rows]), prices, marker=marker, color=colour, zorder=3)


def _draw_series(axes: Axes, drawn: Sequence[DrawnSeries], market: int) -> None:
    """Draw the series of a strategy: values from 0 to 1 beside the prices, others by an
    axis of their own."""
    own = [each for each in drawn if each.market == market and each.name not in (BID, ASK)]
    others = [each for each in own if not _is_price(each)]
    left = axes.twinx() if others else axes
    for number, each in enumerate(own):
        place = axes if _is_price(each) else left
        place.step(
            _times(each.at), each.values, where="post", label=each.name, color=f"C{number + 1}"
        )
    for place in {axes, left}:
        if place.get_legend_handles_labels()[1]:
            place.legend(loc="upper left" if place is axes else "upper right")


def _is_price(series: DrawnSeries) -> bool:
    known = series.values[~np.isnan(series.values)]
    return bool(((known >= 0) & (known <= 1)).all())


def _times(at: Ints) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return at.astype("datetime64[us]")
