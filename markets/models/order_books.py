"""Whole order books, written when they changed."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models import F, Max, Q, Sum
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


# The instant of a book, then prices and sizes of its bids and of its asks, the best first.
BookLevels = tuple[datetime, list[float], list[float], list[float], list[float]]

ORDER_BOOK = {
    "id": "uuid",
    "market_id": "bigint",
    "timestamp": "timestamptz",
    "bid_prices": f"{PRICE}[]",
    "bid_sizes": f"{COUNT}[]",
    "ask_prices": f"{PRICE}[]",
    "ask_sizes": f"{COUNT}[]",
}
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
        self, market_id: int, start: datetime, end: datetime, *, imports: Sequence[int] = ()
    ) -> list[BookLevels]:
        """Return the books of a market before `end`, oldest first: from `start` on, with the one
        before that still stood then. Of several books of one instant the last counts, and imported
        ones only if their import is named."""
        books = self.readable(imports).filter(market_id=market_id, timestamp__lt=end)
        standing = books.filter(timestamp__lt=start).aggregate(at=Max("timestamp"))["at"]
        sides = [
            Cast(name, ArrayField(models.FloatField()))
            for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
        ]
        found = books.filter(timestamp__gte=standing or start).order_by("timestamp", "id")
        rows = found.values_list("timestamp", *sides)
        return list({row[0]: row for row in rows.iterator()}.values())

    def take_imported(self, rows: Iterable[Sequence[object]]) -> int:
        """Write the books of an import, but for those on record just so; return how many.

        `rows` have the values of `ORDER_BOOK` and the sequence. Call it inside a transaction.
        """
        columns = {**ORDER_BOOK, "sequence": "bigint"}
        names = ", ".join(columns)
        stage_rows("imported_book_staging", columns, rows)
        with connection.cursor() as cursor:
            cursor.execute(
                f"""INSERT INTO markets_orderbooksnapshot ({names}) SELECT {names}
                    FROM imported_book_staging ORDER BY sequence ON CONFLICT DO NOTHING"""
            )
            written: int = cursor.rowcount
        return written

    def recorded(self) -> Self:
        """Books without imported ones."""
        return self.filter(sequence=None)

    def readable(self, imports: Sequence[int]) -> Self:
        """Books without imported ones, but for those of the named imports."""
        return self.filter(Q(sequence=None) | rows_of(imports))

    def count_levels(
        self, market_id: int, start: datetime, end: datetime, *, imports: Sequence[int] = ()
    ) -> int:
        """Return how many levels the books of a market have from `start` on and before `end`."""
        within = Q(market_id=market_id, timestamp__gte=start, timestamp__lt=end)
        sides = F("bid_prices__len") + F("ask_prices__len")
        books = self.readable(imports).filter(within)
        found: int = books.aggregate(levels=Sum(sides, default=0))["levels"]
        return found

    def newest(self) -> "OrderBookSnapshot | None":
        return self.order_by("-timestamp", "-id").first()


class OrderBookSnapshot(models.Model):
    """All levels of a market's book, written when they changed.

    `id` is made of market, instant and levels, as a snapshot's is of its quote.

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
                ContentHash("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"),
                name="order_book_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.market_id} at {self.timestamp:%Y-%m-%d %H:%M:%S}"
