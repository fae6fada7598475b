"""Plots of a run, drawn without a screen. They need matplotlib, which comes with the notebooks."""

from collections.abc import Sequence
from datetime import UTC
from typing import NamedTuple, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from backtests.annotations.series import ASK, BID, DrawnSeries
from backtests.data.causes import CAUSES
from backtests.data.gaps import MarketGaps
from backtests.data.universe import DOLLAR, MONEY, Floats, Ints, Universe, to_floats
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, RunOutcome

BOOK, BOUGHT, SOLD, SETTLED, GAP = "#5d7fa3", "#0b62c4", "#b5480b", "#2b2b2b", "#8a8a8a"
HATCHES = dict(zip(CAUSES, ("..", "///", "+++", "xxx", "\\\\\\", "---"), strict=True))
MOST_MARKETS = 8


class DrawnBook(NamedTuple):
    """The book of a market from each instant on, in dollars, and the gaps in which nobody observed
    it. A side is NaN where it is empty, the market does not trade, or in a gap."""

    at: Ints
    bid: Floats
    ask: Floats
    gaps: MarketGaps

    @classmethod
    def of(cls, universe: Universe, market: int) -> Self:
        quotes = universe.quotes.select(universe.quotes.market == market)
        first, end = int(quotes.at[0]), _end(universe, market, last_row=int(quotes.at[-1]))
        gaps = universe.known_gaps().select(np.array([market]))
        gaps = gaps._replace(since=np.maximum(gaps.since, first), until=np.minimum(gaps.until, end))
        gaps = gaps.only(gaps.since < gaps.until)
        at = np.unique(np.concatenate((quotes.at, gaps.since, gaps.until, [end])))
        row = np.searchsorted(quotes.at, at, side="right") - 1
        gap = np.searchsorted(gaps.since, at, side="right") - 1
        is_observed = (gap < 0) | (at >= np.append(gaps.until, end)[gap])
        stands = quotes.tradable[row] & is_observed
        bid, ask = (
            np.where(stands, to_floats(side[row], DOLLAR), np.nan)
            for side in (quotes.bid, quotes.ask)
        )
        return cls(at, bid, ask, gaps)


def _end(universe: Universe, market: int, *, last_row: int) -> int:
    """The end of a market's time: when its result was known, or else that of the run."""
    settlement = universe.settlements[market]
    return max(last_row, settlement.known_at) if settlement else universe.last_instant()


def plot(universe: Universe, outcome: RunOutcome, ticker: str) -> Figure:
    """Plot the bid and the ask of a market over time in dollars, with the gaps in which nobody
    observed it, the run's fills and its settlement.

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
    figure = Figure(figsize=(10, 4.5 * len(markets)), layout="constrained")
    for place, market in enumerate(markets, start=1):
        axes = figure.add_subplot(len(markets), 1, place)
        axes.set(title=universe.listings[market].ticker, ylim=(-0.02, 1.02))
        axes.set(ylabel="dollars, YES", xlabel="UTC")
        dates = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(dates)
        # Each market has its own time, and its own labels with the day.
        axes.xaxis.set_major_formatter(ConciseDateFormatter(dates, tz=UTC))  # type: ignore[no-untyped-call]
        _draw_market(axes, universe, outcome, market)
    return figure


def _draw_market(axes: Axes, universe: Universe, outcome: RunOutcome, market: int) -> None:
    book = DrawnBook.of(universe, market)
    _draw_gaps(axes, book.gaps)
    _draw_book(axes, book)
    left = _draw_series(axes, outcome.annotations.series.series, market)
    _draw_fills(axes, outcome, market)
    _draw_settlement(axes, universe, market)
    _draw_legend(axes, left)


def _draw_gaps(axes: Axes, gaps: MarketGaps) -> None:
    """Hatch the time in which nobody observed the market, each cause in its own way."""
    for number, (cause, hatch) in enumerate(HATCHES.items()):
        since, until = (date2num(_times(each[gaps.cause == number])) for each in gaps[1:3])  # type: ignore[no-untyped-call]
        if len(since):
            axes.broken_barh(
                list(zip(since, until - since, strict=True)), (-0.02, 1.04), facecolor="#f1f1f1",
                edgecolor=GAP, hatch=hatch, linewidth=0, label=f"not observed: {cause}",
            )  # fmt: skip


def _draw_book(axes: Axes, book: DrawnBook) -> None:
    times = _times(book.at)
    axes.fill_between(
        times, book.bid, book.ask, step="post", alpha=0.3, color=BOOK, label="from bid to ask"
    )
    # A side that stands alone has no other one to fill up to.
    for side in (book.bid, book.ask):
        axes.step(times, side, where="post", color=BOOK, linewidth=0.8)


def _draw_fills(axes: Axes, outcome: RunOutcome, market: int) -> None:
    columns = {name: outcome.journal[:, column] for name, column in JOURNAL_COLUMN.items()}
    filled = (columns["kind"] == EntryKind.FILL) & (columns["market"] == market)
    for side, marker, colour, label in (
        (1, "^", BOUGHT, "bought YES"),
        (-1, "v", SOLD, "sold YES or bought NO"),
    ):
        rows = filled & (columns["side"] == side)
        if rows.any():
            at, prices = _times(columns["at"][rows]), columns["price"][rows] / DOLLAR
            axes.scatter(at, prices, marker=marker, color=colour, zorder=3, label=label)


def _draw_settlement(axes: Axes, universe: Universe, market: int) -> None:
    settlement = universe.settlements[market]
    if settlement is None:
        return
    at, value = _times(np.array([settlement.known_at])), settlement.value / MONEY
    axes.axvline(at[0], color=SETTLED, linestyle=":", linewidth=1)
    axes.scatter(at, [value], marker="D", color=SETTLED, zorder=3, label=f"settled at ${value:g}")


def _draw_series(axes: Axes, drawn: Sequence[DrawnSeries], market: int) -> Axes:
    """Draw the series of a strategy: values from 0 to 1 beside the prices, others by an
    axis of their own, which is returned."""
    own = [each for each in drawn if each.market == market and each.name not in (BID, ASK)]
    others = [each for each in own if not _is_price(each)]
    left = axes.twinx() if others else axes
    for number, each in enumerate(own):
        place = axes if _is_price(each) else left
        place.step(
            _times(each.at), each.values, where="post", label=each.name, color=f"C{number + 1}"
        )
    return left


def _draw_legend(axes: Axes, left: Axes) -> None:
    """Explain below a market all that is drawn of it, be it on either axis."""
    handles, labels = axes.get_legend_handles_labels()
    if left is not axes:
        more, further = left.get_legend_handles_labels()
        handles, labels = [*handles, *more], [*labels, *further]
    legend = axes.legend(
        handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False,
        fontsize="small",
    )  # fmt: skip
    for text in legend.get_texts():
        # A name of a strategy's series may have signs of dollars, which are no formula.
        text.set_parse_math(False)


def _is_price(series: DrawnSeries) -> bool:
    known = series.values[~np.isnan(series.values)]
    return bool(((known >= 0) & (known <= 1)).all())


def _times(at: Ints) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return at.astype("datetime64[us]")
