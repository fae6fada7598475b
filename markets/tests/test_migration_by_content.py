"""Migrations that tell rows of one instant apart: by their content, and by their import."""

from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction

from markets.models.snapshots import snapshot_id
from markets.storage import partitions
from markets.storage.partitions import ORDER_BOOKS, SNAPSHOTS, DayPartition
from markets.tests.test_migrations import (
    LONG_AGO,
    create_snapshots,
    empty_schema,  # noqa: F401
    migrate_to,
    snapshots,
)

pytestmark = pytest.mark.usefixtures("empty_schema")

BEFORE_CONTENT = ("markets", "0011_search_text")
BY_CONTENT = ("markets", "0012_rows_of_one_instant")
BEFORE_IMPORTED_BOOKS = ("markets", "0024_imports")
IMPORTED_BOOKS = ("markets", "0025_imported_books")


def a_snapshot_of(apps, *, bid):
    """An unsaved snapshot of the market at the day's first instant, with an id of today's kind."""
    snapshot = apps.get_model("markets", "MarketSnapshot")
    market = apps.get_model("markets", "Market").objects.get()
    return snapshot(
        id=snapshot_id(market.pk, LONG_AGO, "POLL", None, content=bid),
        market=market,
        timestamp=LONG_AGO,
        recorded_at=LONG_AGO,
        source="POLL",
        yes_bid=Decimal(bid),
    )


@pytest.mark.parametrize("was_cut_off", [False, True])
def test_existing_snapshots_keep_their_ids_and_make_room_for_others(was_cut_off):
    apps = migrate_to(BEFORE_CONTENT)
    create_snapshots(apps)
    day = DayPartition(SNAPSHOTS, LONG_AGO.date())
    partitions.create_missing(SNAPSHOTS, [day.day])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {day.name} CLUSTER ON {partitions._index_by_market(day.name)}")
    before = snapshots(apps)
    if was_cut_off:
        migration = import_module("markets.migrations.0012_rows_of_one_instant")
        migration.build(SNAPSHOTS, *migration.TABLES[SNAPSHOTS])
    apps = migrate_to(BY_CONTENT)
    assert snapshots(apps) == before
    # Otherwise maintenance would write every closed day anew.
    assert partitions.is_clustered(day)
    with pytest.raises(IntegrityError, match="market_id_timestamp"), transaction.atomic():
        a_snapshot_of(apps, bid="0.4200").save(force_insert=True)
    a_snapshot_of(apps, bid="0.4300").save(force_insert=True)
    assert len(snapshots(apps)) == len(before) + 1


def test_days_created_after_the_migration_tell_rows_apart_in_the_same_way():
    create_snapshots(migrate_to(BEFORE_CONTENT))
    apps = migrate_to(BY_CONTENT)
    a_snapshot_of(apps, bid="0.4300").save(force_insert=True)
    partitions.create_missing(SNAPSHOTS, [LONG_AGO.date() - timedelta(days=9)])
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(DISTINCT pg_get_expr(indexprs, indrelid)), count(*)
               FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid
               WHERE inhparent = 'snapshot_once'::regclass"""
        )
        kinds, parts = cursor.fetchone()
    assert (kinds, parts) == (1, len(partitions.partitions_of(SNAPSHOTS)) + 1)


def test_imported_books_are_told_apart_by_their_line_and_recorded_ones_by_their_levels():
    create_snapshots(apps := migrate_to(BEFORE_IMPORTED_BOOKS))
    day = DayPartition(ORDER_BOOKS, LONG_AGO.date())
    partitions.create_missing(ORDER_BOOKS, [day.day])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {day.name} CLUSTER ON {partitions._index_by_market(day.name)}")
    a_book(apps, 1).save(force_insert=True)
    apps = migrate_to(IMPORTED_BOOKS)
    assert partitions.is_clustered(day)
    assert apps.get_model("markets", "OrderBookSnapshot").objects.count() == 1
    with pytest.raises(IntegrityError, match="once_idx"), transaction.atomic():
        a_book(apps, 2).save(force_insert=True)
    for number in (3, 4):
        a_book(apps, number, sequence=number).save(force_insert=True)


def a_book(apps, number, *, sequence=None):
    """An unsaved book of the market; all of them have the same levels and instant."""
    return apps.get_model("markets", "OrderBookSnapshot")(
        id=UUID(int=number),
        market=apps.get_model("markets", "Market").objects.get(),
        timestamp=LONG_AGO,
        bid_prices=[Decimal("0.42")],
        bid_sizes=[Decimal(10)],
        ask_prices=[],
        ask_sizes=[],
        sequence=sequence,
    )
