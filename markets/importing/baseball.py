"""The last book before each game."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from django.db import transaction

from markets.importing.records import (
    KNOWN_AFTER,
    Definition,
    Family,
    Imported,
    Tell,
    define,
    id_of,
    quality,
)
from markets.importing.tables import RESULTS, Row, read
from markets.models import MarketSnapshot, Source
from markets.models.fields import Quote
from markets.models.snapshots import Observation
from markets.storage import partitions

CENT = Decimal("0.01")
GAMES = (
    "ticker", "event", "yes_team", "close_bid", "close_ask", "volume", "open_interest", "result",
    "settled_ts",
)  # fmt: skip


def import_baseball(folder: Path, tell: Tell) -> Imported:
    """One book a game, from its start: what the table calls settlement is when it began."""
    rows = read(folder / "kalshi_history_to_2026-06-30.csv", GAMES)
    definitions = [_game(row) for row in rows]
    families = [
        Family(
            event=each.event,
            series=each.series,
            title="Baseball",
            category="Sports",
            # One market of each game is in the table.
            mutually_exclusive=False,
        )
        for each in definitions
    ]
    ids, new = define(families, definitions)
    observations = [_last_book(row, ids) for row in rows]
    partitions.create_missing(
        partitions.SNAPSHOTS, {each.timestamp.date() for each in observations}
    )
    tell(0.5, "writing the last books before the games")
    with transaction.atomic():
        snapshots = MarketSnapshot.objects.record(
            observations, source=Source.BACKFILL, recorded_at=datetime.now(UTC)
        )
    return Imported(
        new, 0, snapshots, note="One book a market: only an order without latency can meet it."
    )


def _game(row: Row) -> Definition:
    start = row.instant("settled_ts")
    return Definition(
        ticker=row.text("ticker"),
        event=row.text("event"),
        series=row.text("event").partition("-")[0],
        open_time=start,
        close_time=start + KNOWN_AFTER,
        known_at=start + KNOWN_AFTER,
        result=row.text("result", RESULTS),
        yes_sub_title=row.text("yes_team"),
    )


def _last_book(row: Row, ids: Mapping[str, int]) -> Observation:
    bid, ask = (row.price(f"close_{side}", unit=CENT) for side in ("bid", "ask"))
    return Observation(
        market_id=id_of(row, ids),
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
        quality=quality(bid, ask),
        volume_24h=None,
        previous_price=None,
        quote_mark=0,
    )
