"""What was known when: definitions, fees, announced closures, and where payloads drifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Self

from django.db import connection, models
from django.db.models import Q

from markets.kalshi.drift import Drift as Drifted

if TYPE_CHECKING:
    from markets.models import (  # noqa: F401
        Closure,
        Drift,
        EventRevision,
        FeeChange,
        Market,
        MarketRevision,
    )


REVISED_MARKET = (
    "status, result, settlement_value, settlement_ts, open_time, close_time,"
    " expected_expiration_time, price_ranges, raw_data"
)
REVISED_EVENT = (
    "title, sub_title, mutually_exclusive, collateral_return_type, strike_date, strike_period,"
    " settlement_sources, fee_type_override, fee_multiplier_override, exchange_index"
)


class MarketRevisionQuerySet(models.QuerySet["MarketRevision"]):
    def take(self, known: Mapping[int, datetime], *, at: datetime) -> None:
        """Append what these markets' rows say, each as known from an instant on, by id."""
        if not known:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO markets_marketrevision
                    (market_id, known_at, known_at_assumed, recorded_at, {REVISED_MARKET})
                SELECT id, known.at, false, %s, {REVISED_MARKET} FROM markets_market
                JOIN unnest(%s::bigint[], %s::timestamptz[]) AS known (market_id, at)
                    ON known.market_id = id
                ON CONFLICT DO NOTHING
                """,
                [at, list(known), list(known.values())],
            )

    def for_market(self, market: Market) -> Self:
        return self.filter(market=market).order_by("known_at", "id")

    def add(self, revisions: Iterable[MarketRevision]) -> None:
        """Append; what is known of a market from the same instant on already, stays."""
        self.bulk_create(revisions, batch_size=1000, ignore_conflicts=True)


class EventRevisionQuerySet(models.QuerySet["EventRevision"]):
    def take(self, ids: Sequence[int], *, at: datetime) -> None:
        """Append what these events' rows say, as known from an instant on."""
        if not ids:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO markets_eventrevision
                    (event_id, known_at, known_at_assumed, recorded_at, {REVISED_EVENT})
                SELECT id, %s, false, %s, {REVISED_EVENT} FROM markets_event WHERE id = ANY(%s)
                ON CONFLICT DO NOTHING
                """,
                [at, at, list(ids)],
            )

    def add(self, revisions: Iterable[EventRevision]) -> None:
        """Append; what is known of an event from the same instant on already, stays."""
        self.bulk_create(revisions, batch_size=1000, ignore_conflicts=True)


class FeeTerms(NamedTuple):
    """What a fee is computed from. None and "": not on record."""

    fee_type: str
    fee_multiplier: Decimal | None
    # The terms are younger than the instant asked for: nothing older is on record.
    assumed: bool


class FeeChangeQuerySet(models.QuerySet["FeeChange"]):
    def add(self, changes: Iterable[FeeChange]) -> None:
        """Append; a change that is on record already stays as it is."""
        self.bulk_create(changes, batch_size=1000, ignore_conflicts=True)

    def in_force(self, market: Market, at: datetime) -> FeeTerms:
        """The terms of a fill at an instant: the event's own, else those of its series."""
        series_id = market.event.series_id
        changes = list(self.filter(Q(event_id=market.event_id) | Q(series_id=series_id)))
        terms, assumed = _in_force([c for c in changes if c.series_id], at)
        own = [c for c in changes if c.event_id and c.effective_at <= at]
        override = own[-1] if own else None
        if override is None:
            return FeeTerms(*terms, assumed)
        fee_type = override.fee_type or terms[0]
        multiplier = override.fee_multiplier if override.fee_multiplier is not None else terms[1]
        borrowed = not override.fee_type or override.fee_multiplier is None
        return FeeTerms(fee_type, multiplier, assumed and borrowed)

    def follow_series(self, *, at: datetime) -> None:
        """Append the terms that series have now and that no change on record says.

        Since when they hold, the exchange does not tell: since we saw them.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO markets_feechange (series_id, fee_type, fee_multiplier, effective_at,
                                               known_at, known_at_assumed, recorded_at)
                SELECT id, fee_type, fee_multiplier, %(at)s, %(at)s, false, %(at)s
                FROM markets_series AS series WHERE refreshed_at = %(at)s AND
                    (fee_type, fee_multiplier) IS DISTINCT FROM (
                        SELECT (fee_type, fee_multiplier) FROM markets_feechange
                        WHERE series_id = series.id AND effective_at <= %(at)s
                        ORDER BY effective_at DESC, id DESC LIMIT 1)
                ON CONFLICT DO NOTHING
                """,
                {"at": at},
            )


def _in_force(
    changes: Sequence[FeeChange], at: datetime
) -> tuple[tuple[str, Decimal | None], bool]:
    """A series' terms, oldest change first; before all of them its oldest, as an assumption."""
    if not changes:
        return ("", None), True
    begun = [change for change in changes if change.effective_at <= at]
    chosen = begun[-1] if begun else changes[0]
    return (chosen.fee_type, chosen.fee_multiplier), not begun or chosen.known_at_assumed


class ClosureQuerySet(models.QuerySet["Closure"]):
    def announce(self, stretches: Iterable[tuple[datetime, datetime]], *, at: datetime) -> None:
        """Put announced rests on record; what was announced before keeps its first instant.

        What is not over yet and no longer announced was withdrawn: it excuses nothing.
        """
        rows = [self.model(start=start, end=end, known_at=at) for start, end in stretches]
        announced = Q()
        for row in rows:
            announced |= Q(start=row.start, end=row.end)
        ahead = self.filter(end__gt=at)
        (ahead.exclude(announced) if rows else ahead).delete()
        self.bulk_create(rows, ignore_conflicts=True)

    def within(self, start: datetime, end: datetime) -> Self:
        return self.filter(start__lt=end, end__gt=start)


class DriftQuerySet(models.QuerySet["Drift"]):
    def note(self, found: Iterable[Drifted], *, at: datetime) -> None:
        """Count what was found; of each the first sample is kept."""
        seen: dict[tuple[str, str], Drifted] = {}
        counts: Counter[tuple[str, str]] = Counter()
        for drift in found:
            seen.setdefault((drift.kind, drift.where), drift)
            counts[drift.kind, drift.where] += 1
        with connection.cursor() as cursor:
            # In one order for all, so that two writers wait for each other and not in a ring.
            for key in sorted(seen):
                cursor.execute(
                    """
                    INSERT INTO markets_drift (kind, "where", first_seen_at, last_seen_at, count,
                                               sample)
                    VALUES (%s, %s, %s, %s, %s, %s)
                    ON CONFLICT (kind, "where") DO UPDATE SET
                        count = markets_drift.count + excluded.count,
                        last_seen_at = greatest(markets_drift.last_seen_at, excluded.last_seen_at)
                    """,
                    [*key, at, at, counts[key], seen[key].sample],
                )

    def since(self, at: datetime) -> Self:
        return self.filter(last_seen_at__gte=at)
