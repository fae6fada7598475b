"""The recipes of `docs/archive.md` say what they promise."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from django.core.management import call_command

from markets.storage import partitions
from markets.storage.partitions import SNAPSHOTS
from markets.tests.archive_recipes import recipe
from markets.tests.factories import a_market, a_snapshot

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def archive_path(settings, tmp_path):
    settings.ARCHIVE_PATH = tmp_path / "archive"
    return settings.ARCHIVE_PATH


def a_quoted_market(ticker, result, *quotes, value=None):
    """Create a settled market with quotes at minutes from the first noon: (minute, bid, ask)."""
    market = a_market(
        ticker,
        status="finalized",
        result=result,
        settlement_value=value,
        settlement_ts=NOON + timedelta(days=3),
    )
    for minute, bid, ask in quotes:
        at = NOON + timedelta(minutes=minute)
        a_snapshot(market, at, yes_bid=bid and Decimal(bid), yes_ask=ask and Decimal(ask)).save()
    return market


@pytest.fixture
def archived():
    """Markets that were quoted at the noons of two days, in ways that matter."""
    a_quoted_market("KXRAIN-26MAR01-A", "yes", (-60, "0.10", "0.12"), (-1, "0.60", "0.64"))
    a_quoted_market("KXRAIN-26MAR01-B", "no", (-70, "0.61", "0.65"), (0, "0.66", "0.70"))
    a_quoted_market("KXTIE-26MAR01", "scalar", (-5, "0.98", "1.00"), value=Decimal("0.25"))
    # Its book had lost its bid by noon, and an earlier quote does not stand for it.
    a_quoted_market("KXDYING-26MAR01", "no", (-30, "0.12", "0.14"), (-2, None, "0.14"))
    a_quoted_market("KXWIDE-26MAR01", "no", (-2, "0.10", "0.40"))
    # The second noon counts for nothing where there was a first.
    a_quoted_market("KXLATER-26MAR01", "yes", (-2, "0.30", "0.32"), (1439, "0.90", "0.92"))
    a_quoted_market("KXNIGHT-26MAR01", "yes", (-300, "0.50", "0.52"))
    open_one = a_market("KXOPEN-26MAR01")
    a_snapshot(open_one, NOON, yes_bid=Decimal("0.50"), yes_ask=Decimal("0.52")).save()
    partitions.create_missing(SNAPSHOTS, [date(2026, 3, 1), date(2026, 3, 2)])
    call_command("archive")


def rows_of(statements):
    """Run statements as one session, and return the rows of the last."""
    with duckdb.connect() as database:
        return database.execute(statements).fetchall()


def test_reliability_is_of_the_first_noon_and_of_every_settled_market(archived, archive_path):
    assert rows_of(recipe("sql", "first_noon", archive_path)) == [
        (3, 1, pytest.approx(0.31), 1.0),
        (6, 2, pytest.approx(0.65), 0.5),
        (9, 1, pytest.approx(0.99), 0.25),
    ]


def test_the_quotes_of_one_market_come_in_order(archived, archive_path):
    assert rows_of(recipe("sql", "last_price", archive_path)) == [
        (NOON - timedelta(hours=1), Decimal("0.1000"), Decimal("0.1200"), None),
        (NOON - timedelta(minutes=1), Decimal("0.6000"), Decimal("0.6400"), None),
    ]


def test_polars_reads_all_days(archived, archive_path):
    names: dict[str, Any] = {}
    exec(recipe("python", "polars", archive_path), names)  # noqa: S102
    found = {row["day"]: (row["spread"], row["rows"]) for row in names["spreads"].to_dicts()}
    assert found == {
        date(2026, 3, 1): (pytest.approx(0.054), 10),
        date(2026, 3, 2): (pytest.approx(0.02), 1),
    }
