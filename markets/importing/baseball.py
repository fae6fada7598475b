"""Import the last quote before each baseball game."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from django.db import transaction

from markets.importing.record_writer import (
    KNOWN_AFTER,
    ImportedEvent,
    ImportedMarket,
    ImportResult,
    OnProgress,
    market_id_of,
    quality_flags,
    store_definitions,
)
from markets.importing.table_reader import RESULTS, TableRow, read_table
from markets.models import MarketSnapshot, Source
from markets.models.fields import Quote
from markets.models.imported_periods import ImportedRows
from markets.models.snapshots import Observation
from markets.storage import partitions

CENT = Decimal("0.01")
GAMES = (
    "ticker", "event", "yes_team", "close_bid", "close_ask", "volume", "open_interest", "result",
    "settled_ts",
)  # fmt: skip


def import_baseball(folder: Path, on_progress: OnProgress) -> ImportResult:
    """Import one quote for each game, at its start, which the table calls its settlement."""
    rows = read_table(folder / "kalshi_history_to_2026-06-30.csv", GAMES)
    definitions = [_game(row) for row in rows]
    events = [
        ImportedEvent(
            ticker=each.event,
            series=each.series,
            title="Baseball",
            category="Sports",
            # The table has one market of each game.
            mutually_exclusive=False,
        )
        for each in definitions
    ]
    ids, new, differing = store_definitions(events, definitions)
    observations = [_last_quote(row, ids) for row in rows]
    partitions.create_missing(
        partitions.SNAPSHOTS, {each.timestamp.date() for each in observations}
    )
    on_progress(0.5, "writing the last quotes before the games")
    with transaction.atomic():
        snapshots = MarketSnapshot.objects.record(
            observations, source=Source.BACKFILL, recorded_at=datetime.now(UTC)
        )
    return ImportResult(
        new,
        0,
        snapshots,
        differing,
        note="Each market has one quote, and none later that an order could meet.",
        rows={
            each.market_id: ImportedRows(each.timestamp, each.timestamp) for each in observations
        },
    )


def _game(row: TableRow) -> ImportedMarket:
    start = row.instant("settled_ts")
    return ImportedMarket(
        ticker=row.ticker("ticker"),
        event=row.ticker("event"),
        series=row.ticker("event").partition("-")[0],
        open_time=start,
        close_time=start + KNOWN_AFTER,
        known_at=start + KNOWN_AFTER,
        result=row.text("result", RESULTS),
        yes_sub_title=row.text("yes_team"),
    )


def _last_quote(row: TableRow, ids: Mapping[str, int]) -> Observation:
    bid, ask = (row.price(f"close_{side}", unit=CENT) for side in ("bid", "ask"))
    return Observation(
        market_id=market_id_of(row, ids),
        timestamp=row.instant("settled_ts"),
        quote=Quote(
            yes_bid=bid,
            yes_ask=ask,
            yes_bid_size=None,
            yes_ask_size=None,
            last_price=None,
            volume=row.count("volume"),
            open_interest=row.count("open_interest"),
        ),
        quality=quality_flags(bid, ask),
        volume_24h=None,
        previous_price=None,
        quote_mark=0,
    )
