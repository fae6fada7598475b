"""The second proof of the tape: each day's trades add up to the change of volumes."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import transaction

from markets.intervals import Interval
from markets.models import ArchivedDay, Poll, TapeDay, TapeSpan, Trade
from markets.models.storage import AT_MIDNIGHT
from markets.storage import archive, partitions, restore, retention
from markets.storage.account import TAPE_SPANS
from markets.storage.partitions import ONE_DAY, SNAPSHOTS, TRADES, DayPartition
from markets.tests.factories import a_market, a_snapshot, a_trade

NOW = datetime.now(UTC)
DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


def observed(ticker, *volumes):
    """Create a market whose volume was observed once an hour, and return it."""
    market = a_market(ticker)
    for n, volume in enumerate(volumes, 1):
        a_snapshot(market, DAY + n * HOUR, volume=volume).save()
    return market


def test_the_trades_of_a_day_are_compared_with_its_volumes():
    agreeing = observed("KXA-1-X", 10, 10, 25)
    a_trade(agreeing, DAY + 1.5 * HOUR, "a", contracts=1500)
    a_trade(agreeing, DAY + 3.5 * HOUR, "b", contracts=100)  # after the last look
    lacking = observed("KXA-1-Y", 0, 30)
    a_trade(lacking, DAY + 1.5 * HOUR, "c", contracts=1000)
    observed("KXA-1-Z", 5, 5)
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(DAY, DAY + HOUR))
    assert retention.maintain(now=NOW).compared == DAY.date()
    assert retention.maintain(now=NOW).compared is None
    day = TapeDay.objects.get()
    assert (day.markets, day.agreeing) == (2, 1)
    assert (day.grown, day.traded) == (45, 25)


def test_a_trade_at_the_instant_of_a_look_may_count_on_either_side():
    market = observed("KXA-1-X", 10, 20)
    a_trade(market, DAY + HOUR - SECOND, "a", contracts=1000)
    day = TapeDay.objects.compare(DAY.date(), at=NOW)
    assert (day.markets, day.agreeing, day.contracts) == (1, 1, 0)


def test_a_day_whose_trades_were_dropped_is_not_whole():
    window = Interval(DAY, DAY + 48 * HOUR)
    with transaction.atomic():
        TapeSpan.objects.mark(window, TapeSpan(is_whole=True))
    assert TapeSpan.objects.share(window) == 1
    ArchivedDay.objects.create(
        table=TRADES, day=DAY.date(), rows=1, schema_version=1, verified_at=NOW
    )
    ArchivedDay.objects.mark_dropped(DayPartition(TRADES, DAY.date()), NOW)
    assert TapeSpan.objects.whole(window) == [Interval(DAY + 24 * HOUR, window.end)]
    assert TapeSpan.objects.unread(window) == []
    assert TapeSpan.objects.share(window) == 0.5


def test_a_restored_span_is_whole_once_the_trades_are_restored_too(settings, tmp_path):
    settings.ARCHIVE_PATH = tmp_path / "archive"
    window = Interval(DAY, DAY + HOUR)
    spans, trades = (DayPartition(table, DAY.date()) for table in (TAPE_SPANS, TRADES))
    with transaction.atomic():
        TapeSpan.objects.mark(window, TapeSpan(is_whole=True))
    a_trade(a_market(), DAY, "a")
    for each in (spans, trades):
        archive.archive_day(each, now=NOW)
    for model in (ArchivedDay, TapeSpan, Trade):
        model.objects.all().delete()
    restore.restore_day(spans, now=NOW)
    assert TapeSpan.objects.share(window) == 0
    restore.restore_day(trades, now=NOW)
    assert TapeSpan.objects.share(window) == 1


class TestADayWithoutATrade:
    WINDOW = Interval(DAY, DAY + HOUR)
    SPANS, TRADES = (DayPartition(table, DAY.date()) for table in (TAPE_SPANS, TRADES))

    @pytest.fixture(autouse=True)
    def quiet_day(self, settings, tmp_path):
        settings.ARCHIVE_PATH = tmp_path / "archive"
        settings.TRADE_RETENTION_DAYS = 30
        partitions.create_missing(TRADES, [DAY.date()])
        Poll.objects.create(started_at=DAY)

    def read(self, *, is_whole: bool = True) -> None:
        with transaction.atomic():
            TapeSpan.objects.mark(self.WINDOW, TapeSpan(is_whole=is_whole))

    def forget(self) -> None:
        for model in (ArchivedDay, TapeSpan, Poll):
            model.objects.all().delete()

    def test_is_archived_when_it_was_read(self):
        self.read()
        assert archive.days_to_archive([TRADES], now=NOW) == [self.TRADES]
        assert archive.archive_day(self.TRADES, now=NOW).rows == 0
        assert archive.days_to_archive([TRADES], now=NOW) == []

    def test_is_archived_although_nothing_was_ever_written_on_it(self):
        partitions.drop(self.TRADES, lambda: "")
        assert archive.days_to_archive([TRADES], now=NOW) == []
        self.read()
        assert archive.days_to_archive([TRADES], now=NOW) == [self.TRADES]
        assert archive.archive_day(self.TRADES, now=NOW).rows == 0
        assert archive.days_to_archive([TRADES], now=NOW) == []

    def test_is_not_archived_when_trades_of_it_may_be_missing(self):
        self.read(is_whole=False)
        assert archive.days_to_archive([TRADES], now=NOW) == []

    def test_is_whole_again_when_it_is_restored(self):
        self.read()
        call_command("archive")
        self.forget()
        call_command("restorearchive", f"{DAY.date()}")
        assert TapeSpan.objects.whole(self.WINDOW) == [self.WINDOW]
        assert archive.days_to_archive([TRADES, TAPE_SPANS], now=NOW) == []

    def test_lacks_none_after_it_was_dropped(self):
        self.read()
        call_command("archive")
        assert self.TRADES in retention.maintain(now=NOW).dropped
        assert TapeSpan.objects.whole(self.WINDOW) == [self.WINDOW]
        assert archive.days_to_archive([TRADES], now=NOW) == []

    def test_is_not_archived_as_such_where_only_its_spans_were_restored(self):
        self.read()
        a_trade(a_market(), DAY, "a")
        call_command("archive")
        self.forget()
        Trade.objects.all().delete()
        restore.restore_day(self.SPANS, now=NOW)
        assert archive.days_to_archive([TRADES], now=NOW) == []
        assert TapeSpan.objects.whole(self.WINDOW) == []

    def test_is_archived_again_when_trades_of_it_came(self):
        self.read()
        call_command("archive")
        a_trade(a_market(), DAY, "a")
        assert archive.days_to_archive([TRADES], now=NOW) == [self.TRADES]
        assert archive.archive_day(self.TRADES, now=NOW).rows == 1


@pytest.mark.parametrize("is_quiet", [True, False])
def test_a_day_without_a_partition_is_whole_with_trades_and_without(is_quiet):
    with transaction.atomic():
        TapeSpan.objects.mark(Interval(DAY, DAY + HOUR), TapeSpan(is_whole=True))
    if not is_quiet:
        a_trade(a_market(), DAY, "a")
    assert TapeSpan.objects.share(Interval(DAY, DAY + HOUR)) == 1


def test_a_day_is_compared_again_when_a_part_of_it_was_read_later():
    market = observed("KXA-1-X", 10, 25)
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(DAY, DAY + 24 * HOUR))
    a_trade(market, DAY + 1.2 * HOUR, "a", contracts=1000)
    assert retention.maintain(now=NOW).compared == DAY.date()
    assert TapeDay.objects.get().agreeing == 0
    a_trade(market, DAY + 1.5 * HOUR, "b", contracts=500)
    with transaction.atomic():
        TapeSpan.objects.mark_whole(
            Interval(DAY, DAY + 24 * HOUR), TapeSpan(is_whole=True), at=NOW + HOUR
        )
    assert retention.maintain(now=NOW + 2 * HOUR).compared == DAY.date()
    assert retention.maintain(now=NOW + 3 * HOUR).compared is None
    day = TapeDay.objects.get()
    assert (day.agreeing, day.share) == (1, 1)


@pytest.mark.parametrize("seconds", [-40, 40])
def test_a_clock_that_goes_wrong_moves_no_trade_beyond_an_observation(seconds):
    market = observed("KXA-1-X", 10, 20, 20)
    skew = seconds * SECOND
    # An answer tells its time in whole seconds.
    Poll.objects.create(started_at=DAY + HOUR, clock_skew=skew + SECOND / 2)
    a_trade(market, DAY + HOUR + 20 * SECOND - skew, "a", contracts=1000)
    a_trade(market, DAY + HOUR - 20 * SECOND - skew, "b", contracts=900)
    a_trade(market, DAY + 3 * HOUR + 20 * SECOND - skew, "c", contracts=800)
    day = TapeDay.objects.compare(DAY.date(), at=NOW)
    assert (day.markets, day.agreeing, day.contracts) == (1, 1, 1000)


def drop_snapshots():
    """Take the day's snapshots out of the database."""
    partition = DayPartition(SNAPSHOTS, DAY.date())
    partitions.drop(partition, lambda: "")
    ArchivedDay.objects.mark_dropped(partition, NOW)


