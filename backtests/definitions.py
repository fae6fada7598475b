"""Definitions of a run's markets: what was known of each, and when, in the units of a universe."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar

from backtests.data import origins
from backtests.data.timeline import NEVER, Definitions
from backtests.data.universe import (
    DOLLAR,
    MISSING,
    MONEY,
    Grid,
    Listing,
    Settlement,
    Terms,
    microseconds,
)
from kalshi_insights.bad_input import BadInput
from markets import fees
from markets.models import Status
from markets.models.definitions import DefinedMarket, RevisedEvent, RevisedMarket
from markets.models.revisions import FeeTerms

ON_RECORD = "on record"
R = TypeVar("R", RevisedMarket, RevisedEvent)
Revisions = Mapping[int, Sequence[RevisedMarket]]


def as_of(known: Sequence[R], at: int) -> R | None:
    """The newest revision at an instant; before the first one, the first."""
    newest = [each for each in known if each.known_at <= at][-1:] or known[:1]
    return newest[0] if newest else None


def definitions(markets: Sequence[DefinedMarket], revisions: Revisions) -> Definitions:
    rows: list[tuple[int, int, bool, int]] = []
    closed_at = []
    for n, market in enumerate(markets):
        known = revisions.get(market.id, ())
        closes = [each.close_time for each in known if each.close_time is not None]
        closed = closes[-1] if closes else market.close_time
        closed_at.append(NEVER if closed is None else closed)
        for each in known:
            close = MISSING if each.close_time is None else each.close_time
            rows.append((n, each.known_at, each.status == Status.ACTIVE, close))
    return Definitions.of(rows, closed_at)


def listing(market: DefinedMarket, event: RevisedEvent | None) -> Listing:
    """The market as known then, as far as revisions tell; the rest as it is now."""
    title = (event.title if event else market.event_title) or market.title
    exclusive = event.mutually_exclusive if event else market.mutually_exclusive
    return Listing(
        ticker=market.ticker,
        event=market.event,
        series=market.series,
        category=market.category,
        title=": ".join(filter(None, (title, market.yes_sub_title))),
        mutually_exclusive=bool(exclusive),
        strike_type=market.strike_type,
        floor_strike=None if market.floor_strike is None else float(market.floor_strike),
        cap_strike=None if market.cap_strike is None else float(market.cap_strike),
    )


def grids(market: DefinedMarket, known: Sequence[RevisedMarket], first: int) -> tuple[Grid, ...]:
    """The price grid at the first quote, and each grid that was later known to replace it."""
    current = (as_of(known, first) or market).price_ranges
    found = [Grid(first, _ranges(current))]
    for each in known:
        if each.known_at > first and each.price_ranges != current:
            current = each.price_ranges
            found.append(Grid(each.known_at, _ranges(current)))
    return tuple(found)


@lru_cache(maxsize=1_000)
def _ranges(price_ranges: str) -> tuple[tuple[int, int, int], ...]:
    # A step below a unit leaves out no price that our units can express.
    return tuple(
        (_units(each["start"]), _units(each["end"]), max(1, _units(each["step"])))
        for each in json.loads(price_ranges)
    )


def _units(price: str) -> int:
    return int(Decimal(price) * DOLLAR)


def settlement(known: Sequence[RevisedMarket]) -> Settlement | None:
    """The last outcome, known from where it was no longer changed; None before it is paid."""
    outcomes = [_value(each) for each in known]
    if not known or outcomes[-1] is None:
        return None
    paid = [each for each in known if each.status == Status.FINALIZED or each.settlement_ts]
    if not paid:
        return None
    first = len(outcomes)
    while first and outcomes[first - 1] == outcomes[-1]:
        first -= 1
    final, settled = known[first], paid[0]
    paid_at = max(final.known_at, settled.known_at, settled.settlement_ts or settled.known_at)
    assumed = final.known_at_assumed or settled.known_at_assumed
    return Settlement(final.known_at, paid_at, outcomes[-1], assumed)


def result_origins(histories: Iterable[Sequence[RevisedMarket]]) -> Counter[str]:
    """The number of results of each origin."""
    last = (known[-1] for known in histories if known and known[-1].result)
    return Counter(origins.IMPORTED if each.is_imported else ON_RECORD for each in last)


def _value(revision: RevisedMarket) -> int | None:
    """The settlement value of a YES contract, in millionths of a dollar."""
    if revision.settlement_value is not None:
        return int(revision.settlement_value * MONEY)
    return {"yes": MONEY, "no": 0}.get(revision.result)


def terms(market: DefinedMarket, schedule: Sequence[FeeTerms]) -> tuple[Terms, ...]:
    """The fee terms of a market. Raises `BadInput` where they are unknown."""
    try:
        return _terms(tuple(schedule))
    except fees.UnknownFees as reason:
        raise BadInput(
            "fees",
            f"The fees of {market.ticker} are unknown: {reason}. The recorder reads the fee terms"
            f" of {market.series} from the exchange. Of imported markets, importdata --fee-type"
            " states them, such as quadratic; until they are known, leave the series out.",
        ) from None


@lru_cache(maxsize=1_000)
def _terms(schedule: tuple[FeeTerms, ...]) -> tuple[Terms, ...]:
    return tuple(
        Terms(
            microseconds(each.since),
            *fees.rate(each.fee_type, each.fee_multiplier, "taker"),
            *fees.rate(each.fee_type, each.fee_multiplier, "maker"),
            assumed=each.assumed,
        )
        for each in schedule
    )
