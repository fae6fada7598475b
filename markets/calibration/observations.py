"""One observation of each settled market, read from the record by a few statements.

Combos are left out: they are made of other markets, and would outnumber all of them. Most tell by
their tickers; those of other tickers tell by their payloads, which are long, so that one market
speaks for its event: an event has combos alone, or none. Prices are in
1/10,000 dollar on the YES scale, settlement values in 1/1,000,000, instants microseconds since
1970; `MISSING` is unknown.
"""

from dataclasses import dataclass, fields
from typing import Any

from django.db import connection

from kalshi_insights.arrays import Bools, Floats, Ints, np
from kalshi_insights.export.copy import read_integers
from markets.calibration.anchors import (
    FIRST,
    MISSING,
    Anchor,
    Exclusion,
    MarketDates,
    Schedules,
    observed_at,
)
from markets.calibration.request import (
    ASK_NO,
    ASK_YES,
    BACKFILLED,
    IMPORTED,
    MID,
    CalibrationRequest,
)
from markets.kalshi.fields import LATEST, read_instant
from markets.models import Source, Status
from markets.models.imports import LINE_BITS
from markets.models.markets import NOT_OPEN_STATUSES
from markets.models.observations import COMBO, array_of, microseconds
from markets.prices import Quality

DRAWS = 2**31
DOLLAR, MILLION = 10_000, 1_000_000
SETTLED = """
    SELECT market.id, event_id, series_id,
        coalesce((extract(epoch FROM open_time) * 1000000)::bigint, -1),
        coalesce((extract(epoch FROM close_time) * 1000000)::bigint, -1),
        coalesce((extract(epoch FROM expected_expiration_time) * 1000000)::bigint, -1),
        coalesce(can_close_early::int, -1)::bigint,
        coalesce((extract(epoch FROM event.strike_date) * 1000000)::bigint, -1),
        (hashtextextended(market.ticker, 7) & 2147483647)::bigint,
        coalesce((extract(epoch FROM coalesce(stated.settlement_ts, market.settlement_ts,
            close_time)) * 1000000)::bigint, -1),
        coalesce((coalesce(stated.value, market.settlement_value,
            CASE market.result WHEN 'yes' THEN 1 WHEN 'no' THEN 0 END) * 1000000)::bigint, -1)
    FROM markets_market AS market
    JOIN markets_event AS event ON event.id = event_id
    JOIN markets_series AS series ON series.id = series_id
    LEFT JOIN (
        SELECT DISTINCT ON (market_id) market_id, settlement_ts, coalesce(settlement_value,
            CASE result WHEN 'yes' THEN 1 WHEN 'no' THEN 0 END) AS value
        FROM markets_marketrevision
        WHERE import_row_id = ANY(%(imports)s::bigint[]) AND status = %(finalized)s
        ORDER BY market_id, known_at DESC, id DESC
    ) AS stated ON stated.market_id = market.id
    WHERE (market.status = %(finalized)s OR stated.market_id IS NOT NULL)
        AND NOT starts_with(series.ticker, %(combo)s) AND NOT starts_with(market.ticker, %(combo)s)
        AND (NOT market.is_placeholder OR %(imports)s <> '{}')
        AND (%(category)s = '' OR series.category = %(category)s)
        AND (%(series)s = '' OR series.ticker = %(series)s)
        AND (%(start)s::timestamptz IS NULL
            OR coalesce(stated.settlement_ts, market.settlement_ts, close_time, %(start)s)
                >= %(start)s)
        AND (%(end)s::timestamptz IS NULL
            OR coalesce(stated.settlement_ts, market.settlement_ts, close_time, '-infinity')
                < %(end)s)
        AND (%(imports)s = '{}' OR EXISTS (
            SELECT FROM markets_importedspan AS span
            WHERE span.market_id = market.id AND import_row_id = ANY(%(imports)s::bigint[])))
    ORDER BY market.id
"""
SETTLED_COLUMNS = (
    "market", "event", "series", "opened", "closed", "expected", "may_close_early", "strike_date",
    "draw", "settled", "value",
)  # fmt: skip
SCHEDULED = """
    SELECT market_id, (extract(epoch FROM known_at) * 1000000)::bigint,
        coalesce((extract(epoch FROM until) * 1000000)::bigint, -1),
        coalesce((extract(epoch FROM close_time) * 1000000)::bigint, -1)
    FROM (
        SELECT market_id, known_at, close_time, status, id,
            lead(known_at) OVER (PARTITION BY market_id ORDER BY known_at, id) AS until
        FROM markets_marketrevision WHERE market_id = ANY(%(ids)s::bigint[])
            AND (import_row_id IS NULL OR import_row_id = ANY(%(imports)s::bigint[]))
    ) AS revision
    WHERE status <> ALL(%(not_open)s) AND close_time IS NOT NULL
    ORDER BY market_id, known_at, id
"""
OCCURRENCES = """
    SELECT id, raw_data->>'occurrence_datetime' FROM markets_market
    WHERE id = ANY(%(ids)s::bigint[]) AND raw_data->>'occurrence_datetime' <> ''
"""
COMBO_EVENTS = """
    SELECT event_id FROM markets_market
    WHERE id = ANY(%(ids)s::bigint[]) AND raw_data->>'mve_collection_ticker' <> ''
    ORDER BY event_id
"""
OF_SOURCE = f"""
    AND source = ANY(%(sources)s)
    AND (source <> 'IMPORT' OR sequence >> {LINE_BITS} = ANY(%(imports)s::bigint[]))
"""
QUOTE_COLUMNS = ("market", "quoted", "bid", "ask", "flags")
QUOTE = """
    (extract(epoch FROM timestamp) * 1000000)::bigint, coalesce((yes_bid * 10000)::bigint, -1),
    coalesce((yes_ask * 10000)::bigint, -1), quality::bigint
"""
# The quote in force at an instant. Bounds of both sides let PostgreSQL look into one or two days.
IN_FORCE = f"""
    SELECT asked.market_id, quote.* FROM (
        SELECT market_id, timestamptz 'epoch' + at * interval '1 microsecond' AS at
        FROM unnest(%(ids)s::bigint[], %(at)s::bigint[]) AS asked (market_id, at)
    ) AS asked CROSS JOIN LATERAL (
        SELECT {QUOTE} FROM markets_marketsnapshot
        WHERE market_id = asked.market_id AND timestamp <= asked.at
            AND timestamp > asked.at - %(age)s * interval '1 minute'
            {OF_SOURCE}
        ORDER BY timestamp DESC, id DESC LIMIT 1
    ) AS quote ORDER BY market_id
"""
# The first quote with the sides that its price needs, while the market traded.
FIRST_QUOTE = f"""
    SELECT asked.market_id, quote.* FROM (
        SELECT market_id, CASE WHEN since >= 0
                THEN timestamptz 'epoch' + since * interval '1 microsecond' END AS since,
            CASE WHEN until >= 0
                THEN timestamptz 'epoch' + until * interval '1 microsecond' END AS until
        FROM unnest(%(ids)s::bigint[], %(since)s::bigint[], %(until)s::bigint[])
            AS asked (market_id, since, until)
    ) AS asked CROSS JOIN LATERAL (
        SELECT {QUOTE} FROM markets_marketsnapshot
        WHERE market_id = asked.market_id
            AND timestamp >= coalesce(asked.since, '-infinity')
            AND timestamp < coalesce(asked.until, 'infinity')
            AND (NOT %(bid)s OR yes_bid IS NOT NULL) AND (NOT %(ask)s OR yes_ask IS NOT NULL)
            AND quality & %(stale)s = 0
            {OF_SOURCE}
        ORDER BY timestamp, id LIMIT 1
    ) AS quote ORDER BY market_id
"""


