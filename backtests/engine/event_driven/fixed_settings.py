"""The settings of backtrader's broker that the exchange or the run decides."""

from collections.abc import Callable
from typing import Any, NoReturn

FEES = "fees are the exchange's, as the terms of each day tell"
CASH = "the cash of a run is set when it is requested"
FILLS = "the run's execution options decide how orders fill"
HISTORY = "a run has no other orders than those that the strategy sends"
INNER = "buy() and sell() send orders"
LEVERAGE = "a position on Kalshi is paid in full"

FIXED = {
    "setcommission": FEES,
    "addcommissioninfo": FEES,
    "setcash": CASH,
    "set_cash": CASH,
    "add_cash": CASH,
    "set_fundmode": "a run has no shares of a fund",
    "set_fundstartval": "a run has no shares of a fund",
    "set_slippage_perc": FILLS,
    "set_slippage_fixed": FILLS,
    "set_filler": FILLS,
    "set_coc": FILLS,
    "set_coo": FILLS,
    "set_eosbar": FILLS,
    "seteosbar": FILLS,
    "set_checksubmit": FILLS,
    "set_int2pnl": LEVERAGE,
    "set_shortcash": LEVERAGE,
    "get_value_lever": LEVERAGE,
    "add_order_history": HISTORY,
    "set_fund_history": HISTORY,
    "submit": INNER,
    "check_submitted": INNER,
    "submit_accept": INNER,
    "transmit": INNER,
    "notify": INNER,
}


class FixedSetting(NotImplementedError):
    """A strategy tried to set what the exchange or the run decides."""


def _refusal(name: str, why: str) -> Callable[..., NoReturn]:
    def refuse(*given: Any, **settings: Any) -> NoReturn:
        raise FixedSetting(f"{name}(): {why}")

    refuse.__name__ = name
    return refuse


class FixedSettings:
    """Refuses, with words, to change what the exchange or the run decides."""

    def _set_fundmode(self, on: bool) -> NoReturn:
        raise FixedSetting(f"fundmode: {FIXED['set_fundmode']}")

    fundmode = property(lambda self: False, _set_fundmode)


for _name, _why in FIXED.items():
    setattr(FixedSettings, _name, _refusal(_name, _why))
