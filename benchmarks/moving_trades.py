"""The time that `manage.py migrate` takes to move trades of before into daily partitions.

It runs on request only: `make bench ARGS=moving_trades`.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from benchmarks.measure import report
from markets.models import Trade

TRADES = int(os.environ.get("MOVING_TRADES", "2000000"))
MARKETS, DAYS = 1_000, 30
BEFORE = ("markets", "0019_page_contents")
# As a backfill writes them: market by market.
FILL_TRADES = """
    INSERT INTO markets_trade (trade_id, market_id, created_time, count, yes_price,
        taker_outcome_side, taker_book_side, is_block_trade, recorded_at)
    SELECT gen_random_uuid()::text, id, %s + random() * interval '1 day' * %s, 12.5, 0.42, 'yes',
        'bid', false, now()
    FROM markets_market, generate_series(1, %s)
"""


class Clock:
    """Notes when the statements began beside which nobody may write markets, or read them.

    The last statement of the transaction notes that the migration was applied.
    """

    def __init__(self) -> None:
        self.written_until = self.read_until = self.free_from = float("inf")

    def __call__(self, execute: Callable[..., Any], sql: Any, *others: Any) -> Any:
        if "FOREIGN KEY (market_id) REFERENCES markets_market" in str(sql):
            self.written_until = time.monotonic()
        if str(sql).startswith("DROP TABLE markets_trade"):
            self.read_until = time.monotonic()
        if str(sql).startswith('INSERT INTO "django_migrations"'):
            self.free_from = time.monotonic()
        return execute(sql, *others)


def main() -> None:
    call_command("migrate", *BEFORE, verbosity=0)
    fill()
    clock, began = Clock(), time.monotonic()
    with connection.execute_wrapper(clock):
        call_command("migrate", "markets", "0020_tape", verbosity=0)
    ended = time.monotonic()
    millions = Trade.objects.count() / 1_000_000
    report("a million trades, moved", f"{(ended - began) / millions:.1f} s", ratio=f"{millions} M")
    unwritten = clock.free_from - clock.written_until
    unread = clock.free_from - clock.read_until
    report("  of these nobody writes markets for", f"{unwritten / millions:.2f} s")
    report("  and nobody reads them, in all, for", f"{unread:.2f} s")


def fill() -> None:
    begin = datetime.now(UTC) - timedelta(days=DAYS)
    create_markets(begin)
    with connection.cursor() as cursor:
        cursor.execute(FILL_TRADES, [begin, DAYS, TRADES // MARKETS])
        cursor.execute("VACUUM ANALYZE markets_trade")


def create_markets(at: datetime) -> None:
    apps = MigrationExecutor(connection).loader.project_state([BEFORE]).apps
    series, event, market = (apps.get_model("markets", n) for n in ("Series", "Event", "Market"))
    known = {"recorded_at": at, "raw_data": {}}
    parent = event.objects.create(
        ticker="KXMOVE-1", series=series.objects.create(ticker="KXMOVE"), recorded_at=at
    )
    market.objects.bulk_create(
        market(ticker=f"KXMOVE-1-{n}", event=parent, definition_mark=0, **known)
        for n in range(MARKETS)
    )


if __name__ == "__main__":
    main()