@dataclass(frozen=True, slots=True)
class Observations:
    """All settled markets that were asked for, by id, each with its observation if it has one.

    `at` is the instant, `quoted` that of the quote in force then. `reason` is NONE for every
    market that has a quote; whether a price can be made of it is told by `usable`.
    """

    market: Ints
    event: Ints
    series: Ints
    settled: Ints
    value: Ints
    at: Ints
    anchor: Ints
    reason: Ints
    quoted: Ints
    bid: Ints
    ask: Ints

    def __len__(self) -> int:
        return len(self.market)

    def where(self, which: Bools | Ints | slice) -> "Observations":
        return Observations(*(getattr(self, each.name)[which] for each in fields(self)))

    def prices(self, price: str) -> Floats:
        """Return prices from 0 to 1, of NO for its ask, NaN where a side is missing."""
        bid, ask = (np.where(side == MISSING, np.nan, side) for side in (self.bid, self.ask))
        if price == MID:
            return (bid + ask) / (2 * DOLLAR)
        return ask / DOLLAR if price == ASK_YES else (DOLLAR - bid) / DOLLAR

    def outcomes(self, price: str) -> Floats:
        """Return what a contract of that side was worth in the end, from 0 to 1."""
        value = np.where(self.value == MISSING, np.nan, self.value) / MILLION
        return 1 - value if price == ASK_NO else value

    def reasons(self, price: str, max_spread: float) -> Ints:
        """Return for each market why it has no usable price of this kind, or NONE."""
        reason = self.reason.copy()
        spread = (self.ask - self.bid) / DOLLAR
        lacks = {
            MID: (self.bid == MISSING) | (self.ask == MISSING),
            ASK_YES: self.ask == MISSING,
            ASK_NO: self.bid == MISSING,
        }[price]
        reason[(reason == Exclusion.NONE) & lacks] = Exclusion.ONE_SIDED
        if price == MID:
            reason[(reason == Exclusion.NONE) & (spread < 0)] = Exclusion.CROSSED
            reason[(reason == Exclusion.NONE) & (spread > max_spread)] = Exclusion.WIDE
        return reason


