"""The strategies that are shipped, by name; `backtests.catalogue` adds those of one's own."""

from backtests.strategies.always_favourite import AlwaysFavourite
from backtests.strategies.always_no import AlwaysNo
from backtests.strategies.base import Signal, Strategy
from backtests.strategies.descriptions import StrategyClass
from backtests.strategies.do_nothing import DoNothing
from backtests.strategies.event_ladder import EventLadder
from backtests.strategies.exclusive_arbitrage import ExclusiveArbitrage
from backtests.strategies.fade_longshots import FadeLongshots
from backtests.strategies.favourite_hold import FavouriteHold
from backtests.strategies.market_maker import MarketMaker
from backtests.strategies.mean_reversion import MeanReversion
from backtests.strategies.momentum import Momentum
from backtests.strategies.random_entry import RandomEntry

__all__ = [
    "STRATEGIES",
    "YARDSTICKS",
    "AlwaysFavourite",
    "AlwaysNo",
    "DoNothing",
    "EventLadder",
    "ExclusiveArbitrage",
    "FadeLongshots",
    "FavouriteHold",
    "MarketMaker",
    "MeanReversion",
    "Momentum",
    "RandomEntry",
    "Signal",
    "Strategy",
    "StrategyClass",
    "UnknownStrategy",
    "find",
]

STRATEGIES: dict[str, StrategyClass] = {
    strategy.name: strategy
    for strategy in (
        FadeLongshots,
        FavouriteHold,
        MeanReversion,
        Momentum,
        ExclusiveArbitrage,
        EventLadder,
        MarketMaker,
        RandomEntry,
        AlwaysNo,
        AlwaysFavourite,
        DoNothing,
    )
}

# Every result is shown beside these strategies.
YARDSTICKS = (RandomEntry.name, AlwaysNo.name, AlwaysFavourite.name, DoNothing.name)


class UnknownStrategy(LookupError):
    """No strategy has this name."""


def find(name: str) -> StrategyClass:
    """Find a shipped strategy by name. Raises UnknownStrategy, which lists them."""
    if name not in STRATEGIES:
        raise UnknownStrategy(
            f"No strategy is called {name!r}. The strategies are: {', '.join(STRATEGIES)}."
        )
    return STRATEGIES[name]
