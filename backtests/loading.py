"""From the record to the arrays of a run: what was known of each market, and when.

Where a market was recorded live, from its first such snapshot to its last, backfilled quotes are
left out unless they alone are asked for: a candle's close is coarser than what was seen.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from numpy.typing import NDArray

from backtests.choosing import BadInput, Selection
from backtests.data import timeline
from backtests.data.timeline import Columns, Pauses, Told
from backtests.data.universe import (
    DOLLAR,
    MISSING,
    MONEY,
    Grid,
    Listing,
    Quotes,
    Settlement,
    Terms,
    Universe,
    instant,
    microseconds,
)
from backtests.models import Sources
from markets import fees
from markets.intervals import merge
from markets.models import EventRevision, FeeChange, Market, MarketRevision, Status
from markets.models.revisions import FeeTerms

Tell = Callable[[float], None]
R = TypeVar("R", MarketRevision, EventRevision)

# PostgreSQL counts binary instants from 2000 on.
SINCE_1970 = 946_684_800 * 1_000_000
# In 1/100 contract: products of counts and prices must fit 64 bits, and so must their sums.
MOST_COUNT = 1_000_000_000


def _count(column: str) -> str:
    # What is unknown comes first: the least of NULL and a number is that number.
    return f"least(coalesce({column} * 100, -1), {MOST_COUNT})::int4"


# What a market's row of the result holds beside its id: one array a column, each of them without
# NULLs and of fixed width, which costs a tenth of what a row for each snapshot would.
COLUMNS = {
    "at": ("timestamp", ">i8"),
    "bid": (f"coalesce((yes_bid * {DOLLAR})::int2, -1::int2)", ">i2"),
    "ask": (f"coalesce((yes_ask * {DOLLAR})::int2, -1::int2)", ">i2"),
    "bid_size": (_count("yes_bid_size"), ">i4"),
    "ask_size": (_count("yes_ask_size"), ">i4"),
    "last": (f"coalesce((last_price * {DOLLAR})::int2, -1::int2)", ">i2"),
    "volume": (_count("volume"), ">i4"),
    "flags": (f"((quality & {timeline.STALE}) | (source = 'BACKFILL')::int)::int2", ">i2"),
    "sequence": ("coalesce(sequence, -1)", ">i8"),
}
SELECT = f"""
    SELECT market_id, {", ".join(f"array_agg({sql})" for sql, _ in COLUMNS.values())}
    FROM markets_marketsnapshot
    WHERE market_id = ANY(%s) AND timestamp >= %s AND timestamp < %s AND recorded_at <= %s
    GROUP BY market_id
"""
TOGETHER = 100  # markets a statement
ARRAY_HEAD = 20  # bytes: of an array of one dimension, before its elements
KINDS = [np.dtype(kind) for _, kind in COLUMNS.values()]
# A pause lasts from the run that heard of it until the one that heard of its end.
PAUSES = """
    SELECT start, "end" FROM markets_closure
    WHERE start < %(end)s AND "end" > %(start)s AND known_at <= %(known_by)s
    UNION ALL
    SELECT at, until FROM (
        SELECT at, open, coalesce(lead(at) OVER (ORDER BY at), last) AS until FROM (
            SELECT finished_at AS at, open, lag(open) OVER runs AS before,
                max(finished_at) OVER () AS last
            FROM (
                SELECT finished_at, exchange_active AND trading_active AS open FROM markets_poll
                WHERE finished_at <= %(known_by)s AND started_at < %(end)s
                    AND started_at >= %(start)s - interval '10 minutes'
            ) AS polls WHERE open IS NOT NULL WINDOW runs AS (ORDER BY finished_at)
        ) AS said WHERE open IS DISTINCT FROM before
    ) AS turns WHERE NOT open