def read_observations(request: CalibrationRequest) -> Observations:
    """Read the settled markets of a request, and observe each at its instant."""
    words = _words(request)
    rows = _without_combos(read_integers(SETTLED, words, SETTLED_COLUMNS))
    is_undated = (rows["settled"] == MISSING) & bool(request.start or request.end)
    found = _observed(request, rows, words)
    # Whether it was settled within the period cannot be told.
    found.reason[is_undated] = Exclusion.SETTLEMENT_UNDATED
    return found


def _without_combos(rows: dict[str, Ints]) -> dict[str, Ints]:
    _, first = np.unique(rows["event"], return_index=True)
    ids = {"ids": array_of(rows["market"][first].tolist())}
    of_combos = read_integers(COMBO_EVENTS, ids, ("event",))["event"]
    is_plain = ~np.isin(rows["event"], of_combos)
    return {name: column[is_plain] for name, column in rows.items()}


def _observed(
    request: CalibrationRequest, rows: dict[str, Ints], words: dict[str, Any]
) -> Observations:
    if request.moment == FIRST:
        return _at_first_quotes(request, rows, words)
    ids = array_of(rows["market"].tolist())
    scheduled = read_integers(SCHEDULED, words | {"ids": ids}, Schedules._fields)
    schedules = Schedules(**scheduled)
    dates = _dates(rows, schedules)
    found = observed_at(dates, schedules, request.moment, request.anchor)
    asked = np.flatnonzero(found.at != MISSING)
    parameters = words | {
        "ids": array_of(dates.market[asked].tolist()),
        "at": array_of(found.at[asked].tolist()),
        "age": request.max_age,
    }
    quotes = read_integers(IN_FORCE, parameters, QUOTE_COLUMNS)
    return _joined(rows, quotes, at=found.at, anchor=found.anchor, reason=found.reason)


