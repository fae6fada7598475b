"""Snapshots: one observation each of the top of a market's book.

Snapshots come in by COPY into a staging table: measured with 2,000 rows that took half the
time of arrays (`unnest`) and a small part of the ORM's own bulk operations.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, Self
from uuid import UUID

import msgspec
from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import connection, models, transaction
from django.db.models import F, Func, Max, Min
from django.db.models.expressions import RawSQL

from kalshi_insights.arrays import Array, np
from kalshi_insights.export.copy import stage_rows
from markets import prices
from markets.intervals import EPOCH
from markets.models.fields import (
    COUNT,
    DERIVED_PRICES,
    PRICE,
    QUOTE_TYPES,
    DateBin,
    Quote,
    Quoted,
    within_unit,
)
from markets.models.imports import LINE_BITS, of_finished_imports, rows_of
from markets.models.markets import Market
from markets.models.observations import array_of
from markets.models.raw_payloads import KeptPayload, PayloadBlock

# The columns that `MarketSnapshot.objects.record` copies in, with their types.
STAGED = {
    "id": "uuid",
    "market_id": "bigint",
    "timestamp": "timestamptz",
    **QUOTE_TYPES,
    "quality": "smallint",
    "volume_24h": COUNT,
    "previous_price": PRICE,
    "quote_mark": "bigint",
    "raw_data": "jsonb",
}
SNAPSHOT_COLUMNS = ("id", "market_id", "timestamp", *QUOTE_TYPES, "quality", "raw_data")
NEWEST_COLUMNS = (*QUOTE_TYPES, "volume_24h", "previous_price", "quote_mark")
MICROSECOND = timedelta(microseconds=1)
# The newest quote is that of the last snapshot in the order of time and id, however the rows of
# one instant were written.
RENEW_QUOTES = f"""
    WITH newest AS (
        SELECT DISTINCT ON (market_id) id, market_id, timestamp, {", ".join(NEWEST_COLUMNS)}
        FROM staging ORDER BY market_id, timestamp DESC, id DESC
    )
    UPDATE markets_market AS old
    SET quoted_at = new.timestamp, {", ".join(f"{c} = new.{c}" for c in NEWEST_COLUMNS)}
    FROM newest AS new WHERE old.id = new.market_id
        AND (%s OR old.quoted_at IS NULL OR old.quoted_at <= new.timestamp)
        AND (old.quoted_at IS DISTINCT FROM new.timestamp OR NOT EXISTS (
            SELECT FROM markets_marketsnapshot AS later
            WHERE later.market_id = old.id AND later.timestamp = new.timestamp
                AND later.id > new.id AND later.source <> 'IMPORT'))
