"""A pass that was under way in a backup comes back whole from the newer archive."""

import time
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from markets.models import ArchivedDay, Market, Poll, Sweep, Tier
from markets.pages.contents import encode_page, places_of
from markets.recording.tick import Tick
from markets.storage import archive, layout, partitions, restore
from markets.storage.account import SWEEPS
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import ONE_DAY, SNAPSHOTS, DayPartition
from markets.tests.factories import a_market, a_poll, a_snapshot
from markets.tests.fake_exchange import Exchange

DAY = date(2026, 3, 1)
THAT_DAY, NEXT_DAY = DayPartition(SWEEPS, DAY), DayPartition(SWEEPS, DAY + ONE_DAY)
LAST_HOUR = DayPartition(SNAPSHOTS, DAY).bounds[1] - timedelta(hours=1)
NOW = datetime.now(UTC)
# The listing of the hour's first pass, and that of the ones after it.
FIRST = [["KXSNOW-1", "KXRAIN-26MAR01"], ["KXSUN-1"]]
LATER = [["KXRAIN-26MAR01"], ["KXSUN-1", "KXSNOW-2"]]
BASE, UNDER_WAY, NEXT = 0, 300, 600  # seconds

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _settings(settings, tmp_path):
    settings.ARCHIVE_PATH = tmp_path / "archive"
    settings.POLL_INTERVAL, settings.UNIVERSE_INTERVAL, settings.HEARTBEAT = 5, 30, 3600


def at(seconds: float) -> datetime:
    return LAST_HOUR + timedelta(seconds=seconds)


def pages_from(second: int, pages: int = 2) -> list[list[Any]]:
    return [[at(second + n + 1).timestamp(), 2, ""] for n in range(pages)]


def a_pass(second: int, contents: bytes, *, based_on: int | None = None) -> Sweep:
    return Sweep.objects.create(
        tier=Tier.UNIVERSE,
        started_at=at(second),
        finished_at=at(second + 3),
        complete=True,
        markets=4,
        pages=pages_from(second),
        contents=contents,
        based_on=None if based_on is None else at(based_on),
    )


def contents_of(pages: list[list[str]]) -> bytes:
    """Write pages as the difference from the hour's first pass."""
    places = places_of([list(chain.from_iterable(FIRST))])
    return b"".join(encode_page(page, places) for page in pages)


@pytest.fixture
def market() -> Market:
    """A market that three passes showed in the last hour of the day, all of them archived."""
    market = a_market("KXRAIN-26MAR01-X", open_time=at(-7200), close_time=at(7200))
    for second in (-100, NEXT + 60):
        a_snapshot(market, at(second)).save()
    partitions.create_missing(SNAPSHOTS, [DAY])
    for second in (BASE, UNDER_WAY, NEXT, 3700):
        a_poll(at(second), seconds=4)
    a_pass(BASE, b"".join(encode_page(page, {}) for page in FIRST))
    a_pass(UNDER_WAY, contents_of(LATER), based_on=BASE)
    a_pass(NEXT, b"", based_on=UNDER_WAY)
    for day in (THAT_DAY, NEXT_DAY):
        archive.archive_day(day, now=NOW)
    return market


def looks(market: Market) -> list[int]:
    found = Sweep.objects.observed([market.pk], at(-60), at(3600), known_by=NOW)
    instants: list[int] = found.of_market(0).tolist()
    return instants


def go_back_to_the_backup() -> None:
    """Let the database be that of a moment at which the second pass had shown one page."""
    ArchivedDay.objects.all().delete()
    Sweep.objects.filter(started_at=at(NEXT)).delete()
    Sweep.objects.filter(started_at=at(UNDER_WAY)).update(
        finished_at=None,
        complete=False,
        markets=2,
        pages=pages_from(UNDER_WAY, 1),
        contents=contents_of(LATER[:1]),
        cursor="more",
    )


def run_the_recorder() -> None:
    """Let the recorder find the pass under way, and begin another."""
    tick = Tick(
        Exchange().client(),
        Poll(),
        time.monotonic() + 60,
        newest_sweeps=Sweep.objects.newest_of_each_tier(),
    )
    tick.due_sweep(Tier.UNIVERSE, every=timedelta(seconds=30))
    for sweep in tick.sweeps:
        sweep.save()