def _words(request: CalibrationRequest) -> dict[str, Any]:
    sources = {
        BACKFILLED: [Source.BACKFILL.value],
        IMPORTED: [Source.IMPORT.value],
    }.get(request.source, [Source.POLL.value, Source.WEBSOCKET.value])
    return {
        "imports": array_of(request.imports),
        "sources": sources,
        "finalized": Status.FINALIZED.value,
        "not_open": list(NOT_OPEN_STATUSES),
        "combo": COMBO,
        "category": request.category,
        "series": request.series,
        "start": request.start,
        "end": request.end,
        "stale": Quality.STALE.value,
    }


def _dates(rows: dict[str, Ints], schedules: Schedules) -> MarketDates:
    return MarketDates(
        rows["market"],
        rows["opened"],
        rows["closed"],
        rows["expected"],
        rows["may_close_early"],
        rows["strike_date"],
        _occurrences(rows, schedules),
        rows["draw"] / DRAWS,
    )


def _occurrences(rows: dict[str, Ints], schedules: Schedules) -> Ints:
    """Read the date that each market is about, where nothing else tells when it ends: payloads
    are long, and take longer to read than all the rest.
    """
    occurrence = np.full(len(rows["market"]), MISSING)
    is_scheduled = np.isin(rows["market"], schedules.market)
    wanted = rows["market"][(rows["strike_date"] == MISSING) & ~is_scheduled]
    if not len(wanted):
        return occurrence
    with connection.cursor() as cursor:
        cursor.execute(OCCURRENCES, {"ids": array_of(wanted.tolist())})
        for id, text in cursor:
            if at := read_instant(text):
                place = np.searchsorted(rows["market"], id)
                occurrence[place] = microseconds(min(at, LATEST))
    return occurrence


def _at_first_quotes(
    request: CalibrationRequest, rows: dict[str, Ints], words: dict[str, Any]
) -> Observations:
    needed = {"bid": request.price != ASK_YES, "ask": request.price != ASK_NO}
    parameters = words | {
        "ids": array_of(rows["market"].tolist()),
        "since": array_of(rows["opened"].tolist()),
        "until": array_of(rows["closed"].tolist()),
        **needed,
    }
    quotes = read_integers(FIRST_QUOTE, parameters, QUOTE_COLUMNS)
    size = len(rows["market"])
    found = _joined(
        rows,
        quotes,
        at=np.full(size, MISSING),
        anchor=np.full(size, Anchor.FIRST_QUOTE),
        reason=np.full(size, Exclusion.NONE),
    )
    found.at[:] = found.quoted
    return found


def _joined(
    rows: dict[str, Ints], quotes: dict[str, Ints], *, at: Ints, anchor: Ints, reason: Ints
) -> Observations:
    """Put the quotes beside their markets, and say which have none."""
    place = np.searchsorted(rows["market"], quotes["market"])
    columns = {name: np.full(len(rows["market"]), MISSING) for name in ("quoted", "bid", "ask")}
    for name, column in columns.items():
        column[place] = quotes[name]
    paused = np.zeros(len(rows["market"]), bool)
    paused[place] = quotes["flags"] & Quality.STALE.value != 0
    reason = reason.astype(np.int64)
    reason[(reason == Exclusion.NONE) & (columns["quoted"] == MISSING)] = Exclusion.NO_QUOTE
    reason[(reason == Exclusion.NONE) & paused] = Exclusion.PAUSED
    # Nothing can be said of a market whose worth is unknown, whatever else it has.
    reason[rows["value"] == MISSING] = Exclusion.VALUE_UNKNOWN
    return Observations(
        rows["market"],
        rows["event"],
        rows["series"],
        rows["settled"],
        rows["value"],
        at.astype(np.int64),
        anchor.astype(np.int64),
        reason,
        columns["quoted"],
        columns["bid"],
        columns["ask"],
    )
