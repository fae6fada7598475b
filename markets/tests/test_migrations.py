"""Migrations keep the rows that existed before them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from uuid import UUID

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test.utils import CaptureQueriesContext

from markets.models import TradeOrigin
from markets.models.snapshots import snapshot_id
from markets.models.trades import TakerSide, trade_uuid

BEFORE_PARTITIONS = ("markets", "0003_history")
PARTITIONED = ("markets", "0004_daily_pieces")
LATE_SWEEPS = ("markets", "0005_late_passes")
BEFORE_SEARCH = ("markets", "0010_silence_before_each_poll")
SEARCHED = ("markets", "0011_search_text")
ROUNDED_STRIKES = ("markets", "0007_reword_help_texts")
EXACT_STRIKES = ("markets", "0008_exact_numbers_and_unknown_times")
BEFORE_LISTED = ("markets", "0015_first_quotes_of_each_poll")
PAYLOADS_IN_ROWS = ("markets", "0016_listed_markets")
PAYLOADS_IN_BLOCKS = ("markets", "0017_payload_blocks")
BEFORE_TAPE = ("markets", "0019_page_contents")
TAPE = ("markets", "0020_tape")
TAPE_SCOPES = ("markets", "0021_tape_scopes")
BEFORE_RESTORED_PERIODS = ("markets", "0022_imported_periods")
RESTORED_PERIODS = ("markets", "0023_restored_periods")
ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def empty_schema(db):
    """An empty schema for migrations, which the end of the test's transaction removes."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA anew")
        cursor.execute("SET LOCAL search_path TO anew")
        # Extensions exist once in a database. Here they come along for the time of the test.
        for extension in ("pg_trgm", "unaccent"):
            cursor.execute(f"ALTER EXTENSION {extension} SET SCHEMA anew")


def migrate_to(target):
    """Migrate to a target and return the models as of it."""
    executor = MigrationExecutor(connection)
    executor.migrate([target])
    return executor.loader.project_state([target]).apps


def create_snapshots(apps):
    """Create a market with snapshots around a day's first instant and from today."""
    model = {name: apps.get_model("markets", name) for name in ("Series", "Event", "Market")}
    series = model["Series"].objects.create(ticker="KXRAIN")
    event = model["Event"].objects.create(ticker="KXRAIN-26", series=series, recorded_at=LONG_AGO)
    market = model["Market"].objects.create(
        ticker="KXRAIN-26-T1",
        event=event,
        status="active",
        open_time=LONG_AGO,
        close_time=LONG_AGO,
        raw_data={},
        recorded_at=LONG_AGO,
        definition_mark=0,
    )
    instants = [LONG_AGO - timedelta(microseconds=1), LONG_AGO, datetime.now(UTC)]
    apps.get_model("markets", "MarketSnapshot").objects.bulk_create(
        apps.get_model("markets", "MarketSnapshot")(
            id=snapshot_id(market.pk, at, "POLL", None, content=""),
            market=market,
            timestamp=at,
            recorded_at=at,
            source="POLL",
            yes_bid=Decimal("0.4200"),
            raw_data={"kept": [1]},
        )
        for at in instants
    )


def snapshots(apps):
    return list(apps.get_model("markets", "MarketSnapshot").objects.order_by("pk").values())


