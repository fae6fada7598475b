"""Every read and every bulk write, by name.

Bulk writes are single statements over arrays (`unnest`): measured against the ORM's own bulk
operations they are several times faster and hold the rows' locks that much shorter.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Self
from uuid import UUID

import msgspec
from django.db import connection, models
from django.db.models import F, Q

from markets.kalshi.payloads import EventPayload, MarketPayload, QuotePayload, SeriesPayload

if TYPE_CHECKING:
    from markets.models import Event, Market, MarketSnapshot, Poll, Series, Sweep

QUOTE_COLUMNS = {
    "yes_bid": "numeric",
    "yes_ask": "numeric",
    "yes_bid_size": "numeric",
    "yes_ask_size": "numeric",
    "last_price": "numeric",
    "volume": "numeric",
    "open_interest": "numeric",
}
QUOTE_FIELDS = tuple(QUOTE_COLUMNS)
OPEN_STATUSES = ("active", "inactive")
UNSETTLED_STATUSES = ("active", "inactive", "closed", "determined", "disputed", "amended")
NEAR_EXPIRY = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Quote(NamedTuple):
    """What two observations of a market are compared by."""

    yes_bid: Decimal | None
    yes_ask: Decimal | None
    yes_bid_size: Decimal | None
    yes_ask_size: Decimal | None
    last_price: Decimal | None
    volume: Decimal | None
    open_interest: Decimal | None


class Definition(NamedTuple):
    """What a change of a market's definition shows by, without reading all of it."""

    status: str
    result: str
    close_time: datetime
    updated_time: datetime | None
    settlement_ts: datetime | None
    settlement_value: Decimal | None


class KnownMarket(NamedTuple):
    id: int
    is_hot: bool
    quoted_at: datetime | None
    price_ranges: list[dict[str, str]]
    definition: Definition
    quote: Quote


class Observation(NamedTuple):
    """One market's quote at one instant, ready to be written."""

    market_id: int
    timestamp: datetime
    quote: Quote
    volume_24h: Decimal | None
    previous_price: Decimal | None
    quality: int


def snapshot_id(market_id: int, timestamp: datetime, source: str, sequence: int | None) -> UUID:
    """The same observation's same id, everywhere: a UUIDv7 (RFC 9562) of the snapshot's time.

    Its 74 free bits are a hash of market, microsecond, source and sequence.
    """
    micros = (timestamp - EPOCH) // timedelta(microseconds=1)
    key = f"{market_id}:{micros}:{source}:{sequence}".encode()
    digest = int.from_bytes(hashlib.blake2b(key, digest_size=10).digest())
    head = (micros // 1000) << 80 | 0x7 << 76 | (digest >> 62 & 0xFFF) << 64
    return UUID(int=head | 0b10 << 62 | digest & (1 << 62) - 1)


def _unnest(columns: dict[str, str]) -> str:
    arrays = ", ".join(f"%s::{kind}[]" for kind in columns.values())
    return f"unnest({arrays}) AS new({', '.join(columns)})"


def _transposed(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


class SeriesQuerySet(models.QuerySet["Series"]):
    def ids(self, tickers: Iterable[str]) -> dict[str, int]:
        """Ids by ticker; a series not met before gets a row that says only its ticker."""
        wanted = set(tickers)
        self.bulk_create((self.model(ticker=ticker) for ticker in wanted), ignore_conflicts=True)
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
                contract_url=payload.contract_url,
                exchange_index=payload.exchange_index,
                refreshed_at=at,
            )
            for payload in payloads
        ]
        fields = [f.name for f in self.model._meta.concrete_fields if f.name not in ("id", "ticker")]
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
)


