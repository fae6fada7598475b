"""Every shipped strategy under the rules as they are: `python -m benchmarks shipped`.

All have their default parameters. The simulated markets were observed every five seconds, with a
row where a quote had changed, as the recorder does, and once more by a recorder that stopped for
some minutes of every hour. Resting orders meet the same markets with the books that takers left and
a tape of their trades. The recorded weather markets have hourly candlesticks, whose sizes have to
be assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

# This import comes first, because it sets up Django.
from benchmarks import measure  # noqa: F401

# isort: split

from backtests import metrics
from backtests.analysis.evaluation import Evaluation
from backtests.data.universe import DAY, MONEY, SECOND, Universe, microseconds
from backtests.rules.execution import (
    JOURNAL_COLUMN,
    AcrossGaps,
    ExecutionModel,
    FillModel,
    Reason,
    RunOutcome,
)
from backtests.strategies import STRATEGIES, StrategyClass
from backtests.strategies.base import Signal
from backtests.tests import (
    simulated_outages,
    simulated_tapes,
    simulated_universes,
    weather_universe,
)
from markets.simulator.universe import SimulatedEvent

START, DAYS = microseconds(datetime(2026, 9, 1, tzinfo=UTC)), 3
CITIES = ("NY", "CHI", "MIA", "AUS", "DEN", "LAX", "PHIL", "BOS")
SERIES = ("KXBTCD", *(f"KXHIGH{city}" for city in CITIES))
CASH = 10_000 * MONEY
ASSUMED = 25
MINUTE = 60 * SECOND
# The recorder stops once an hour, for as many minutes as these in turn.
OUTAGE_MINUTES = (2, 5, 12)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Markets in a window of time, and the rules for orders there."""

    universe: Universe
    execution: ExecutionModel
    start: int
    end: int


def main() -> None:
    world = simulated_world()
    report_world("simulated, taking", world)
    rows_alone = replace(world.universe, observed=None)
    report_world("the same, known at its rows alone", replace(world, universe=rows_alone))
    report_outages(world)
    report_resting()
    if not weather_universe.FOLDER.is_dir():
        print("  recorded weather: the recordings are not available")
        return
    world = recorded_world()
    report_world(f"recorded weather, taking, {ASSUMED} contracts assumed", world)
    making = replace(world.execution, make=True, assumed_queue=ASSUMED)
    report_world(
        f"recorded weather, resting behind {ASSUMED} contracts", replace(world, execution=making)
    )


def report_outages(whole: World) -> None:
    universe = simulated_outages.with_outages(whole.universe, outages())
    world = replace(whole, universe=universe)
    report_world("with outages, orders in a gap expire", world)
    waiting = replace(world, execution=replace(world.execution, across_gaps=AcrossGaps.WAIT))
    report_world("with outages, orders wait", waiting)
    rows_alone = replace(waiting, universe=replace(universe, observed=None))
    report_world("with outages, orders wait, known at its rows alone", rows_alone)


def report_resting() -> None:
    """Report resting orders by a whole tape, and by what outages leave of it."""
    whole = taped_world()
    report_world("simulated, resting by the tape", whole)
    broken = simulated_outages.with_outages(whole.universe, outages())
    report_world("with outages, their trades read later", replace(whole, universe=broken))
    missing = simulated_tapes.without_tape_in(broken, outages())
    report_world("with outages, their trades missing", replace(whole, universe=missing))
    report_world(
        "without outages, no tape", replace(whole, universe=replace(whole.universe, tape=None))
    )


def simulated_world() -> World:
    return world_of(simulated_universes.recorded_universe(simulated_events(), bias=True))


def taped_world() -> World:
    universe = simulated_tapes.taped_universe(simulated_events(), bias=True)
    return world_of(universe, make=True)


def simulated_events() -> list[SimulatedEvent]:
    """The events of some series that opened and settled within a few days."""
    return simulated_universes.simulated_events(SERIES, start=START, days=DAYS)


def world_of(universe: Universe, *, make: bool = False) -> World:
    execution = ExecutionModel(make=make)
    return World(universe=universe, execution=execution, start=START, end=START + DAYS * DAY)


