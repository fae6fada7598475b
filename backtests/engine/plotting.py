"""Plots of a run, drawn without a screen. They need matplotlib, which comes with the notebooks."""

import numpy as np
from matplotlib.figure import Figure

from backtests.data.universe import DOLLAR, Ints, Universe, to_floats
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, RunOutcome

BOUGHT, SOLD = "#0b62c4", "#b5480b"


def plot(universe: Universe, outcome: RunOutcome, ticker: str) -> Figure:
    """Plot the bid and the ask of a market over time in dollars, with the run's fills.

    `figure.savefig(path)` writes it. Raises ValueError where the run has no such market.
    """
    markets = [market for market, each in enumerate(universe.listings) if each.ticker == ticker]
    if not markets:
        raise ValueError(f"{ticker} is not part of this run")
    quotes = universe.quotes.select(universe.quotes.market == markets[0])
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot(title=ticker, ylim=(0, 1), ylabel="dollars")
    axes.fill_between(
        _times(quotes.at),
        to_floats(quotes.bid, DOLLAR),
        to_floats(quotes.ask, DOLLAR),
        step="post",
        alpha=0.3,
    )
    columns = {name: outcome.journal[:, column] for name, column in JOURNAL_COLUMN.items()}
    filled = (columns["kind"] == EntryKind.FILL) & (columns["market"] == markets[0])
    for side, marker, colour in ((1, "^", BOUGHT), (-1, "v", SOLD)):
        rows = filled & (columns["side"] == side)
        prices = columns["price"][rows] / DOLLAR
        axes.scatter(_times(columns["at"][rows]), prices, marker=marker, color=colour, zorder=3)
    figure.autofmt_xdate()
    return figure


def _times(at: Ints) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return at.astype("datetime64[us]")