"""


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
    raw_data: Mapping[str, object] | None = None  # the fields that no column holds


class Close(NamedTuple):
    """The last quote of a bucket of time."""

    timestamp: datetime
    yes_bid: Decimal | None
    yes_ask: Decimal | None
    last_price: Decimal | None
    volume: Decimal | None


def snapshot_id(
    market_id: int, timestamp: datetime, source: str, sequence: int | None, *, content: str
) -> UUID:
    """Return the id of an observation, a UUIDv7 (RFC 9562) of the snapshot's time.

    Its 74 free bits are a hash of market, microsecond, source, sequence and content (see
    `content_of`), so that the same observation has the same id everywhere, and another one of the
    same instant another id. They begin with the end of the sequence, where there is one: rows
    in the order of time and id are in the order of their sequence.
    """
    micros = _micros(timestamp)
    key = f"{market_id}:{micros}:{source}:{sequence}:{content}".encode()
    digest = int.from_bytes(hashlib.blake2b(key, digest_size=10).digest())
    if sequence is not None:
        digest = (sequence & 0xFFFFFF) << 50 | digest & (1 << 50) - 1
    head = (micros // 1000) << 80 | 0x7 << 76 | (digest >> 62 & 0xFFF) << 64
    return UUID(int=head | 0b10 << 62 | digest & (1 << 62) - 1)


def content_of(numbers: Iterable[Decimal | None]) -> str:
    """Write numbers as one text, which is the same for 0.5 and 0.5000."""
    return " ".join(["" if each is None else _shortest(each) for each in numbers])


@lru_cache(maxsize=100_000)
def _shortest(number: Decimal) -> str:
    """Write a number without trailing zeros; cached, because prices and sizes repeat."""
    return str(number.normalize())


@lru_cache(maxsize=1000)
def _micros(instant: datetime) -> int:
    """Return microseconds since 1970; cached, because the markets of a page share an instant."""
    return (instant - EPOCH) // MICROSECOND


class Source(models.TextChoices):
    POLL = "POLL"
    WEBSOCKET = "WEBSOCKET"
    BACKFILL = "BACKFILL"
    IMPORT = "IMPORT"


# --- arrays ------------------------------------------------------------------------------------

# Counts in 1/100 contract are capped here, so that sums of their products with prices fit into
# 64 bits.
MAX_COUNT = 1_000_000_000


def _count_sql(column: str) -> str:
    # An unknown count is replaced first: the least of NULL and a number is that number.
    return f"least(coalesce({column} * 100, -1), {MAX_COUNT})::int4"


def _price_sql(column: str) -> str:
    return f"coalesce(({column} * 10000)::int2, -1::int2)"


# The columns of a market's row in `MarketSnapshot.objects.columns`, with their SQL and the format
# in which PostgreSQL sends them. Each is an array without NULLs and of fixed width, which costs a
# tenth of a row for each snapshot. Of `flags`, 1 marks
# backfilled and 2 imported snapshots.
ARRAYS = {
    "at": ("timestamp", ">i8"),
    "bid": (_price_sql("yes_bid"), ">i2"),
    "ask": (_price_sql("yes_ask"), ">i2"),
    "bid_size": (_count_sql("yes_bid_size"), ">i4"),
    "ask_size": (_count_sql("yes_ask_size"), ">i4"),
    "last": (_price_sql("last_price"), ">i2"),
    "volume": (_count_sql("volume"), ">i4"),
    "flags": (
        f"((quality & {prices.Quality.STALE.value}) | (source = 'BACKFILL')::int"
        " | ((source = 'IMPORT')::int << 1))::int2",
        ">i2",
    ),
}
SELECT_ARRAYS = f"""
    SELECT market_id, {", ".join(f"array_agg({sql})" for sql, _ in ARRAYS.values())}
    FROM (
        SELECT * FROM markets_marketsnapshot
        WHERE market_id = ANY(%s::bigint[]) AND timestamp >= %s AND timestamp < %s
            AND recorded_at <= %s
            AND (source <> 'IMPORT' OR sequence >> {LINE_BITS} = ANY(%s::bigint[]))
        {{order}}
    ) AS found GROUP BY market_id
