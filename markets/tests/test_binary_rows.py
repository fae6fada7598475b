"""Columns of numbers by binary COPY: whatever goes in is read back."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from kalshi_insights.export import binary_rows
from kalshi_insights.export.binary_rows import BinaryField
from kalshi_insights.export.copy import create_staging_table
from markets.importing.row_ids import PlacedRows
from markets.models import Import
from markets.models.observations import instant

TYPES = {
    "big": "bigint",
    "small": "smallint",
    "at": "timestamptz",
    "price": "numeric(6,4)",
    "count": "numeric(18,2)",
    "word": "text",
    "flag": "boolean",
}
LAST = 4_102_444_800_000_000  # the year 2100, in microseconds
ROW = st.tuples(
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.none(), st.integers(-(2**15), 2**15 - 1)),
    st.integers(0, LAST),
    st.one_of(st.none(), st.integers(0, 10_000)),
    st.one_of(st.none(), st.integers(0, 10**18 - 1)),
    st.booleans(),
)


def copied(rows):
    """Copy rows into a table and read them back."""
    columns = list(zip(*rows, strict=True))
    known = [np.array([value is not None for value in column]) for column in columns]
    values = [np.array([value or 0 for value in column], np.int64) for column in columns]
    create_staging_table("binary_row_staging", TYPES)
    binary_rows.copy_fields(
        "binary_row_staging",
        {
            "big": binary_rows.integers(values[0], 8, known[0]),
            "small": binary_rows.integers(values[1], 2, known[1]),
            "at": binary_rows.instants(values[2]),
            "price": binary_rows.decimals(values[3], 4, known[3]),
            "count": binary_rows.decimals(values[4], 2, known[4]),
            "word": binary_rows.texts("IMPORT", len(rows)),
            "flag": binary_rows.flags(values[5] == 1),
        },
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(TYPES)} FROM binary_row_staging")
        return cursor.fetchall()


def in_parts(value, places):
    return None if value is None else Decimal(value).scaleb(-places)


class TestRoundTrip(TestCase):
    @settings(max_examples=25, deadline=None)
    @given(st.lists(ROW, min_size=1, max_size=8))
    def test_whatever_goes_in_is_read_back(self, rows):
        assert copied(rows) == [
            (big, small, instant(at), in_parts(price, 4), in_parts(count, 2), "IMPORT", flag)
            for big, small, at, price, count, flag in rows
        ]


@given(
    st.lists(
        st.tuples(st.integers(0, LAST), st.integers(1, 2**62 - 1)),
        min_size=2,
        max_size=20,
        unique=True,
    )
)
@settings(max_examples=50, deadline=None)
def test_ids_are_distinct_and_in_the_order_of_time_and_line(places):
    at, sequence = (np.array(column, np.int64) for column in zip(*sorted(places), strict=True))
    ids = [bytes(id) for id in PlacedRows(Import(pk=1), sequence, sequence, at).ids]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.django_db
def test_a_column_of_nulls_takes_no_room():
    count = 3
    create_staging_table("binary_null_staging", {"a": "bigint", "b": "uuid"})
    ids = BinaryField(np.zeros((count, 16), np.uint8))
    nothing = binary_rows.integers(np.zeros(count, np.int64), 8, np.zeros(count, np.bool_))
    binary_rows.copy_fields("binary_null_staging", {"a": nothing, "b": ids})

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(a), count(b) FROM binary_null_staging")
        assert cursor.fetchone() == (0, count)
    assert len(binary_rows.encoded({"a": nothing})) == count * (2 + binary_rows.LENGTH)


def test_instants_are_counted_from_2000():
    field = binary_rows.instants(np.array([946_684_800 * 1_000_000 + 1]))

    assert bytes(field.content[0]) == (1).to_bytes(8)
    assert instant(946_684_800 * 1_000_000) == datetime(2000, 1, 1, tzinfo=UTC)
