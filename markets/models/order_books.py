"""Whole order books, written when they changed."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models import F, Max, Min, Q, Sum
from django.db.models.functions import Cast

from kalshi_insights.export.copy import stage_rows
from markets.kalshi.order_books import OrderBook
from markets.models.fields import COUNT, PRICE
from markets.models.imports import rows_of
from markets.models.markets import Market
from markets.models.snapshots import ContentHash, content_of, snapshot_id
from markets.prices import complement


class ObservedOrderBook(NamedTuple):
    """The full order book of a market as observed at one instant."""

    market_id: int
    timestamp: datetime
    book: OrderBook

    @property
    def mark(self) -> int:
        text = ",".join(f"{price} {size}" for price, size in (*self.book.yes, *self.book.no))
        digest = hashlib.blake2b(f"{len(self.book.yes)} {text}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, signed=True)

    @property
    def id(self) -> UUID:
        sides = (content_of(chain.from_iterable(side)) for side in (self.book.yes, self.book.no))
        content = "/".join(sides)
        return snapshot_id(self.market_id, self.timestamp, "BOOK", None, content=content)

    def row(self) -> tuple[object, ...]:
        """Return the values of `ORDER_BOOK`."""
        bids = list(reversed(self.book.yes))
        asks = list(reversed(self.book.no))
        return (
            self.id.hex,
            self.market_id,
            self.timestamp,
            [price for price, _ in bids],
            [size for _, size in bids],
            [complement(price) for price, _ in asks],
            [size for _, size in asks],
        )


class BookLevels(NamedTuple):
    """A book with its levels, the best first; `sequence` is None unless it was imported."""

    at: datetime
    bid_prices: list[float]
    bid_sizes: list[float]
    ask_prices: list[float]
    ask_sizes: list[float]
    sequence: int | None


ORDER_BOOK = {
    "id": "uuid",
    "market_id": "bigint",
    "timestamp": "timestamptz",
    "bid_prices": f"{PRICE}[]",
    "bid_sizes": f"{COUNT}[]",
    "ask_prices": f"{PRICE}[]",
    "ask_sizes": f"{COUNT}[]",
}
LEVELS = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
INSERT_ORDER_BOOKS = f"""
    INSERT INTO markets_orderbooksnapshot ({", ".join(ORDER_BOOK)})
    SELECT {", ".join(ORDER_BOOK)} FROM order_book_staging ON CONFLICT DO NOTHING
"""
NOTE_MARKS = """
    UPDATE markets_market AS old SET book_mark = new.mark
    FROM unnest(%s::bigint[], %s::bigint[]) AS new (market_id, mark) WHERE old.id = new.market_id
