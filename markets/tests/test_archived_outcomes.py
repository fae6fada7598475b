"""The archive has how markets were settled, by the day on which they were."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command

from markets.models import ArchivedDay, Event, Market, Series
from markets.storage import archive, restore
from markets.storage.account import SETTLEMENTS
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import DayPartition
from markets.tests.factories import a_market

NOW = datetime.now(UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
THAT_DAY = DayPartition(SETTLEMENTS, date(2026, 3, 1))
OUTCOME = ("ticker", "status", "result", "settlement_value", "settlement_ts")

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def archive_path(settings, tmp_path):
    settings.ARCHIVE_PATH = tmp_path / "archive"


def a_settled_market(ticker, result="yes", value="1", at=NOON, **others):
    return a_market(
        ticker,
        status="finalized",
        result=result,
        settlement_value=Decimal(value),
        settlement_ts=at,
        **others,
    )


@pytest.fixture
def settled():
    """Markets of three outcomes, and one that is open."""
    markets = [
        a_settled_market("KXRAIN-26MAR01-A"),
        a_settled_market("KXRAIN-26MAR01-B", "no", "0", NOON + timedelta(hours=11)),
        a_settled_market("KXTIE-26MAR01-X", "scalar", "0.500001"),
    ]
    a_market("KXSUN-26MAR01")
    return markets


def outcomes():
    return list(Market.objects.order_by("ticker").values_list(*OUTCOME))


def forget():
    """Leave the markets as they were before they were settled."""
    Market.objects.update(status="active", result="", settlement_value=None, settlement_ts=None)


def test_the_outcomes_of_a_day_come_back(settled):
    before = outcomes()
    assert archive.archive_day(THAT_DAY, now=NOW).rows == 3
    forget()
    assert restore.restore_day(THAT_DAY, now=NOW) == (3, 3)
    assert outcomes() == before
    assert restore.restore_day(THAT_DAY, now=NOW) == (3, 0)


def test_markets_that_nobody_knows_any_more_come_back_with_them(settled):
    before = outcomes()
    archive.archive_day(THAT_DAY, now=NOW)
    for model in (ArchivedDay, Market, Event, Series):
        model.objects.all().delete()
    restore.restore_day(THAT_DAY, now=NOW)
    assert outcomes() == [row for row in before if row[2]]


def test_an_outcome_on_record_is_left_as_it_is(settled):
    archive.archive_day(THAT_DAY, now=NOW)
    Market.objects.filter(result="yes").update(result="no", settlement_value=Decimal(0))
    before = outcomes()
    restore.restore_day(THAT_DAY, now=NOW)
    assert outcomes() == before


def test_days_of_settlements_are_listed_whether_anything_was_recorded_on_them(settled):
    a_settled_market("KXOLD-25JAN01", at=datetime(2025, 1, 1, tzinfo=UTC))
    a_market("KXODD-26MAR02", settlement_ts=NOON + timedelta(days=1), result="")
    a_settled_market("KXIMPORTED-26MAR03", at=NOON + timedelta(days=2), is_placeholder=True)
    a_settled_market("KXNEW-26NOV30", at=NOW)
    days = archive.days_to_archive([SETTLEMENTS], now=NOW)
    assert days == [DayPartition(SETTLEMENTS, date(2025, 1, 1)), THAT_DAY]


def test_a_day_is_archived_again_when_an_outcome_is_amended_or_learned_late(settled):
    call_command("archive")
    assert archive.days_to_archive([SETTLEMENTS], now=NOW) == []
    Market.objects.filter(result="yes").update(result="no", settlement_value=Decimal(0))
    assert archive.days_to_archive([SETTLEMENTS], now=NOW) == [THAT_DAY]
    call_command("archive")
    a_settled_market("KXLATE-26MAR01")
    assert archive.days_to_archive([SETTLEMENTS], now=NOW) == [THAT_DAY]
    call_command("archive")
    assert ArchivedDay.objects.get().rows == 4
    assert archive.days_to_archive([SETTLEMENTS], now=NOW) == []


def test_files_of_another_database_are_never_replaced_by_less(settled):
    archive.archive_day(THAT_DAY, now=NOW)
    ArchivedDay.objects.all().delete()
    Market.objects.filter(result="scalar").delete()
    with pytest.raises(ArchiveError, match="2 rows in the database and 3 in the archive"):
        archive.archive_day(THAT_DAY, now=NOW)
    restore.restore_day(THAT_DAY, now=NOW)
    assert archive.archive_day(THAT_DAY, now=NOW).rows == 3
