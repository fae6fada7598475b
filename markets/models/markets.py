"""Markets as the exchange lists them now, and who watches which."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Self

import msgspec
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Cast
from django.urls import reverse

from markets.kalshi import payloads
from markets.kalshi.payloads import MarketPayload
from markets.models.events import REVISED_EVENT, Event
from markets.models.fields import (
    Quote,
    Quoted,
    Row,
    contains_words,
    count_field,
    manager_of,
    price_field,
    within_unit,
)


class Status(models.TextChoices):
    """Kalshi's life of a market. Unknown words are stored as they came.

    One word is ours: a market that was open and that the exchange no longer knows is unlisted.
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


# Plain words, as SQL parameters and JSON take them.
OPEN_STATUSES = (Status.ACTIVE.value, Status.INACTIVE.value)
UNSETTLED_STATUSES = (
    Status.INITIALIZED.value,
    *OPEN_STATUSES,
    Status.CLOSED.value,
    Status.DETERMINED.value,
    Status.DISPUTED.value,
    Status.AMENDED.value,
)
# The recorder goes on asking for a market that the exchange no longer knows until this long
# after its close.
GIVEN_UP_AFTER = timedelta(days=7)
# What a market's row of the API takes from its event and series.
JOINED = {
    "event_ticker": "event__ticker",
    "event_title": "event__title",
    "series_ticker": "event__series__ticker",
    "category": "event__series__category",
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
# What a revision says of a market, what it says of its event, and a quote.
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
# Of these nothing is kept but the newest.
NOT_KEPT = dict.fromkeys(("volume_24h", "previous_price", "is_hot"))
AS_KNOWN = f"""
    SELECT market.id, known.price_ranges::text, known.raw_data::text AS payload,
        {", ".join(f"known.{name}" for name in REVISED)},
        coalesce(event.title, '') AS event_title, coalesce(event.sub_title, '') AS event_sub_title,
        event.mutually_exclusive AS event_mutually_exclusive,
        event.strike_date AS event_strike_date,
        quote.timestamp AS quoted_at, {", ".join(f"quote.{name}" for name in Quote._fields)}
    FROM markets_market AS market
    JOIN LATERAL (
        SELECT * FROM markets_marketrevision
        WHERE market_id = market.id AND known_at <= %(at)s ORDER BY known_at DESC LIMIT 1
    ) AS known ON true
    LEFT JOIN LATERAL (
        SELECT * FROM markets_eventrevision
        WHERE event_id = market.event_id AND known_at <= %(at)s ORDER BY known_at DESC LIMIT 1
    ) AS event ON true
    LEFT JOIN LATERAL (
        SELECT * FROM markets_marketsnapshot
        WHERE market_id = market.id AND timestamp <= %(at)s
        ORDER BY timestamp DESC, id DESC LIMIT 1
    ) AS quote ON true
    WHERE market.id = ANY(%(ids)s)
"""
# Dates that move, and would tell of what came later.
UNKNOWN_THEN = ("updated_time", "expected_expiration_time", "latest_expiration_time")
# A list of markets in the words of its address; the first is the usual one.
ORDERS = {
    "volume": F("volume_24h").desc(nulls_last=True),
    "-volume": F("volume_24h").asc(nulls_last=True),
    "interest": F("open_interest").desc(nulls_last=True),
    "-interest": F("open_interest").asc(nulls_last=True),
    "spread": (F("yes_ask") - F("yes_bid")).asc(nulls_last=True),
    "-spread": (F("yes_ask") - F("yes_bid")).desc(nulls_last=True),
    "change": (F("last_price") - F("previous_price")).desc(nulls_last=True),
    "-change": (F("last_price") - F("previous_price")).asc(nulls_last=True),
    "closing": F("close_time").asc(),
    "-closing": F("close_time").desc(),
    "price": (F("yes_bid") + F("yes_ask")).desc(nulls_last=True),
    "-price": (F("yes_bid") + F("yes_ask")).asc(nulls_last=True),
    "ticker": F("ticker").asc(),
    "-ticker": F("ticker").desc(),
}


class News(NamedTuple):
    """A market of which something must be written."""

    ticker: str
    id: int | None  # None: not on record yet
    price_ranges: str  # as JSON
    is_defined: bool  # False: the definition is new or has changed
    is_quoted: bool  # False: the quote is new, has changed, or its heartbeat is due


class MarketDefinition(NamedTuple):
    """A definition that was read, the payload it was read from, and the mark it is known by."""

    payload: MarketPayload
    raw: msgspec.Raw
    mark: int


class KnownMarket(NamedTuple):
    """What was known of a market at an instant, and since when."""

    market_id: int
    ticker: str
    known_at: datetime
    known_at_assumed: bool
    status: str
    close_time: datetime | None
    result: str
    settlement_value: Decimal | None
    settlement_ts: datetime | None


class MarketQuerySet(models.QuerySet["Market"]):
    def news(
        self,
        marks: Sequence[tuple[str, int, int]],
        *,
        at: datetime,
        hot_heartbeat: timedelta,
        heartbeat: timedelta,
    ) -> list[News]:
        """Which of these markets are new, changed, or due for a heartbeat at `at`.

        `marks` are tickers with their quote's and their definition's marks as observed.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT * FROM (
                    SELECT new.ticker, old.id, old.price_ranges::text,
                        old.definition_mark IS NOT DISTINCT FROM new.definition_mark AS is_defined,
                        old.quote_mark IS NOT DISTINCT FROM new.quote_mark
                            AND (old.status <> ALL(%(open)s) OR old.quoted_at <= %(at)s
                                AND old.quoted_at > CASE WHEN old.is_hot THEN %(hot)s
                                    ELSE %(others)s END) AS is_quoted
                    FROM (
                        SELECT seen->>0 AS ticker, (seen->>1)::bigint AS quote_mark,
                            (seen->>2)::bigint AS definition_mark
                        FROM json_array_elements(%(marks)s::json) AS seen
                    ) AS new
                    LEFT JOIN markets_market AS old ON old.ticker = new.ticker
                ) AS told WHERE NOT (is_defined AND is_quoted)
                """,
                {
                    # As one JSON text: a tenth of the time that arrays take to be written out.
                    "marks": msgspec.json.encode(marks).decode(),
                    "open": list(OPEN_STATUSES),
                    "at": at,
                    "hot": at - hot_heartbeat,
                    "others": at - heartbeat,
                },
            )
            return [News(*row) for row in cursor.fetchall()]

    def ids(self, tickers: Iterable[str]) -> dict[str, int]:
        return dict(self.filter(ticker__in=list(tickers)).values_list("ticker", "id"))

    def grids(self, ids: Iterable[int]) -> dict[int, str]:
        """Price ranges as JSON, by id."""
        text = Cast("price_ranges", models.TextField())
        return dict(self.filter(pk__in=list(ids)).values_list("id", text))

    def hot_tickers(self) -> list[str]:
        """The markets every tick observes: the chosen ones and whatever is watched."""
        hot = self.filter(Q(is_hot=True) | Q(watches__isnull=False), status__in=OPEN_STATUSES)
        return list(hot.order_by("id").distinct().values_list("ticker", flat=True))

    def with_books(self, size: int) -> Self:
        """The most traded of the hot markets, whose whole books are recorded."""
        hot = self.filter(is_hot=True, status=Status.ACTIVE).order_by(
            F("volume_24h").desc(nulls_last=True), "id"
        )
        return self.filter(pk__in=hot.values("pk")[:size])

    def choose_hot(self, size: int, *, at: datetime) -> None:
        """Choose the hot list anew: by volume of a day, tenfold within an hour of the close.

        One contract more is reckoned, so that a close also counts where nothing was traded yet.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH chosen AS (
                    SELECT id FROM markets_market WHERE status = %s
                    ORDER BY (coalesce(volume_24h, 0) + 1)
                        * CASE WHEN close_time BETWEEN %s AND %s THEN 10 ELSE 1 END DESC, id
                    LIMIT %s)
                UPDATE markets_market SET is_hot = NOT is_hot
                WHERE is_hot <> (id IN (SELECT id FROM chosen))
                """,
                [Status.ACTIVE.value, at, at + NEAR_EXPIRY, size],
            )

    def awaiting_settlement(self, *, at: datetime) -> Self:
        """Markets past their close whose end is not on record yet."""
        due = Q(status__in=UNSETTLED_STATUSES)
        due |= Q(status=Status.UNLISTED, close_time__gt=at - GIVEN_UP_AFTER)
        return self.filter(due, close_time__lte=at)

    def after(self, id: int) -> Self:
        return self.filter(id__gt=id).order_by("id")

    def as_of(self, at: datetime) -> list[KnownMarket]:
        """What was known of each of these markets at an instant, and nothing that came later.

        Of a market of which nothing was known yet there is nothing.
        """
        known = self.filter(revisions__known_at__lte=at)
        newest = known.order_by("pk", "-revisions__known_at").distinct("pk")
        columns = (f"revisions__{name}" for name in KnownMarket._fields[2:])
        return [KnownMarket(*row) for row in newest.values_list("pk", "ticker", *columns)]

    # --- what the recorder writes ----------------------------------------------------------

    def define(
        self,
        definitions: Sequence[MarketDefinition],
        *,
        events: dict[str, int],
        at: datetime,
    ) -> dict[str, int]:
        """Write new and changed definitions, each with its raw payload; ids by ticker."""
        rows = [
            self.model(
                ticker=payload.ticker,
                event_id=events[payload.event_ticker],
                price_ranges=msgspec.to_builtins(payload.price_ranges),
                raw_data=msgspec.json.decode(raw),
                definition_mark=mark,
                recorded_at=at,
                **{field: getattr(payload, field) for field in MARKET_FIELDS},
            )
            for payload, raw, mark in definitions
        ]
        written = self.bulk_create(
            rows,
            batch_size=1000,
            update_conflicts=True,
            unique_fields=["ticker"],
            update_fields=[
                "event_id",
                "price_ranges",
                "raw_data",
                "definition_mark",
                "recorded_at",
                *MARKET_FIELDS,
            ],
        )
        return {market.ticker: market.pk for market in written}

    def unlist(self, tickers: Iterable[str], *, at: datetime) -> dict[str, int]:
        """Mark those of these markets that were open as unlisted; returns their ids by ticker.

        Where one comes back, its definition is written anew: no mark of it is like this one.
        """
        ids = dict(self.open().filter(ticker__in=tickers).values_list("ticker", "id"))
        self.filter(pk__in=ids.values()).update(
            status=Status.UNLISTED, recorded_at=at, definition_mark=-1 - F("definition_mark")
        )
        return ids

    # --- what the faces read ---------------------------------------------------------------

    def with_event(self) -> Self:
        """What lists and pages need, without the wide columns they do not show."""
        return self.select_related("event__series").defer("raw_data", "event__settlement_sources")

    def in_brief(self) -> Self:
        """What its snapshots, trades and books are found by."""
        return self.only("ticker", "quoted_at")

    def rows(self, fields: Sequence[str]) -> "models.QuerySet[Market, dict[str, Any]]":
        """These fields as dictionaries; those of event and series by the API's names for them."""
        joined = {name: F(path) for name, path in JOINED.items() if name in fields}
        rows: models.QuerySet[Market, dict[str, Any]] = self.values(
            *(field for field in fields if field not in JOINED), **joined
        )
        return rows

    def by_ticker(self, ticker: str) -> "Market | None":
        # PostgreSQL knows no text with a NUL in it.
        return None if "\0" in ticker else self.filter(ticker=ticker).first()

    def open(self) -> Self:
        return self.filter(status__in=OPEN_STATUSES)

    def search(self, words: str) -> Self:
        """Markets whose ticker, title, outcome or event holds every one of the words."""
        columns = ("ticker", "title", "yes_sub_title", "event__title")
        return self.filter(contains_words(words, *columns))

    def siblings_of(self, market: "Market") -> Self:
        return self.filter(event_id=market.event_id).exclude(pk=market.pk)

    def along_strikes(self) -> Self:
        """Up the ladder of strikes; where there is none, the likeliest first."""
        return self.order_by(
            F("floor_strike").asc(nulls_first=True),
            F("cap_strike").asc(nulls_last=True),
            F("yes_bid").desc(nulls_last=True),
            "ticker",
        )

    def ranked(self, order: str) -> Self:
        """In one of `ORDERS`; what is unknown comes last, equals by ticker."""
        return self.order_by(ORDERS[order], "ticker")

    def categories(self) -> dict[str, int]:
        """How many of these markets each category has, by name."""
        counted = self.order_by("event__series__category").values_list("event__series__category")
        return dict(counted.annotate(count=models.Count("pk")))

    def of_events(self, ids: Iterable[int]) -> Self:
        """The markets of these events, up the ladders of strikes."""
        return self.filter(event_id__in=list(ids)).along_strikes()

    def in_stage(self, statuses: Iterable[str]) -> Self:
        return self.filter(status__in=list(statuses))

    def midpoint_from(self, least: Decimal) -> Self:
        """Two-sided markets whose midpoint is at least this."""
        return self.alias(both=F("yes_bid") + F("yes_ask")).filter(both__gte=2 * least)

    def midpoint_to(self, most: Decimal) -> Self:
        return self.alias(both=F("yes_bid") + F("yes_ask")).filter(both__lte=2 * most)

    def spread_to(self, most: Decimal) -> Self:
        return self.alias(width=F("yes_ask") - F("yes_bid")).filter(width__lte=most)

    def two_sided(self, wanted: bool) -> Self:
        both = Q(yes_bid__isnull=False, yes_ask__isnull=False)
        return self.filter(both if wanted else ~both)

    def updated_since(self, at: datetime) -> Self:
        """Markets whose quote or definition is from then or later."""
        return self.filter(Q(quoted_at__gte=at) | Q(recorded_at__gte=at))

    def known_at(self, at: datetime) -> Self:
        """Markets of which something was known at an instant."""
        then = manager_of("MarketRevision").filter(market_id=OuterRef("pk"), known_at__lte=at)
        status = Subquery(then.order_by("-known_at").values("status")[:1])
        # Only where something asks for it is the status looked up.
        return self.filter(Exists(then)).alias(known_status=status)

    def then_in(self, statuses: Iterable[str]) -> Self:
        """Of the markets known at an instant those that were in one of these stages of life."""
        return self.filter(known_status__in=list(statuses))

    def as_known(self, markets: Sequence["Market"], at: datetime) -> list["Market"]:
        """These markets made what they were known to be, with `known_at`; not to be saved.

        Whatever was not known then is left out. A quote is the newest snapshot of then, and what
        no snapshot holds is None. Titles, rules and strikes are those of the payload of then;
        where a revision has no payload they stay what they are today.
        """
        with connection.cursor() as cursor:
            cursor.execute(AS_KNOWN, {"at": at, "ids": [market.pk for market in markets]})
            names = [column.name for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        then = {row.pop("id"): row for row in rows}
        found = [market for market in markets if market.pk in then]
        for market in found:
            _put_back(market, then[market.pk])
        return found


def _put_back(market: "Market", then: Row) -> None:
    """Make a market what it was; `then` is a row of `AS_KNOWN`."""
    for name in REVISED_EVENT:
        setattr(market.event, name, then.pop(f"event_{name}"))
    then["price_ranges"] = msgspec.json.decode(then["price_ranges"])
    for name, value in (NOT_KEPT | _defined(then.pop("payload")) | then).items():
        setattr(market, name, value)


def _defined(payload: str | None) -> Row:
    """What a payload says of a market; without one, that its later dates are unknown."""
    try:
        definition = payloads.market((payload or "{}").encode())
    except msgspec.ValidationError:
        return dict.fromkeys(UNKNOWN_THEN)
    return {name: getattr(definition, name) for name in MARKET_FIELDS}


class Market(Quoted):
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

    open_time = models.DateTimeField()
    close_time = models.DateTimeField()
    expected_expiration_time = models.DateTimeField(null=True, blank=True)
    latest_expiration_time = models.DateTimeField(null=True, blank=True)
    created_time = models.DateTimeField(null=True, blank=True)
    updated_time = models.DateTimeField(null=True, blank=True)
    can_close_early = models.BooleanField(null=True, blank=True)

    strike_type = models.CharField(max_length=50, blank=True)
    floor_strike = models.DecimalField(max_digits=24, decimal_places=8, null=True, blank=True)
    cap_strike = models.DecimalField(max_digits=24, decimal_places=8, null=True, blank=True)
    price_level_structure = models.CharField(max_length=100, blank=True)
    price_ranges = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    exchange_index = models.IntegerField(null=True, blank=True)
    is_provisional = models.BooleanField(default=False)
    rules_primary = models.TextField(blank=True)
    rules_secondary = models.TextField(blank=True)
    raw_data = models.JSONField(
        help_text="The payload of the newest definition, its quote included as it was then."
    )
    recorded_at = models.DateTimeField(help_text="When this definition was last seen to change.")

    volume_24h = count_field()
    previous_price = price_field()
    quoted_at = models.DateTimeField(
        null=True, blank=True, help_text="The instant of the newest snapshot."
    )
    is_hot = models.BooleanField(default=False, help_text="Observed by every tick.")
    # Hashes of the newest payload's texts, by which the recorder tells news from repetition.
    quote_mark = models.BigIntegerField(null=True, editable=False)
    definition_mark = models.BigIntegerField(editable=False)
    book_mark = models.BigIntegerField(null=True, editable=False)

    objects = MarketQuerySet.as_manager()

    class Meta:
        ordering = ["ticker"]
        constraints = within_unit(
            "yes_bid", "yes_ask", "last_price", "settlement_value", model="market"
        )
        indexes = [
            models.Index(fields=["status", "close_time"], name="market_status_close_time"),
            models.Index(fields=["id"], condition=Q(is_hot=True), name="market_hot"),
        ]

    def __str__(self) -> str:
        return self.ticker

    def get_absolute_url(self) -> str:
        return reverse("markets:detail", args=[self.ticker])

    @property
    def change_24h(self) -> Decimal | None:
        """Dollars since the last trade a day ago; None where either trade is missing."""
        if self.last_price is None or self.previous_price is None:
            return None
        return self.last_price - self.previous_price

    @property
    def name(self) -> str:
        """What tells this market from its siblings, in Kalshi's words."""
        return self.yes_sub_title or self.title or self.ticker


class Watch(models.Model):
    """A market on a user's watch-list; watched markets are hot."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="watches"
    )
    market = models.ForeignKey(Market, on_delete=models.CASCADE, related_name="watches")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "watches"
        constraints = [models.UniqueConstraint(fields=["user", "market"], name="watch_once")]

    def __str__(self) -> str:
        return f"{self.user} watches {self.market}"