"""
ONE_ORDER = "ORDER BY market_id, timestamp, id"
# A statement reads this many markets: more as long as they have few snapshots, fewer if many.
LEAST_MARKETS, MOST_MARKETS = 100, 10_000
FEW_SNAPSHOTS, MANY_SNAPSHOTS = 200_000, 1_000_000
ARRAY_HEAD = 20  # bytes before the elements of a one-dimensional array
# PostgreSQL counts binary instants from 2000 on.
YEAR_2000 = 946_684_800 * 1_000_000

Columns = dict[str, Array]


class SnapshotWindow(NamedTuple):
    """The snapshots of a time that were recorded by an instant, and the imports to be read too."""

    start: datetime
    end: datetime
    recorded_by: datetime
    imports: str  # as an array


def _copy_columns(ids: Sequence[int], window: SnapshotWindow, *, order: str = "") -> Columns:
    """Read the snapshots of markets, with the ids of these in the column `market`."""
    markets: list[int] = []
    sent: list[list[bytes]] = [[] for _ in ARRAYS]
    with transaction.atomic(), connection.cursor() as cursor:
        # Arrays that do not fit are spilled to disk, which takes half as long again.
        cursor.execute("SET LOCAL work_mem = '64MB'")
        # COPY takes no parameters, so they go in as literals.
        select = cursor.mogrify(SELECT_ARRAYS.format(order=order), [array_of(ids), *window])
        with cursor.copy(f"COPY ({select}) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int8", *("bytea" for _ in ARRAYS)])
            for market_id, *arrays in copy.rows():
                markets.append(market_id)
                for column, array in zip(sent, arrays, strict=True):
                    column.append(array[ARRAY_HEAD:])
    return _columns(markets, sent)


def _columns(markets: Sequence[int], sent: "list[list[bytes]]") -> Columns:
    """Join the arrays of all markets; PostgreSQL sends the length of each element before it."""
    columns: Columns = {}
    for (name, (_, form)), arrays in zip(ARRAYS.items(), sent, strict=True):
        dtype = np.dtype(form)
        element = np.dtype([("length", ">i4"), ("value", dtype)])
        if name == "at":
            counts = [len(array) // element.itemsize for array in arrays]
            columns["market"] = np.repeat(np.array(markets, np.int64), counts)
        values = np.frombuffer(b"".join(arrays), element)["value"]
        columns[name] = values.astype(dtype.newbyteorder("="))
        arrays.clear()
    columns["at"] += YEAR_2000
    return columns


def _in_order(columns: Columns) -> Columns:
    """Sort by market, then by time; rows of one market and instant keep their order."""
    market, at = columns["market"], columns["at"]
    rising = (market[1:] > market[:-1]) | ((market[1:] == market[:-1]) & (at[1:] >= at[:-1]))
    if rising.all():
        return columns
    order = np.lexsort((at, market))
    return {name: column[order] for name, column in columns.items()}


def _sharing_an_instant(columns: Columns) -> list[int]:
    """Return the markets that have several snapshots of one instant; columns must be in order."""
    market, at = columns["market"], columns["at"]
    shared = (market[1:] == market[:-1]) & (at[1:] == at[:-1])
    return [int(market_id) for market_id in np.unique(market[1:][shared])]


def _with_others(columns: Columns, others: Columns) -> Columns:
    """Take the markets of the others from these; columns are in order again."""
    kept = ~np.isin(columns["market"], others["market"])
    joined = {name: np.concatenate((c[kept], others[name])) for name, c in columns.items()}
    order = np.argsort(joined["market"], kind="stable")
    return {name: column[order] for name, column in joined.items()}


class MarketSnapshotQuerySet(models.QuerySet["MarketSnapshot"]):
    def record(
        self,
        observations: Sequence[Observation],
        *,
        source: str,
        recorded_at: datetime,
        keep_payloads: bool = False,
    ) -> int:
        """Write snapshots and the markets' newest quotes; return how many snapshots were new.

        Call it inside a transaction; it takes a few statements for any number of rows. A snapshot
        that is there already changes nothing; other quotes of the same instant stand beside it.
        A polled quote becomes the newest even if the clock has stepped back; other sources never
        replace a newer one.
        """
        if not observations:
            return 0
        ids = [_id_of(each, source) for each in observations]
        stage_rows("staging", STAGED, _staged(ids, observations))
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                INSERT INTO markets_marketsnapshot
                    ({", ".join(SNAPSHOT_COLUMNS)}, source, recorded_at)
                SELECT {", ".join(SNAPSHOT_COLUMNS)}, %s, %s FROM staging ON CONFLICT DO NOTHING
                """,
                [source, recorded_at],
            )
            written: int = cursor.rowcount
            cursor.execute(RENEW_QUOTES, [source == Source.POLL])
        if keep_payloads:
            PayloadBlock.objects.keep(_payloads(ids, observations))
        return written

    def for_market(self, market: Market) -> Self:
        return self.filter(market=market)

    def for_ticker(self, ticker: str) -> Self:
        return self.filter(market__ticker=ticker)

    def recorded(self) -> Self:
        """Snapshots without imported ones, which only those read who name their import."""
        return self.exclude(source=Source.IMPORT)

    def from_source(self, source: str) -> Self:
        """Snapshots of a source; of imports those that are finished."""
        found = self.filter(source=source)
        return of_finished_imports(found) if source == Source.IMPORT else found

    def of_import(self, id: int) -> Self:
        return self.filter(rows_of([id]), source=Source.IMPORT)

    def between(self, start: datetime | None, end: datetime | None) -> Self:
        """Snapshots from `start` on and before `end`; None leaves a side open."""
        snapshots = self
        if start is not None:
            snapshots = snapshots.filter(timestamp__gte=start)
        if end is not None:
            snapshots = snapshots.filter(timestamp__lt=end)
        return snapshots

    def with_prices(self) -> Self:
        """Annotate `yes_price` and `no_price` for `values()`; an instance derives its own."""
        return self.annotate(**DERIVED_PRICES)

    def oldest_first(self) -> Self:
        return self.order_by("timestamp", "id")

    def newest(self) -> "MarketSnapshot | None":
        return self.order_by("-timestamp", "-id").first()

    def newest_of_all(self) -> Self:
        """The newest snapshot of every market that has one."""
        newest = self.recorded().filter(timestamp=F("market__quoted_at"))
        return newest.order_by("market_id", "-id").distinct("market_id")

    def closes(self, *, bucket: timedelta) -> list[Close]:
        """Return the last quote of each bucket of time, oldest first."""
        last = (
            self.annotate(bucket=DateBin(bucket, F("timestamp")))
            .order_by("bucket", "-timestamp", "-id")
            .distinct("bucket")
        )
        # DISTINCT ON resolves an annotation only where it is selected too.
        return [Close(*row[:-1]) for row in last.values_list(*Close._fields, "bucket")]

    def closes_by_market(
        self, *, bucket: timedelta
    ) -> list[tuple[int, datetime, Decimal | None, Decimal | None]]:
        """Return the last bid and ask of each market in each bucket, by market, oldest first."""
        last = (
            self.annotate(bucket=DateBin(bucket, F("timestamp")))
            .order_by("market_id", "bucket", "-timestamp", "-id")
            .distinct("market_id", "bucket")
        )
        columns = ("market_id", "timestamp", "yes_bid", "yes_ask")
        return [row[:-1] for row in last.values_list(*columns, "bucket")]

    def columns(
        self,
        ids: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        recorded_by: datetime,
        imports: Sequence[int] = (),
    ) -> Iterator[Mapping[str, Array]]:
        """Yield the snapshots of some markets after the other as columns (see `ARRAYS`), with the
        ids of the markets in `market`: by market, and of each as `oldest_first`.

        Instants are microseconds since 1970, prices in 1/10,000 dollar and counts in 1/100
        contract; -1 is unknown. Snapshots recorded after `recorded_by` are left out, and imported
        ones but for those of the named imports. Nothing is
        yielded while a COPY is open, since the connection can do nothing else meanwhile.
        """
        window = SnapshotWindow(start, end, recorded_by, array_of(imports))
        ids = sorted(ids)
        first, size = 0, LEAST_MARKETS
        while first < len(ids):
            columns = _in_order(_copy_columns(ids[first : first + size], window))
            # Sorting costs PostgreSQL more than everything else, and instants are rarely shared.
            if shared := _sharing_an_instant(columns):
                columns = _with_others(columns, _copy_columns(shared, window, order=ONE_ORDER))
            if len(columns["at"]):
                yield columns
            first += size
            if len(columns["at"]) < FEW_SNAPSHOTS:
                size = min(4 * size, MOST_MARKETS)
            elif len(columns["at"]) > MANY_SNAPSHOTS:
                size = max(size // 2, LEAST_MARKETS)

    def of_markets(self, ids: Sequence[int]) -> Self:
        """Snapshots of markets, of which there may be very many."""
        # One pass over the index, where a subquery would be looked up market by market.
        is_chosen = RawSQL(
            "markets_marketsnapshot.market_id = ANY(%s::bigint[])",
            [array_of(ids)],
            output_field=models.BooleanField(),
        )
        return self.filter(is_chosen)

    def readable(self, imports: Sequence[int]) -> Self:
        """Snapshots without imported ones, but for those of the named imports."""
        return self.filter(~models.Q(source=Source.IMPORT) | rows_of(imports))

    def count_up_to(self, most: int, ids: Sequence[int], start: datetime, end: datetime) -> int:
        """Count the snapshots of markets in a window, but stop counting after `most`."""
        found = self.of_markets(ids).between(start, end)
        # The index alone answers this, as long as nothing asks for an order.
        return found.order_by().values("timestamp")[:most].count()

    def has_any(self, ids: Sequence[int], start: datetime, end: datetime) -> bool:
        return self.of_markets(ids).between(start, end).exists()

    def around(
        self, ids: Sequence[int], start: datetime, end: datetime, *, sources: Sequence[str] = ()
    ) -> tuple[datetime | None, datetime | None]:
        """Return the instants of the last snapshot of markets before a window, and of the first
        after it; None where there is none.

        `sources` narrows them to the snapshots of some.
        """
        found = self.of_markets(ids)
        if sources:
            found = found.filter(source__in=sources)
        before = found.filter(timestamp__lt=start).aggregate(at=Max("timestamp"))["at"]
        after = found.filter(timestamp__gte=end).aggregate(at=Min("timestamp"))["at"]
        return before, after

    def by_id(self, id: UUID) -> "MarketSnapshot | None":
        """Return a snapshot with its market; the time in its id names the partition to look in.

        An id that is no UUIDv7 is looked up in every partition.
        """
        found = self.select_related("market").filter(pk=id)
        if id.version == 7:
            millisecond = timedelta(milliseconds=1)
            try:
                at = EPOCH + (id.int >> 80) * millisecond
                found = found.filter(timestamp__gte=at, timestamp__lt=at + millisecond)
            except OverflowError:  # after the year 9999
                return None
        return found.first()


def _id_of(observation: Observation, source: str) -> UUID:
    content = content_of(observation.quote)
    return snapshot_id(observation.market_id, observation.timestamp, source, None, content=content)


def _staged(
    ids: Iterable[UUID], observations: Iterable[Observation]
) -> Iterator[tuple[object, ...]]:
    for id, each in zip(ids, observations, strict=True):
        raw_data = msgspec.json.encode(each.raw_data).decode() if each.raw_data else None
        # Pass plain hex: converting a UUID costs COPY as much as making it costs us.
        yield (id.hex, *each[:2], *each.quote, *each[3:7], raw_data)


def _payloads(ids: Iterable[UUID], observations: Iterable[Observation]) -> list[KeptPayload]:
    # Markets of one event have neighbouring ids and similar payloads.
    by_market = sorted(zip(ids, observations, strict=True), key=lambda pair: pair[1].market_id)
    return [KeptPayload(id, each.timestamp, bytes(each.payload)) for id, each in by_market]


class ContentHash(Func):
    """PostgreSQL's hash of a row of columns, which tells different rows of one instant apart."""

    function = "hash_record_extended"
    template = "%(function)s(ROW(%(expressions)s), 0)"
    output_field = models.BigIntegerField()


class MarketSnapshot(Quoted):
    """One observation of the top of a market's book.

    Written when something changed and as a heartbeat. `id` is made of market, instant, source,
    sequence and quote (see `snapshot_id`), so that the same observation is the same row, and two
    quotes of one instant are two rows. Rows written before this was so keep ids without a quote.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="snapshots",
        db_index=False,  # `snapshot_once` begins with the market
    )
    timestamp = models.DateTimeField(
        help_text="POLL: the instant the last byte of the response arrived."
    )
    recorded_at = models.DateTimeField(help_text="When this row was written.")
    source = models.CharField(max_length=10, choices=Source)
    sequence = models.BigIntegerField(
        null=True, blank=True, help_text="Of streams and of imports (see `Import`)."
    )
    quality = models.SmallIntegerField(
        default=0,
        help_text="Bit flags: 1 crossed, 2 locked, 4 off the price grid, 8 one-sided, 16 stale.",
    )
    raw_data = models.JSONField(
        null=True,
        blank=True,
        help_text="Fields of the payload that no column holds; null as a rule.",
    )

    objects = MarketSnapshotQuerySet.as_manager()

    class Meta:
        ordering = ["timestamp", "id"]
        constraints = [
            *within_unit("yes_bid", "yes_ask", "last_price", model="snapshot"),
            models.UniqueConstraint(
                F("market"),
                F("timestamp"),
                F("source"),
                F("sequence"),
                ContentHash(*Quote._fields),
                nulls_distinct=False,
                name="snapshot_once",
            ),
        ]
        indexes = [BrinIndex(fields=["timestamp"], name="snapshot_timestamp_brin")]

    def __str__(self) -> str:
        return f"{self.market_id} at {self.timestamp:%Y-%m-%d %H:%M:%S}"

    @property
    def flags(self) -> prices.Quality:
        return prices.Quality(self.quality)

    @property
    def raw_payload(self) -> bytes | None:
        """The payload that it was read from, as it arrived; None where that is not kept."""
        return PayloadBlock.objects.payloads_of({self.id: self.timestamp}).get(self.id)


def why_no_payload(source: str) -> str:
    """Say why a snapshot of this source has no raw payload."""
    if source != Source.POLL:
        return f"None: a row of {source} has no payload; those of {Source.POLL} have."
    hours = settings.RAW_PAYLOAD_HOURS
    if not hours:
        return "Not kept: RAW_PAYLOAD_HOURS is 0."
    return f"No longer kept: payloads are kept for {hours:g} hours (RAW_PAYLOAD_HOURS)."
