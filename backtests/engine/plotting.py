"""Pictures of a run, without a screen. Needs matplotlib, which comes with the notebooks."""

import numpy as np
from matplotlib.figure import Figure

from backtests.data.universe import DOLLAR, MISSING, Ints, Universe
from backtests.rules.execution import JOURNAL, Kind, Outcome

BOUGHT, SOLD = "#0b62c4", "#b5480b"


def plot(universe: Universe, outcome: Outcome, ticker: str) -> Figure:
    """A market's interval from bid to ask over time in dollars, and the run's fills in it.

    `figure.savefig(path)` writes it. Raises ValueError where the run has no such market.
    """
    places = [place for place, each in enumerate(universe.listings) if each.ticker == ticker]
    if not places:
        raise ValueError(f"{ticker} is not part of this run")
    quotes = universe.quotes.taken(universe.quotes.market == places[0])
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot(title=ticker, ylim=(0, 1), ylabel="dollars")
    axes.fill_between(
        _times(quotes.at), _dollars(quotes.bid), _dollars(quotes.ask), step="post", alpha=0.3
    )
    told = {name: outcome.journal[:, column] for column, name in enumerate(JOURNAL)}
    filled = (told["kind"] == Kind.FILL) & (told["market"] == places[0])
    for side, marker, colour in ((1, "^", BOUGHT), (-1, "v", SOLD)):
        rows = filled & (told["side"] == side)
        prices = told["price"][rows] / DOLLAR
        axes.scatter(_times(told["at"][rows]), prices, marker=marker, color=colour, zorder=3)
    figure.autofmt_xdate()
    return figure


def _times(at: Ints) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return at.astype("datetime64[us]")


def _dollars(price: Ints) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.where(price == MISSING, np.nan, price / DOLLAR)
