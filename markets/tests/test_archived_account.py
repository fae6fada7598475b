"""The recorder's account in the archive: a restored day proves its looks."""

from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command
from django.db import connection

from markets.coverage.coverage import coverage
from markets.intervals import Interval
from markets.models import (
    ArchivedDay,
    Closure,
    Event,
    HotPeriod,
    ImportedPeriod,
    Market,
    MarketSnapshot,
    Poll,
    Series,
    Sweep,
    TapeSpan,
    Tier,
)
from markets.models.imported_periods import ImportedRows
from markets.models.storage import AT_MIDNIGHT
from markets.models.tape import Proof
from markets.models.tape_scope import TapeScope
from markets.pages.contents import encode_page, places_of
from markets.storage import archive, layout, partitions, restore
from markets.storage.account import (
    ACCOUNT,
    CLOSURES,
    HOT_PERIODS,
    IMPORTED_PERIODS,
    POLLS,
    SETTLEMENTS,
    SWEEPS,
    TAPE_SPANS,
)
from markets.storage.manifest import ArchiveError, read_manifest, sha256_of_file
from markets.storage.partitions import SNAPSHOTS, DayPartition
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep

DAY = date(2026, 3, 1)
START, END = DayPartition(SNAPSHOTS, DAY).bounds
NOW = datetime.now(UTC)
MODELS: dict[str, Any] = {POLLS: Poll, SWEEPS: Sweep, HOT_PERIODS: HotPeriod, CLOSURES: Closure}
LISTING = [["KXSNOW-1", "KXRAIN-26MAR01"], ["KXSUN-1"]]

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _settings(settings, tmp_path):
    settings.ARCHIVE_PATH = tmp_path / "archive"
    settings.POLL_INTERVAL, settings.UNIVERSE_INTERVAL, settings.HEARTBEAT = 5, 30, 3600


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def a_pass(tier: str, second: float, **values: Any) -> Sweep:
    """A sweep with its pages a second and two seconds after it began."""
    pages = [[at(second + n + 1).timestamp(), 2, ""] for n in range(len(LISTING))]
    return Sweep.objects.create(
        tier=tier,
        started_at=at(second),
        finished_at=at(second + 3),
        complete=True,
        markets=4,
        pages=pages,
        **values,
    )


@pytest.fixture
def market() -> Market:
    """A market on the last minutes of the day before, the first of the day, and at its end."""
    market = a_market("KXRAIN-26MAR01-X", open_time=at(-7200), close_time=END)
    for second in (-1800, 0, 3000, 86_000):
        a_snapshot(market, at(second)).save()
    partitions.create_missing(SNAPSHOTS, [DAY])
    HotPeriod.objects.create(market=market, started_at=at(-3000))
    Closure.objects.create(start=at(500), end=at(600), known_at=at(-9000))
    names = list(chain.from_iterable(LISTING))
    for second in range(-3600, 3600, 300):
        poll = a_poll(at(second), seconds=4)
        poll.clock_skew, poll.ages = timedelta(milliseconds=-7), {"hot": {"p50": 5.002}}
        poll.measure_silence()
        poll.save()
        is_first = second % 3600 == 0
        whole = b"".join(encode_page(page, {}) for page in LISTING)
        based_on = None if is_first else at(second - second % 3600)
        a_pass(Tier.UNIVERSE, second, contents=whole if is_first else b"", based_on=based_on)
    Sweep.objects.store_lateness()
    a_pass(
        Tier.HOT,
        3100,
        contents=encode_page([market.ticker], places_of([names])) + encode_page([], {}),
        skipped=['KX"ODD"', "KXÄ"],
    )
    return market


def looks(market: Market) -> list[int]:
    found = Sweep.objects.observed([market.pk], START, END, known_by=NOW)
    instants: list[int] = found.of_market(0).tolist()
    return instants


def archive_all() -> None:
    for table in (SNAPSHOTS, *ACCOUNT):
        archive.archive_day(DayPartition(table, DAY), now=NOW)


def restore_all() -> list[int]:
    """Restore the day; return how many rows of each table were missing."""
    days = [DayPartition(table, DAY) for table in (SNAPSHOTS, *ACCOUNT)]
    return [restore.restore_day(each, now=NOW).inserted for each in days]


def forget() -> None:
    """Leave an empty database."""
    MarketSnapshot.objects.all().delete()
    models: tuple[Any, ...] = (*MODELS.values(), ArchivedDay, Market, Event, Series)
    for model in models:
        model.objects.all().delete()


def rows(model: Any) -> list[dict[str, Any]]:
    found = list(model.objects.order_by("pk").values())
    for row in found:
        del row["id"]
        for name in ("market_id", "restored_at"):
            row.pop(name, None)
    return found


