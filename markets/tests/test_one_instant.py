"""Several rows of one market and one instant: none is lost, and all readers see one order."""

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from django.db import connection, transaction
from rest_framework.test import APIClient

from markets.api import candlesticks
from markets.api.candlesticks import Window
from markets.kalshi.fields import Count, Price
from markets.kalshi.order_books import Level, OrderBook
from markets.models import (
    Candlestick,
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Source,
)
from markets.models.candlesticks import Candle
from markets.models.fields import Quote
from markets.models.order_books import ObservedOrderBook
from markets.models.snapshots import Observation, content_of, snapshot_id
from markets.storage import archive, layout, partitions, retention
from markets.storage.partitions import SNAPSHOTS, DayPartition
from markets.tests.factories import a_market

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
THAT_DAY = DayPartition(SNAPSHOTS, NOON.date())
SECOND = timedelta(seconds=1)
BIDS = ("0.4000", "0.4100", "0.4200")


def observation(market: Market, bid: str, *, at: datetime = NOON, **changes: Any) -> Observation:
    size = Decimal(10)
    quote = Quote(Decimal(bid), Decimal("0.4500"), size, size, None, Decimal(7), None)
    return Observation(
        market_id=market.pk,
        timestamp=at,
        quote=quote._replace(**changes),
        quality=0,
        volume_24h=None,
        previous_price=None,
        quote_mark=hash(bid),
    )


def record(*observations: Observation, source: str = Source.POLL) -> int:
    with transaction.atomic():
        return MarketSnapshot.objects.record(observations, source=source, recorded_at=NOON)


def bids(snapshots: Any = None) -> list[str]:
    stored_rows = MarketSnapshot.objects.oldest_first() if snapshots is None else snapshots
    return [str(snapshot.yes_bid) for snapshot in stored_rows]


@pytest.fixture
def market():
    return a_market(quoted_at=None)


# --- nothing is lost ----------------------------------------------------------------------------


def test_two_quotes_of_one_instant_are_both_recorded(market):
    assert record(observation(market, "0.4000"), observation(market, "0.4100")) == 2
    assert record(observation(market, "0.4200")) == 1
    assert sorted(bids()) == ["0.4000", "0.4100", "0.4200"]


def test_the_same_observation_changes_nothing(market):
    assert record(observation(market, "0.4000")) == 1
    before = list(MarketSnapshot.objects.values())
    assert record(observation(market, "0.4000")) == 0
    assert record(observation(market, "0.4"), observation(market, "0.40")) == 0
    assert list(MarketSnapshot.objects.values()) == before


def test_two_quotes_that_differ_in_an_unknown_alone_are_two(market):
    assert record(observation(market, "0.4000"), observation(market, "0.4", volume=None)) == 2


