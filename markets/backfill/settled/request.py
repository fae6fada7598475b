"""The request of a backfill of settled markets: the span of their settlements, and whose."""

from dataclasses import dataclass
from datetime import datetime

from kalshi_insights.bad_input import UNWRITABLE, BadInput
from markets.backfill.planning import settlement_known_at
from markets.backfill.request import check_times
from markets.kalshi.honoured import COMBO
from markets.kalshi.payloads import MarketPayload
from markets.models import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRequest:
    """Markets that were settled from `start` on and before `end`, without combos.

    Those of one series or of one category, or all of them.
    """

    start: datetime
    end: datetime
    series: str = ""
    category: str = ""

    def check(self, *, now: datetime) -> None:
        """Raise `BadInput` for what can be told without asking the exchange."""
        for option, name in (("--series", self.series), ("--category", self.category)):
            if UNWRITABLE.search(name):
                raise BadInput(option, "it contains a character that cannot be written")
        if self.series and self.category:
            raise BadInput("--category", "give one of --series and --category")
        check_times(self.start, self.end, now=now)

    def includes(self, market: MarketPayload) -> bool:
        """Return True for a market of this span; its series and category are not looked at."""
        if market.status != Status.FINALIZED or is_combo(market):
            return False
        settled = settlement_known_at(market)
        return settled is not None and self.start <= settled[0] < self.end


def is_combo(market: MarketPayload) -> bool:
    return bool(market.mve_collection_ticker) or market.ticker.startswith(COMBO)
