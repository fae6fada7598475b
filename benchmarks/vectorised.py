"""What vectorbt makes of our fills, and of the same signals, as a child."""

import sys
from importlib import import_module
from typing import Any

import numpy as np

from backtests.data.universe import CONTRACT, DOLLAR, MONEY
from backtests.rules.execution import HOLD, JOURNAL_COLUMN, EntryKind
from backtests.strategies.mean_reversion import MeanReversion
from benchmarks import children, kernels

SIGNAL = MeanReversion(window=120)


def main() -> None:
    try:
        # By its name: nothing else of the project has it, not even its types.
        portfolio = import_module("vectorbt").Portfolio
    except ImportError as fault:
        children.answer({"missing": str(fault)})
    else:
        children.answer(compared(portfolio))


def compared(portfolio: Any) -> dict[str, float]:
    """Its `Portfolio` and our kernel: the fastest of five."""
    universe = kernels.a_universe(int(sys.argv[1]))
    targets = kernels.targets_of(universe, SIGNAL)
    outcome = kernels.run(universe, targets)
    fills = outcome.journal[outcome.journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL]
    shape = (-1, kernels.MARKETS)
    close = ((universe.quotes.bid + universe.quotes.ask) / 2 / DOLLAR).reshape(shape)
    orders = {name: np.full(close.shape, np.nan) for name in ("size", "price")}
    orders["fixed_fees"] = np.zeros(close.shape)
    at = np.divmod(fills[:, JOURNAL_COLUMN["row"]], kernels.MARKETS)
    orders["size"][at] = (
        fills[:, JOURNAL_COLUMN["side"]] * fills[:, JOURNAL_COLUMN["count"]] / CONTRACT
    )
    orders["price"][at] = fills[:, JOURNAL_COLUMN["price"]] / DOLLAR
    orders["fixed_fees"][at] = fills[:, JOURNAL_COLUMN["fee"]] / MONEY
    account = {"init_cash": kernels.CASH / MONEY, "cash_sharing": True, "group_by": True}

    def by_orders() -> Any:
        return portfolio.from_orders(close, **orders, **account)

    wanted = targets.reshape(shape)
    sides = {
        "entries": wanted > 0,
        "exits": wanted == 0,
        "short_entries": (wanted < 0) & (wanted != HOLD),
        "short_exits": wanted == 0,
    }

    def by_signals() -> Any:
        return portfolio.from_signals(close, **sides, size=SIGNAL.p.contracts, fees=0.02, **account)

    # The first call of each compiles.
    ran = by_orders()
    by_signals()
    settled = {place: each.value for place, each in enumerate(universe.settlements) if each}
    return {
        "run": min(kernels.timed(lambda: kernels.run(universe, targets)) for _ in range(5)),
        "orders": min(kernels.timed(by_orders) for _ in range(5)),
        "signals": min(kernels.timed(by_signals) for _ in range(5)),
        "fills": len(fills),
        "theirs": int(ran.orders.count()),
        "off": ended(ran, close, settled) - outcome.cash / MONEY,
    }


def ended(ran: Any, close: Any, settled: dict[int, int]) -> float:
    """What their account comes to in dollars once every market is paid at its outcome."""
    held = ran.assets().to_numpy()[-1]
    values = np.array([settled[place] for place in range(len(held))]) / MONEY
    return float(ran.value().iloc[-1] + np.sum(held * (values - close[-1])))


if __name__ == "__main__":
    main()
