"""Markets as the exchange lists them now."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Self

import msgspec
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.models import F, Func, OuterRef, Q, Value
from django.db.models.functions import Cast
from django.urls import reverse

from kalshi_insights.export.copy import stage_rows
from markets.kalshi import payloads
from markets.kalshi.payloads import MarketPayload
from markets.models.definitions import DEFINED_MARKETS, DefinedMarket, rows_of
from markets.models.events import REVISED_EVENT, Event
from markets.models.fields import (
    DERIVED_PRICES,
    Described,
    Quote,
    Quoted,
    Row,
    TickerQuerySet,
    any_case,
    count_field,
    exact_field,
    manager_of,
    price_field,
    within_unit,
)
from markets.models.scope import in_scope, in_scope_sql
from markets.models.search import MarketSearchText, Place, matches


class Status(models.TextChoices):
    """The stages of a market's life in Kalshi's words; unknown words are stored as they come.

    One word is ours: a market that was not settled and that the exchange no longer knows is
    unlisted.
    """

    INITIALIZED = "initialized"
    INACTIVE = "inactive"
    ACTIVE = "active"
    CLOSED = "closed"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"
    UNLISTED = "unlisted"


# SQL parameters and JSON take plain strings, not members.
OPEN_STATUSES = (Status.ACTIVE.value, Status.INACTIVE.value)
AWAITING_STATUSES = (
    Status.CLOSED.value,
    Status.DETERMINED.value,
    Status.DISPUTED.value,
    Status.AMENDED.value,
)
# A word that we do not know may mean anything, so a market counts as open unless it has one of
# these, and as not final unless it is finalized: lists of the other words would lose it.
NOT_OPEN_STATUSES = (
    Status.INITIALIZED.value,
    *AWAITING_STATUSES,
    Status.FINALIZED.value,
    Status.UNLISTED.value,
)
# The recorder goes on asking for a market that the exchange no longer knows until this long
# after its close, and for one in a status that we do not know until this long after its settlement.
GIVEN_UP_AFTER = timedelta(days=7)
# Fields that a market's row in the API takes from its event and series.
JOINED = {
    "event_ticker": "event__ticker",
    "event_title": "event__title",
    "series_ticker": "event__series__ticker",
    "category": "event__series__category",
    "mutually_exclusive": "event__mutually_exclusive",
}
# The models in which a name is looked up, each with the columns of its `Place`.
PLACES = {
    "Market": ("event__series__ticker", "event__ticker", "ticker"),
    "Event": ("series__ticker", "ticker"),
    "Series": ("ticker",),
}
NEAR_EXPIRY = timedelta(hours=1)
MARKET_FIELDS = (
    "market_type",
    "title",
    "yes_sub_title",
    "no_sub_title",
    "status",
    "result",
    "settlement_value",
    "settlement_ts",
    "settlement_timer_seconds",
    "open_time",
    "close_time",
    "expected_expiration_time",
    "latest_expiration_time",
    "created_time",
    "updated_time",
    "can_close_early",
    "strike_type",
    "floor_strike",
    "cap_strike",
    "price_level_structure",
    "exchange_index",
    "is_provisional",
    "rules_primary",
    "rules_secondary",
)
# The columns that `MarketQuerySet.define` copies in.
DEFINED = (
    "ticker",
    "event",
    "price_ranges",
    "raw_data",
    "definition_mark",
    "recorded_at",
    *MARKET_FIELDS,
)
# The columns of a market's revision.
REVISED = (
    "known_at",
    "known_at_assumed",
    "recorded_at",
    "status",
    "result",
    "settlement_value",
    "settlement_ts",
    "open_time",
    "close_time",
    "expected_expiration_time",
)
# Columns of which only the newest value is kept.
NOT_KEPT = dict.fromkeys(("volume_24h", "previous_price", "is_hot"))
AS_OF = f"""
    SELECT market.id, known.price_ranges::text, known.raw_data::text AS payload,
        {", ".join(f"known.{name}" for name in REVISED)},
        coalesce(event.title, '') AS event_title, coalesce(event.sub_title, '') AS event_sub_title,
        event.mutually_exclusive AS event_mutually_exclusive,
        event.strike_date AS event_strike_date,
        quote.timestamp AS quoted_at, {", ".join(f"quote.{name}" for name in Quote._fields)}
    FROM markets_market AS market
    JOIN LATERAL (
        SELECT * FROM markets_marketrevision
        WHERE market_id = market.id AND known_at <= %(at)s AND import_row_id IS NULL
        ORDER BY known_at DESC LIMIT 1
    ) AS known ON true
    LEFT JOIN LATERAL (
        SELECT * FROM markets_eventrevision
        WHERE event_id = market.event_id AND known_at <= %(at)s ORDER BY known_at DESC LIMIT 1
    ) AS event ON true
    LEFT JOIN LATERAL (
        SELECT * FROM markets_marketsnapshot
        WHERE market_id = market.id AND timestamp <= %(at)s AND source <> 'IMPORT'
        ORDER BY timestamp DESC, id DESC LIMIT 1
    ) AS quote ON true
    WHERE market.id = ANY(%(ids)s)
