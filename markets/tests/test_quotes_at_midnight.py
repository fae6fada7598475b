"""A day begins with the quotes that stood at midnight, and its archive has them."""

from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from markets.coverage.coverage import coverage
from markets.coverage.many_markets import coverage_of
from markets.models import (
    ArchivedDay,
    Event,
    HotPeriod,
    Market,
    MarketSnapshot,
    Poll,
    Series,
    Sweep,
    Tier,
)
from markets.models.storage import AT_MIDNIGHT
from markets.pages.contents import encode_page
from markets.storage import archive, layout, midnight, partitions, restore, retention
from markets.storage.account import ACCOUNT, POLLS
from markets.storage.partitions import SNAPSHOTS, DayPartition
from markets.tests.factories import a_market, a_snapshot

DAY = date(2026, 3, 1)
EVE, START = partitions.midnight(DAY - timedelta(days=1)), partitions.midnight(DAY)
END = partitions.midnight(DAY + timedelta(days=1))
DAY_BEFORE, THAT_DAY = (DayPartition(SNAPSHOTS, each.date()) for each in (EVE, START))
CARRIED = DayPartition(AT_MIDNIGHT, DAY)
NOW = datetime.now(UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _settings(settings, tmp_path):
    settings.ARCHIVE_PATH = tmp_path / "archive"
    settings.POLL_INTERVAL, settings.UNIVERSE_INTERVAL, settings.HEARTBEAT = 5, 30, 3600
    settings.RETENTION_DAYS = 30


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def a_run(second: float) -> Poll:
    return Poll(started_at=at(second), finished_at=at(second + 58))


def a_pass(tier: Tier, second: float, *names: str) -> Sweep:
    return Sweep(
        tier=tier,
        started_at=at(second),
        finished_at=at(second + 3),
        complete=True,
        contents=encode_page(names, {}),
        pages=[[at(second + 1).timestamp(), 3, ""]],
    )


@pytest.fixture
def three() -> list[Market]:
    return [a_market(f"KXA-1-{n}", open_time=EVE, close_time=END) for n in range(3)]


@pytest.fixture
def markets(three: list[Market]) -> list[Market]:
    """A quiet market, one that is new after midnight, and one that was observed often."""
    rows = {0: (-1200, 2400), 1: (900, 2400), 2: (-2400, -40, 10, 2400)}
    for n, own in rows.items():
        for second in own:
            a_snapshot(three[n], at(second), yes_bid="0.4200").save()
    seconds = range(-4500, 3600, 60)
    Poll.objects.bulk_create(a_run(second) for second in seconds)
    Sweep.objects.bulk_create(a_pass(Tier.UNIVERSE, second, "KXA-1") for second in seconds)
    partitions.create_missing(SNAPSHOTS, [EVE.date(), DAY])
    return three


def told(markets: list[Market]) -> list[Any]:
    """Return all that is known of the day: gaps, stale times, looks and quote of each market."""
    ids = [market.pk for market in markets]
    many = coverage_of(ids, START, END)
    seen = Sweep.objects.observed(ids, START, END, known_by=NOW)
    found: list[Any] = [[column.tolist() for column in part] for part in (many.gaps, many.stale)]
    for n, market in enumerate(markets):
        one = coverage(market, START, END)
        quote = MarketSnapshot.objects.for_market(market).between(None, at(60)).newest()
        found.append((one.gaps, one.stale, one.share, seen.of_market(n).tolist()))
        found.append(
            (one.quiet, one.sources, one.expected, quote and (quote.timestamp, quote.yes_bid))
        )
    return found


def restore_the_day() -> None:
    call_command("restorearchive", f"{DAY}")


def forget() -> None:
    """Leave an empty database."""
    MarketSnapshot.objects.all().delete()
    for model in (Poll, Sweep, HotPeriod, ArchivedDay, Market, Event, Series):
        model.objects.all().delete()


@pytest.fixture
def dropped(markets) -> list[Any]:
    """Both days are archived and dropped; returns what was known of the day before that."""
    before = told(markets)
    call_command("archive")
    assert retention.maintain(now=NOW).dropped == [DAY_BEFORE, THAT_DAY]
    return before


def test_a_restored_day_tells_what_it_told(markets, dropped):
    assert told(markets) != dropped
    restore_the_day()
    assert told(markets) == dropped


STEPS = st.integers(-70, 60).map(lambda minute: 60 * minute)


@rules(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(
    rows=st.sets(st.tuples(st.integers(0, 2), STEPS), max_size=6),
    passes=st.sets(st.tuples(st.sampled_from([Tier.HOT, Tier.UNIVERSE]), STEPS), max_size=12),
    shown=st.sets(st.sampled_from(["KXA-1", "KXA-1-0", "KXA-1-1"]), min_size=1),
)
def test_every_day_that_was_dropped_tells_what_it_told(three, settings, rows, passes, shown):
    with transaction.atomic(), TemporaryDirectory() as folder:
        settings.ARCHIVE_PATH = Path(folder)
        MarketSnapshot.objects.bulk_create(a_snapshot(three[n], at(s + n)) for n, s in rows)
        Sweep.objects.bulk_create(a_pass(tier, s, *sorted(shown)) for tier, s in passes)
        partitions.create_missing(SNAPSHOTS, [EVE.date(), DAY])
        before = told(three)
        for each in (DAY_BEFORE, THAT_DAY, CARRIED):
            archive.archive_day(each, now=NOW)
        for each in (DAY_BEFORE, THAT_DAY):
            assert not partitions.drop(each, partial(retention.reason_to_keep, each))
            ArchivedDay.objects.mark_dropped(each, NOW)
        for each in (THAT_DAY, CARRIED):
            restore.restore_day(each, now=NOW)
        assert told(three) == before
        transaction.set_rollback(True)


def test_it_tells_the_same_in_an_empty_database(markets, dropped):
    forget()
    restore_the_day()
    back = [Market.objects.get(ticker=market.ticker) for market in markets]
    assert told(back) == dropped


def test_a_second_restore_changes_nothing(markets, dropped, capsys):
    restore_the_day()
    before = list(MarketSnapshot.objects.order_by("pk").values())
    capsys.readouterr()
    restore_the_day()
    lines = capsys.readouterr().out.splitlines()
    assert all(line.endswith("were in the database already") for line in lines)
    assert list(MarketSnapshot.objects.order_by("pk").values()) == before


def test_what_was_carried_is_not_archived_as_the_day_before(markets, dropped, capsys):
    files = layout.files_of(DAY_BEFORE), layout.files_of(DayPartition(POLLS, EVE.date()))
    whole = [each.rows.read_bytes() for each in files]
    restore_the_day()
    assert archive.days_to_archive([SNAPSHOTS, AT_MIDNIGHT, *ACCOUNT], now=NOW) == []
    forget()
    restore_the_day()
    assert archive.days_to_archive([SNAPSHOTS, AT_MIDNIGHT, *ACCOUNT], now=NOW) == []
    assert [each.rows.read_bytes() for each in files] == whole


def test_what_was_carried_goes_with_the_day(markets, dropped):
    restore_the_day()
    assert retention.maintain(now=NOW).dropped == []
    later = NOW + timedelta(days=40)
    assert retention.maintain(now=later).dropped[:2] == [DAY_BEFORE, THAT_DAY]
    assert retention.maintain(now=later).kept == {}
    restore_the_day()
    assert told(markets) == dropped


def test_the_day_before_is_told_by_its_passes_alone(markets, dropped):
    # Of the one that was new after midnight, its rows tell that it was not listed.
    listed = markets[::2]

    def gaps() -> list[Any]:
        many = coverage_of([market.pk for market in listed], EVE, START)
        of_many = [column.tolist() for column in many.gaps]
        return [of_many, *(coverage(market, EVE, START).gaps for market in listed)]

    before = gaps()
    restore_the_day()
    assert gaps() == before


def test_the_day_before_may_follow(markets, dropped):
    restore_the_day()
    call_command("restorearchive", f"{EVE.date()}")
    assert told(markets) == dropped
    assert coverage(markets[0], EVE, START).gaps[-1].end < START
    assert ArchivedDay.objects.remnants() == {}


def test_a_day_stays_until_the_next_one_has_its_last_quotes(markets):
    for partition in (DAY_BEFORE, THAT_DAY):
        archive.archive_day(partition, now=NOW)
    report = retention.maintain(now=NOW)
    assert list(report.kept) == [DAY_BEFORE]
    assert "2026-03-01" in report.kept[DAY_BEFORE]
    archive.archive_day(CARRIED, now=NOW)


def test_a_day_that_nothing_came_before_carries_nothing(markets):
    MarketSnapshot.objects.filter(timestamp__lt=START).delete()
    assert archive.days_to_archive([AT_MIDNIGHT], now=NOW) == []
    archive.archive_day(THAT_DAY, now=NOW)
    restore.restore_day(THAT_DAY, now=NOW)


def test_nothing_is_carried_any_more_when_both_days_were_restored_and_dropped(markets, dropped):
    restore_the_day()
    call_command("restorearchive", f"{EVE.date()}")
    later = NOW + timedelta(days=40)
    assert retention.maintain(now=later).dropped[:2] == [DAY_BEFORE, THAT_DAY]
    assert ArchivedDay.objects.remnants() == {}


def test_rows_that_came_to_what_was_carried_are_a_day_to_archive(markets, dropped):
    restore_the_day()
    a_snapshot(markets[1], at(-9000)).save()
    assert archive.days_to_archive([SNAPSHOTS], now=NOW) == [DAY_BEFORE]
    later = NOW + timedelta(days=40)
    assert "restore it, then archive it again" in retention.maintain(now=later).kept[DAY_BEFORE]
    call_command("restorearchive", f"{EVE.date()}")
    assert archive.archive_day(DAY_BEFORE, now=NOW).rows == 4
    assert DAY_BEFORE in retention.maintain(now=later).dropped


def test_last_quotes_that_came_later_are_archived_again(markets):
    call_command("archive")
    a_snapshot(a_market("KXB-1"), at(-60)).save()
    assert archive.days_to_archive([AT_MIDNIGHT], now=NOW) == [CARRIED]
    archive.archive_day(DAY_BEFORE, now=NOW)
    assert "2026-03-01" in retention.reason_to_keep(DAY_BEFORE)
    archive.archive_day(CARRIED, now=NOW)
    assert not retention.reason_to_keep(DAY_BEFORE)
    assert archive.days_to_archive([AT_MIDNIGHT], now=NOW) == []


def test_a_last_quote_that_another_one_follows_is_archived_again(markets):
    call_command("archive")
    a_snapshot(markets[2], at(-20)).save()
    assert archive.days_to_archive([AT_MIDNIGHT], now=NOW) == [CARRIED]
    archive.archive_day(DAY_BEFORE, now=NOW)
    assert "2026-03-01" in retention.reason_to_keep(DAY_BEFORE)
    archive.archive_day(CARRIED, now=NOW)
    assert not retention.reason_to_keep(DAY_BEFORE)
    assert archive.days_to_archive([AT_MIDNIGHT], now=NOW) == []


def test_fewer_last_quotes_are_archived_while_the_day_has_the_others(markets, settings):
    a_snapshot(markets[1], at(-5000)).save()
    settings.HEARTBEAT = 7200
    call_command("archive")
    settings.HEARTBEAT = 3600
    assert ArchivedDay.objects.get(table=AT_MIDNIGHT, day=DAY).rows == 3
    assert archive.days_to_archive([AT_MIDNIGHT], now=NOW) == [CARRIED]
    assert archive.archive_day(CARRIED, now=NOW).rows == 2
    assert not retention.reason_to_keep(DAY_BEFORE)


def test_a_day_stays_while_the_file_with_its_last_quotes_is_damaged(markets):
    call_command("archive")
    assert not retention.reason_to_keep(DAY_BEFORE)
    layout.files_of(CARRIED).rows.write_bytes(b"something else")
    assert "2026-03-01" in retention.reason_to_keep(DAY_BEFORE)
    archive.archive_day(CARRIED, now=NOW)
    assert not retention.reason_to_keep(DAY_BEFORE)


def test_what_was_carried_outlives_its_day_and_is_dropped_later(markets, dropped):
    restore_the_day()
    assert not partitions.drop(THAT_DAY, partial(retention.reason_to_keep, THAT_DAY))
    midnight.mark_dropped(THAT_DAY, NOW)
    assert archive.days_to_archive([SNAPSHOTS], now=NOW) == []
    later = NOW + timedelta(days=40)
    assert retention.maintain(now=later).dropped[:1] == [DAY_BEFORE]