def test_a_row_with_an_id_of_before_is_not_recorded_again(market):
    """Ids had no content: a hash of market, microsecond, source and sequence."""
    record(observation(market, "0.4000"))
    micros = int(NOON.timestamp()) * 1_000_000
    key = f"{market.pk}:{micros}:POLL:None".encode()
    digest = int.from_bytes(hashlib.blake2b(key, digest_size=10).digest())
    head = (micros // 1000) << 80 | 0x7 << 76 | (digest >> 62 & 0xFFF) << 64
    old = UUID(int=head | 0b10 << 62 | digest & (1 << 62) - 1)
    MarketSnapshot.objects.update(id=old)
    assert record(observation(market, "0.4000")) == 0
    assert MarketSnapshot.objects.get().pk == old
    assert record(observation(market, "0.4100")) == 1


def test_two_candles_that_close_at_one_instant_with_other_quotes_leave_two_snapshots(market):
    for minutes, bid in ((1, "0.40"), (60, "0.41"), (1440, "0.41")):
        candle = a_candle(market, bid)
        with transaction.atomic():
            Candlestick.objects.record(
                [candle], period_interval=minutes, source=Source.BACKFILL, recorded_at=NOON
            )
    assert sorted(bids()) == ["0.4000", "0.4100"]


def a_candle(market: Market, bid: str) -> Candle:
    nothing = (None,) * 6
    side = (Decimal(bid),) * 4
    return Candle(market.pk, NOON, side, (None,) * 4, nothing, Decimal(1), Decimal(2), 0)


def test_a_candle_that_differs_from_the_record_is_named_and_leaves_no_quote(market):
    written = []
    for bid in ("0.40", "0.40", "0.41"):
        with transaction.atomic():
            written.append(
                Candlestick.objects.record(
                    [a_candle(market, bid)],
                    period_interval=60,
                    source=Source.BACKFILL,
                    recorded_at=NOON,
                )
            )
    assert [each[:2] for each in written] == [(1, 1), (0, 0), (0, 0)]
    assert [list(each.differing) for each in written] == [[], [], [(market.pk, NOON)]]
    assert bids() == ["0.4000"]
    market.refresh_from_db()
    assert market.yes_bid == Decimal("0.40")


def test_a_revision_that_says_otherwise_of_one_instant_is_counted(market):
    def revision(**changes: Any) -> MarketRevision:
        usual = {"known_at": NOON, "status": "active"}
        return MarketRevision(
            market=market, recorded_at=NOON, open_time=NOON, **{**usual, **changes}
        )

    assert MarketRevision.objects.add([revision()]) == 0
    assert MarketRevision.objects.add([revision()]) == 0
    later = revision(known_at=NOON + SECOND, status="closed")
    twice = revision(known_at=NOON + SECOND, status="finalized", result="yes")
    assert MarketRevision.objects.add([revision(status="closed"), later, twice]) == 2
    assert [each.status for each in MarketRevision.objects.for_market(market)] == [
        "active",
        "closed",
    ]


# --- order books --------------------------------------------------------------------------------


def book(market: Market, *yes: str, at: datetime = NOON) -> ObservedOrderBook:
    levels = tuple(Level(Price(price), Count(10)) for price in yes)
    return ObservedOrderBook(market.pk, at, OrderBook(levels, ()))


def record_books(*observed: ObservedOrderBook) -> int:
    with transaction.atomic():
        return OrderBookSnapshot.objects.record(observed)


def test_two_books_of_one_instant_are_both_recorded(market):
    assert record_books(book(market, "0.40")) == 1
    assert record_books(book(market, "0.41"), book(market, "0.42", "0.43")) == 2
    assert OrderBookSnapshot.objects.count() == 3


def test_the_same_book_changes_nothing(market):
    assert record_books(book(market, "0.40"), book(market, "0.40")) == 1
    Market.objects.update(book_mark=None)
    assert record_books(book(market, "0.40")) == 0
    assert OrderBookSnapshot.objects.count() == 1


def test_a_book_that_comes_back_within_one_write_is_recorded_each_time(market):
    record_books(book(market, "0.40"))
    later = [book(market, price, at=NOON + n * SECOND) for n, price in ((2, "0.40"), (1, "0.41"))]
    assert record_books(*later) == 2
    assert [each.bid_prices for each in OrderBookSnapshot.objects.all()] == [
        [Decimal("0.4")],
        [Decimal("0.41")],
        [Decimal("0.4")],
    ]


def test_the_newest_book_of_one_instant_is_the_last_in_their_order(market):
    record_books(*(book(market, bid) for bid in BIDS))
    last = OrderBookSnapshot.objects.order_by("id").last()
    assert candlesticks.book(market, as_of=None) == last
    assert candlesticks.book(market, as_of=NOON) == last


# --- one order ----------------------------------------------------------------------------------


@pytest.fixture(params=permutations(BIDS), ids="-".join)
def in_order(request, market):
    """Three quotes of one instant, written one by one in every order; their bids in order."""
    for bid in request.param:
        record(observation(market, bid))
    rows = MarketSnapshot.objects.values_list("id", "yes_bid")
    return [str(bid) for _, bid in sorted(rows)]


def test_lists_and_the_newest_follow_the_order_of_time_and_id(market, in_order):
    assert bids() == in_order
    assert bids(market.snapshots.all()) == in_order
    assert str(MarketSnapshot.objects.newest().yes_bid) == in_order[-1]


def test_the_newest_quote_of_the_market_is_the_last_one(market, in_order):
    market.refresh_from_db()
    assert str(market.yes_bid) == in_order[-1]
    assert bids(MarketSnapshot.objects.newest_of_all()) == in_order[-1:]


def test_what_was_known_at_that_instant_is_the_last_one(market, in_order):
    MarketRevision.objects.create(
        market=market, known_at=NOON, recorded_at=NOON, status="active", open_time=NOON
    )
    [known] = Market.objects.rewind([market], NOON)
    assert str(known.yes_bid) == in_order[-1]


def test_charts_and_candlesticks_close_with_the_last_one(market, in_order):
    [close] = MarketSnapshot.objects.closes(bucket=timedelta(hours=1))
    assert str(close.yes_bid) == in_order[-1]
    window = Window.around(NOON, NOON + SECOND, timedelta(minutes=1))
    [row] = candlesticks.candlesticks(market, window, source=None).json()
    candle = msgspec.json.decode(row)
    assert (candle["yes_bid_open"], candle["yes_bid_close"]) == (in_order[0], in_order[-1])


def test_arrays_follow_the_same_order_whatever_lies_where(market, in_order):
    def read() -> list[int]:
        (columns,) = MarketSnapshot.objects.columns(
            [market.pk], NOON - SECOND, NOON + 2 * SECOND, recorded_by=NOW
        )
        assert np.all(np.diff(columns["at"]) >= 0)
        stored_rows: list[int] = columns["bid"].tolist()
        return stored_rows

    record(observation(market, "0.3000", at=NOON - SECOND))
    record(observation(market, "0.3900", at=NOON + SECOND))
    expected = [3000, *(int(Decimal(bid) * 10_000) for bid in in_order), 3900]
    assert read() == expected
    partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
    retention.maintain(now=NOW)
    assert read() == expected
    assert bids() == ["0.3000", *in_order, "0.3900"]


def test_a_clustered_day_lies_in_that_order(market, in_order):
    partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
    retention.maintain(now=NOW)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT yes_bid::text FROM {THAT_DAY.name} ORDER BY ctid")
        assert [bid for (bid,) in cursor.fetchall()] == in_order


def test_the_archive_is_the_same_file_whatever_was_written_first(
    market, in_order, settings, tmp_path
):
    settings.ARCHIVE_PATH = tmp_path
    partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
    archive.archive_day(THAT_DAY, now=NOW)
    rows = layout.files_of(THAT_DAY).rows
    stored_rows = pq.read_table(rows).column("yes_bid").to_pylist()
    assert [str(bid) for bid in stored_rows] == in_order


def test_pages_of_the_api_neither_repeat_nor_miss_one(market, in_order):
    client, address = APIClient(), f"/api/v1/markets/{market.ticker}/snapshots/?limit=1"
    read_rows = []
    while address:
        page = client.get(address).json()
        read_rows += [row["yes_bid"] for row in page["results"]]
        address = page["next"]
    assert read_rows == in_order


def test_the_messages_of_a_stream_are_in_the_order_of_their_sequence():
    start = (7 << 36) | 5
    ids = [
        snapshot_id(1, NOON, Source.WEBSOCKET, start + n, content=content_of([Decimal(n)]))
        for n in range(50)
    ]
    assert ids == sorted(ids)
    assert {id.version for id in ids} == {7}


def test_a_market_page_of_the_api_is_not_taken_for_unchanged_after_a_second_quote(market):
    client, address = APIClient(), f"/api/v1/markets/{market.ticker}/"
    tags = set()
    for bid in BIDS:
        record(observation(market, bid))
        tags.add((client.get(address).json()["yes_bid"], client.get(address).headers["ETag"]))
    assert len({tag for _, tag in tags}) == len({bid for bid, _ in tags})