class EventQuerySet(models.QuerySet["Event"]):
    def record(
        self, payloads: Sequence[EventPayload], *, series: dict[str, int], at: datetime
    ) -> dict[str, int]:
        """Write the events that are new or changed; ids by ticker of all of them."""
        known = {
            ticker: (id, tuple(values))
            for id, ticker, *values in self.filter(
                ticker__in=[payload.ticker for payload in payloads]
            ).values_list("id", "ticker", *EVENT_FIELDS)
        }
        changed = [
            self.model(
                ticker=payload.ticker,
                series_id=series[payload.series_ticker],
                settlement_sources=list(payload.settlement_sources or ()),
                recorded_at=at,
                **dict(zip(EVENT_FIELDS, _event_values(payload), strict=True)),
            )
            for payload in payloads
            if known.get(payload.ticker, (0, ()))[1] != _event_values(payload)
        ]
        written = self.bulk_create(
            changed,
            update_conflicts=True,
            unique_fields=["ticker"],
            update_fields=["series_id", "settlement_sources", "recorded_at", *EVENT_FIELDS],
        )
        ids = {ticker: id for ticker, (id, _) in known.items()}
        return ids | {event.ticker: event.pk for event in written}

    def ids(self, tickers: Iterable[str]) -> dict[str, int]:
        return dict(self.filter(ticker__in=list(tickers)).values_list("ticker", "id"))


def _event_values(payload: EventPayload) -> tuple[object, ...]:
    return tuple(getattr(payload, field) for field in EVENT_FIELDS)


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


class MarketQuerySet(models.QuerySet["Market"]):
    # --- what the recorder reads -----------------------------------------------------------

    def known(self, tickers: Sequence[str]) -> dict[str, KnownMarket]:
        """What is on record of these markets, by ticker: one query of plain columns."""
        rows = self.filter(ticker__in=tickers).values_list(
            "ticker",
            "id",
            "is_hot",
            "quoted_at",
            "price_ranges",
            *Definition._fields,
            *Quote._fields,
        )
        ends = 5 + len(Definition._fields)
        return {
            row[0]: KnownMarket(*row[1:5], Definition(*row[5:ends]), Quote(*row[ends:]))
            for row in rows.iterator(chunk_size=10_000)
        }

    def hot_tickers(self) -> list[str]:
        """The markets every tick observes: the chosen ones and whatever is watched."""
        hot = self.filter(Q(is_hot=True) | Q(watches__isnull=False), status__in=OPEN_STATUSES)
        return list(hot.order_by("id").distinct().values_list("ticker", flat=True))

    def choose_hot(self, size: int) -> None:
        """Choose the hot list anew: by volume of a day, tenfold within an hour of the close."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH chosen AS (
                    SELECT id FROM markets_market WHERE status = 'active'
                    ORDER BY coalesce(volume_24h, 0)
                        * CASE WHEN close_time < now() + %s THEN 10 ELSE 1 END DESC, id
                    LIMIT %s)
                UPDATE markets_market SET is_hot = NOT is_hot
                WHERE is_hot <> (id IN (SELECT id FROM chosen))
                """,
                [NEAR_EXPIRY, size],
            )

    def awaiting_settlement(self, *, at: datetime, after_id: int) -> Self:
        """Markets past their close whose end is not on record yet, in order of id."""
        due = self.filter(status__in=UNSETTLED_STATUSES, close_time__lte=at, id__gt=after_id)
        return due.order_by("id")

    # --- what the recorder writes ----------------------------------------------------------

    def define(
        self,
        payloads: Sequence[tuple[MarketPayload, msgspec.Raw]],
        *,
        events: dict[str, int],
        at: datetime,
    ) -> dict[str, int]:
        """Write new and changed definitions, each with its raw payload; ids by ticker."""
        rows = [
            self.model(
                ticker=payload.ticker,
                event_id=events[payload.event_ticker],
                price_ranges=[
                    {"start": str(r.start), "end": str(r.end), "step": str(r.step)}
                    for r in payload.price_ranges
                ],
                raw_data=msgspec.json.decode(raw),
                recorded_at=at,
                **{field: getattr(payload, field) for field in MARKET_FIELDS},
            )
            for payload, raw in payloads
        ]
        written = self.bulk_create(
            rows,
            batch_size=1000,
            update_conflicts=True,
            unique_fields=["ticker"],
            update_fields=["event_id", "price_ranges", "raw_data", "recorded_at", *MARKET_FIELDS],
        )
        return {market.ticker: market.pk for market in written}

    def quote(self, observations: Sequence[Observation]) -> None:
        """Make these the markets' newest quotes; an older observation never replaces a newer."""
        columns = {
            "id": "bigint",
            "quoted_at": "timestamptz",
            **QUOTE_COLUMNS,
            "volume_24h": "numeric",
            "previous_price": "numeric",
        }
        rows = [
            (o.market_id, o.timestamp, *o.quote, o.volume_24h, o.previous_price)
            for o in observations
        ]
        assignments = ", ".join(f"{column} = new.{column}" for column in columns if column != "id")
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE markets_market AS old SET {assignments} FROM {_unnest(columns)}"
                " WHERE old.id = new.id"
                " AND (old.quoted_at IS NULL OR old.quoted_at <= new.quoted_at)",
                _transposed(rows),
            )

    # --- what the faces read ---------------------------------------------------------------

    def with_event(self) -> Self:
        """What lists and pages need, without the wide columns they do not show."""
        return self.select_related("event__series").defer("raw_data", "event__settlement_sources")

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


