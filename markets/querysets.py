"""Every read and every bulk write, by name.

Snapshots come in by COPY into a staging table: measured with 2,000 rows that took half the
time of arrays (`unnest`) and a small part of the ORM's own bulk operations.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import UUID

import msgspec
from django.db import connection, models
from django.db.backends.utils import CursorWrapper
from django.db.models import F, Q
from django.db.models.functions import Cast

from markets.kalshi.payloads import EventPayload, MarketPayload, SeriesPayload

if TYPE_CHECKING:
    from markets.models import (  # noqa: F401
        Event,
        Market,
        MarketSnapshot,
        OrderBookSnapshot,
        Poll,
        Series,
        Sweep,
    )

# What `MarketSnapshot.objects.record` copies in, with its types.
STAGED = {
    "id": "uuid",
    "market_id": "bigint",
    "timestamp": "timestamptz",
    "yes_bid": "numeric(6,4)",
    "yes_ask": "numeric(6,4)",
    "yes_bid_size": "numeric(18,2)",
    "yes_ask_size": "numeric(18,2)",
    "last_price": "numeric(6,4)",
    "volume": "numeric(18,2)",
    "open_interest": "numeric(18,2)",
    "quality": "smallint",
    "volume_24h": "numeric(18,2)",
    "previous_price": "numeric(6,4)",
    "quote_mark": "bigint",
    "payload": "text",
}
STAGING = ", ".join(f"{column} {kind}" for column, kind in STAGED.items())
SNAPSHOT_COLUMNS = tuple(STAGED)[:11]
NEWEST_COLUMNS = (*tuple(STAGED)[3:10], *tuple(STAGED)[11:14])
OPEN_STATUSES = ("active", "inactive")
UNSETTLED_STATUSES = (
    "initialized",
    *OPEN_STATUSES,
    "closed",
    "determined",
    "disputed",
    "amended",
)
UNLISTED = "unlisted"
# So long after its close a market that the exchange no longer knows is still asked for.
GIVEN_UP_AFTER = timedelta(days=7)
# What a market's row of the API takes from its event and series.
JOINED = {
    "event_ticker": "event__ticker",
    "event_title": "event__title",
    "series_ticker": "event__series__ticker",
    "category": "event__series__category",
}
NEAR_EXPIRY = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Quote(NamedTuple):
    """The columns of a quote, in order."""

    yes_bid: Decimal | None
    yes_ask: Decimal | None
    yes_bid_size: Decimal | None
    yes_ask_size: Decimal | None
    last_price: Decimal | None
    volume: Decimal | None
    open_interest: Decimal | None


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


class Recorded(NamedTuple):
    """Events by ticker, and the ids of those that are new or have changed."""

    ids: dict[str, int]
    changed: list[int]


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


class Observation(NamedTuple):
    """One market's quote at one instant, ready to be written."""

    market_id: int
    timestamp: datetime
    quote: Quote
    quality: int
    volume_24h: Decimal | None
    previous_price: Decimal | None
    quote_mark: int
    payload: msgspec.Raw | bytes = b""


class Close(NamedTuple):
    """The last quote of a bucket of time."""

    timestamp: datetime
    yes_bid: Decimal | None
    yes_ask: Decimal | None
    last_price: Decimal | None
    volume: Decimal | None