def values() -> list[Any]:
    found = Sweep.objects.filter(started_at__lt=at(3600)).order_by("started_at")
    return list(found.values("started_at", "complete", "pages", "contents", "based_on", "cursor"))


@pytest.mark.parametrize("day", [THAT_DAY, NEXT_DAY])
def test_a_pass_that_the_recorder_abandoned_since_is_whole_again(market, day):
    before, shown = values(), looks(market)
    assert len(shown) == 3
    go_back_to_the_backup()
    run_the_recorder()
    abandoned = Sweep.objects.get(started_at=at(UNDER_WAY))
    assert abandoned.finished_at
    assert not abandoned.complete
    file = layout.files_of(day).rows.read_bytes()
    with pytest.raises(ArchiveError, match="restore the day first"):
        archive.archive_day(day, now=NOW)
    assert layout.files_of(day).rows.read_bytes() == file
    restored = [restore.restore_day(day, now=NOW).inserted for _ in range(2)]
    assert restored == [2, 0]
    assert values() == before
    assert looks(market) == shown
    assert archive.archive_day(day, now=NOW).rows == 3
    Sweep.objects.all().delete()
    assert restore.restore_day(day, now=NOW).inserted == 3
    assert looks(market) == shown


def test_files_are_not_replaced_where_only_the_abandoned_pass_says_less(market):
    kept = Sweep.objects.get(started_at=at(NEXT))
    go_back_to_the_backup()
    run_the_recorder()
    kept.save(force_insert=True)
    with pytest.raises(ArchiveError, match="restore the day first"):
        archive.archive_day(THAT_DAY, now=NOW)


def test_a_pass_that_came_to_its_end_in_two_ways_is_refused(market):
    ArchivedDay.objects.all().delete()
    Sweep.objects.filter(started_at=at(UNDER_WAY)).update(contents=b"")
    with pytest.raises(ArchiveError, match="restore the day first"):
        archive.archive_day(THAT_DAY, now=NOW)
    with pytest.raises(ArchiveError, match="1 of the archived rows are in the database"):
        restore.restore_day(THAT_DAY, now=NOW)


class State(NamedTuple):
    """A state of a pass, the larger ones saying more."""

    complete: bool
    pages: int
    ended: int  # so many minutes before the end of its hour; 0: it has not

    def save(self) -> None:
        Sweep.objects.all().delete()
        Sweep.objects.create(
            tier=Tier.UNIVERSE,
            started_at=at(BASE),
            finished_at=at(3600 - 60 * self.ended) if self.ended else None,
            complete=self.complete,
            pages=pages_from(BASE, self.pages),
            contents=contents_of(LATER[: self.pages]),
        )

    @classmethod
    def on_record(cls) -> "State":
        sweep = Sweep.objects.get()
        ended = (at(3600) - sweep.finished_at).seconds // 60 if sweep.finished_at else 0
        return cls(sweep.complete, len(sweep.pages), ended)


UNFINISHED = st.builds(State, st.just(False), st.integers(0, 2), st.just(0))
ABANDONED = st.builds(State, st.just(False), st.integers(0, 2), st.integers(1, 2))
STATES = UNFINISHED | ABANDONED | st.just(State(True, 2, 3))


@rules(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(in_files=STATES, in_database=STATES)
def test_no_state_of_a_pass_is_lost_to_one_that_says_less(settings, in_files, in_database):
    with transaction.atomic(), TemporaryDirectory() as folder:
        settings.ARCHIVE_PATH = Path(folder)
        in_files.save()
        archive.archive_day(THAT_DAY, now=NOW)
        ArchivedDay.objects.all().delete()
        in_database.save()
        if in_files > in_database:
            with pytest.raises(ArchiveError, match="restore the day first"):
                archive.archive_day(THAT_DAY, now=NOW)
        restore.restore_day(THAT_DAY, now=NOW)
        assert State.on_record() == max(in_files, in_database)
        archive.archive_day(THAT_DAY, now=NOW)
        transaction.set_rollback(True)