def test_a_day_in_an_empty_database_proves_its_looks(market):
    before, told = looks(market), coverage(market, START, END)
    # The run of the hot list saw the market with the universe, too.
    assert len(before) == 12
    archive_all()
    another = a_market("KXOTHER-1")
    forget()
    a_market(another.ticker)
    restore_all()
    back = Market.objects.get(ticker=market.ticker)
    assert looks(back) == before
    again = coverage(back, START, END)
    assert (again.gaps, again.stale, again.share) == (told.gaps, told.stale, told.share)


def test_every_value_comes_back(market):
    before = {table: rows(model) for table, model in MODELS.items()}
    archive_all()
    forget()
    restore_all()
    after = {table: rows(model) for table, model in MODELS.items()}
    # What came before the first run, and after the day, is not known here.
    first_poll, first_sweep = before[POLLS][0], before[SWEEPS][0]
    first_poll["since_last"] = first_sweep["since_last"] = None
    before[HOT_PERIODS][0]["ended_at"] = END
    for table in MODELS:
        assert after[table] == before[table]


def test_what_is_there_is_left_alone(market):
    archive_all()
    before = {table: rows(model) for table, model in MODELS.items()}
    assert restore_all() == [0] * (1 + len(ACCOUNT))
    Sweep.objects.filter(tier=Tier.HOT).delete()
    assert restore_all() == [0, 0, 1, 0, 0, 0, 0, 0]
    for table, model in MODELS.items():
        assert sorted(rows(model), key=str) == sorted(before[table], key=str)


def test_a_row_with_other_values_is_refused(market):
    archive_all()
    Sweep.objects.filter(tier=Tier.HOT).update(markets=5)
    with pytest.raises(ArchiveError, match="1 of the archived rows are in the database"):
        restore.restore_day(DayPartition(SWEEPS, DAY), now=NOW)


def test_a_restored_pass_is_older_than_those_on_record(market):
    archive_all()
    Sweep.objects.all().delete()
    newest = a_sweep(Tier.UNIVERSE, NOW)
    restore_all()
    assert Sweep.objects.newest(Tier.UNIVERSE) == newest
    assert Sweep.objects.newest_complete(Tier.UNIVERSE) == newest
    universe = Sweep.objects.filter(tier=Tier.UNIVERSE)
    assert list(universe.order_by("id")) == list(universe.order_by("started_at"))


class TestAPassUnderWay:
    """The archive was made while a pass that began on the day went on."""

    @pytest.fixture(autouse=True)
    def under_way(self, market) -> Sweep:
        under_way = a_pass(Tier.UNIVERSE, 86_390)
        Sweep.objects.filter(pk=under_way.pk).update(finished_at=None, complete=False, pages=[])
        archive_all()
        return under_way

    def test_may_have_ended_since(self, under_way):
        under_way.save()
        before = rows(Sweep)
        assert restore_all() == [0] * (1 + len(ACCOUNT))
        assert rows(Sweep) == before

    def test_comes_back_as_it_was_then(self, under_way):
        forget()
        restore_all()
        assert not Sweep.objects.get(started_at=under_way.started_at).complete

    def test_ends_when_it_is_restored_from_a_later_archive(self, under_way):
        Sweep.objects.filter(pk=under_way.pk).update(finished_at=NOW, complete=True)
        archive.archive_day(DayPartition(SWEEPS, DAY), now=NOW)
        Sweep.objects.filter(pk=under_way.pk).update(finished_at=None, complete=False)
        days = DayPartition(SWEEPS, DAY)
        assert [restore.restore_day(days, now=NOW).inserted for _ in range(2)] == [1, 0]
        assert Sweep.objects.get(pk=under_way.pk).complete


def test_a_hot_period_of_two_days_grows_with_each(market):
    HotPeriod.objects.update(ended_at=END + timedelta(hours=2))
    Poll.objects.create(started_at=END + timedelta(hours=1))
    for day in (DAY, DAY + timedelta(days=1)):
        archive.archive_day(DayPartition(HOT_PERIODS, day), now=NOW)
    HotPeriod.objects.all().delete()
    restore.restore_day(DayPartition(HOT_PERIODS, DAY), now=NOW)
    assert HotPeriod.objects.get().ended_at == END
    restore.restore_day(DayPartition(HOT_PERIODS, DAY + timedelta(days=1)), now=NOW)
    assert HotPeriod.objects.get().ended_at == END + timedelta(hours=2)
    restore.restore_day(DayPartition(HOT_PERIODS, DAY), now=NOW)
    assert HotPeriod.objects.get().ended_at == END + timedelta(hours=2)


