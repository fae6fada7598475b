"""Revisions: append-only history of definitions and fee terms, each with when it was known."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.models import Q

from markets.kalshi.fields import LATEST, read_instant
from markets.models.definitions import (
    IMPORTED_REVISIONS,
    REVISED_EVENTS,
    REVISED_MARKETS,
    RevisedEvent,
    RevisedMarket,
    by_market,
    rows_of,
    with_imported,
)
from markets.models.events import Event, EventDefinition, Series
from markets.models.fields import KnownFact, exact_field
from markets.models.imports import Import
from markets.models.markets import Market, Status
from markets.models.observations import array_of

BATCH = 1000
# What a revision says of its market, besides the payload that it was read from.
SAID_OF_MARKET = (
    "status",
    "result",
    "settlement_value",
    "settlement_ts",
    "open_time",
    "close_time",
    "expected_expiration_time",
    "price_ranges",
)
STORED_REVISION = ", ".join((*SAID_OF_MARKET, "raw_data"))


class MarketRevisionQuerySet(models.QuerySet["MarketRevision"]):
    def append_current(self, known: Mapping[int, datetime], *, at: datetime) -> None:
        """Append revisions that hold the current rows of these markets.

        `known` maps market ids to the instant from which their revision is known. If a clock that
        stepped back has left a later revision, the new one follows right after it.
        """
        if not known:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO markets_marketrevision
                    (market_id, known_at, known_at_assumed, recorded_at, {STORED_REVISION})
                SELECT id, greatest(known.at, (
                        SELECT max(known_at) + interval '1 microsecond'
                        FROM markets_marketrevision
                        WHERE market_id = markets_market.id AND import_row_id IS NULL)),
                    false, %s, {STORED_REVISION}
                FROM markets_market
                JOIN unnest(%s::bigint[], %s::timestamptz[]) AS known (market_id, at)
                    ON known.market_id = id
                """,
                [at, list(known), list(known.values())],
            )

    def recorded(self) -> Self:
        """Revisions without those of imports, which only those read who name their import."""
        return self.filter(import_row=None)

    def for_market(self, market: Market) -> Self:
        return self.recorded().filter(market=market).order_by("known_at", "id")

    def histories(
        self, ids: Iterable[int], *, recorded_by: datetime, imports: Sequence[int] = ()
    ) -> dict[int, list[RevisedMarket]]:
        """Return the revisions of markets by market id, oldest first.

        Revisions recorded after `recorded_by` are left out. Of those of the named imports there
        are the ones that count beside the record (see `with_imported`).
        """
        wanted = list(ids)
        histories = by_market(rows_of(REVISED_MARKETS, wanted, recorded_by))
        if imports:
            named = array_of(imports)
            found = by_market(rows_of(IMPORTED_REVISIONS, wanted, recorded_by, named, named))
            for id, own in found.items():
                histories[id] = with_imported(histories[id], own)
        return histories

    def add(self, revisions: Iterable["MarketRevision"]) -> int:
        """Append revisions, and return how many were left out.

        Those are the ones that say something else than the market's revision of the same instant,
        which stays.
        """
        new = list(revisions)
        batches = (new[start : start + BATCH] for start in range(0, len(new), BATCH))
        return sum(self._add_batch(batch) for batch in batches)

    def _add_batch(self, new: Sequence["MarketRevision"]) -> int:
        ids, instants = {each.market_id for each in new}, {each.known_at for each in new}
        there = {
            (each.market_id, each.known_at): each
            for each in self.recorded()
            .filter(market__in=ids, known_at__in=instants)
            .defer("raw_data")
        }
        # Of two in this batch, the first is written.
        kept = [there.setdefault((each.market_id, each.known_at), each) for each in new]
        self.bulk_create(new, ignore_conflicts=True)
        return sum(not each.says_the_same(other) for each, other in zip(new, kept, strict=True))


class MarketRevision(KnownFact):
    """A market as it was known from an instant until its next revision; append-only."""

    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="revisions",
        db_index=False,  # `market_revision_once` begins with the market
    )
    status = models.CharField(max_length=50, choices=Status)
    result = models.CharField(max_length=50, blank=True)
    settlement_value = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    settlement_ts = models.DateTimeField(null=True, blank=True)
    open_time = models.DateTimeField(null=True, blank=True)
    close_time = models.DateTimeField(
        null=True, blank=True, help_text="Null where only the final close is on record."
    )
    expected_expiration_time = models.DateTimeField(null=True, blank=True)
    price_ranges = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    raw_data = models.JSONField(
        null=True, blank=True, help_text="The payload, if one is on record."
    )
    import_row = models.ForeignKey(
        Import,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
        help_text="The import that brought it; it counts only for those who name that.",
    )

    objects = MarketRevisionQuerySet.as_manager()

    class Meta:
        ordering = ["known_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["market", "known_at", "import_row"],
                nulls_distinct=False,
                name="market_revision_once",
            )
        ]
        indexes = [
            models.Index(
                fields=["import_row"],
                condition=Q(import_row__isnull=False),
                name="market_revision_imported",
            )
        ]

    def __str__(self) -> str:
        return f"{self.market_id} from {self.known_at:%Y-%m-%d %H:%M:%S}"

    def says_the_same(self, other: "MarketRevision") -> bool:
        """Return True if both say the same of the market; how they know it does not count."""
        return all(getattr(self, name) == getattr(other, name) for name in SAID_OF_MARKET)