def snapshot_id(market_id: int, timestamp: datetime, source: str, sequence: int | None) -> UUID:
    """The same observation's same id, everywhere: a UUIDv7 (RFC 9562) of the snapshot's time.

    Its 74 free bits are a hash of market, microsecond, source and sequence.
    """
    micros = _micros(timestamp)
    key = f"{market_id}:{micros}:{source}:{sequence}".encode()
    digest = int.from_bytes(hashlib.blake2b(key, digest_size=10).digest())
    head = (micros // 1000) << 80 | 0x7 << 76 | (digest >> 62 & 0xFFF) << 64
    return UUID(int=head | 0b10 << 62 | digest & (1 << 62) - 1)


@lru_cache(maxsize=1000)
def _micros(instant: datetime) -> int:
    """A page's markets share their instant."""
    return (instant - EPOCH) // MICROSECOND


class SeriesQuerySet(models.QuerySet["Series"]):
    def ids(self, tickers: Iterable[str]) -> dict[str, int]:
        """Ids by ticker; a series not met before gets a row that says only its ticker."""
        wanted = set(tickers)
        rows = (self.model(ticker=ticker) for ticker in sorted(wanted))
        self.bulk_create(rows, ignore_conflicts=True)
        return dict(self.filter(ticker__in=wanted).values_list("ticker", "id"))

    def refresh(self, payloads: Iterable[SeriesPayload], *, at: datetime) -> int:
        """Write each series as the exchange tells it now. Returns how many."""
        rows = [
            self.model(
                ticker=payload.ticker,
                title=payload.title,
                category=payload.category,
                tags=list(payload.tags or ()),
                frequency=payload.frequency,
                fee_type=payload.fee_type,
                fee_multiplier=payload.fee_multiplier,
                settlement_sources=list(payload.settlement_sources or ()),
                contract_url=payload.contract_url or "",
                exchange_index=payload.exchange_index,
                refreshed_at=at,
            )
            for payload in payloads
        ]
        fields = [
            f.name for f in self.model._meta.concrete_fields if f.name not in ("id", "ticker")
        ]
        self.bulk_create(
            rows,
            batch_size=1000,
            update_conflicts=True,
            unique_fields=["ticker"],
            update_fields=fields,
        )
        return len(rows)

    def unread(self) -> Self:
        return self.filter(refreshed_at=None)


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


class EventQuerySet(models.QuerySet["Event"]):
    def record(
        self, payloads: Sequence[EventPayload], *, series: dict[str, int], at: datetime
    ) -> Recorded:
        """Write the events that are new or changed."""
        rows = self.filter(ticker__in=[payload.ticker for payload in payloads]).values_list(
            "ticker", "id", "series_id", *EVENT_FIELDS
        )
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
            update_fields=["series_id", "recorded_at", *EVENT_FIELDS],
        )
        ids = {ticker: id for ticker, id, *_ in rows}
        ids |= {event.ticker: event.pk for event in written}
        return Recorded(ids, [event.pk for event in written])

    def ids(self, tickers: Iterable[str]) -> dict[str, int]:
        return dict(self.filter(ticker__in=list(tickers)).values_list("ticker", "id"))


def _event_values(payload: EventPayload) -> tuple[object, ...]:
    *values, sources = (getattr(payload, field) for field in EVENT_FIELDS)
    return (*values, list(sources or ()))


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


