"""Chosen on one part of the time, shown on a later one: `python -m benchmarks study`.

Nothing of the later part is looked at before the parameters are settled, and no event lies in
both. Markets of the simulated exchange are quoted every two minutes for a year; what was recorded
of the weather is hourly candles, whose sizes have to be assumed.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import django
import pandas as pd

from backtests import metrics
from backtests.execution import Execution
from backtests.quotes import DAY, MONEY, Universe, microseconds
from backtests.strategies import YARDSTICKS, find
from backtests.strategies.base import Signal
from backtests.strategies.fade_longshots import FadeLongshots
from backtests.strategies.favourite_hold import FavouriteHold
from backtests.tests import simulated, studying

django.setup()

from backtests.tests import weather  # noqa: E402  (reads the settings)

START = microseconds(datetime(2026, 9, 1, tzinfo=UTC))
CHOSEN_ON, SHOWN_ON = 120, 245  # days
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
RECORDED: Mapping[type[Signal], studying.Grid] = {
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
    if weather.FOLDER.is_dir():
        on_recorded_prices()
    else:
        print("  recorded weather: the recordings are not here")


def on_simulated_prices() -> None:
    print(f"  simulated: Bitcoin and Ethereum at each hour, {CHOSEN_ON} days, then {SHOWN_ON}")
    candidates = studying.combinations(FavouriteHold, SIMULATED)
    parts = {"chosen on": (START, CHOSEN_ON), "later": (START + CHOSEN_ON * DAY, SHOWN_ON)}
    chosen: Signal | None = None
    for bias in (True, False):
        print("   longshots are overpaid" if bias else "   prices are fair")
        for when, (start, days) in parts.items():
            universe = simulated_hours(start, days, bias=bias)
            if chosen is None:
                chosen = studying.best(universe, candidates, Execution(), cash=SIMULATED_CASH)
                tell_choice(chosen, SIMULATED, of=len(candidates))
            figures = studying.figures(
                universe, chosen, Execution(), cash=SIMULATED_CASH, start=start, days=days
            )
            tell(when, figures)


def simulated_hours(start: int, days: int, *, bias: bool) -> Universe:
    events = simulated.events(("KXBTCD", "KXETHD"), start=start, days=days)
    return simulated.a_universe(events, bias=bias, step=120)


def on_recorded_prices() -> None:
    markets = weather.markets()
    parts = [markets[markets["known_at"] < CUT], markets[markets["opened_at"] >= CUT]]
    print(
        f"  recorded: New York's temperatures, {ASSUMED} contracts assumed where sizes are unknown"
    )
    universes = [weather.a_universe(part) for part in parts]
    for made, grid in RECORDED.items():
        candidates = studying.combinations(made, grid)
        execution = Execution(assumed_size=ASSUMED)
        chosen = studying.best(universes[0], candidates, execution, cash=RECORDED_CASH)
        tell_choice(chosen, grid, of=len(candidates))
        for when, part, universe in zip(("chosen on", "later"), parts, universes, strict=True):
            tell(when, recorded_figures(universe, chosen, part))
    for name in YARDSTICKS:
        made = find(name)
        assert issubclass(made, Signal)
        size = {"contracts": ASSUMED} if "contracts" in made.schema else {}
        tell(f"later, {name}", recorded_figures(universes[1], made(**size), parts[1]))


def recorded_figures(universe: Universe, signal: Signal, part: pd.DataFrame) -> metrics.Figures:
    start = microseconds(part["opened_at"].min().to_pydatetime())
    end = microseconds(part["known_at"].max().to_pydatetime())
    return studying.figures(
        universe,
        signal,
        Execution(assumed_size=ASSUMED),
        cash=RECORDED_CASH,
        start=start,
        days=-(-(end - start) // DAY),
    )


def tell_choice(chosen: Signal, grid: Mapping[str, Sequence[object]], *, of: int) -> None:
    values = ", ".join(f"{name} {getattr(chosen.p, name)}" for name in grid)
    print(f"   {chosen.name} of {of}: {values}", flush=True)


def tell(when: str, figures: metrics.Figures) -> None:
    events, ratios = figures.events, figures.ratios
    pnl, fees = metrics.dollars(figures.money.pnl), metrics.dollars(figures.money.fees)
    sharpe = ratios.withheld
    if ratios.sharpe is not None:
        sharpe = f"Sharpe {ratios.sharpe:.2f} ({ratios.sharpe_low:.2f} to {ratios.sharpe_high:.2f})"
    print(
        f"    {when:<24}{pnl:>12} after {fees} fees, {figures.activity.fills:,} fills,"
        f" {events.traded:,} events, {per_event(events)}{sharpe}",
        flush=True,
    )


def per_event(events: metrics.events.ByEvent) -> str:
    if events.mean_pnl is None or events.mean_pnl_error is None:
        return ""
    won = f"{events.won:,} gained"
    margin = 1.96 * events.mean_pnl_error / MONEY
    return f"{won}, {events.mean_pnl / MONEY:+.3f} +- {margin:.3f} dollars each, "


if __name__ == "__main__":
    main()
