"""A child process that runs vectorbt on our fills and on the same signals."""

import sys
from importlib import import_module
from typing import Any

import numpy as np

from backtests.data.universe import CONTRACT, DOLLAR, MONEY
from backtests.rules.execution import HOLD, JOURNAL_COLUMN, EntryKind
from backtests.strategies.mean_reversion import MeanReversion
from benchmarks import child_process, kernel_runs

SIGNAL = MeanReversion(window=120)


def main() -> None:
    try:
        # It is imported by name, because type checkers need not have it.
        portfolio = import_module("vectorbt").Portfolio
    except ImportError as fault:
        child_process.print_result({"missing": str(fault)})
    else:
        child_process.print_result(compare(portfolio))


def compare(portfolio: Any) -> dict[str, float]:
    """Measure vectorbt's `Portfolio` and our kernel, the fastest of five runs each."""
    universe = kernel_runs.random_universe(int(sys.argv[1]))
    targets = kernel_runs.targets_of(universe, SIGNAL)
    outcome = kernel_runs.run(universe, targets)
    fills = outcome.journal[outcome.journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL]
    shape = (-1, kernel_runs.MARKETS)
    close = ((universe.quotes.bid + universe.quotes.ask) / 2 / DOLLAR).reshape(shape)
    orders = {name: np.full(close.shape, np.nan) for name in ("size", "price")}
    orders["fixed_fees"] = np.zeros(close.shape)
    at = np.divmod(fills[:, JOURNAL_COLUMN["row"]], kernel_runs.MARKETS)
    orders["size"][at] = (
        fills[:, JOURNAL_COLUMN["side"]] * fills[:, JOURNAL_COLUMN["count"]] / CONTRACT
    )
    orders["price"][at] = fills[:, JOURNAL_COLUMN["price"]] / DOLLAR
    orders["fixed_fees"][at] = fills[:, JOURNAL_COLUMN["fee"]] / MONEY
    account = {"init_cash": kernel_runs.CASH / MONEY, "cash_sharing": True, "group_by": True}

    def by_orders() -> Any:
        return portfolio.from_orders(close, **orders, **account)

    target_sizes = targets.reshape(shape)
    sides = {
        "entries": target_sizes > 0,
        "exits": target_sizes == 0,
        "short_entries": (target_sizes < 0) & (target_sizes != HOLD),
        "short_exits": target_sizes == 0,
    }

    def by_signals() -> Any:
        return portfolio.from_signals(close, **sides, size=SIGNAL.p.contracts, fees=0.02, **account)

    # The first call of each compiles it.
    ran = by_orders()
    by_signals()
    settled = {place: each.value for place, each in enumerate(universe.settlements) if each}
    return {
        "run": min(kernel_runs.timed(lambda: kernel_runs.run(universe, targets)) for _ in range(5)),
        "orders": min(kernel_runs.timed(by_orders) for _ in range(5)),
        "signals": min(kernel_runs.timed(by_signals) for _ in range(5)),
        "fills": len(fills),
        "vectorbt_fills": int(ran.orders.count()),
        "difference": final_cash(ran, close, settled) - outcome.cash / MONEY,
    }


def final_cash(ran: Any, close: Any, settled: dict[int, int]) -> float:
    """The final cash of vectorbt's account in dollars, with every market settled."""
    held = ran.assets().to_numpy()[-1]
    values = np.array([settled[place] for place in range(len(held))]) / MONEY
    return float(ran.value().iloc[-1] + np.sum(held * (values - close[-1])))


if __name__ == "__main__":
    main()