class MarketSnapshotQuerySet(models.QuerySet["MarketSnapshot"]):
    def record(
        self, observations: Sequence[Observation], *, source: str, recorded_at: datetime
    ) -> int:
        """Write snapshots in one statement; one that is there already changes nothing.

        Returns how many were new. The markets' newest quotes are `Market.objects.quote`'s.
        """
        columns = {
            "id": "uuid",
            "market_id": "bigint",
            "timestamp": "timestamptz",
            "recorded_at": "timestamptz",
            "source": "text",
            **QUOTE_COLUMNS,
            "quality": "smallint",
        }
        rows = [
            (
                snapshot_id(o.market_id, o.timestamp, source, None),
                o.market_id,
                o.timestamp,
                recorded_at,
                source,
                *o.quote,
                o.quality,
            )
            for o in observations
        ]
        if not rows:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO markets_marketsnapshot ({', '.join(columns)})"
                f" SELECT * FROM {_unnest(columns)} ON CONFLICT DO NOTHING",
                _transposed(rows),
            )
            return cursor.rowcount

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

    def newest(self) -> "MarketSnapshot | None":
        return self.order_by("-timestamp", "-id").first()

    def newest_of_all(self) -> Self:
        """The newest snapshot of every market that has one."""
        return self.filter(timestamp=F("market__quoted_at")).order_by("market_id")

    def closes(self, *, bucket: timedelta) -> list[tuple[object, ...]]:
        """The last quote of each bucket of time, oldest first.

        Rows of (timestamp, yes_bid, yes_ask, last_price, volume), bucketed by the database.
        """
        last = (
            self.annotate(bucket=DateBin(bucket, F("timestamp")))
            .order_by("bucket", "-timestamp")
            .distinct("bucket")
        )
        return list(last.values_list("timestamp", "yes_bid", "yes_ask", "last_price", "volume"))


class DateBin(models.Func):
    """PostgreSQL's `date_bin`: the start of the bucket that an instant falls into."""

    function = "date_bin"
    output_field = models.DateTimeField()

    def __init__(self, width: timedelta, instant: models.F) -> None:
        super().__init__(models.Value(width), instant, models.Value(EPOCH))


class PollQuerySet(models.QuerySet["Poll"]):
    def claim(self, *, interval: float) -> "Poll | None":
        """The row of a new run, or None where the last one began too short a while ago.

        The database's clock decides. Four fifths of the interval, because slots aligned to the
        interval itself are missed whenever the schedule comes a moment early.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO markets_poll (started_at, pages, requests, bytes, throttled, markets,
                                          snapshots, rejected, rejects, error)
                SELECT clock_timestamp(), 0, 0, 0, 0, 0, 0, 0, '[]', ''
                WHERE NOT EXISTS (
                    SELECT FROM markets_poll WHERE started_at > clock_timestamp() - %s)
                RETURNING id
                """,
                [timedelta(seconds=interval * 0.8)],
            )
            row = cursor.fetchone()
        return self.get(pk=row[0]) if row else None

    def newest_finished(self) -> "Poll | None":
        return self.filter(finished_at__isnull=False, error="").first()


class SweepQuerySet(models.QuerySet["Sweep"]):
    def newest(self, tier: str) -> "Sweep | None":
        return self.filter(tier=tier).first()

    def newest_complete(self, tier: str) -> "Sweep | None":
        return self.filter(tier=tier, complete=True).first()