REVISED_EVENT = (
    "title, sub_title, mutually_exclusive, collateral_return_type, strike_date, strike_period,"
    " settlement_sources, fee_type_override, fee_multiplier_override, exchange_index"
)


class EventRevisionQuerySet(models.QuerySet["EventRevision"]):
    def append_current(self, ids: Sequence[int], *, at: datetime) -> None:
        """Append revisions that hold the current rows of these events, known from `at` on.

        If a clock that stepped back has left a later revision, the new one follows right after it.
        """
        if not ids:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO markets_eventrevision
                    (event_id, known_at, known_at_assumed, recorded_at, {REVISED_EVENT})
                SELECT id, greatest(%s::timestamptz, (
                        SELECT max(known_at) + interval '1 microsecond'
                        FROM markets_eventrevision WHERE event_id = markets_event.id)),
                    false, %s, {REVISED_EVENT}
                FROM markets_event WHERE id = ANY(%s)
                """,
                [at, at, list(ids)],
            )

    def histories(
        self, events: Iterable[int], *, recorded_by: datetime
    ) -> dict[int, list[RevisedEvent]]:
        """Return the revisions of events by event id, oldest first.

        Revisions recorded after `recorded_by` are left out.
        """
        histories: dict[int, list[RevisedEvent]] = defaultdict(list)
        for row in rows_of(REVISED_EVENTS, events, recorded_by):
            histories[row[0]].append(RevisedEvent(*row))
        return histories

    def add(self, revisions: Iterable["EventRevision"]) -> None:
        """Append revisions; one that the event already has at the same instant stays."""
        self.bulk_create(revisions, batch_size=1000, ignore_conflicts=True)


class EventRevision(KnownFact, EventDefinition):
    """An event as it was known from an instant until its next revision; append-only."""

    event = models.ForeignKey(
        Event,
        on_delete=models.PROTECT,
        related_name="revisions",
        db_index=False,  # `event_revision_once` begins with the event
    )

    objects = EventRevisionQuerySet.as_manager()

    class Meta:
        ordering = ["known_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["event", "known_at"], name="event_revision_once")
        ]

    def __str__(self) -> str:
        return f"{self.event_id} from {self.known_at:%Y-%m-%d %H:%M:%S}"


class FeeTerms(NamedTuple):
    """The terms of a fee from `since` on; None and "" mean that they are not on record."""

    fee_type: str
    fee_multiplier: Decimal | None
    # True if nothing as old as the instant is on record, so that later terms were taken.
    assumed: bool
    since: datetime


class FeeChangeQuerySet(models.QuerySet["FeeChange"]):
    def add(self, changes: Iterable["FeeChange"]) -> None:
        """Append changes; one that is on record already stays as it is."""
        self.bulk_create(changes, batch_size=1000, ignore_conflicts=True)

    def in_force(self, market: Market, at: datetime) -> FeeTerms:
        """Return the fee terms of a fill at an instant."""
        return self.schedule([market.pk], start=at, end=at)[market.pk][0]

    def schedule(
        self,
        ids: Iterable[int],
        *,
        start: datetime,
        end: datetime,
        recorded_by: datetime | None = None,
        imports: Sequence[int] = (),
    ) -> dict[int, list[FeeTerms]]:
        """Return fee terms by market id: those at `start`, then each change up to `end`.

        What the exchange charged counts, whenever we learned of it, unless it was recorded after
        `recorded_by`. Terms that one of `imports` assumed count where none are on record. A
        market's waiver goes before its event's own terms, and these before the terms of its
        series. Two queries.
        """
        payers = _fee_payers(list(ids))
        events = {payer.event_id for payer in payers}
        series = {payer.series_id for payer in payers}
        changes: dict[tuple[int | None, int | None], list[FeeChange]] = defaultdict(list)
        found = self.filter(Q(event_id__in=events) | Q(series_id__in=series))
        found = found.filter(Q(import_row=None) | Q(import_row__in=list(imports)))
        if recorded_by is not None:
            found = found.filter(recorded_at__lte=recorded_by)
        on_record = {(each.event_id, each.series_id) for each in found if not each.import_row_id}
        for change in found:
            paid_by = change.event_id, change.series_id
            if not change.import_row_id or paid_by not in on_record:
                changes[paid_by].append(change)
        # Most markets of a series pay the same.
        known: dict[tuple[object, ...], list[FeeTerms]] = {}
        schedules = {}
        for payer in payers:
            of_series, of_event = (None, payer.series_id), (payer.event_id, None)
            key = of_series, of_event if of_event in changes else None, payer.waived_until
            if key not in known:
                history = _FeeHistory(
                    changes[of_series], changes.get(of_event, ()), payer.waived_until
                )
                known[key] = history.between(start, end)
            schedules[payer.market_id] = known[key]
        return schedules

    def follow_series(self, *, at: datetime) -> None:
        """Append the terms that series have now where no change on record has them.

        The exchange does not tell since when they hold, so they count from when we saw them.
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
                            AND import_row_id IS NULL
                        ORDER BY effective_at DESC, id DESC LIMIT 1)
                ON CONFLICT DO NOTHING
                """,
                {"at": at},
            )


class FeeChange(KnownFact):
    """Fee terms of a series or an event, in force from `effective_at` on; append-only.

    An event's change without a type or without a multiplier gives that term back to the series.
    """

    series = models.ForeignKey(
        Series, on_delete=models.PROTECT, related_name="fee_changes", null=True, blank=True
    )
    event = models.ForeignKey(
        Event, on_delete=models.PROTECT, related_name="fee_changes", null=True, blank=True
    )
    fee_type = models.CharField(max_length=100, blank=True)
    fee_multiplier = exact_field()
    effective_at = models.DateTimeField()
    import_row = models.ForeignKey(
        Import,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
        help_text="The import that brought it; it counts only for those who name that.",
    )

    objects = FeeChangeQuerySet.as_manager()

    class Meta:
        ordering = ["effective_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(series__isnull=True) ^ Q(event__isnull=True),
                name="fee_change_of_one",
            ),
            models.UniqueConstraint(
                fields=[
                    "series",
                    "event",
                    "effective_at",
                    "fee_type",
                    "fee_multiplier",
                    "import_row",
                ],
                nulls_distinct=False,
                name="fee_change_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.series or self.event} from {self.effective_at:%Y-%m-%d %H:%M:%S}"


class _FeePayer(NamedTuple):
    market_id: int
    event_id: int
    series_id: int
    waived_until: datetime | None


def _fee_payers(ids: Sequence[int]) -> list[_FeePayer]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT market.id, event.id, event.series_id,
                coalesce(market.raw_data->>'fee_waiver_expiration_time', '')
            FROM markets_market AS market JOIN markets_event AS event ON event.id = event_id
            WHERE market.id = ANY(%s::bigint[])
            """,
            [array_of(ids)],
        )
        return [
            _FeePayer(market, event, series, _waived_until(text))
            for market, event, series, text in cursor.fetchall()
        ]


