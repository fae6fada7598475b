"""Definitions of markets and events as plain rows, for those who read very many.

Instants are microseconds since 1970, price ranges JSON.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import connection

from markets.models.observations import array_of

IDS_AT_ONCE = 5_000
NEVER = 2**63 - 1
_known_at = attrgetter("known_at")


class DefinedMarket(NamedTuple):
    """A market with what its event and series say of it."""

    id: int
    ticker: str
    title: str
    yes_sub_title: str
    strike_type: str
    floor_strike: Decimal | None
    cap_strike: Decimal | None
    close_time: int | None
    event_id: int
    event: str
    event_title: str
    mutually_exclusive: bool | None
    series: str
    category: str
    price_ranges: str


class RevisedMarket(NamedTuple):
    """A market as known from an instant on."""

    market_id: int
    known_at: int
    known_at_assumed: bool
    status: str
    result: str
    settlement_value: Decimal | None
    settlement_ts: int | None
    close_time: int | None
    price_ranges: str
    is_imported: bool = False


class RevisedEvent(NamedTuple):
    """An event as known from an instant on."""

    event_id: int
    known_at: int
    title: str
    mutually_exclusive: bool | None


DEFINED_MARKETS = """
    SELECT market.id, market.ticker, market.title, yes_sub_title, strike_type, floor_strike,
        cap_strike, (extract(epoch FROM close_time) * 1000000)::bigint, event_id, event.ticker,
        event.title, mutually_exclusive, series.ticker, category, price_ranges::text
    FROM markets_market AS market JOIN markets_event AS event ON event.id = event_id
    JOIN markets_series AS series ON series.id = series_id
    WHERE market.id = ANY(%s::bigint[]) ORDER BY market.id
"""
REVISED_MARKETS = """
    SELECT market_id, (extract(epoch FROM known_at) * 1000000)::bigint, known_at_assumed, status,
        result, settlement_value, (extract(epoch FROM settlement_ts) * 1000000)::bigint,
        (extract(epoch FROM close_time) * 1000000)::bigint, price_ranges::text
    FROM markets_marketrevision WHERE market_id = ANY(%s::bigint[]) AND recorded_at <= %s
        AND import_row_id IS NULL
    ORDER BY market_id, known_at, id
"""
# A result without a time counts as known a day after the close, or after the last imported row
# where no close is known. Both may become known after the result was imported, and so may the
# price grid: they are as the record and the named imports have them now.
IMPORTED_REVISIONS = """
    SELECT revision.market_id, (extract(epoch FROM CASE WHEN revision.known_at_assumed THEN
            coalesce(
                coalesce(market.close_time, observed.until) + interval '1 day', revision.known_at
            ) ELSE revision.known_at END) * 1000000)::bigint AS known,
        revision.known_at_assumed, revision.status, revision.result, revision.settlement_value,
        (extract(epoch FROM revision.settlement_ts) * 1000000)::bigint,
        CASE WHEN revision.result = '' THEN
            (extract(epoch FROM revision.close_time) * 1000000)::bigint END,
        market.price_ranges::text, true
    FROM (
        SELECT * FROM markets_marketrevision WHERE market_id = ANY(%s::bigint[])
            AND recorded_at <= %s AND import_row_id = ANY(%s::bigint[])
    ) AS revision
    LEFT JOIN LATERAL (
        SELECT max(last_at) AS until FROM markets_importedspan AS span
        JOIN markets_import AS import ON import.id = import_row_id
        WHERE span.market_id = revision.market_id AND import.id = ANY(%s::bigint[])
            AND kind IN ('quotes', 'books', 'trades')
    ) AS observed ON revision.known_at_assumed
    JOIN markets_market AS market ON market.id = revision.market_id
    ORDER BY revision.market_id, known, revision.id
"""
REVISED_EVENTS = """
    SELECT event_id, (extract(epoch FROM known_at) * 1000000)::bigint, title, mutually_exclusive
    FROM markets_eventrevision WHERE event_id = ANY(%s::bigint[]) AND recorded_at <= %s
    ORDER BY event_id, known_at, id
"""


def rows_of(
    select: str, ids: Iterable[int], *parameters: str | datetime
) -> Iterator[tuple[Any, ...]]:
    """Yield rows in the order of ids, of which a statement reads a few thousand at once.

    Texts that are equal are one object in all of them: most markets have the words of others.
    """
    wanted, shared = sorted(ids), SharedTexts()
    with connection.cursor() as cursor:
        for first in range(0, len(wanted), IDS_AT_ONCE):
            array = array_of(wanted[first : first + IDS_AT_ONCE])
            cursor.execute(select, [array, *parameters])
            for row in cursor.fetchall():
                yield tuple([shared[each] if type(each) is str else each for each in row])


def by_market(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[RevisedMarket]]:
    histories: dict[int, list[RevisedMarket]] = defaultdict(list)
    for row in rows:
        histories[row[0]].append(RevisedMarket(*row))
    return histories


def with_imported(
    recorded: Sequence[RevisedMarket], imported: Sequence[RevisedMarket]
) -> list[RevisedMarket]:
    """Put imported revisions of a market beside the recorded ones, whichever came first.

    A recorded result stays alone; without one, imported results come after all else that is known.
    An imported definition counts until the record knows the close.
    """
    told = [each.known_at for each in recorded if each.result or each.close_time is not None]
    until = min(told, default=NEVER)
    defined = [each for each in imported if not each.result and each.known_at < until]
    known = sorted([*recorded, *defined], key=_known_at)
    if any(each.result for each in recorded):
        return known
    last = known[-1].known_at if known else 0
    results = [each._replace(known_at=max(each.known_at, last)) for each in imported if each.result]
    return [*known, *sorted(results, key=_known_at)]


class SharedTexts(dict[str, str]):
    """The first of all equal texts, by the text."""

    def __missing__(self, text: str) -> str:
        self[text] = text
        return text
