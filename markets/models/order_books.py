"""Whole order books, written when they changed."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models

from markets.kalshi.order_books import OrderBook
from markets.models.markets import Market
from markets.models.snapshots import snapshot_id
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


class OrderBookQuerySet(models.QuerySet["OrderBookSnapshot"]):
    def record(self, observed: Sequence[ObservedOrderBook]) -> int:
        """Write the books that differ from the last one written, and return their number.

        Call it inside a transaction.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE markets_market AS old SET book_mark = new.mark
                FROM unnest(%s::bigint[], %s::bigint[]) AS new (market_id, mark)
                WHERE old.id = new.market_id AND old.book_mark IS DISTINCT FROM new.mark
                RETURNING old.id
                """,
                [[book.market_id for book in observed], [book.mark for book in observed]],
            )
            changed = {row[0] for row in cursor.fetchall()}
        rows = [self._row(book) for book in observed if book.market_id in changed]
        self.bulk_create(rows, ignore_conflicts=True)
        return len(rows)

    def _row(self, observed: ObservedOrderBook) -> "OrderBookSnapshot":
        bids, asks = reversed(observed.book.yes), reversed(observed.book.no)
        best_bids = list(bids)
        best_asks = [(complement(price), size) for price, size in asks]
        return self.model(
            id=snapshot_id(observed.market_id, observed.timestamp, "BOOK", None),
            market_id=observed.market_id,
            timestamp=observed.timestamp,
            bid_prices=[price for price, _ in best_bids],
            bid_sizes=[size for _, size in best_bids],
            ask_prices=[price for price, _ in best_asks],
            ask_sizes=[size for _, size in best_asks],
        )


class OrderBookSnapshot(models.Model):
    """All levels of a market's book, written when they changed.

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

    objects = OrderBookQuerySet.as_manager()

    class Meta:
        ordering = ["timestamp", "id"]
        constraints = [
            models.UniqueConstraint(fields=["market", "timestamp"], name="order_book_once")
        ]

    def __str__(self) -> str:
        return f"{self.market_id} at {self.timestamp:%Y-%m-%d %H:%M:%S}"
