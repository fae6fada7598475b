"""The archive in object storage, on a server of this machine that speaks as S3 does."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from model_bakery import baker
from moto.server import ThreadedMotoServer
from pyarrow import fs

from kalshi_insights.export import object_storage
from markets.models import ArchivedDay, Event, Market, MarketSnapshot, Series
from markets.storage import archive, layout, partitions, restore, retention
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import SNAPSHOTS, DayPartition
from markets.tests.archive_recipes import recipe
from markets.tests.factories import a_market, a_snapshot

NOW = datetime.now(UTC)
THAT_DAY = DayPartition(SNAPSHOTS, date(2026, 3, 1))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "not-to-be-told"

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def server():
    """Start a server and return the query of its addresses."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"scheme=http&region=us-east-1&endpoint_override={host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def bucket(server, settings, monkeypatch, request):
    """Make a bucket for the test, and archive into a folder of it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    object_storage.connect.cache_clear()
    name = f"archive-{abs(hash(request.node.name))}"
    filesystem, _ = fs.FileSystem.from_uri(f"s3://{name}?{server}&allow_bucket_creation=true")
    filesystem.create_dir(name)
    settings.ARCHIVE_PATH = f"s3://{name}/kalshi?{server}"
    settings.RETENTION_DAYS = 30
    return name


@pytest.fixture
def market():
    market = a_market()
    for minute in range(3):
        a_snapshot(market, NOON + timedelta(minutes=minute), yes_bid=Decimal("0.40")).save()
    partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
    return market


def keys(bucket):
    """List the objects of the archive, relative to its folder."""
    root = layout.archive_root()
    found = root.filesystem.get_file_info(fs.FileSelector(root.key, True, recursive=True))
    return {each.path.removeprefix(f"{root.key}/"): each.size for each in found if each.is_file}


def put(path, content):
    with path.filesystem.open_output_stream(path.key) as sink:
        sink.write(content)


def archive_and_drop():
    archive.archive_day(THAT_DAY, now=NOW)
    assert THAT_DAY in retention.maintain(now=NOW).dropped


class TestRoundTrip:
    def test_a_day_comes_back_equal(self, market):
        before = list(MarketSnapshot.objects.order_by("pk").values())
        archive_and_drop()
        assert not MarketSnapshot.objects.exists()
        assert restore.restore_day(THAT_DAY, now=NOW) == (3, 3)
        assert list(MarketSnapshot.objects.order_by("pk").values()) == before

    def test_a_day_comes_back_into_an_empty_database_by_command(self, market, capsys):
        archive_and_drop()
        for model in (ArchivedDay, Market, Event, Series):
            model.objects.all().delete()
        call_command("restorearchive", "2026-03-01")
        assert capsys.readouterr().out == f"{SNAPSHOTS} 2026-03-01: 3 rows restored\n"
        assert Market.objects.get().ticker == market.ticker

    def test_objects_lie_as_files_do_and_nothing_is_left_aside(self, market, bucket):
        call_command("archive")
        assert keys(bucket).keys() == {
            "tables/snapshots/day=2026-03-01/snapshots.parquet",
            "tables/markets_of_snapshots/day=2026-03-01/markets_of_snapshots.parquet",
            "manifests/snapshots/2026-03-01.json",
        }
        archived = ArchivedDay.objects.get()
        assert archived.file == "tables/snapshots/day=2026-03-01/snapshots.parquet"
        assert str(layout.files_of(THAT_DAY).rows) == f"s3://{bucket}/kalshi/{archived.file}"

    def test_a_day_is_archived_again_when_it_has_grown(self, market, capsys):
        call_command("archive")
        a_snapshot(market, NOON + timedelta(hours=1)).save()
        call_command("archive")
        call_command("archive")
        assert "Nothing to do." in capsys.readouterr().out
        assert ArchivedDay.objects.get().rows == 4
        assert retention.maintain(now=NOW).dropped == [THAT_DAY]

    def test_the_recipe_for_a_bucket_reads_it_in_place(self, market, settings, capsys):
        call_command("archive")
        exec(recipe("python", "storage", settings.ARCHIVE_PATH), {})  # noqa: S102
        assert "2026-03-01" in capsys.readouterr().out


class TestAtomicity:
    def test_a_day_without_its_manifest_is_not_listed(self, market, bucket):
        archive.archive_day(THAT_DAY, now=NOW)
        layout.files_of(THAT_DAY).manifest.unlink()
        assert "missing, damaged" in retention.maintain(now=NOW).kept[THAT_DAY]
        with pytest.raises(CommandError, match="2026-03-01 is not in the archive"):
            call_command("restorearchive", "2026-03-01")
        with pytest.raises(ArchiveError, match="no such day"):
            restore.restore_day(THAT_DAY, now=NOW)
        archive.archive_day(THAT_DAY, now=NOW)
        assert len(keys(bucket)) == 3

    def test_what_an_upload_left_that_broke_off_is_replaced(self, market, bucket):
        rows = layout.place_of(THAT_DAY).rows
        assert isinstance(rows, object_storage.ObjectPath)
        put(layout.aside_of(rows), b"half of it")
        archive_and_drop()
        assert not [key for key in keys(bucket) if key.startswith(layout.ASIDE)]
        assert restore.restore_day(THAT_DAY, now=NOW).inserted == 3

    def test_a_day_whose_manifest_did_not_follow_its_rows_is_kept_and_archived_again(self, market):
        archive.archive_day(THAT_DAY, now=NOW)
        manifest = layout.files_of(THAT_DAY).manifest
        before, on_record = manifest.read_bytes(), ArchivedDay.objects.get()
        a_snapshot(market, NOON + timedelta(hours=1)).save()
        archive.archive_day(THAT_DAY, now=NOW)
        put(manifest, before)
        on_record.save()
        with pytest.raises(ArchiveError, match="is damaged"):
            restore.restore_day(THAT_DAY, now=NOW)
        assert THAT_DAY in retention.maintain(now=NOW).kept
        call_command("archive")
        assert retention.maintain(now=NOW).dropped == [THAT_DAY]
        assert restore.restore_day(THAT_DAY, now=NOW) == (4, 4)

    @pytest.mark.parametrize("part", ["rows", "markets"])
    def test_an_object_with_another_hash_is_refused_and_named(self, market, part):
        archive_and_drop()
        path = getattr(layout.files_of(THAT_DAY), part)
        put(path, b"something else")
        with pytest.raises(ArchiveError, match="is damaged") as refusal:
            restore.restore_day(THAT_DAY, now=NOW)
        assert str(path) in str(refusal.value)
        assert not MarketSnapshot.objects.exists()

    def test_an_object_that_is_gone_is_named(self, market):
        archive_and_drop()
        rows = layout.files_of(THAT_DAY).rows
        rows.unlink()
        with pytest.raises(ArchiveError, match="cannot be read") as refusal:
            restore.restore_day(THAT_DAY, now=NOW)
        assert str(rows) in str(refusal.value)

    def test_it_is_never_replaced_by_less(self, market, bucket):
        archive.archive_day(THAT_DAY, now=NOW)
        before = keys(bucket)
        ArchivedDay.objects.all().delete()
        MarketSnapshot.objects.filter(timestamp=NOON).delete()
        with pytest.raises(ArchiveError, match="some of which would be lost"):
            archive.archive_day(THAT_DAY, now=NOW)
        assert keys(bucket) == before


class Gate(ThreadingHTTPServer):
    """Stands before a server, and refuses the requests that its keys have no right to."""

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), GateHandler)
        self.behind = behind
        self.refuses: Callable[[str, str], bool] = lambda method, path: True

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class GateHandler(BaseHTTPRequestHandler):
    server: Gate

    def do_GET(self):
        body = self.body()
        del self.headers["Transfer-Encoding"]
        if self.server.refuses(self.command, self.path):
            answer = httpx.Response(403)
        else:
            url = f"http://{self.server.behind}{self.path}"
            answer = httpx.request(self.command, url, headers=dict(self.headers), content=body)
        self.send_response(answer.status_code)
        for name in ("Content-Length", "Content-Type", "Content-Range", "ETag", "Last-Modified"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.end_headers()
        self.wfile.write(answer.content)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *arguments):
        """Print nothing."""


@pytest.fixture
def gate(server, bucket, settings):
    """Archive through a gate that lets nothing pass."""
    behind = server.rpartition("=")[2]
    with Gate(behind) as gate:
        thread = Thread(target=gate.serve_forever)
        thread.start()
        settings.ARCHIVE_PATH = f"s3://{bucket}/kalshi?{server.replace(behind, gate.endpoint)}"
        yield gate
        gate.shutdown()
        thread.join()


class TestOutOfReach:
    def test_a_bucket_that_is_not_there_is_named(self, market, settings, server):
        settings.ARCHIVE_PATH = f"s3://nowhere/kalshi?{server}"
        for command in (["archive"], ["restorearchive", "2026-03-01"]):
            with pytest.raises(CommandError, match=r"^ARCHIVE_PATH names a bucket .*s3://nowhere$"):
                call_command(*command)

    @pytest.mark.parametrize("command", [["archive"], ["restorearchive", "2026-03-01"]])
    def test_a_refusal_is_told_without_a_secret(self, market, gate, command):
        with pytest.raises(CommandError, match=r"^ARCHIVE_PATH cannot be read: ") as refusal:
            call_command(*command)
        assert SECRET not in str(refusal.value)

    def test_keys_that_may_only_read_are_told_so(self, market, gate, bucket):
        gate.refuses = lambda method, path: method in ("PUT", "POST")
        with pytest.raises(CommandError, match=r"^ARCHIVE_PATH cannot be written: ") as refusal:
            call_command("archive")
        assert SECRET not in str(refusal.value)
        assert not ArchivedDay.objects.exists()
        gate.refuses = lambda method, path: False
        call_command("archive")
        assert ArchivedDay.objects.get().rows == len(keys(bucket)) == 3

    def test_a_day_is_kept_where_nobody_can_look_at_its_files(self, market, gate):
        baker.make(ArchivedDay, table=SNAPSHOTS, day=THAT_DAY.day, rows=3, verified_at=NOW)
        kept = retention.maintain(now=NOW).kept[THAT_DAY]
        assert kept.startswith("ARCHIVE_PATH cannot be read: ")
        assert MarketSnapshot.objects.count() == 3

    def test_a_day_whose_rows_cannot_be_read_is_neither_dropped_nor_replaced(self, market, gate):
        """They may be other ones than as many in the database."""
        gate.refuses = lambda method, path: False
        archive.archive_day(THAT_DAY, now=NOW)
        before = layout.files_of(THAT_DAY).rows.read_bytes()
        gate.refuses = lambda method, path: method == "GET" and "/snapshots.parquet" in path
        assert "cannot be read" in retention.maintain(now=NOW).kept[THAT_DAY]
        ArchivedDay.objects.all().delete()
        MarketSnapshot.objects.filter(timestamp=NOON).delete()
        a_snapshot(market, NOON + timedelta(hours=1)).save()
        with pytest.raises(ArchiveError, match="ARCHIVE_PATH cannot be read"):
            archive.archive_day(THAT_DAY, now=NOW)
        gate.refuses = lambda method, path: False
        assert layout.files_of(THAT_DAY).rows.read_bytes() == before

    def test_a_day_is_not_taken_for_unarchived_where_nobody_knows(self, market, gate):
        """Its files might have what the database does not, and would be replaced."""
        with pytest.raises(ArchiveError, match="ARCHIVE_PATH cannot be read"):
            archive.archive_day(THAT_DAY, now=NOW)
        assert not ArchivedDay.objects.exists()


def test_two_runs_of_an_installation_do_not_write_the_same_files(market):
    another = connection.copy()
    try:
        with another.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtext('archive'))")
            with pytest.raises(ArchiveError, match="Another run is writing to s3://"):
                archive.archive_day(THAT_DAY, now=NOW)
    finally:
        another.close()