def drop_and_backfill():
    drop_snapshots()
    partitions.create_missing(SNAPSHOTS, [DAY.date()])


def leave_last_quotes():
    """Let all but the last quotes be gone, which came back with the following day."""
    archived = ArchivedDay.objects.get(table=SNAPSHOTS)
    ArchivedDay.objects.mark_dropped(DayPartition(SNAPSHOTS, DAY.date()), NOW)
    archived.pk, archived.table, archived.day = None, AT_MIDNIGHT, DAY.date() + ONE_DAY
    archived.restored_at = NOW
    archived.save()


@pytest.mark.parametrize("lose", [drop_snapshots, drop_and_backfill, leave_last_quotes])
def test_a_comparison_outlives_the_snapshots_of_its_day(lose):
    market = observed("KXA-1-X", 10, 25)
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(DAY, DAY + 24 * HOUR))
    a_trade(market, DAY + 1.2 * HOUR, "a", contracts=1500)
    assert retention.maintain(now=NOW).compared == DAY.date()
    ArchivedDay.objects.create(
        table=SNAPSHOTS, day=DAY.date(), rows=2, schema_version=1, verified_at=NOW
    )
    lose()
    with transaction.atomic():
        TapeSpan.objects.mark_whole(
            Interval(DAY, DAY + 24 * HOUR), TapeSpan(is_whole=True), at=NOW + HOUR
        )
    assert retention.maintain(now=NOW + 2 * HOUR).compared is None
    day = TapeDay.objects.get()
    assert (day.markets, day.agreeing, day.volume) == (1, 1, 1500)
