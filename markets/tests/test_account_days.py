"""A database archives the days that it recorded, and not what came with a restored one."""

from datetime import UTC, date, datetime, timedelta

import pytest

from markets.models import ArchivedDay, ImportedPeriod, Market, Poll, Sweep, Tier
from markets.models.imported_periods import ImportedRows
from markets.storage import archive, partitions, restore
from markets.storage.account import IMPORTED_PERIODS, POLLS, SWEEPS
from markets.storage.account_days import days_of_account
from markets.storage.partitions import ONE_DAY, DayPartition
from markets.tests.factories import a_market, a_poll, a_sweep

FIRST = date(2026, 3, 1)
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def archive_path(settings, tmp_path):
    settings.ARCHIVE_PATH = tmp_path / "archive"


def the(number: int) -> date:
    return FIRST + number * ONE_DAY


def noon(number: int) -> datetime:
    return partitions.midnight(the(number)) + 12 * HOUR


def record(start: datetime) -> None:
    a_poll(start)
    a_sweep(Tier.UNIVERSE, start)


def numbers(table: str) -> list[int]:
    return [(partition.day - FIRST).days for partition in days_of_account(table)]


def to_archive() -> list[int]:
    days = archive.days_to_archive([POLLS, SWEEPS], now=NOW)
    return sorted({(partition.day - FIRST).days for partition in days})


@pytest.fixture
def another_database():
    """The days 4 to 11 are in the archive, and a new database has recorded since day 100."""
    for hour in range(8 * 24):
        record(noon(4) + hour * HOUR + timedelta(minutes=30))
    for number in range(4, 12):
        for table in (POLLS, SWEEPS):
            archive.archive_day(DayPartition(table, the(number)), now=NOW)
    for model in (Poll, Sweep, ArchivedDay):
        model.objects.all().delete()
    record(noon(100))


def restore_days(*days: int) -> None:
    for number in days:
        for table in (POLLS, SWEEPS):
            restore.restore_day(DayPartition(table, the(number)), now=NOW)


def test_the_neighbours_of_a_restored_day_are_not_archived(another_database):
    restore_days(9)
    assert numbers(POLLS) == numbers(SWEEPS) == [9, 100]
    assert to_archive() == [100]


def test_nor_are_those_between_restored_days(another_database):
    restore_days(5, 9)
    assert numbers(POLLS) == numbers(SWEEPS) == [5, 9, 100]
    assert to_archive() == [100]


def test_a_run_of_its_own_after_a_restored_day_is_archived(another_database):
    restore_days(9)
    record(noon(10))
    assert to_archive() == [10, 100]


def test_a_run_of_its_own_before_a_restored_day_is_archived(another_database):
    restore_days(9)
    record(noon(8))
    assert to_archive() == [8, 100]


def test_a_restored_day_may_be_restored_with_its_neighbours(another_database):
    restore_days(9, 8, 10)
    assert numbers(POLLS) == [8, 9, 10, 100]
    assert to_archive() == [100]


class TestPeriodsOfImports:
    def state(self, market: int, first: int, last: int, *, at: datetime) -> None:
        rows = {market: ImportedRows(noon(first), noon(last))}
        ImportedPeriod.objects.state(rows, 60, at=at)

    @pytest.fixture(autouse=True)
    def restored(self) -> None:
        """A period of the days 5 to 12 came back with day 9."""
        self.state(a_market("KXA-1").pk, 5, 12, at=noon(13))
        archive.archive_day(DayPartition(IMPORTED_PERIODS, the(9)), now=NOW)
        ArchivedDay.objects.all().delete()
        ImportedPeriod.objects.all().delete()
        restore.restore_day(DayPartition(IMPORTED_PERIODS, the(9)), now=NOW)

    def test_that_came_with_a_restored_day_are_archived_with_no_other(self):
        assert numbers(IMPORTED_PERIODS) == [9]

    def test_that_were_stated_here_are_archived_with_each_of_their_days(self):
        self.state(a_market("KXB-1").pk, 8, 10, at=NOW + HOUR)
        self.state(a_market("KXB-2").pk, 20, 20, at=noon(21))
        assert numbers(IMPORTED_PERIODS) == [8, 9, 10, 20]

    def test_that_were_stated_before_a_day_was_restored_are_archived_with_each_of_theirs(self):
        self.state(a_market("KXB-1").pk, 8, 10, at=NOW - HOUR)
        restore.restore_day(DayPartition(IMPORTED_PERIODS, the(9)), now=NOW + HOUR)
        assert numbers(IMPORTED_PERIODS) == [8, 9, 10]

    def test_that_came_back_and_are_stated_again_are_archived_with_each_of_their_days(self):
        self.state(Market.objects.get(ticker="KXA-1").pk, 5, 12, at=NOW)
        assert numbers(IMPORTED_PERIODS) == list(range(5, 13))
        assert ImportedPeriod.objects.count() == 1
