"""The migration that lets each import have its own order books."""

from importlib import import_module
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from markets.storage import partitions
from markets.storage.partitions import ORDER_BOOKS
from markets.tests.test_migrations import (
    LONG_AGO,
    create_snapshots,
    empty_schema,  # noqa: F401
    migrate_to,
)

pytestmark = pytest.mark.usefixtures("empty_schema")

BEFORE = ("markets", "0024_imports")
BY_IMPORT = ("markets", "0025_order_books_of_imports")


def add_book(apps, sequence: int | None) -> None:
    apps.get_model("markets", "OrderBookSnapshot").objects.create(
        id=uuid4(),
        market=apps.get_model("markets", "Market").objects.get(),
        timestamp=LONG_AGO,
        bid_prices=["0.4200"],
        bid_sizes=["1.00"],
        ask_prices=[],
        ask_sizes=[],
        sequence=sequence,
    )


@pytest.mark.parametrize("was_cut_off", [False, True])
def test_existing_order_books_make_room_for_the_same_ones_of_imports(was_cut_off):
    apps = migrate_to(BEFORE)
    create_snapshots(apps)
    partitions.create_missing(ORDER_BOOKS, [LONG_AGO.date()])
    add_book(apps, None)
    migration = import_module("markets.migrations.0025_order_books_of_imports")
    if was_cut_off:
        migration.execute(
            f"CREATE UNIQUE INDEX {migration.NEW} ON ONLY {ORDER_BOOKS} {migration.COLUMNS}"
        )
        migration.build(f"{ORDER_BOOKS}_20260301")

    apps = migrate_to(BY_IMPORT)
    migration.distinguish_by_import(apps, None)

    for sequence in (1 << 36 | 2, 2 << 36 | 2):
        add_book(apps, sequence)
    for known in (None, 1 << 36 | 2):
        with pytest.raises(IntegrityError, match="market_id_timestamp"), transaction.atomic():
            add_book(apps, known)
