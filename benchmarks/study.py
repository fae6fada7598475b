"""Out-of-sample study of strategies: `python -m benchmarks study`.

Parameters are chosen in sample before the later part is looked at, and no event lies in both.
Markets of the simulated exchange are quoted every two minutes for a year. The recorded weather
markets have hourly candles, whose sizes have to be assumed.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from math import prod

import django
import numpy as np
import pandas as pd

from backtests import metrics
from backtests.data.universe import DAY, DOLLAR, MONEY, Universe, microseconds
from backtests.engine import kernel
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, ExecutionModel, FillModel
from backtests.strategies import YARDSTICKS, find
from backtests.strategies.base import Signal
from backtests.strategies.fade_longshots import FadeLongshots
from backtests.strategies.favourite_hold import FavouriteHold
from backtests.tests import parameter_study, simulated_universes
from markets.simulator import universe as exchange

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
django.setup()

from backtests.tests import weather_universe  # noqa: E402  (reads the settings)

KIND, MARKET, SIDE, PRICE = (JOURNAL_COLUMN[name] for name in ("kind", "market", "side", "price"))

START = microseconds(datetime(2026, 9, 1, tzinfo=UTC))
CHOSEN_ON, SHOWN_ON = 120, 245  # days
CLOSELY = 30  # days of the later part that are looked at every five seconds, too
HOURLY = ("KXBTCD", "KXETHD")
SIMULATED = {
    "threshold": (0.9, 0.93, 0.95, 0.97),
    "ceiling": (0.99, 0.995),
    "belief": (0.6, 0.7, 0.8),
    "edge": (0.0, 0.0025, 0.005),
    "widest": (0.012, 0.03),
}
SIMULATED_CASH = 2_500 * MONEY

CUT = pd.Timestamp("2026-04-01T05:00Z")
ASSUMED = 25
RECORDED: Mapping[type[Signal], parameter_study.ParameterValues] = {
    FadeLongshots: {
        "ceiling": (0.05, 0.1, 0.15, 0.25),
        "floor": (0.01, 0.02, 0.05),
        "belief": (0.5, 0.7, 0.9),
        "edge": (0.0, 0.01, 0.02),
        "hours_least": (0.0, 6.0, 12.0),
        "hours_most": (18.0, 48.0),
        "contracts": (ASSUMED,),
    },
    FavouriteHold: {
        "threshold": (0.8, 0.85, 0.9, 0.95),
        "ceiling": (0.97, 0.99),
        "belief": (0.5, 0.7, 0.9),
        "edge": (0.0, 0.01, 0.02),
        "hours_most": (2.0, 6.0, 12.0, 24.0, 48.0),
        "contracts": (ASSUMED,),
    },
}
RECORDED_CASH = 1_000 * MONEY


def main() -> None:
    on_simulated_prices()
    if weather_universe.FOLDER.is_dir():
        on_recorded_prices()
    else:
        print("  recorded weather: the recordings are not available")


def on_simulated_prices() -> None:
    print(f"  simulated: Bitcoin and Ethereum at each hour, {CHOSEN_ON} days, then {SHOWN_ON}")
    candidates = parameter_study.signals(FavouriteHold, SIMULATED)
    parts = {"in sample": (START, CHOSEN_ON), "out of sample": (START + CHOSEN_ON * DAY, SHOWN_ON)}
    chosen: list[Signal] = []
    for bias in (True, False):
        print("   with longshot bias" if bias else "   with fair prices")
        for when, (start, days) in parts.items():
            universe = simulated_hours(start, days, bias=bias)
            if start == START:
                report_longshots(universe)
                best = parameter_study.best(
                    universe, candidates, ExecutionModel(), cash=SIMULATED_CASH
                )
                report_choice(best, SIMULATED, of=len(candidates))
                chosen.append(best)
            for signal in chosen:
                how = "" if signal is chosen[-1] else ", as chosen above"
                report_run(
                    when + how,
                    partial(simulated_figures, universe, signal, start=start, days=days),
                )
            if bias and start != START:
                report_closely(chosen[0], start)
    print("   weather in whole cents, with longshot bias")
    series = [line.series.ticker for line in exchange.SimulatedUniverse().lines]
    weathers = [ticker for ticker in series if ticker.startswith("KXHIGH")]
    report_longshots(
        simulated_universes.simulated_universe(
            simulated_universes.simulated_events(weathers, start=START, days=30), bias=True
        )
    )


def report_closely(signal: Signal, start: int) -> None:
    """Print a run at observations as close as the recorder's."""
    events = simulated_universes.simulated_events(HOURLY, start=start, days=CLOSELY)
    universe = simulated_universes.recorded_universe(events, bias=True)
    same_days = partial(simulated_figures, start=start, days=CLOSELY)
    report_run(f"{CLOSELY} days, every 5 s", partial(same_days, universe, signal))
    # The same days at the looks of the study.
    apart = simulated_hours(start, CLOSELY, bias=True)
    report_run(f"{CLOSELY} days, every 120 s", partial(same_days, apart, signal))


