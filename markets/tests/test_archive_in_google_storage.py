"""The archive in Google's object storage, on a server of this machine that speaks as it does."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from kalshi_insights.export import object_storage
from markets.models import ArchivedDay, MarketSnapshot
from markets.storage import layout, partitions, restore, retention
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import SNAPSHOTS, DayPartition
from markets.tests.factories import a_market, a_snapshot
from markets.tests.google_storage import running_google_storage

NOW = datetime.now(UTC)
THAT_DAY = DayPartition(SNAPSHOTS, date(2026, 3, 1))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = [
    "kalshi/manifests/snapshots/2026-03-01.json",
    "kalshi/tables/markets_of_snapshots/day=2026-03-01/markets_of_snapshots.parquet",
    "kalshi/tables/snapshots/day=2026-03-01/snapshots.parquet",
]

pytestmark = pytest.mark.django_db


@pytest.fixture
def storage(settings):
    object_storage.connect.cache_clear()
    settings.RETENTION_DAYS = 30
    with running_google_storage() as storage:
        settings.ARCHIVE_PATH = storage.address("kalshi")
        yield storage


@pytest.fixture
def market():
    market = a_market()
    a_snapshot(market, NOON).save()
    partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
    return market


def test_a_day_comes_back_equal_and_nothing_is_left_aside(market, storage):
    before = list(MarketSnapshot.objects.values())
    call_command("archive")
    assert sorted(storage.objects) == NAMES
    assert str(layout.files_of(THAT_DAY).rows) == f"gs://bucket/{NAMES[2]}"
    assert retention.maintain(now=NOW).dropped == [THAT_DAY]
    call_command("restorearchive", "2026-03-01")
    assert list(MarketSnapshot.objects.values()) == before


def test_a_day_that_has_grown_replaces_its_objects(market, storage):
    call_command("archive")
    a_snapshot(market, NOON + timedelta(hours=1)).save()
    call_command("archive")
    assert sorted(storage.objects) == NAMES
    assert ArchivedDay.objects.get().rows == 2
    assert retention.maintain(now=NOW).dropped == [THAT_DAY]


def test_a_damaged_object_and_a_missing_one_are_refused(market, storage):
    call_command("archive")
    storage.objects[NAMES[2]] = b"something else"
    with pytest.raises(ArchiveError, match="is damaged"):
        restore.restore_day(THAT_DAY, now=NOW)
    del storage.objects[NAMES[2]]
    assert "missing, damaged" in retention.maintain(now=NOW).kept[THAT_DAY]
    with pytest.raises(ArchiveError, match="cannot be read"):
        restore.restore_day(THAT_DAY, now=NOW)


def test_a_bucket_that_is_not_there_is_named(market, storage, settings):
    settings.ARCHIVE_PATH = storage.address("kalshi").replace("@bucket", "@nowhere")
    with pytest.raises(CommandError, match=r"^ARCHIVE_PATH names a bucket .*gs://nowhere$"):
        call_command("archive")