def test_the_days_of_the_record_are_archived_with_their_account_once(market, capsys):
    call_command("archive", "--day", f"{DAY}")
    tables = {line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()}
    others = {TAPE_SPANS, IMPORTED_PERIODS, SETTLEMENTS}
    assert tables == {SNAPSHOTS, AT_MIDNIGHT, *ACCOUNT} - others
    assert not [day for day in archive.days_to_archive(ACCOUNT, now=NOW) if day.day == DAY]
    call_command("restorearchive", f"{DAY}")
    assert "in the database already" in capsys.readouterr().out


def test_every_column_is_archived_or_has_a_value_of_its_own():
    for table, each in ACCOUNT.items():
        if each.source:
            continue  # a part of a table is archived
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table} LIMIT 0")
            known = {column.name for column in cursor.description}
        assert {*each.restored(), *each.constants} == known - {"id"}


def test_the_periods_of_imported_rows_come_back_with_any_of_their_days(market):
    imported = {market.pk: ImportedRows(at(-100_000), at(200_000))}
    for seconds, known_at in ((60, at(0)), (600, at(10))):
        ImportedPeriod.objects.state(imported, seconds, at=known_at)
    before = rows(ImportedPeriod)
    Poll.objects.all().delete()  # an import needs no recorder
    periods = [
        each for each in archive.days_to_archive([IMPORTED_PERIODS], now=NOW) if each.day == DAY
    ]
    assert archive.archive_day(*periods, now=NOW).rows == 2
    ImportedPeriod.objects.all().delete()
    for _ in range(2):
        restore.restore_day(*periods, now=NOW)
        assert rows(ImportedPeriod) == before


def test_fewer_imported_periods_never_replace_files_that_the_database_does_not_know(market):
    for seconds, known_at in ((60, at(0)), (600, at(10))):
        rows = {market.pk: ImportedRows(at(0), at(3600))}
        ImportedPeriod.objects.state(rows, seconds, at=known_at)
    periods = DayPartition(IMPORTED_PERIODS, DAY)
    archive.archive_day(periods, now=NOW)
    ArchivedDay.objects.all().delete()
    ImportedPeriod.objects.filter(gap_after=60).delete()
    with pytest.raises(ArchiveError, match="1 rows in the database and 2 in the archive"):
        archive.archive_day(periods, now=NOW)
    restore.restore_day(periods, now=NOW)
    assert archive.archive_day(periods, now=NOW).rows == 2


