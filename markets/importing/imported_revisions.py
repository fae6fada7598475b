"""Revisions of markets that the rows of an import state, one of a market at an instant."""

from collections.abc import Mapping

from kalshi_insights.arrays import Bools, np
from markets.models import Import, MarketRevision


def write_revisions(row: Import, stated: Mapping[int, MarketRevision], *, rows: int) -> Bools:
    """Write revisions by the place of the row that states them; return which of the rows did.

    Of several of one market and instant the first is written, also where an earlier batch had it.
    """
    markets = {each.market_id for each in stated.values()}
    known = MarketRevision.objects.filter(import_row=row, market__in=markets)
    there = set(known.values_list("market_id", "known_at"))
    new: dict[int, MarketRevision] = {}
    for place, each in stated.items():
        if (each.market_id, each.known_at) not in there:
            there.add((each.market_id, each.known_at))
            new[place] = each
    MarketRevision.objects.bulk_create(new.values(), batch_size=1000)
    written = np.zeros(rows, np.bool_)
    written[list(new)] = True
    return written