class MarketQuerySet(models.QuerySet["Market"]):
    # --- what the recorder reads -----------------------------------------------------------

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
        hot = self.filter(is_hot=True, status="active").order_by(
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
                    SELECT id FROM markets_market WHERE status = 'active'
                    ORDER BY (coalesce(volume_24h, 0) + 1)
                        * CASE WHEN close_time BETWEEN %s AND %s THEN 10 ELSE 1 END DESC, id
                    LIMIT %s)
                UPDATE markets_market SET is_hot = NOT is_hot
                WHERE is_hot <> (id IN (SELECT id FROM chosen))
                """,
                [at, at + NEAR_EXPIRY, size],
            )

    def awaiting_settlement(self, *, at: datetime) -> Self:
        """Markets past their close whose end is not on record yet."""
        due = Q(status__in=UNSETTLED_STATUSES)
        due |= Q(status=UNLISTED, close_time__gt=at - GIVEN_UP_AFTER)
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
        definitions: Sequence["MarketDefinition"],
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
            status=UNLISTED, recorded_at=at, definition_mark=-1 - F("definition_mark")
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
        found = self
        for word in words.split():
            found = found.filter(
                Q(ticker__icontains=word)
                | Q(title__icontains=word)
                | Q(yes_sub_title__icontains=word)
                | Q(event__title__icontains=word)
            )
        return found

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


def _stage(
    cursor: CursorWrapper, observations: Sequence[Observation], source: str, *, keep_payloads: bool
) -> None:
    cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS staging ({STAGING}) ON COMMIT DELETE ROWS")
    with cursor.copy(f"COPY staging ({', '.join(STAGED)}) FROM STDIN") as copy:
        for seen in observations:
            # The digits as they are: COPY spends as long on writing out a UUID as we on
            # making it.
            id = snapshot_id(seen.market_id, seen.timestamp, source, None).hex
            # What no column reads may be anything.
            payload = bytes(seen.payload).decode(errors="replace") if keep_payloads else None
            copy.write_row((id, *seen[:2], *seen.quote, *seen[3:7], payload))


class MarketSnapshotQuerySet(models.QuerySet["MarketSnapshot"]):
    def record(
        self,
        observations: Sequence[Observation],
        *,
        source: str,
        recorded_at: datetime,
        keep_payloads: bool = False,
    ) -> int:
        """Write snapshots and the markets' newest quotes; returns how many snapshots were new.

        A few statements for any number of rows, to be called inside a transaction. A snapshot
        that is there already changes nothing. What was polled is the newest quote even where
        the clock has stepped back; other sources replace no newer one.
        """
        if not observations:
            return 0
        with connection.cursor() as cursor:
            _stage(cursor, observations, source, keep_payloads=keep_payloads)
            cursor.execute(
                f"""
                INSERT INTO markets_marketsnapshot
                    ({", ".join(SNAPSHOT_COLUMNS)}, source, recorded_at)
                SELECT {", ".join(SNAPSHOT_COLUMNS)}, %s, %s FROM staging ON CONFLICT DO NOTHING
                """,
                [source, recorded_at],
            )
            written: int = cursor.rowcount
            if keep_payloads:
                cursor.execute(
                    """
                    INSERT INTO markets_rawpayload (id, market_id, timestamp, payload)
                    SELECT id, market_id, timestamp, payload FROM staging ON CONFLICT DO NOTHING
                    """
                )
            cursor.execute(
                f"""
                UPDATE markets_market AS old
                SET quoted_at = new.timestamp, {", ".join(f"{c} = new.{c}" for c in NEWEST_COLUMNS)}
                FROM staging AS new WHERE old.id = new.market_id
                    AND (%s OR old.quoted_at IS NULL OR old.quoted_at <= new.timestamp)
                """,
                [source == "POLL"],
            )
        return written

    def for_market(self, market: "Market") -> Self:
        return self.filter(market=market)

    def for_ticker(self, ticker: str) -> Self:
        return self.filter(market__ticker=ticker)

    def from_source(self, source: str) -> Self:
        return self.filter(source=source)

    def between(self, start: datetime | None, end: datetime | None) -> Self:
        """From `start` on and before `end`; None leaves a side open."""
        found = self
        if start is not None:
            found = found.filter(timestamp__gte=start)
        if end is not None:
            found = found.filter(timestamp__lt=end)
        return found

    def oldest_first(self) -> Self:
        return self.order_by("timestamp", "id")

    def newest(self) -> "MarketSnapshot | None":
        return self.order_by("-timestamp", "-id").first()

    def newest_of_all(self) -> Self:
        """The newest snapshot of every market that has one."""
        return self.filter(timestamp=F("market__quoted_at")).order_by("market_id")

    def closes(self, *, bucket: timedelta) -> list[Close]:
        """The last quote of each bucket of time, oldest first, chosen by the database."""
        last = (
            self.annotate(bucket=DateBin(bucket, F("timestamp")))
            .order_by("bucket", "-timestamp")
            .distinct("bucket")
        )
        # DISTINCT ON resolves an annotation only where it is selected too.
        return [Close(*row[:-1]) for row in last.values_list(*Close._fields, "bucket")]


class DateBin(models.Func):
    """PostgreSQL's `date_bin`: the start of the bucket that an instant falls into."""

    function = "date_bin"
    output_field = models.DateTimeField()

    def __init__(self, width: timedelta, instant: models.F) -> None:
        super().__init__(models.Value(width), instant, models.Value(EPOCH))