class TestSpansOfTheTape:
    SPANS = DayPartition(TAPE_SPANS, DAY)

    def mark(self, since: float, until: float, *, is_whole: bool = True) -> None:
        proof = Proof.JOINED if is_whole else ""
        TapeSpan.objects.mark(
            Interval(at(since), at(until)), TapeSpan(is_whole=is_whole, proof=proof)
        )

    def archive(self) -> None:
        a_poll(at(0))
        archive.archive_day(self.SPANS, now=NOW)

    def seconds(self) -> list[tuple[float, float, bool]]:
        return [
            ((span.start - START).total_seconds(), (span.end - START).total_seconds(), whole)
            for span in TapeSpan.objects.order_by("start")
            for whole in (span.is_whole,)
        ]

    def test_come_back_as_far_as_they_reach_into_the_day(self):
        self.mark(-90_000, 3_600)
        self.mark(3_600, 7_200, is_whole=False)
        self.mark(7_200, 200_000)
        self.archive()
        TapeSpan.objects.all().delete()
        assert restore.restore_day(self.SPANS, now=NOW) == (3, 3)
        assert self.seconds() == [
            (0, 3_600, True),
            (3_600, 7_200, False),
            (7_200, 86_400, True),
        ]

    def test_leave_alone_what_the_database_knows(self):
        self.mark(0, 7_200, is_whole=False)
        self.archive()
        self.mark(3_600, 86_400 * 2)
        before = self.seconds()
        assert restore.restore_day(self.SPANS, now=NOW).inserted == 0
        assert self.seconds() == before

    def test_are_archived_again_when_they_were_closed(self):
        self.mark(0, 3_600)
        self.mark(3_600, 7_200, is_whole=False)
        self.archive()
        self.mark(3_600, 7_200)
        assert self.SPANS in archive.days_to_archive([TAPE_SPANS], now=NOW)
        assert archive.archive_day(self.SPANS, now=NOW).rows == 1

    def test_are_archived_again_when_as_many_say_something_else(self):
        self.mark(0, 3_600)
        self.mark(3_600, 7_200, is_whole=False)
        self.archive()
        listed = TapeSpan(is_whole=True, proof=Proof.LISTED)
        TapeSpan.objects.mark(Interval(at(3_600), at(7_200)), listed)
        assert self.SPANS in archive.days_to_archive([TAPE_SPANS], now=NOW)
        archive.archive_day(self.SPANS, now=NOW)
        TapeSpan.objects.all().delete()
        restore.restore_day(self.SPANS, now=NOW)
        assert self.seconds() == [(0, 3_600, True), (3_600, 7_200, True)]

    def test_are_not_archived_again_when_they_grew_after_the_day_or_were_tried_again(self):
        self.mark(0, 3_600, is_whole=False)
        self.mark(3_600, 90_000)
        self.archive()
        self.mark(90_000, 200_000)
        TapeSpan.objects.mark_open(Interval(at(0), at(3_600)), tried_at=NOW)
        assert self.SPANS not in archive.days_to_archive([TAPE_SPANS], now=NOW)

    def test_are_archived_again_when_their_file_is_gone(self):
        self.mark(0, 3_600)
        self.archive()
        layout.files_of(self.SPANS).rows.unlink()
        assert self.SPANS in archive.days_to_archive([TAPE_SPANS], now=NOW)

    def test_that_say_less_never_replace_files_that_the_database_does_not_know(self):
        self.mark(0, 7_200)
        self.archive()
        before = layout.files_of(self.SPANS).rows.read_bytes()
        ArchivedDay.objects.all().delete()
        TapeSpan.objects.all().delete()
        self.mark(0, 600)
        self.mark(1_200, 1_800, is_whole=False)
        with pytest.raises(ArchiveError, match="restore the day first"):
            archive.archive_day(self.SPANS, now=NOW)
        assert layout.files_of(self.SPANS).rows.read_bytes() == before
        restore.restore_day(self.SPANS, now=NOW)
        assert [span.is_whole for span in TapeSpan.objects.all()] == [True]
        assert archive.archive_day(self.SPANS, now=NOW).rows == 1

    def test_that_are_fewer_never_replace_another_file_than_that_on_record(self):
        self.mark(0, 3_600)
        self.mark(3_600, 7_200, is_whole=False)
        self.archive()
        ArchivedDay.objects.update(sha256="0" * 64)
        self.mark(3_600, 7_200)
        with pytest.raises(ArchiveError, match="1 rows in the database and 2 in the archive"):
            archive.archive_day(self.SPANS, now=NOW)

    def test_may_replace_files_that_say_the_same(self):
        self.mark(0, 3_600)
        self.archive()
        ArchivedDay.objects.all().delete()
        assert archive.archive_day(self.SPANS, now=NOW).rows == 1

    def test_are_archived_again_when_their_file_lacks_columns(self):
        self.mark(0, 3_600)
        self.archive()
        self.leave_out("series", "categories", "known_at")
        assert self.SPANS in archive.days_to_archive([TAPE_SPANS], now=NOW)
        archive.archive_day(self.SPANS, now=NOW)
        assert self.SPANS not in archive.days_to_archive([TAPE_SPANS], now=NOW)

    def test_come_back_from_a_file_that_does_not_tell_their_series(self):
        self.mark(0, 3_600)
        listed = TapeSpan(is_whole=True, proof=Proof.LISTED, known_at=at(7_200))
        TapeSpan.objects.mark(Interval(at(3_600), at(7_200)), listed)
        self.archive()
        self.leave_out("series", "categories", "known_at")
        TapeSpan.objects.all().delete()
        restore.restore_day(self.SPANS, now=NOW)
        live, later = TapeSpan.objects.order_by("start")
        assert (live.scope, later.scope) == (TapeScope(), TapeScope())
        assert live.known_at is None
        assert later.known_at
        assert later.known_at >= NOW

    def test_do_not_come_back_from_a_file_that_does_not_tell_their_end(self):
        self.mark(0, 3_600)
        self.archive()
        self.leave_out("ends_at")
        with pytest.raises(ArchiveError, match="has no column ends_at"):
            restore.restore_day(self.SPANS, now=NOW)

    def leave_out(self, *names: str) -> None:
        """Take columns out of the day's file, as if they had never been archived."""
        files = layout.files_of(self.SPANS)
        pq.write_table(pq.read_table(files.rows).drop_columns(list(names)), files.rows)
        manifest = read_manifest(files.manifest)
        manifest.sha256 = sha256_of_file(files.rows)
        files.manifest.write_bytes(msgspec.json.encode(manifest))
        ArchivedDay.objects.filter(table=TAPE_SPANS).update(sha256=manifest.sha256)
