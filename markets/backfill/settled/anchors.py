"""The date that the lead times of a settled market count back from.

Of a market that was backfilled nobody knows the schedule as it was known then. A date that its
question named from the beginning serves; the final close tells of the outcome wherever the market
could close early.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from markets.kalshi.payloads import MarketPayload


class AnchorKind(StrEnum):
    STRIKE_DATE = "strike date"
    OCCURRENCE = "occurrence"
    FINAL_CLOSE = "final close"


class MarketAnchor(NamedTuple):
    kind: AnchorKind
    at: datetime


def anchor_of(market: MarketPayload, *, strike_date: datetime | None) -> MarketAnchor | None:
    """Return the anchor of a market, by its event's date if there is one; None: unknown."""
    if strike_date:
        return MarketAnchor(AnchorKind.STRIKE_DATE, strike_date)
    if market.occurrence_datetime:
        return MarketAnchor(AnchorKind.OCCURRENCE, market.occurrence_datetime)
    close = market.close_time
    if close and not market.can_close_early and close == market.expected_expiration_time:
        return MarketAnchor(AnchorKind.FINAL_CLOSE, close)
    return None