def report_longshots(universe: Universe) -> None:
    """Print the price of longshots, how often they won, and the profit of selling at the bid."""
    quotes = universe.quotes
    mid = (quotes.bid + quotes.ask) / 2 / DOLLAR
    ended = [0 if each is None else each.value for each in universe.settlements]
    happened = np.array(ended)[quotes.market] / MONEY
    rate = np.array([term.taker_numerator / term.taker_denominator for (term,) in universe.terms])
    bid = quotes.bid / DOLLAR
    left = bid - happened - rate[quotes.market] * bid * (1 - bid)
    whole = quotes.tradable & (quotes.bid > 0) & (quotes.ask > 0)
    for low, high in pairwise((0.01, 0.03, 0.05, 0.1, 0.2)):
        rows = whole & (mid >= low) & (mid < high)
        print(
            f"    at {low:.2f} to {high:.2f}: {mid[rows].mean():.4f} was the mean midpoint,"
            f" {happened[rows].mean():.4f} won, sold at the bid {left[rows].mean():+.4f}",
            flush=True,
        )


def simulated_figures(
    universe: Universe, signal: Signal, fills: FillModel, *, start: int, days: int
) -> metrics.Figures:
    return parameter_study.run_figures(
        universe, signal, ExecutionModel(), cash=SIMULATED_CASH, start=start, days=days, fills=fills
    )


def simulated_hours(start: int, days: int, *, bias: bool) -> Universe:
    events = simulated_universes.simulated_events(HOURLY, start=start, days=days)
    return simulated_universes.simulated_universe(events, bias=bias, step=120)


def on_recorded_prices() -> None:
    markets = weather_universe.settled_markets()
    parts = [markets[markets["known_at"] < CUT], markets[markets["opened_at"] >= CUT]]
    print(
        f"  recorded: New York's temperatures, {ASSUMED} contracts assumed where sizes are unknown"
    )
    universes = [weather_universe.weather_universe(part) for part in parts]
    for strategy, grid in RECORDED.items():
        candidates = parameter_study.signals(strategy, grid)
        execution = ExecutionModel(assumed_size=ASSUMED)
        chosen = parameter_study.best(universes[0], candidates, execution, cash=RECORDED_CASH)
        report_choice(chosen, grid, of=len(candidates))
        for when, part, universe in zip(
            ("in sample", "out of sample"), parts, universes, strict=True
        ):
            report_run(when, partial(recorded_figures, universe, chosen, part))
            report_luck(universe, chosen)
    for name in YARDSTICKS:
        strategy = find(name)
        assert issubclass(strategy, Signal)
        size = {"contracts": ASSUMED} if "contracts" in strategy.schema else {}
        report_run(
            f"out of sample, {name}",
            partial(recorded_figures, universes[1], strategy(**size), parts[1]),
        )


def report_luck(universe: Universe, signal: Signal) -> None:
    """Print the losses of a run, and the chance of none if every price were fair."""
    journal = kernel.run_stated(
        signal.stated(universe),
        ExecutionModel(assumed_size=ASSUMED),
        FillModel.EXPECTED,
        cash=RECORDED_CASH,
    ).journal
    risk: Counter[str] = Counter()
    lost = 0
    for line in journal[journal[:, KIND] == EntryKind.FILL]:
        price, settled = line[PRICE] / DOLLAR, universe.settlements[line[MARKET]]
        bought = line[SIDE] > 0
        # At most one market of an event wins.
        risk[universe.listings[line[MARKET]].event] += 1 - price if bought else price
        lost += settled is not None and (settled.value > 0) != bought
    chance = prod(1 - min(1.0, each) for each in risk.values())
    print(f"     {lost} of its bets lost; at fair prices the chance of no loss is {chance:.2f}")


def recorded_figures(
    universe: Universe, signal: Signal, part: pd.DataFrame, fills: FillModel
) -> metrics.Figures:
    start = microseconds(part["opened_at"].min().to_pydatetime())
    end = microseconds(part["known_at"].max().to_pydatetime())
    return parameter_study.run_figures(
        universe,
        signal,
        ExecutionModel(assumed_size=ASSUMED),
        cash=RECORDED_CASH,
        start=start,
        days=-(-(end - start) // DAY),
        fills=fills,
    )


def report_choice(chosen: Signal, grid: Mapping[str, Sequence[object]], *, of: int) -> None:
    values = ", ".join(f"{name} {getattr(chosen.p, name)}" for name in grid)
    print(f"   {chosen.name}, best of {of}: {values}", flush=True)


def report_run(when: str, figures_with: Callable[[FillModel], metrics.Figures]) -> None:
    """Print the figures of a run with expected fills, and its P&L with fewest and most."""
    report_figures(when, figures_with(FillModel.EXPECTED))
    fewest, most = (
        metrics.dollars(figures_with(fills).money.pnl)
        for fills in (FillModel.FEWEST, FillModel.MOST)
    )
    print(f"     with fewest fills {fewest}, with most {most}", flush=True)


def report_figures(when: str, figures: metrics.Figures) -> None:
    events, ratios = figures.events, figures.ratios
    pnl, fees = metrics.dollars(figures.money.pnl), metrics.dollars(figures.money.fees)
    sharpe = ratios.withheld
    if ratios.sharpe is not None:
        sharpe = f"Sharpe {ratios.sharpe:.2f} ({ratios.sharpe_low:.2f} to {ratios.sharpe_high:.2f})"
    print(
        f"    {when:<27}{pnl:>12} after {fees} fees, {figures.activity.fills:,} fills,"
        f" {events.traded:,} events, {per_event(events)}{sharpe}",
        flush=True,
    )


def per_event(events: metrics.events.EventFigures) -> str:
    if events.mean_pnl is None or events.mean_pnl_error is None:
        return ""
    won = f"{events.won:,} gained"
    margin = 1.96 * events.mean_pnl_error / MONEY
    return f"{won}, {events.mean_pnl / MONEY:+.3f} +- {margin:.3f} dollars each, "


if __name__ == "__main__":
    main()