def outages() -> list[tuple[int, int]]:
    """An outage in each hour, at another minute of it from hour to hour."""
    starts = [START + (60 * hour + 7 * hour % 45) * MINUTE for hour in range(24 * DAYS)]
    return [
        (start, start + OUTAGE_MINUTES[n % len(OUTAGE_MINUTES)] * MINUTE)
        for n, start in enumerate(starts)
    ]


def recorded_world() -> World:
    markets = weather_universe.settled_markets()
    return World(
        universe=weather_universe.weather_universe(markets),
        execution=ExecutionModel(assumed_size=ASSUMED),
        start=microseconds(markets["opened_at"].min().to_pydatetime()),
        end=microseconds(markets["known_at"].max().to_pydatetime()),
    )


def report_world(name: str, world: World) -> None:
    markets, rows = len(world.universe.listings), len(world.universe.quotes)
    print(f"  {name}: {markets:,} markets, {rows:,} rows", flush=True)
    for strategy in STRATEGIES.values():
        # What is no signal says itself how it trades.
        if issubclass(strategy, Signal) or not world.execution.make:
            report_strategy(strategy, world)


def report_strategy(strategy: StrategyClass, world: World) -> None:
    """Print a strategy's orders and P&L with expected fills, the band, waits and gaps."""
    evaluation = Evaluation(
        universe=world.universe,
        strategy=strategy,
        params={name: parameter.default for name, parameter in strategy.schema.items()},
        execution=world.execution,
        cash=CASH,
        start=world.start,
        end=world.end,
        in_kernel=True,
    )
    outcomes = run_models(evaluation)
    print(f"    {strategy.name:<20}{money_and_orders(world, outcomes)}", flush=True)
    expected = outcomes[FillModel.EXPECTED]
    if world.universe.gaps is not None and len(expected.journal):
        print(f"{'':24}{gaps_in_words(world, expected)}", flush=True)


def money_and_orders(world: World, outcomes: Mapping[FillModel, RunOutcome]) -> str:
    measured = {}
    for fills, outcome in outcomes.items():
        path = metrics.trace(world.universe, outcome, cash=CASH, start=world.start, end=world.end)
        measured[fills] = metrics.measure(world.universe, outcome, path)
    waits = metrics.waits(
        world.universe, outcomes[FillModel.EXPECTED], latency=world.execution.latency
    )
    fewest, headline, most = (metrics.dollars(measured[fills].money.pnl) for fills in FillModel)
    active = measured[FillModel.EXPECTED].activity
    return (
        f"{headline:>12} ({fewest} fewest, {most} most), "
        f" {active.orders:,} orders, {active.fills:,} fills, {active.refusals:,} refused,"
        f" {active.cancellations:,} cancelled; {in_words(waits)}"
    )


def gaps_in_words(world: World, outcome: RunOutcome) -> str:
    """The orders and fills that a gap touched, and the hours with less than 90 % observed."""
    path = metrics.trace(world.universe, outcome, cash=CASH, start=world.start, end=world.end)
    found = metrics.coverage(
        world.universe, outcome, path, end=world.end, latency=world.execution.latency
    )
    expired = int((outcome.journal[:, JOURNAL_COLUMN["reason"]] == Reason.GAP).sum())
    return (
        f"observed {found.observed_share:.1%}; {expired:,} orders expired in a gap,"
        f" {found.fills_across_gaps:,} fills across one"
        f" ({metrics.dollars(found.pnl_across_gaps)});"
        f" {found.thin_hours} hours under 90 %, {metrics.dollars(found.pnl_of_thin_hours)} in them"
    )


def run_models(evaluation: Evaluation) -> dict[FillModel, RunOutcome]:
    """The runs under all fill models, or three times the same where it has no band."""
    expected = evaluation.run(FillModel.EXPECTED, lambda share: None)
    if not expected.has_band:
        return dict.fromkeys(FillModel, expected)
    return {
        fills: expected
        if fills is FillModel.EXPECTED
        else evaluation.run(fills, lambda share: None)
        for fills in FillModel
    }


def in_words(waits: metrics.Waits) -> str:
    if waits.median is None:
        return f"{waits.never_met:,} orders met no observation"
    return (
        f"waited {waits.median:,.1f} s (median), {waits.percentile_95:,.1f} s (95 %),"
        f" {waits.longest:,.1f} s (longest); {waits.never_met:,} met no observation"
    )


if __name__ == "__main__":
    main()
