"""The worked examples of docs/strategies.md: `python -m benchmarks examples`.

They run with their default parameters on simulated markets with a tape of all trades, observed
every five seconds: what they gain with expected fills, and by the two other fill models.
"""

from dataclasses import replace
from functools import partial

# This import comes first, because it sets up Django.
from benchmarks import measure, shipped

# isort: split

from backtests.rules.execution import ExecutionModel
from backtests.strategies import EventLadder, ExclusiveArbitrage, MarketMaker


def main() -> None:
    world = replace(shipped.taped_world(), execution=ExecutionModel())
    universe = world.universe
    print(
        f"  simulated, with a tape: {len(universe.listings):,} markets, {len(universe.quotes):,}"
        f" rows, {len(universe.known_tape().at):,} trades",
        flush=True,
    )
    for strategy in (MarketMaker, EventLadder, ExclusiveArbitrage):
        seconds = measure.timed(partial(shipped.report_strategy, strategy, world))
        print(f"{'':24}{seconds:,.1f} s for three fill models", flush=True)


if __name__ == "__main__":
    main()