def _waived_until(text: str) -> datetime | None:
    """Return the end of a waiver; the year 9999 means for ever, and some add hours to it."""
    until = read_instant(text)
    return until and min(until, LATEST).astimezone(UTC)


class _FeeHistory(NamedTuple):
    """Everything that ever set the fees of one market, each kind oldest first."""

    series: Sequence["FeeChange"]
    event: Sequence["FeeChange"]
    waived_until: datetime | None

    def between(self, start: datetime, end: datetime) -> list[FeeTerms]:
        changed = {change.effective_at for change in (*self.series, *self.event)}
        if self.waived_until:
            changed.add(self.waived_until)
        terms = [self.at(at) for at in sorted({start} | {c for c in changed if start < c <= end})]
        return [next(same) for _, same in groupby(terms, key=lambda each: each[:3])]

    def at(self, at: datetime) -> FeeTerms:
        terms = self._of_series(at)
        own = [change for change in self.event if change.effective_at <= at]
        if own:
            terms = _override(terms, own[-1])
        if self.waived_until and at < self.waived_until:
            return terms._replace(fee_multiplier=Decimal(0), assumed=False)
        return terms

    def _of_series(self, at: datetime) -> FeeTerms:
        """Return the series' terms; before the first of them, the first, as an assumption."""
        if not self.series:
            return FeeTerms("", None, assumed=True, since=at)
        begun = [change for change in self.series if change.effective_at <= at]
        chosen = begun[-1] if begun else self.series[0]
        assumed = not begun or chosen.known_at_assumed
        return FeeTerms(chosen.fee_type, chosen.fee_multiplier, assumed=assumed, since=at)


def _override(terms: FeeTerms, own: FeeChange) -> FeeTerms:
    """Return an event's own terms, completed by those of its series."""
    borrowed = not own.fee_type or own.fee_multiplier is None
    return FeeTerms(
        own.fee_type or terms.fee_type,
        terms.fee_multiplier if own.fee_multiplier is None else own.fee_multiplier,
        assumed=terms.assumed and borrowed,
        since=terms.since,
    )