def rows_by_partition():
    """Count the snapshots of each partition that has any."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text, count(*) FROM markets_marketsnapshot GROUP BY 1"
        )
        return dict(cursor.fetchall())


def test_existing_snapshots_move_into_daily_partitions(empty_schema):
    apps = migrate_to(BEFORE_PARTITIONS)
    create_snapshots(apps)
    before = snapshots(apps)
    apps = migrate_to(PARTITIONED)
    assert snapshots(apps) == before
    assert rows_by_partition() == {
        "markets_marketsnapshot_20260228": 1,
        "markets_marketsnapshot_20260301": 1,
        f"markets_marketsnapshot_{datetime.now(UTC):%Y%m%d}": 1,
    }
    revision = apps.get_model("markets", "MarketRevision").objects.get()
    assert (revision.known_at, revision.status) == (LONG_AGO, "active")


def test_a_new_installation_has_its_partitions(empty_schema):
    migrate_to(PARTITIONED)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'markets_rawpayload'::regclass"
        )
        assert cursor.fetchone() == (10,)  # yesterday, today, a week ahead, and the default


def test_existing_sweeps_get_the_time_since_the_last_complete_one(empty_schema):
    sweeps = migrate_to(PARTITIONED).get_model("markets", "Sweep").objects
    for second, skipped in ((0, []), (5, []), (10, ["KXA-1"]), (35, [])):
        for tier in ("hot", "universe"):
            at = LONG_AGO + timedelta(seconds=second)
            sweeps.create(tier=tier, started_at=at, complete=True, skipped=skipped)
    sweeps = migrate_to(LATE_SWEEPS).get_model("markets", "Sweep").objects
    late = sweeps.filter(tier="hot").order_by("started_at").values_list("since_last", flat=True)
    assert list(late) == [None, timedelta(seconds=5), None, timedelta(seconds=30)]


def test_what_is_on_record_gets_its_search_text(empty_schema):
    apps = migrate_to(BEFORE_SEARCH)
    create_snapshots(apps)
    apps.get_model("markets", "Event").objects.update(title="Luka Dončić")
    apps.get_model("markets", "Market").objects.update(yes_sub_title="40 points")
    apps = migrate_to(SEARCHED)
    texts = {
        noun: apps.get_model("markets", f"{noun}SearchText").objects.get().text
        for noun in ("Series", "Event", "Market")
    }
    assert texts["Series"].split() == ["kxrain"]
    assert texts["Event"].split() == ["kxrain-26", "luka", "doncic"]
    assert texts["Market"].split() == ["kxrain-26-t1", "luka", "doncic", "40", "points"]


def files_of_tables():
    """Return the file of each table, which changes when the table is written anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname, pg_relation_filenode(oid) FROM pg_class
            WHERE relnamespace = 'anew'::regnamespace AND relkind = 'r'
            """
        )
        return dict(cursor.fetchall())


def test_strikes_and_fees_lose_their_scale_without_a_new_table(empty_schema):
    apps = migrate_to(ROUNDED_STRIKES)
    create_snapshots(apps)
    apps.get_model("markets", "Market").objects.update(floor_strike=Decimal("0.00000049"))
    before = files_of_tables()
    apps = migrate_to(EXACT_STRIKES)
    assert files_of_tables() == before
    market = apps.get_model("markets", "Market").objects.get()
    assert market.floor_strike == Decimal("0.00000049")
    market.floor_strike = exact = Decimal("0.000000499")
    market.save()
    market.refresh_from_db()
    assert market.floor_strike == exact


def test_zero_times_on_record_become_unknown(empty_schema):
    apps = migrate_to(ROUNDED_STRIKES)
    create_snapshots(apps)
    model = {name: apps.get_model("markets", name) for name in ("Event", "Market")}
    revisions = apps.get_model("markets", "MarketRevision").objects
    model["Event"].objects.update(strike_date=ZERO_TIME)
    model["Market"].objects.update(
        updated_time=ZERO_TIME, settlement_ts=ZERO_TIME, created_time=LONG_AGO
    )
    market = model["Market"].objects.get()
    known = {"known_at": ZERO_TIME, "recorded_at": LONG_AGO, "market": market}
    revisions.create(**known, status="finalized", settlement_ts=ZERO_TIME, open_time=LONG_AGO)
    apps = migrate_to(EXACT_STRIKES)
    assert apps.get_model("markets", "Event").objects.get().strike_date is None
    market = apps.get_model("markets", "Market").objects.get()
    assert (market.updated_time, market.settlement_ts) == (None, None)
    assert (market.created_time, market.close_time) == (LONG_AGO, LONG_AGO)
    revision = apps.get_model("markets", "MarketRevision").objects.get(status="finalized")
    assert (revision.known_at, revision.known_at_assumed) == (LONG_AGO, True)
    assert (revision.settlement_ts, revision.open_time) == (None, LONG_AGO)


def test_markets_of_before_are_listed_as_their_rows_say(empty_schema):
    create_snapshots(migrate_to(BEFORE_LISTED))
    market = migrate_to(PAYLOADS_IN_ROWS).get_model("markets", "Market").objects.get()
    listed = {"ticker": market.ticker, "status": "active", "close_time": LONG_AGO}
    rows = "SELECT ticker, status, close_time, event_id FROM markets_listedmarket"
    with connection.cursor() as cursor:
        cursor.execute(rows)
        assert cursor.fetchall() == [(*listed.values(), market.event_id)]
        cursor.execute("UPDATE markets_market SET status = 'closed'")
        cursor.execute(rows)
        assert cursor.fetchall() == [(market.ticker, "closed", LONG_AGO, market.event_id)]


def test_raw_payloads_go_with_their_days_and_no_other_table_is_touched(empty_schema):
    apps = migrate_to(PAYLOADS_IN_ROWS)
    create_snapshots(apps)
    before, rows = files_of_tables(), snapshots(apps)
    old = {name for name in before if name.startswith("markets_rawpayload")}
    assert len(old) > 8
    apps = migrate_to(PAYLOADS_IN_BLOCKS)
    after = files_of_tables()
    assert before.keys() - after.keys() == old
    assert after.keys() - before.keys() == {"markets_payloadblock"}
    assert {name: before[name] for name in before.keys() - old}.items() <= after.items()
    assert snapshots(apps) == rows


def test_trades_move_into_daily_partitions_with_their_numbers(empty_schema):
    apps = migrate_to(BEFORE_TAPE)
    create_snapshots(apps)
    market = apps.get_model("markets", "Market").objects.get()
    old = apps.get_model("markets", "Trade").objects
    known = "7c0b5e6e-3f47-4a7c-93c6-6a1fbb4b9d11"
    for name, at in ((known, LONG_AGO), ("table-7", LONG_AGO - timedelta(microseconds=1))):
        old.create(
            trade_id=name,
            market=market,
            created_time=at,
            count=Decimal("12.34"),
            yes_price=Decimal("0.4205"),
            taker_outcome_side="yes",
            taker_book_side="bid",
            is_block_trade=True,
            recorded_at=LONG_AGO + timedelta(days=1),
        )
    trades = migrate_to(TAPE).get_model("markets", "Trade").objects
    uuid, other = trades.order_by("-created_time").values()
    assert (str(uuid["trade_id"]), other["trade_id"]) == (known, trade_uuid("table-7"))
    same = ("contracts", "price", "taker_side", "is_block_trade", "market_id")
    assert {name: uuid[name] for name in same} == {
        "contracts": 1234,
        "price": 4205,
        "taker_side": TakerSide.YES,
        "is_block_trade": True,
        "market_id": market.pk,
    }
    assert (uuid["known_at"], uuid["recorded_at"]) == (LONG_AGO, LONG_AGO + timedelta(days=1))
    assert uuid["source_code"] == TradeOrigin.BACKFILL
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM markets_trade ORDER BY 1")
        tables = [name for (name,) in cursor.fetchall()]
    assert tables == ["markets_trade_20260228", "markets_trade_20260301"]
    assert "trades_anew" not in files_of_tables()


def test_markets_are_read_while_the_reference_of_trades_to_them_is_checked(empty_schema):
    create_snapshots(migrate_to(BEFORE_TAPE))
    with CaptureQueriesContext(connection) as queries:
        migrate_to(TAPE)
    statements = [query["sql"] for query in queries]
    checks, drops = (
        next(n for n, each in enumerate(statements) if words in each)
        for words in ("FOREIGN KEY (market_id) REFERENCES", "DROP TABLE markets_trade")
    )
    assert checks < drops
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT conname, convalidated FROM pg_constraint WHERE contype = 'f'"
            " AND conrelid::regclass::text LIKE 'markets_trade%'"
        )
        assert cursor.fetchall() == [("markets_trade_market_id_fkey", True)]


def test_many_trades_move_in_parts_that_tell_of_the_progress(empty_schema, monkeypatch, capsys):
    monkeypatch.setattr(import_module("markets.migrations.0020_tape"), "BLOCKS_AT_ONCE", 1)
    apps = migrate_to(BEFORE_TAPE)
    create_snapshots(apps)
    market = apps.get_model("markets", "Market").objects.get()
    old = apps.get_model("markets", "Trade")
    old.objects.bulk_create(
        old(
            trade_id=name,
            market=market,
            created_time=LONG_AGO + n * timedelta(hours=1),
            count=Decimal(n),
            yes_price=Decimal("0.4205"),
            taker_outcome_side="no",
            taker_book_side="ask",
            is_block_trade=False,
            recorded_at=LONG_AGO,
        )
        for n in range(1, 201)
        for name in (f"table-{n}", str(UUID(int=n)))
    )
    trades = migrate_to(TAPE).get_model("markets", "Trade").objects
    told = capsys.readouterr().out.splitlines()
    assert len(told) > 3
    assert told[-1].startswith("    100%: 400 trades in ")
    names = {trade_uuid(f"table-{n}") for n in range(1, 201)}
    assert set(trades.values_list("trade_id", flat=True)) == names | {
        UUID(int=n) for n in range(1, 201)
    }
    assert sum(trades.values_list("contracts", flat=True)) == 2 * 100 * 200 * 201 // 2


def test_spans_of_before_count_as_read_by_the_settings_of_today(empty_schema, settings):
    settings.RECORD_SERIES = frozenset({"KXB", "KXA"})
    spans = migrate_to(TAPE).get_model("markets", "TapeSpan").objects
    hour = timedelta(hours=1)
    for n, (is_whole, proof) in enumerate(((True, "joined"), (True, "listed"), (False, ""))):
        start = LONG_AGO + n * hour
        spans.create(start=start, end=start + hour, is_whole=is_whole, proof=proof)
    before = datetime.now(UTC)
    spans = migrate_to(TAPE_SCOPES).get_model("markets", "TapeSpan").objects
    live, listed, left = spans.order_by("start")
    assert [each.series for each in (live, listed, left)] == [["KXA", "KXB"], ["KXA", "KXB"], []]
    assert (live.known_at, left.known_at) == (None, None)
    assert listed.known_at > before


def test_periods_of_before_came_with_the_days_that_were_restored_after_them(empty_schema):
    apps = migrate_to(BEFORE_RESTORED_PERIODS)
    create_snapshots(apps)
    market, day = apps.get_model("markets", "Market").objects.get(), timedelta(days=1)
    restored_at = LONG_AGO + 9 * day
    for days in (0, 3):
        apps.get_model("markets", "ArchivedDay").objects.create(
            table="markets_importedperiod",
            day=(LONG_AGO + days * day).date(),
            rows=1,
            schema_version=1,
            verified_at=LONG_AGO,
            restored_at=restored_at if days else None,
        )
    old = apps.get_model("markets", "ImportedPeriod")
    for starts, recorded in ((0, 1), (2, 8), (2, 10), (4, 8)):
        old.objects.create(
            market=market,
            starts_at=LONG_AGO + starts * day,
            ends_at=LONG_AGO + (starts + 1) * day,
            gap_after=60,
            recorded_at=LONG_AGO + recorded * day,
        )
    periods = migrate_to(RESTORED_PERIODS).get_model("markets", "ImportedPeriod").objects
    told = periods.order_by("id").values_list("restored_at", flat=True)
    assert list(told) == [None, restored_at, None, None]
