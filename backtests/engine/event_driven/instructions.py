"""The instructions of an order, checked at the call that gives them."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any, NamedTuple

import backtrader as bt

from backtests.annotations.reasons import reason_of
from backtests.data.universe import CONTRACT, DAY, DOLLAR, EPOCH_DAY, SECOND, microseconds
from backtests.rules.execution import SelfTradePrevention
from kalshi_insights.arrays import np
from markets.fees import MOST_COUNT
from markets.observed import AFTER_ALL

PRICE_TOLERANCE = 1e-6  # price units by which the float of a price on the grid may be off
CLOCK_TOLERANCE = 1_000  # microseconds by which backtrader's floats of instants may be off
MOST_CONTRACTS = MOST_COUNT // CONTRACT

# Instructions of backtrader's that an exchange without them cannot follow.
NOT_ON_KALSHI = {
    "plimit": "Kalshi has no stop orders",
    "trailamount": "Kalshi has no trailing stops",
    "trailpercent": "Kalshi has no trailing stops",
    "oco": "no order on Kalshi cancels another: cancel it in notify_order",
    "parent": "no order on Kalshi waits for another: send it in notify_order",
}
TIFS = ("gtc", "ioc")
NAMES = ("tif", "post_only", "reduce_only", "self_trade_prevention", "valid", "tradeid", "reason")


class BadOrder(ValueError):
    """An instruction that could never be an order; the message names the argument."""


class LimitPrice(NamedTuple):
    """A price in units, and whether these could express what was given."""

    limit: int
    is_exact: bool


class Instructions(NamedTuple):
    """An order's instructions; without a `price` it takes the best price at sending."""

    price: LimitPrice | None
    rests: bool
    post_only: bool
    reduce_only: bool
    expires: int
    prevention: SelfTradePrevention
    reason: str

    @classmethod
    def read(
        cls,
        now: int,
        *,
        price: Any = None,
        exectype: int | None = None,
        valid: Any = None,
        tif: str | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        self_trade_prevention: str = SelfTradePrevention.TAKER_AT_CROSS,
        transmit: bool = True,
        reason: str = "",
        **others: Any,
    ) -> Instructions:
        """Read the arguments of `buy` and `sell`. Raises BadOrder, BadAnnotation and TypeError."""
        _refuse_unsupported(transmit, others)
        _check_flags(post_only=post_only, reduce_only=reduce_only)
        is_limit = _is_limit(exectype)
        rests = _rests(tif, is_limit=is_limit)
        if not is_limit and price is not None:
            raise BadOrder(
                "price needs exectype=bt.Order.Limit: a market order takes what is shown"
            )
        if reduce_only and rests:
            raise BadOrder("reduce_only needs tif='ioc', as on Kalshi")
        if valid is not None and not rests:
            raise BadOrder("valid needs a limit order with tif='gtc', as on Kalshi")
        return cls(
            price=limit_price(price) if is_limit else None,
            rests=rests,
            post_only=bool(post_only),
            reduce_only=bool(reduce_only),
            expires=AFTER_ALL if valid is None else expiration(valid, now),
            prevention=_prevention(self_trade_prevention),
            reason=reason_of(reason),
        )


def count_of(size: Any) -> int:
    """The 1/100 contracts of a size, rounded; 0 for what rounds to nothing. Raises BadOrder."""
    contracts = finite("size", size)
    if not 0 <= contracts <= MOST_CONTRACTS:
        raise BadOrder(f"size must be from 0 to {MOST_CONTRACTS:,} contracts, not {size}")
    return round(contracts * CONTRACT)


def limit_price(price: Any) -> LimitPrice:
    """The units of a price in dollars. Raises BadOrder."""
    if price is None:
        raise BadOrder("price is missing: a limit order needs one")
    dollars = finite("price", price)
    units = dollars * DOLLAR
    if not 0 <= dollars <= 1 or not 0 < (limit := round(units)) < DOLLAR:
        raise BadOrder(f"price must be between 0 and 1 dollar, not {price}")
    return LimitPrice(limit, abs(units - limit) < PRICE_TOLERANCE)


def expiration(valid: Any, now: int) -> int:
    """The instant of an expiration, whole seconds as on Kalshi; an order never stands longer.

    As in backtrader, a number counts days, a datetime without a zone is UTC, and a timedelta is
    from now on. Raises BadOrder.
    """
    if isinstance(valid, timedelta):
        if not valid:
            raise BadOrder("valid=bt.Order.DAY: Kalshi has no day orders")
        at = now + valid // timedelta(microseconds=1)
    elif isinstance(valid, date):
        at = _instant_of(valid)
    else:
        at = _instant_of_number(valid)
    return (at + CLOCK_TOLERANCE) // SECOND * SECOND


def _instant_of(valid: date) -> int:
    moment = valid if isinstance(valid, datetime) else datetime.combine(valid, time())
    return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _instant_of_number(valid: Any) -> int:
    days = finite("valid", valid)
    if not days:
        raise BadOrder("valid=0: Kalshi has no day orders")
    if not 0 < days < date.max.toordinal():
        raise BadOrder(f"valid must be a day between the years 1 and 9999, not {valid}")
    return round((days - EPOCH_DAY) * DAY)


def _is_limit(exectype: int | None) -> bool:
    if exectype in (None, bt.Order.Market):
        return False
    if exectype == bt.Order.Limit:
        return True
    names = bt.Order.ExecTypes
    is_known = isinstance(exectype, int) and 0 <= exectype < len(names)
    name = names[exectype] if is_known else repr(exectype)
    raise BadOrder(f"exectype must be Market or Limit: Kalshi has no {name} orders")


def _rests(tif: str | None, *, is_limit: bool) -> bool:
    if tif is not None and tif not in TIFS:
        raise BadOrder(f"tif must be 'gtc' or 'ioc', not {tif!r}")
    if not is_limit and tif == "gtc":
        raise BadOrder("tif='gtc' needs exectype=bt.Order.Limit: a market order does not rest")
    return is_limit and tif != "ioc"


def _check_flags(**flags: Any) -> None:
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise BadOrder(f"{name} must be True or False, not {value!r}")


def _prevention(word: str) -> SelfTradePrevention:
    if word not in list(SelfTradePrevention):
        words = " or ".join(repr(str(each)) for each in SelfTradePrevention)
        raise BadOrder(f"self_trade_prevention must be {words}, not {word!r}")
    return SelfTradePrevention(word)


def _refuse_unsupported(transmit: bool, others: dict[str, Any]) -> None:
    """Raise for what backtrader knows and Kalshi does not, and for what neither knows."""
    if not transmit:
        raise BadOrder("transmit=False: no order on Kalshi waits for another")
    for name, value in others.items():
        if name not in NOT_ON_KALSHI:
            close = get_close_matches(name, [*NAMES, *NOT_ON_KALSHI], n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            raise TypeError(f"an order has no argument {name!r}{hint}")
        if value is not None:
            raise BadOrder(f"{name}: {NOT_ON_KALSHI[name]}")


def finite(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadOrder(f"{name} must be a number, not {value!r}") from None
    if not math.isfinite(number):
        raise BadOrder(f"{name} must be finite, not {value}")
    return number
