"""A child process that backtests all markets of an exchange at once, as `runbacktest` does.

`create` makes the markets in the database, in the process that starts this one. Usage:
`python -m benchmarks.whole_exchange STRATEGY`.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import QuerySet

# This import comes first, because it sets up Django.
from benchmarks.measure import chunks, now, tickers

# isort: split

from backtests import runner
from backtests.analysis.warm_up import warm_up
from backtests.models import BacktestResult, BacktestStatus
from backtests.requests import BacktestRequest, MarketSelection
from backtests.tests.record_builders import record_passes
from benchmarks import child_process
from benchmarks.recording import store_markets
from markets.models import FeeChange, Series
from markets.storage import partitions

MARKETS, QUOTES = 70_000, 230_000
START = datetime(2026, 10, 1, 12, tzinfo=UTC)
END = START + timedelta(hours=1)
AS_OF_START = """
    DELETE FROM markets_marketsnapshot;
    UPDATE markets_market SET open_time = %(start)s, close_time = %(end)s;
    UPDATE markets_eventrevision SET known_at = %(start)s, recorded_at = %(start)s;
    UPDATE markets_marketrevision SET known_at = %(start)s, recorded_at = %(start)s,
        open_time = %(start)s, close_time = %(end)s;
    INSERT INTO markets_marketrevision (market_id, known_at, known_at_assumed, recorded_at, status,
        result, settlement_ts, open_time, close_time, price_ranges)
    SELECT market_id, %(end)s, false, %(end)s, 'finalized',
        CASE WHEN market_id %% 3 = 0 THEN 'yes' ELSE 'no' END, %(end)s, open_time, close_time,
        price_ranges
    FROM markets_marketrevision WHERE market_id %% 2 = 0;
"""
# Each market has a quote an hour before the start and one at it, and some have others later.
RECORD_QUOTES = """
    INSERT INTO markets_marketsnapshot (id, market_id, timestamp, recorded_at, source, yes_bid,
        yes_ask, yes_bid_size, yes_ask_size, last_price, volume, open_interest, quality)
    SELECT gen_random_uuid(), id, at, at, 'POLL', bid, bid + 0.03, 10 + n %% 90, 10 + n %% 70, bid,
        n, n, 0
    FROM (
        SELECT id, row_number() OVER (ORDER BY id) AS place FROM markets_market
        WHERE ticker LIKE 'KXBENCH%%'
    ) AS market
    JOIN generate_series(0, %(markets)s + %(quotes)s - 1) AS n ON place = 1 + n %% %(markets)s
    CROSS JOIN LATERAL (
        SELECT %(start)s + CASE n / %(markets)s WHEN 0 THEN interval '-1 hour'
                ELSE (n / %(markets)s - 1) * interval '9 minutes' END
                + place %% 30 * interval '1 second' AS at,
            round((0.5 + 0.4 * sin(n / 70.0 + id))::numeric, 2) AS bid
    ) AS quote
"""


def create() -> None:
    """Make the markets, after dropping those of other benchmarks."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE markets_series, markets_poll, markets_sweep CASCADE")
    for chunk in chunks(tickers(MARKETS), 4_000):
        store_markets(chunk)
    for series in benchmark_series():
        known = {"effective_at": START, "known_at": START, "recorded_at": START}
        FeeChange.objects.create(series=series, fee_type="quadratic", fee_multiplier=1, **known)
    partitions.create_missing(partitions.SNAPSHOTS, [START.date()])
    record_passes(START - 2 * timedelta(hours=1), END)
    with connection.cursor() as cursor:
        cursor.execute(AS_OF_START, {"start": START, "end": END})
        cursor.execute("ANALYZE markets_market")
        parameters: dict[str, Any] = {"start": START, "markets": MARKETS, "quotes": QUOTES}
        cursor.execute(RECORD_QUOTES, parameters)
        cursor.execute("ANALYZE")


def benchmark_series() -> QuerySet[Series]:
    return Series.objects.filter(ticker__startswith="KXBENCH")


def main() -> None:
    request = BacktestRequest(
        strategy=sys.argv[1],
        selection=MarketSelection(
            start=START, end=END, series=[each.ticker for each in benchmark_series()]
        ),
    )
    queued = BacktestResult.objects.queue(request.validated(now=now()), user=None, now=now())
    warm_up()
    began, worked = time.perf_counter(), time.process_time()
    runner.run(queued.pk)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    queued.refresh_from_db()
    assert queued.status == BacktestStatus.DONE, queued.error
    figures = {"rows": queued.snapshots, "markets": queued.markets}
    lines = queued.executions.count()
    child_process.print_result({"seconds": seconds, "cpu": cpu, "lines": lines, **figures})


if __name__ == "__main__":
    main()
