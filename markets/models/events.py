"""Series and events, as the exchange lists them now."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, F, OuterRef
from django.urls import reverse

from markets.kalshi.payloads import EventPayload, SeriesPayload
from markets.models.fields import (
    Described,
    OrderKey,
    Row,
    TickerQuerySet,
    any_case,
    exact_field,
    manager_of,
    order_terms,
)
from markets.models.scope import in_scope
from markets.models.search import (
    EventSearchText,
    MarketSearchText,
    Place,
    SeriesSearchText,
    matches,
)

SERIES_ORDERS = {"ticker": OrderKey(F("ticker"), nullable=False)}
EVENT_ORDERS = {**SERIES_ORDERS, "recorded_at": OrderKey(F("recorded_at"), nullable=False)}
EVENT_JOINED = {"series_ticker": F("series__ticker"), "category": F("series__category")}
REVISED_EVENT = ("title", "sub_title", "mutually_exclusive", "strike_date")
EVENT_FIELDS = (
    "title",
    "sub_title",
    "mutually_exclusive",
    "collateral_return_type",
    "strike_date",
    "strike_period",
    "fee_type_override",
    "fee_multiplier_override",
    "exchange_index",
    "settlement_sources",
)
EVENT_KNOWN = (
    "known_at",
    "known_at_assumed",
    "recorded_at",
    *REVISED_EVENT,
    "collateral_return_type",
    "strike_period",
    "settlement_sources",
    "fee_type_override",
    "fee_multiplier_override",
    "exchange_index",
)


class RecordedEvents(NamedTuple):
    """Events by ticker, and the ids of those that are new or have changed."""

    ids: dict[str, int]
    changed: list[int]


class SeriesQuerySet(TickerQuerySet["Series"]):
    def ids(self, tickers: Iterable[str]) -> dict[str, int]:
        """Return ids by ticker; a series not met before gets a row that holds only its ticker."""
        wanted = set(tickers)
        rows = self.filter(ticker__in=wanted).values_list("ticker", "id", "is_placeholder")
        ids = {ticker: id for ticker, id, _ in rows}
        if met := [id for _, id, is_placeholder in rows if is_placeholder]:
            self.filter(pk__in=met).update(is_placeholder=False)
            SeriesSearchText.objects.refresh(met)
        if new := sorted(wanted - ids.keys()):
            self.bulk_create((self.model(ticker=ticker) for ticker in new), ignore_conflicts=True)
            created = dict(self.filter(ticker__in=new).values_list("ticker", "id"))
            SeriesSearchText.objects.refresh(created.values())
            ids |= created
        return ids

    def refresh(self, payloads: Iterable[SeriesPayload], *, at: datetime) -> int:
        """Write each series as the exchange describes it now; return how many."""
        rows = [
            self.model(
                ticker=payload.ticker,
                title=payload.title,
                category=payload.category,
                tags=list(payload.tags),
                frequency=payload.frequency,
                fee_type=payload.fee_type,
                fee_multiplier=payload.fee_multiplier,
                settlement_sources=list(payload.settlement_sources),
                contract_url=payload.contract_url or "",
                exchange_index=payload.exchange_index,
                refreshed_at=at,
            )
            for payload in payloads
        ]
        fields = [
            f.name for f in self.model._meta.concrete_fields if f.name not in ("id", "ticker")
        ]
        written = self.bulk_create(
            rows,
            batch_size=1000,
            update_conflicts=True,
            unique_fields=["ticker"],
            update_fields=fields,
        )
        SeriesSearchText.objects.refresh(series.pk for series in written)
        return len(rows)

    def unread(self) -> Self:
        return self.described().filter(refreshed_at=None)

    def described(self) -> Self:
        """Series without placeholders."""
        return self.filter(is_placeholder=False)

    def in_scope(self) -> Self:
        """Series that are recorded: all, unless the settings name some."""
        return self.filter(in_scope())

    def rows(self, fields: Sequence[str]) -> models.QuerySet[Any, Row]:
        rows: models.QuerySet[Any, Row] = self.values(*fields)
        return rows

    def search(self, words: Iterable[str]) -> Self:
        """Series whose ticker and title have every one of the words; see `matches`."""
        return self.filter(matches(words))

    def at(self, place: Place) -> Self:
        return self.filter(ticker=place.series)

    def spelling_of(self, column: str, word: str) -> str | None:
        """Return a word of a column as it is written on record, whatever its case."""
        is_list = column == "tags"
        if self.filter(**({"tags__contains": [word]} if is_list else {column: word})).exists():
            return word
        each = models.Func(F(column), function="unnest", output_field=models.TextField())
        spellings = self.order_by().values_list(each if is_list else column, flat=True).distinct()
        folded = word.casefold()
        return next((each for each in sorted(spellings) if each.casefold() == folded), None)

    def tagged(self, tag: str) -> Self:
        return self.filter(tags__contains=[tag])

    def ordered_by(self, *keys: str) -> Self:
        return self.order_by(*order_terms(SERIES_ORDERS, keys))


class Series(Described):
    ticker = models.CharField(max_length=200, unique=True)
    title = models.TextField(blank=True)
    category = models.CharField(max_length=200, blank=True, db_index=True)
    tags = ArrayField(models.TextField(), default=list, blank=True)
    frequency = models.CharField(max_length=100, blank=True)
    fee_type = models.CharField(max_length=100, blank=True)
    fee_multiplier = exact_field()
    settlement_sources = models.JSONField(default=list, blank=True)
    contract_url = models.TextField(blank=True)
    exchange_index = models.IntegerField(null=True, blank=True)
    refreshed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the exchange's own record was last read completely."
    )

    objects = SeriesQuerySet.as_manager()

    class Meta:
        ordering = ["ticker"]
        verbose_name_plural = "series"
        indexes = [any_case("series")]

    def __str__(self) -> str:
        return self.ticker


class EventQuerySet(TickerQuerySet["Event"]):
    def record(
        self, payloads: Sequence[EventPayload], *, series: dict[str, int], at: datetime
    ) -> RecordedEvents:
        """Write the events that are new or have changed."""
        named = self.described().filter(ticker__in=[payload.ticker for payload in payloads])
        rows = named.values_list("ticker", "id", "series_id", *EVENT_FIELDS)
        known = {ticker: tuple(values) for ticker, _, *values in rows}
        changed = [
            self.model(
                ticker=payload.ticker,
                series_id=series[payload.series_ticker],
                recorded_at=at,
                **dict(zip(EVENT_FIELDS, _event_values(payload), strict=True)),
            )
            for payload in payloads
            if known.get(payload.ticker) != (series[payload.series_ticker], *_event_values(payload))
        ]
        written = self.bulk_create(
            changed,
            update_conflicts=True,
            unique_fields=["ticker"],
            update_fields=["series_id", "recorded_at", "is_placeholder", *EVENT_FIELDS],
        )
        ids = {ticker: id for ticker, id, *_ in rows}
        ids |= {event.ticker: event.pk for event in written}
        written_ids = [event.pk for event in written]
        EventSearchText.objects.refresh(written_ids)
        # A market is found by its event's title, too.
        MarketSearchText.objects.refresh(written_ids, by="event_id")
        return RecordedEvents(ids, written_ids)

    def ids(self, tickers: Iterable[str]) -> dict[str, int]:
        return dict(self.filter(ticker__in=list(tickers)).values_list("ticker", "id"))

    def described(self) -> Self:
        """Events without placeholders."""
        return self.filter(is_placeholder=False)

    def rows(self, fields: Sequence[str]) -> models.QuerySet[Any, Row]:
        """Return these fields, and `id`, as dictionaries."""
        own = (name for name in fields if name not in EVENT_JOINED)
        rows: models.QuerySet[Any, Row] = self.values("id", *own).annotate(**EVENT_JOINED)
        return rows

    def search(self, words: Iterable[str]) -> Self:
        """Events whose ticker and titles have every one of the words; see `matches`."""
        return self.filter(matches(words))

    def at(self, place: Place) -> Self:
        """The event of a place, or all events of its series."""
        if place.event:
            return self.filter(ticker=place.event)
        return self.filter(series__ticker=place.series)

    def with_market_in(self, statuses: Iterable[str]) -> Self:
        """Events with a market in one of these statuses."""
        markets = manager_of("ListedMarket").filter(
            event_id=OuterRef("pk"), status__in=list(statuses)
        )
        return self.filter(Exists(markets))

    def updated_since(self, at: datetime) -> Self:
        return self.filter(recorded_at__gte=at)

    def ordered_by(self, *keys: str) -> Self:
        return self.order_by(*order_terms(EVENT_ORDERS, keys), "ticker")

    def known_at(self, at: datetime) -> Self:
        revisions = manager_of("EventRevision").filter(event_id=OuterRef("pk"), known_at__lte=at)
        return self.filter(Exists(revisions))

    def with_market_in_as_of(self, statuses: Iterable[str], at: datetime) -> Self:
        markets = manager_of("ListedMarket").known_at(at).in_status_as_of(statuses)
        return self.filter(Exists(markets.filter(event_id=OuterRef("pk"))))

    def rewind(self, rows: Sequence[Row], at: datetime) -> list[Row]:
        """Return these rows as their events were known at an instant, with `known_at`.

        Unknown events are left out. A row needs `id`; its columns without a history stay.
        """
        revisions = manager_of("EventRevision").filter(
            event_id__in=[row["id"] for row in rows], known_at__lte=at
        )
        newest = revisions.order_by("event_id", "-known_at").distinct("event_id")
        revised = {row.pop("event_id"): row for row in newest.values("event_id", *EVENT_KNOWN)}
        return [row | revised[row["id"]] for row in rows if row["id"] in revised]


def _event_values(payload: EventPayload) -> tuple[object, ...]:
    *values, sources = (getattr(payload, field) for field in EVENT_FIELDS)
    return (*values, list(sources))


class EventDefinition(models.Model):
    """The columns that an event shares with its revisions."""

    title = models.TextField(blank=True)
    sub_title = models.TextField(blank=True)
    mutually_exclusive = models.BooleanField(null=True, blank=True)
    collateral_return_type = models.CharField(max_length=50, blank=True)
    strike_date = models.DateTimeField(null=True, blank=True)
    strike_period = models.CharField(max_length=200, blank=True)
    settlement_sources = models.JSONField(default=list, blank=True)
    fee_type_override = models.CharField(max_length=100, blank=True)
    fee_multiplier_override = exact_field()
    exchange_index = models.IntegerField(null=True, blank=True)

    class Meta:
        abstract = True


class Event(EventDefinition, Described):
    ticker = models.CharField(max_length=200, unique=True)
    series = models.ForeignKey(Series, on_delete=models.PROTECT, related_name="events")
    recorded_at = models.DateTimeField(help_text="When we last saw this definition change.")

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["ticker"]
        indexes = [any_case("event")]

    def __str__(self) -> str:
        return self.ticker

    def get_absolute_url(self) -> str:
        return reverse("markets:event", args=[self.ticker])