"""


def load(selection: Selection, *, known_by: datetime, tell: Tell = lambda share: None) -> Universe:
    """The universe of a run, of what was recorded until `known_by`. What no revision holds of a
    market (its words, its strikes, a waiver of its fees) is as it is on record now.

    A row stands for each book that was seen, at the instant at which it was known, and for each
    instant between at which trading ended, or its schedule was known to have changed; that one
    repeats the book. The end of a pause shows no book: trading goes on with the next one seen.
    Settlements count whenever they came, as far as they are on record.

    Raises `BadInput`, naming a field, where there is nothing to run on.
    """
    ids = selection.markets()
    expected = selection.count(ids)
    found: dict[int, Columns] = {}
    loaded = 0
    for market_id, columns in _read(ids, selection, known_by):
        loaded += len(columns["at"])
        if len((chosen := _from(columns, selection.sources))["at"]):
            found[market_id] = timeline.in_order(chosen)
        tell(min(1.0, loaded / expected))
    if not found:
        raise selection.nothing(ids)
    return _universe(found, selection, known_by=known_by)


# --- quotes -------------------------------------------------------------------------------------


def _read(
    ids: Sequence[int], selection: Selection, known_by: datetime
) -> Iterator[tuple[int, Columns]]:
    """Nothing is yielded while the connection copies: it can do nothing else meanwhile."""
    for start in range(0, len(ids), TOGETHER):
        yield from _copied(ids[start : start + TOGETHER], selection, known_by)


def _copied(
    ids: Sequence[int], selection: Selection, known_by: datetime
) -> list[tuple[int, Columns]]:
    with transaction.atomic(), connection.cursor() as cursor:
        # Arrays that do not fit are spilled to disk, which takes half as long again.
        cursor.execute("SET LOCAL work_mem = '64MB'")
        # As literals: COPY takes no parameters.
        select = cursor.mogrify(SELECT, [list(ids), selection.start, selection.end, known_by])
        with cursor.copy(f"COPY ({select}) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int8", *("bytea" for _ in COLUMNS)])
            return [
                (market_id, dict(zip(COLUMNS, map(_array, KINDS, arrays), strict=True)))
                for market_id, *arrays in copy.rows()
            ]


def _array(kind: np.dtype[Any], data: bytes) -> NDArray[Any]:
    """An array as PostgreSQL sends it: the length of each element, then the element."""
    sent = np.dtype([("length", ">i4"), ("value", kind)])
    values = np.frombuffer(data, sent, offset=ARRAY_HEAD)["value"]
    return values.astype(kind.newbyteorder("="))


def _from(columns: Columns, sources: str) -> Columns:
    columns = dict(columns) | {"at": columns["at"] + SINCE_1970}
    if sources == Sources.BEST:
        return timeline.live(columns)
    backfilled = (columns["flags"] & timeline.BACKFILLED) != 0
    wanted = backfilled if sources == Sources.BACKFILLED else ~backfilled
    return timeline.taken(columns, wanted)


def _pauses(selection: Selection, known_by: datetime) -> Pauses:
    """When the exchange had said that it would rest, and when it said that it did not trade."""
    with connection.cursor() as cursor:
        cursor.execute(
            PAUSES, {"start": selection.start, "end": selection.end, "known_by": known_by}
        )
        found = merge(cursor.fetchall())
    return Pauses.of([(microseconds(each.start), microseconds(each.end)) for each in found])


# --- markets ------------------------------------------------------------------------------------


def _universe(found: dict[int, Columns], selection: Selection, *, known_by: datetime) -> Universe:
    markets = list(Market.objects.filter(pk__in=found).with_event().order_by("pk"))
    recorded = Q(recorded_at__lte=known_by)
    of_markets = MarketRevision.objects.filter(recorded, market__in=markets).defer("raw_data")
    of_events = EventRevision.objects.filter(recorded, event__in={m.event_id for m in markets})
    revisions, events = _by("market_id", of_markets), _by("event_id", of_events)
    pauses = _pauses(selection, known_by)
    tariffs = FeeChange.objects.filter(recorded).schedule(
        markets, start=selection.start, end=selection.end
    )
    end = microseconds(selection.end)
    rows: list[Columns] = []
    listings: list[Listing] = []
    grids: list[tuple[Grid, ...]] = []
    for market in markets:
        known, quotes = revisions[market.pk], found.pop(market.pk)
        first = instant(int(quotes["at"][0]))
        listings.append(_listing(market, _then(events[market.event_id], first)))
        grids.append(_grids(market, known, first))
        rows.append(timeline.timeline(quotes, _told(market, known), pauses, end=end))
    return Universe(
        _quotes(rows),
        listings,
        [_settlement(revisions[market.pk]) for market in markets],
        [_terms(market, tariffs[market.pk]) for market in markets],
        grids,
    )


def _by(name: str, told: QuerySet[R]) -> dict[int, list[R]]:
    """What was told of each, oldest first."""
    found: dict[int, list[R]] = defaultdict(list)
    for revision in told.order_by("known_at", "id"):
        found[getattr(revision, name)].append(revision)
    return found


def _then(known: Sequence[R], at: datetime) -> R | None:
    """The newest at an instant; where nothing was told yet, what was told first."""
    newest = [each for each in known if each.known_at <= at][-1:] or known[:1]
    return newest[0] if newest else None


def _quotes(rows: Sequence[Columns]) -> Quotes:
    """One after the other in time; those of one instant in the order of their markets."""
    place = np.repeat(np.arange(len(rows)), [len(columns["at"]) for columns in rows])
    order = np.argsort(np.concatenate([columns["at"] for columns in rows]), kind="stable")
    columns = {
        field.name: np.concatenate([each[field.name] for each in rows])[order]
        for field in fields(Quotes)
        if field.name != "market"
    }
    tradable = columns.pop("tradable")
    whole = {name: column.astype(np.int64) for name, column in columns.items()}
    return Quotes(**whole, market=place[order], tradable=tradable)


def _told(market: Market, known: Sequence[MarketRevision]) -> Told:
    closes = [each.close_time for each in known if each.close_time]
    return Told.of(
        [
            (microseconds(each.known_at), each.status == Status.ACTIVE, _instant(each.close_time))
            for each in known
        ],
        closed_at=microseconds(closes[-1] if closes else market.close_time),
    )


def _instant(at: datetime | None) -> int:
    return MISSING if at is None else microseconds(at)


def _listing(market: Market, event_then: EventRevision | None) -> Listing:
    """As it was known then, as far as revisions tell; the rest as it is now."""
    event, told = market.event, event_then or market.event
    return Listing(
        ticker=market.ticker,
        event=event.ticker,
        series=event.series.ticker,
        category=event.series.category,
        title=": ".join(filter(None, (told.title or market.title, market.yes_sub_title))),
        mutually_exclusive=bool(told.mutually_exclusive),
        strike_type=market.strike_type,
        floor_strike=None if market.floor_strike is None else float(market.floor_strike),
        cap_strike=None if market.cap_strike is None else float(market.cap_strike),
    )


def _grids(market: Market, known: Sequence[MarketRevision], first: datetime) -> tuple[Grid, ...]:
    """The one of the first quote, and each that was told later to be another."""
    told = (_then(known, first) or market).price_ranges
    grids = [Grid(microseconds(first), _stretches(told))]
    for each in known:
        if each.known_at > first and each.price_ranges != told:
            told = each.price_ranges
            grids.append(Grid(microseconds(each.known_at), _stretches(told)))
    return tuple(grids)


def _stretches(ranges: Iterable[Mapping[str, Any]]) -> tuple[tuple[int, int, int], ...]:
    # A step below a unit leaves out no price that we can name.
    return tuple(
        (_units(each["start"]), _units(each["end"]), max(1, _units(each["step"])))
        for each in ranges
    )


def _units(price: str) -> int:
    return int(Decimal(price) * DOLLAR)


def _settlement(known: Sequence[MarketRevision]) -> Settlement | None:
    """The last outcome told, from where it was told for good; None before its money is paid."""
    outcomes = [_value(each) for each in known]
    if not known or outcomes[-1] is None:
        return None
    paid = [each for each in known if each.status == Status.FINALIZED or each.settlement_ts]
    if not paid:
        return None
    first = len(outcomes)
    while first and outcomes[first - 1] == outcomes[-1]:
        first -= 1
    told, settled = known[first], paid[0]
    paid_at = max(told.known_at, settled.known_at, settled.settlement_ts or settled.known_at)
    assumed = told.known_at_assumed or settled.known_at_assumed
    return Settlement(microseconds(told.known_at), microseconds(paid_at), outcomes[-1], assumed)


def _value(revision: MarketRevision) -> int | None:
    """What a contract of YES gets, in millionths of a dollar."""
    if revision.settlement_value is not None:
        return int(revision.settlement_value * MONEY)
    return {"yes": MONEY, "no": 0}.get(revision.result)


def _terms(market: Market, tariff: Sequence[FeeTerms]) -> tuple[Terms, ...]:
    try:
        return tuple(
            Terms(
                microseconds(each.since),
                *fees.rate(each.fee_type, each.fee_multiplier, "taker"),
                *fees.rate(each.fee_type, each.fee_multiplier, "maker"),
                assumed=each.assumed,
            )
            for each in tariff
        )
    except fees.UnknownFees as reason:
        series = market.event.series.ticker
        raise BadInput(
            "fees",
            f"What {market.ticker} costs is not known: {reason}. The recorder reads the terms of"
            f" {series} from the exchange; until they are on record, leave the series out.",
        ) from None
