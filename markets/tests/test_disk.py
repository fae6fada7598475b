"""The measured size of every table, and what the recorder page says of it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from markets.models import DiskUsage, disk
from markets.models.disk import free_bytes
from markets.storage import partitions, retention
from markets.storage.partitions import SNAPSHOTS
from markets.templatetags.quotes import size
from markets.tests.factories import a_market, a_snapshot

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
GB = 10**9

pytestmark = pytest.mark.django_db


def a_measure(hours_ago, *, free=None, **sizes):
    """Store a measure of these gigabytes by table."""
    newest = DiskUsage.objects.order_by("pk").last()
    sizes = {f"markets_{name}": round(each * GB) for name, each in sizes.items()}
    grown = newest.grown_to(sizes) if newest else dict.fromkeys(sizes, 0)
    return DiskUsage.objects.create(
        measured_at=NOW - hours_ago * HOUR, sizes=sizes, grown=grown, free_bytes=free
    )


def rates():
    summary = DiskUsage.objects.summary()
    return {table.name: table.per_day for table in summary.tables}


class TestMeasuring:
    def test_maintenance_measures_every_table_with_its_partitions(self):
        a_snapshot(a_market(), NOW).save()
        retention.maintain(now=NOW)
        measured = DiskUsage.objects.get()
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(%s)
                   WHERE isleaf""",
                [SNAPSHOTS],
            )
            assert measured.sizes[SNAPSHOTS] == cursor.fetchone()[0] > 0
        assert {"markets_market", "markets_payloadblock", "auth_user"} <= set(measured.sizes)
        assert not any(name.startswith(f"{SNAPSHOTS}_") for name in measured.sizes)
        assert measured.measured_at == NOW

    def test_what_is_dropped_is_no_negative_growth(self):
        for day in range(1, 21):
            partitions.create_missing(SNAPSHOTS, [datetime(2026, 3, day, tzinfo=UTC).date()])
        before = DiskUsage.objects.measure(at=NOW - 3 * HOUR)
        for partition in partitions.partitions_of(SNAPSHOTS)[:20]:
            partitions.drop(partition, str)
        after = DiskUsage.objects.measure(at=NOW - 2 * HOUR)
        assert after.sizes[SNAPSHOTS] < before.sizes[SNAPSHOTS]
        partitions.create_missing(SNAPSHOTS, [datetime(2026, 3, 1, tzinfo=UTC).date()])
        again = DiskUsage.objects.measure(at=NOW)
        added = again.sizes[SNAPSHOTS] - after.sizes[SNAPSHOTS]
        assert again.grown[SNAPSHOTS] == added > 0
        assert rates()["market snapshots"] == added * 8

    def test_measures_are_kept_for_a_day(self):
        a_measure(26, market=1)
        a_measure(24.5, market=1)
        a_measure(-5, market=1)  # a clock was set back since
        DiskUsage.objects.measure(at=NOW)
        kept = DiskUsage.objects.values_list("measured_at", flat=True)
        assert list(kept) == [NOW, NOW - 24.5 * HOUR]

    def test_the_free_room_is_that_of_the_databases_own_disk(self):
        free = free_bytes()
        assert free is not None
        assert free > 0

    @pytest.mark.parametrize(
        ("host", "is_here"),
        [
            ("/run/postgresql", True),
            ("127.0.0.1", True),
            ("localhost", True),
            ("db.example", False),
        ],
    )
    def test_the_disk_of_a_database_elsewhere_is_unknown(self, host, is_here):
        assert disk._is_here(host) is is_here


class TestRates:
    def test_nothing_is_told_of_what_was_not_measured(self):
        assert DiskUsage.objects.summary() is None

    def test_a_rate_needs_an_hour(self):
        a_measure(0.9, market=1)
        a_measure(0, market=2)
        summary = DiskUsage.objects.summary()
        assert (summary.rated_over, summary.total.per_day, summary.days_left) == (None,) * 3
        assert summary.total.bytes == 2 * GB

    def test_rates_are_those_of_the_last_day(self):
        a_measure(30, marketsnapshot=1, payloadblock=0)
        a_measure(12, marketsnapshot=5, payloadblock=1)
        a_measure(0, marketsnapshot=7, payloadblock=1, free=40 * GB)
        assert rates() == {"market snapshots": 4 * GB, "raw payloads": 0}
        summary = DiskUsage.objects.summary()
        assert (summary.total.per_day, summary.days_left) == (4 * GB, 10)

    def test_small_tables_are_told_together(self):
        a_measure(2, marketsnapshot=100, poll=0.1, sweep=0.2)
        a_measure(0, marketsnapshot=100, poll=0.2, sweep=0.3)
        summary = DiskUsage.objects.summary()
        assert [table.name for table in summary.tables] == ["market snapshots", "everything else"]
        assert summary.tables[1].bytes == 0.5 * GB
        assert summary.tables[1].per_day == pytest.approx(2.4 * GB)

    def test_a_table_that_is_new_has_grown_from_nothing(self):
        a_measure(2, marketsnapshot=1)
        a_measure(0, marketsnapshot=1, payloadblock=1)
        assert rates()["raw payloads"] == 12 * GB


class TestPage:
    def html(self, client, **headers):
        page = client.get("/recorder/", headers=headers)
        return " ".join(page.content.decode().split())

    def test_it_says_so_where_nothing_was_measured(self, client):
        assert "Not measured yet" in self.html(client)

    def test_it_shows_sizes_rates_and_the_days_left(self, client):
        a_measure(24, marketsnapshot=8, payloadblock=0.4)
        a_measure(0, marketsnapshot=12.3, payloadblock=0.4, free=86 * GB)
        html = self.html(client)
        assert "4.3 GB a day, by the rate of the last 1 d." in html
        assert "86.0 GB free, enough for 20 days if nothing is dropped" in html
        row = '<th scope="row">market snapshots</th><td class="num">12.3 GB</td>'
        assert f'{row}<td class="num">4.3 GB</td>' in html
        assert '<th scope="row">all</th><td class="num">12.7 GB</td>' in html

    def test_unknown_is_visible_as_unknown(self, client):
        a_measure(0, marketsnapshot=8)
        html = self.html(client)
        assert "The rate of a day is known once an hour of it was measured" in html
        assert "cannot be seen from here" in html

    def test_a_refresh_reads_nothing_of_it(self, client):
        a_measure(0, marketsnapshot=8)
        assert "8.0 GB" in self.html(client)
        with CaptureQueriesContext(connection) as queries:
            refreshed = self.html(client, **{"HX-Request": "true", "HX-Target": "runs"})
        assert "8.0 GB" not in refreshed
        assert not [query for query in queries if "markets_diskusage" in query["sql"]]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (743_000_000, "743 MB"),
        (1.5e9, "1.5 GB"),
        (2.5e12, "2.5 TB"),
    ],
)
def test_bytes_are_written_in_their_largest_unit(number, words):
    assert size(number) == words
