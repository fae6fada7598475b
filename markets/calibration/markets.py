"""The markets behind a calibration by name, each with its observation."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from markets.calibration.anchors import MISSING, Anchor
from markets.calibration.reading import UsedMarkets
from markets.models import Market
from markets.models.observations import instant


class ObservedPrice(NamedTuple):
    """A settled market and its one observation; `price` and `outcome` are of the side asked for."""

    ticker: str
    event_ticker: str
    series_ticker: str
    category: str
    observed_at: datetime
    quoted_at: datetime
    anchor: str
    yes_bid: str | None
    yes_ask: str | None
    price: float
    outcome: float
    settled_at: datetime | None


def observed_markets(used: UsedMarkets) -> list[ObservedPrice]:
    """Name the markets, in their order; one query."""
    observed = used.observed
    names = Market.objects.filter(pk__in=observed.market.tolist()).values_list(
        "pk", "ticker", "event__ticker", "event__series__ticker", "event__series__category"
    )
    by_id = {row[0]: row for row in names}
    columns = (observed.at, observed.quoted, observed.anchor, observed.bid, observed.ask)
    rows = zip(
        observed.market.tolist(),
        *(column.tolist() for column in columns),
        used.prices.tolist(),
        used.outcomes.tolist(),
        observed.settled.tolist(),
        strict=True,
    )
    return [
        ObservedPrice(
            ticker=by_id[id][1],
            event_ticker=by_id[id][2],
            series_ticker=by_id[id][3],
            category=by_id[id][4],
            observed_at=instant(at),
            quoted_at=instant(quoted),
            anchor=Anchor(anchor).name.lower(),
            yes_bid=_dollars(bid),
            yes_ask=_dollars(ask),
            price=price,
            outcome=outcome,
            settled_at=None if settled == MISSING else instant(settled),
        )
        for id, at, quoted, anchor, bid, ask, price, outcome, settled in rows
    ]


def _dollars(price: int) -> str | None:
    return None if price == MISSING else f"{Decimal(price).scaleb(-4):.4f}"