"""


class OrderBookQuerySet(models.QuerySet["OrderBookSnapshot"]):
    def record(self, observed: Sequence[ObservedOrderBook]) -> int:
        """Write each book that differs from its market's book before it; return how many are new.

        Call it inside a transaction. A book that is there already changes nothing; other books of
        the same instant stand beside it.
        """
        in_order = sorted(observed, key=lambda book: (book.timestamp, book.id))
        markets = Market.objects.filter(pk__in={book.market_id for book in observed})
        marks = dict(markets.values_list("pk", "book_mark"))
        changed: dict[int, int] = {}
        rows = []
        for book in in_order:
            if book.market_id in marks and marks[book.market_id] != book.mark:
                marks[book.market_id] = changed[book.market_id] = book.mark
                rows.append(book.row())
        if not rows:
            return 0
        stage_rows("order_book_staging", ORDER_BOOK, rows)
        with connection.cursor() as cursor:
            cursor.execute(INSERT_ORDER_BOOKS)
            written: int = cursor.rowcount
            cursor.execute(NOTE_MARKS, [list(changed), list(changed.values())])
        return written

    def levels(
        self,
        market_id: int,
        start: datetime,
        end: datetime,
        *,
        imports: Sequence[int] = (),
        only_imported: bool = False,
    ) -> list[BookLevels]:
        """Return the books of a market before `end`, oldest first: from `start` on, with the one
        before that still stood then. Of several books of one instant the last counts.

        Imported ones are there if their import is named, and only they if these are asked for
        alone. Of the others none is from between the first and the last recorded one.
        """
        books = self._read(market_id, start, end, imports, only_imported)
        sides = [Cast(name, ArrayField(models.FloatField())) for name in LEVELS]
        found = books.order_by("timestamp", "id").values_list("timestamp", *sides, "sequence")
        rows = (BookLevels(*row) for row in found)
        return list({row.at: row for row in rows}.values())

    def take_imported(self, rows: Iterable[Sequence[object]]) -> list[int]:
        """Write the books of an import; return the sequences of those that were not there.

        `rows` have the values of `ORDER_BOOK` and the sequence. Call it inside a transaction.
        """
        columns = {**ORDER_BOOK, "sequence": "bigint"}
        names = ", ".join(columns)
        stage_rows("imported_book_staging", columns, rows)
        with connection.cursor() as cursor:
            cursor.execute(
                f"""INSERT INTO markets_orderbooksnapshot ({names}) SELECT {names}
                    FROM imported_book_staging ORDER BY sequence
                    ON CONFLICT DO NOTHING RETURNING sequence"""
            )
            return [sequence for (sequence,) in cursor.fetchall()]

    def recorded(self) -> Self:
        """Books without imported ones."""
        return self.filter(sequence=None)

    def readable(self, imports: Sequence[int], *, only_imported: bool = False) -> Self:
        """Books without imported ones, but for those of the named imports, or these alone."""
        named = rows_of(imports)
        return self.filter(named if only_imported else Q(sequence=None) | named)

    def count_levels(
        self,
        market_id: int,
        start: datetime,
        end: datetime,
        *,
        imports: Sequence[int] = (),
        only_imported: bool = False,
    ) -> int:
        """Return how many levels the books have that `levels` reads of a market."""
        sides = F("bid_prices__len") + F("ask_prices__len")
        books = self._read(market_id, start, end, imports, only_imported)
        found: int = books.aggregate(levels=Sum(sides, default=0))["levels"]
        return found

    def _read(
        self,
        market_id: int,
        start: datetime,
        end: datetime,
        imports: Sequence[int],
        only_imported: bool,
    ) -> Self:
        """Books of a market before `end`, from the one on that stood at `start`."""
        books = self.filter(market_id=market_id).readable(imports, only_imported=only_imported)
        if imports and not only_imported:
            books = books._without_imports_inside(market_id)
        books = books.filter(timestamp__lt=end)
        standing = books.filter(timestamp__lt=start).aggregate(at=Max("timestamp"))["at"]
        return books.filter(timestamp__gte=standing or start)

    def _without_imports_inside(self, market_id: int) -> Self:
        """Leave out the imported books between the first and the last recorded one of a market,
        also where a run begins or ends between these."""
        recorded = OrderBookSnapshot.objects.recorded().filter(market_id=market_id)
        ends = recorded.aggregate(first=Min("timestamp"), last=Max("timestamp"))
        if ends["first"] is None:
            return self
        outside = Q(timestamp__lt=ends["first"]) | Q(timestamp__gt=ends["last"])
        return self.filter(Q(sequence=None) | outside)

    def of_import(self, id: int) -> Self:
        return self.filter(rows_of([id]))

    def for_market(self, market: Market) -> Self:
        return self.filter(market=market)

    def oldest_first(self) -> Self:
        return self.order_by("timestamp", "id")

    def newest(self) -> "OrderBookSnapshot | None":
        return self.order_by("-timestamp", "-id").first()


class OrderBookSnapshot(models.Model):
    """All levels of a market's book, written when they changed.

    `id` is made of market, instant and levels, as a snapshot's is of its quote, and that of an
    imported one of its import and line.

    Both sides in dollars on the YES scale, the best first; an ask is one dollar less somebody's
    NO bid. An empty side is an empty array.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="order_books",
        db_index=False,  # `order_book_once` begins with the market
    )
    timestamp = models.DateTimeField(help_text="The instant the last byte arrived.")
    bid_prices = ArrayField(models.DecimalField(max_digits=6, decimal_places=4))
    bid_sizes = ArrayField(models.DecimalField(max_digits=18, decimal_places=2))
    ask_prices = ArrayField(models.DecimalField(max_digits=6, decimal_places=4))
    ask_sizes = ArrayField(models.DecimalField(max_digits=18, decimal_places=2))
    sequence = models.BigIntegerField(
        null=True, blank=True, editable=False, help_text="Of imports (see `Import`)."
    )

    objects = OrderBookQuerySet.as_manager()

    class Meta:
        ordering = ["timestamp", "id"]
        constraints = [
            models.UniqueConstraint(
                F("market"),
                F("timestamp"),
                F("sequence"),
                ContentHash(*LEVELS),
                nulls_distinct=False,
                name="order_book_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.market_id} at {self.timestamp:%Y-%m-%d %H:%M:%S}"