"""
# Dates that move later: today's value would leak the future.
MOVING_DATES = ("updated_time", "expected_expiration_time", "latest_expiration_time")


class MarketChange(NamedTuple):
    """A market whose definition, quote or heartbeat must be written."""

    ticker: str
    id: int | None  # None: not on record yet
    price_ranges: str  # as JSON
    is_defined: bool  # False: the definition is new or has changed
    is_quoted: bool  # False: the quote is new, has changed, or its heartbeat is due


class MarketDefinition(NamedTuple):
    """A parsed definition, the payload it came from, and the hash that identifies it."""

    payload: MarketPayload
    raw: msgspec.Raw
    mark: int


class KnownMarket(NamedTuple):
    """A market as it was known at an instant, and since when."""

    market_id: int
    ticker: str
    known_at: datetime
    known_at_assumed: bool
    status: str
    close_time: datetime | None
    result: str
    settlement_value: Decimal | None
    settlement_ts: datetime | None


def closed_long_ago(at: datetime) -> Q:
    """The condition that a market's close is too long past to wait for its settlement."""
    return Q(close_time__lte=at - GIVEN_UP_AFTER) | Q(close_time=None)


class MarketQuerySet(TickerQuerySet["Market"]):
    def changes(
        self,
        marks: Sequence[tuple[str, int, int]],
        *,
        at: datetime,
        hot_heartbeat: timedelta,
        heartbeat: timedelta,
    ) -> list[MarketChange]:
        """Return the markets that are new, changed or due for a heartbeat at `at`.

        `marks` are tickers with the marks of the quote and of the definition as observed.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT * FROM (
                    SELECT new.ticker, old.id, old.price_ranges::text,
                        old.definition_mark IS NOT DISTINCT FROM new.definition_mark AS is_defined,
                        old.quote_mark IS NOT DISTINCT FROM new.quote_mark
                            AND (old.status = ANY(%(not_open)s) OR old.quoted_at <= %(at)s
                                AND old.quoted_at > CASE WHEN old.is_hot THEN %(hot)s
                                    ELSE %(others)s END) AS is_quoted
                    FROM (
                        SELECT mark->>0 AS ticker, (mark->>1)::bigint AS quote_mark,
                            (mark->>2)::bigint AS definition_mark
                        FROM json_array_elements(%(marks)s::json) AS mark
                    ) AS new
                    LEFT JOIN markets_market AS old ON old.ticker = new.ticker
                ) AS observed WHERE NOT (is_defined AND is_quoted)
                """,
                {
                    # One JSON text takes a tenth of the time that arrays take.
                    "marks": msgspec.json.encode(marks).decode(),
                    "not_open": list(NOT_OPEN_STATUSES),
                    "at": at,
                    "hot": at - hot_heartbeat,
                    "others": at - heartbeat,
                },
            )
            return [MarketChange(*row) for row in cursor.fetchall()]

    def ids(self, tickers: Iterable[str]) -> dict[str, int]:
        return dict(self.filter(ticker__in=list(tickers)).values_list("ticker", "id"))

    def ids_of(
        self, *, series: Iterable[str], events: Iterable[str], tickers: Iterable[str]
    ) -> list[int]:
        """Return the ids of all markets of these series and events, and of the named markets."""
        selected = Q(ticker__in=list(tickers)) | Q(event__ticker__in=list(events))
        selected |= Q(event__series__ticker__in=list(series))
        return list(self.filter(selected).order_by("pk").values_list("pk", flat=True))

    def defined(self, ids: Iterable[int]) -> list[DefinedMarket]:
        """Return markets as they are defined now, in the order of their ids."""
        return [DefinedMarket(*row) for row in rows_of(DEFINED_MARKETS, ids)]

    def most_traded(self, size: int) -> list[str]:
        """Return the tickers of the quoted markets with the highest 24-hour volume."""
        quoted = self.filter(quoted_at__isnull=False)
        ranked = quoted.order_by(F("volume_24h").desc(nulls_last=True), "ticker")
        return list(ranked.values_list("ticker", flat=True)[:size])

    def grids(self, ids: Iterable[int]) -> dict[int, str]:
        """Return price ranges as JSON, by id."""
        text = Cast("price_ranges", models.TextField())
        return dict(self.filter(pk__in=list(ids)).values_list("id", text))

    def hot_tickers(self) -> list[str]:
        """Return the markets that every tick observes: the hot list and whatever is watched."""
        hot = self.in_scope().open().hot()
        return list(hot.order_by("ticker").distinct().values_list("ticker", flat=True))

    def hot(self) -> Self:
        """The hot list and whatever is watched."""
        return self.filter(Q(is_hot=True) | Q(watches__isnull=False))

    def in_scope(self) -> Self:
        """Markets of the series that are recorded: all, unless the settings name some."""
        return self.filter(in_scope("event__series__"))

    def with_books(self, size: int) -> Self:
        """The most traded hot markets, whose whole order books are recorded."""
        hot = self.open().filter(is_hot=True).exclude(status=Status.INACTIVE)
        hot = hot.order_by(F("volume_24h").desc(nulls_last=True), "id")
        return self.filter(pk__in=hot.values("pk")[:size])

    def choose_hot(self, size: int, *, at: datetime) -> None:
        """Rank the hot list anew by 24-hour volume, tenfold within an hour of the close.

        One contract is added to the volume, so that a near close also ranks an untraded market.
        """
        condition, parameters = in_scope_sql()
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                WITH ranked AS (
                    SELECT id FROM markets_market
                    WHERE status <> 'finalized' AND status <> ALL(%(not_open)s) AND {condition}
                        AND NOT is_placeholder
                    ORDER BY (coalesce(volume_24h, 0) + 1)
                        * CASE WHEN close_time BETWEEN %(at)s AND %(soon)s THEN 10 ELSE 1 END DESC,
                        id
                    LIMIT %(size)s)
                UPDATE markets_market SET is_hot = NOT is_hot
                WHERE is_hot <> (id IN (SELECT id FROM ranked))
                """,
                {
                    "not_open": [*NOT_OPEN_STATUSES, Status.INACTIVE.value],
                    "at": at,
                    "soon": at + NEAR_EXPIRY,
                    "size": size,
                    **parameters,
                },
            )

    def awaiting_settlement(self, *, at: datetime) -> Self:
        """Markets that have closed, in word or by time, and are not known to be final.

        A market without a known close counts as past it. A word that we do not know may stand for
        the end, so that a market with a settlement on record is given up in the end.
        """
        past_close = Q(close_time__lte=at) | Q(close_time=None)
        closed = Q(status__in=AWAITING_STATUSES) | past_close
        settled = ~Q(result="") & Q(settlement_ts__lte=at - GIVEN_UP_AFTER)
        unknown = ~Q(status__in=Status.values)
        given_up = Q(status=Status.UNLISTED) & closed_long_ago(at) | unknown & settled
        awaiting = self.described().filter(closed).exclude(status=Status.FINALIZED)
        return awaiting.exclude(given_up)

    def after(self, id: int) -> Self:
        return self.filter(id__gt=id).order_by("id")

    def as_of(self, at: datetime) -> list[KnownMarket]:
        """Return these markets as they were known at an instant; unknown ones are left out."""
        known = self.filter(revisions__known_at__lte=at, revisions__import_row=None)
        newest = known.order_by("pk", "-revisions__known_at").distinct("pk")
        columns = (f"revisions__{name}" for name in KnownMarket._fields[2:])
        return [KnownMarket(*row) for row in newest.values_list("pk", "ticker", *columns)]

    # --- Writes of the recorder ------------------------------------------------------------

    def define(
        self,
        definitions: Sequence[MarketDefinition],
        *,
        events: dict[str, int],
        at: datetime,
    ) -> dict[str, int]:
        """Write new and changed definitions with their raw payloads; return ids by ticker."""
        if not definitions:
            return {}
        fields = {field.name: field for field in self.model._meta.concrete_fields}
        types = {fields[name].attname: str(fields[name].db_type(connection)) for name in DEFINED}
        rows = (_defined(each, events[each.payload.event_ticker], at) for each in definitions)
        stage_rows("staged_definitions", types, rows)
        columns = ", ".join(types)
        renewed = ", ".join(f"{name} = excluded.{name}" for name in types if name != "ticker")
        renewed += ", is_placeholder = false"
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO markets_market ({columns}, is_hot)
                SELECT {columns}, false FROM staged_definitions ORDER BY ticker
                ON CONFLICT (ticker) DO UPDATE SET {renewed} RETURNING ticker, id
                """
            )
            ids = dict(cursor.fetchall())
        MarketSearchText.objects.refresh(ids.values())
        return ids

    def unlist(self, tickers: Iterable[str], *, at: datetime) -> dict[str, int]:
        """Mark those of these markets that were open, or closed long ago, as unlisted.

        Returns their ids by ticker. Their definition's hash is changed to one that no payload has,
        so that a market that comes back is written anew.
        """
        never_settled = self.filter(closed_long_ago(at)).exclude(status=Status.FINALIZED)
        gone = self.open() | never_settled.exclude(status=Status.UNLISTED)
        ids = dict(gone.filter(ticker__in=tickers).values_list("ticker", "id"))
        self.filter(pk__in=ids.values()).update(
            status=Status.UNLISTED, recorded_at=at, definition_mark=-1 - F("definition_mark")
        )
        return ids

    # --- Reads of pages and API ------------------------------------------------------------

    def with_event(self) -> Self:
        """Join event and series, and leave out wide columns that lists and pages do not show."""
        return self.select_related("event__series").defer("raw_data", "event__settlement_sources")

    def with_past(self) -> Self:
        """Join the midpoints of an hour and a day ago, where they are known (`PastPrice`)."""
        return self.select_related("listed__past")

    def with_sparkline(self, hours: Sequence[datetime]) -> Self:
        """Annotate `spark_hours`, those of the hours that have a midpoint, and `spark_prices`."""
        rolled = manager_of("MarketHour").filter(market_id=OuterRef("pk"), hour__in=hours)
        rolled = rolled.order_by("hour")
        return self.annotate(
            spark_hours=ArraySubquery(rolled.values("hour")),
            spark_prices=ArraySubquery(rolled.values("last")),
        )

    def just_settled(self, *, at: datetime) -> Self:
        """Markets that were settled by an instant, the newest first."""
        return self.filter(settlement_ts__lte=at).order_by("-settlement_ts", "ticker")

    def with_imports(self) -> Self:
        """Annotate `imported_by`: the finished imports that have quotes of the market."""
        spans = manager_of("ImportedSpan").of_quotes().finished().filter(market=OuterRef("pk"))
        ids = spans.order_by("import_row_id").values("import_row_id")
        return self.annotate(imported_by=ArraySubquery(ids))

    def in_brief(self) -> Self:
        """Load only what its snapshots, trades and order books are looked up by."""
        return self.only("ticker", "quoted_at")

    def with_observation(self) -> Self:
        """Load only what tells, with its sweeps, when a market was last observed."""
        needed = self.select_related("event")
        return needed.only("ticker", "quoted_at", "status", "event__ticker")

    def rows(self, fields: Sequence[str]) -> "models.QuerySet[Market, dict[str, Any]]":
        """Return these fields as dictionaries; event and series go by the API's field names."""
        computed = {name: F(path) for name, path in JOINED.items()} | DERIVED_PRICES
        rows: models.QuerySet[Market, dict[str, Any]] = self.values(
            *(field for field in fields if field not in computed),
            **{name: value for name, value in computed.items() if name in fields},
        )
        return rows

    def described(self) -> Self:
        """Markets without placeholders."""
        return self.filter(is_placeholder=False)

    def open(self) -> Self:
        """Markets that are open as far as we know: no word that we know says otherwise."""
        described = self.described()
        return described.exclude(status=Status.FINALIZED).exclude(status__in=NOT_OPEN_STATUSES)

    def search(self, words: Iterable[str]) -> Self:
        """Markets whose ticker, title, outcome and event have every one of the words.

        See `matches`.
        """
        return self.filter(matches(words))

    def place_of(self, names: Sequence[str]) -> Place | None:
        """Find the market that one of these names, else the event, else the series."""
        for model, columns in PLACES.items():
            known = manager_of(model)
            rows = known.described().filter(ticker__in=known.as_written(names).values())
            if row := rows.values_list(*columns).first():
                return Place(*row)
        return None

    def siblings_of(self, market: "Market") -> Self:
        return self.filter(event_id=market.event_id).exclude(pk=market.pk)

    def along_strikes(self) -> Self:
        """Order by strike, ascending; markets without strikes come by their bid, highest first."""
        return self.order_by(
            F("floor_strike").asc(nulls_first=True),
            F("cap_strike").asc(nulls_last=True),
            F("yes_bid").desc(nulls_last=True),
            "ticker",
        )

    def in_order(self, ids: Sequence[int]) -> Self:
        """The markets with these ids, in the order of the ids."""
        place = Func(
            Value(ids, ArrayField(models.BigIntegerField())), F("pk"), function="array_position"
        )
        return self.filter(pk__in=ids).order_by(place)

    def of_events(self, ids: Iterable[int]) -> Self:
        """The markets of these events, by strike."""
        return self.filter(event_id__in=list(ids)).along_strikes()

    def rewind(self, markets: Sequence["Market"], at: datetime) -> list["Market"]:
        """Return these markets as they were known at an instant, with `known_at`; never save them.

        Markets that were unknown then are left out. The quote is the newest snapshot up to the
        instant; columns that no snapshot holds are None. Titles, rules and strikes come from the
        payload of the revision; without one they stay as they are today.
        """
        with connection.cursor() as cursor:
            cursor.execute(AS_OF, {"at": at, "ids": [market.pk for market in markets]})
            names = [column.name for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        past = {row.pop("id"): row for row in rows}
        known = [market for market in markets if market.pk in past]
        for market in known:
            _overwrite(market, past[market.pk])
        return known


def _defined(definition: MarketDefinition, event_id: int, at: datetime) -> tuple[object, ...]:
    """Return the values of a definition in the order of `DEFINED`."""
    payload, raw, mark = definition
    ranges = msgspec.json.encode(payload.price_ranges).decode()
    own = (payload.ticker, event_id, ranges, bytes(raw).decode(), mark, at)
    return (*own, *(getattr(payload, field) for field in MARKET_FIELDS))


def _overwrite(market: "Market", past: Row) -> None:
    """Overwrite a market with a row of `AS_OF`."""
    for name in REVISED_EVENT:
        setattr(market.event, name, past.pop(f"event_{name}"))
    past["price_ranges"] = msgspec.json.decode(past["price_ranges"])
    for name, value in (NOT_KEPT | _payload_fields(past.pop("payload")) | past).items():
        setattr(market, name, value)


def _payload_fields(payload: str | None) -> Row:
    """Return the fields of a payload; without one, the dates that move are unknown."""
    try:
        definition = payloads.market((payload or "{}").encode())
    except msgspec.ValidationError:
        return dict.fromkeys(MOVING_DATES)
    return {name: getattr(definition, name) for name in MARKET_FIELDS}


class Market(Quoted, Described):
    ticker = models.CharField(max_length=200, unique=True)
    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="markets")
    market_type = models.CharField(max_length=50, blank=True)
    title = models.TextField(blank=True)
    yes_sub_title = models.TextField(blank=True)
    no_sub_title = models.TextField(blank=True)
    status = models.CharField(max_length=50, choices=Status)
    result = models.CharField(max_length=50, blank=True)
    settlement_value = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    settlement_ts = models.DateTimeField(null=True, blank=True)
    settlement_timer_seconds = models.IntegerField(null=True, blank=True)

    open_time = models.DateTimeField(null=True, blank=True)
    close_time = models.DateTimeField(null=True, blank=True)
    expected_expiration_time = models.DateTimeField(null=True, blank=True)
    latest_expiration_time = models.DateTimeField(null=True, blank=True)
    created_time = models.DateTimeField(null=True, blank=True)
    updated_time = models.DateTimeField(null=True, blank=True)
    can_close_early = models.BooleanField(null=True, blank=True)

    strike_type = models.CharField(max_length=50, blank=True)
    floor_strike = exact_field()
    cap_strike = exact_field()
    price_level_structure = models.CharField(max_length=100, blank=True)
    price_ranges = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    exchange_index = models.IntegerField(null=True, blank=True)
    is_provisional = models.BooleanField(default=False)
    rules_primary = models.TextField(blank=True)
    rules_secondary = models.TextField(blank=True)
    raw_data = models.JSONField(
        help_text="The payload of the newest definition, including its quote at the time."
    )
    recorded_at = models.DateTimeField(help_text="When we last saw this definition change.")

    volume_24h = count_field()
    previous_price = price_field()
    quoted_at = models.DateTimeField(
        null=True, blank=True, help_text="The instant of the newest snapshot."
    )
    is_hot = models.BooleanField(default=False, help_text="Observed by every tick.")
    # Hashes of the newest payload's parts, by which the recorder recognises what has not changed.
    quote_mark = models.BigIntegerField(null=True, editable=False)
    definition_mark = models.BigIntegerField(editable=False)
    book_mark = models.BigIntegerField(null=True, editable=False)
    imported_by: list[int]  # annotated by `with_imports`
    spark_hours: list[datetime]  # annotated by `with_sparkline`
    spark_prices: list[int]

    objects = MarketQuerySet.as_manager()

    class Meta:
        ordering = ["ticker"]
        constraints = within_unit(
            "yes_bid", "yes_ask", "last_price", "settlement_value", model="market"
        )
        indexes = [
            models.Index(fields=["status", "close_time"], name="market_status_close_time"),
            models.Index(fields=["id"], condition=Q(is_hot=True), name="market_hot"),
            any_case("market"),
            # Whatever is not known to be final is asked for again, in the order of ids.
            models.Index(fields=["id"], condition=~Q(status="finalized"), name="market_not_final"),
            # The archive takes the outcomes of a day.
            models.Index(
                fields=["settlement_ts"],
                condition=Q(settlement_ts__isnull=False),
                name="market_settlement_ts",
            ),
        ]

    def __str__(self) -> str:
        return self.ticker

    def get_absolute_url(self) -> str:
        return reverse("markets:detail", args=[self.ticker])

    @property
    def change_24h(self) -> Decimal | None:
        """The change of the last price over a day in dollars; None where either is missing."""
        if self.last_price is None or self.previous_price is None:
            return None
        return self.last_price - self.previous_price

    @property
    def name(self) -> str:
        """The title that tells this market from its siblings, in Kalshi's words."""
        return self.yes_sub_title or self.title or self.ticker
