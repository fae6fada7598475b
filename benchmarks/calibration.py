"""Calibration: 100,000 settled markets read and reported, and the curve of 10,000,000 rows.

Where the recordings are here, the early prices of a sample of six categories, which are no quotes,
go into the same functions.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import Client

from benchmarks import measure
from benchmarks.measure import median, report, timed
from markets.calibration.reliability import reliability
from markets.calibration.report import calibrate
from markets.calibration.request import CalibrationRequest
from markets.calibration.scores import scores
from markets.storage import partitions
from markets.storage.partitions import SNAPSHOTS

MARKETS, EVENTS, SERIES = 100_000, 12_500, 50
DAYS, HOURS = 60, 30
ROWS = 10_000_000
ROUNDS = 3
START = datetime(2026, 9, 1, tzinfo=UTC)
SAMPLE = settings.BASE_DIR.parent / "shared" / "kalshi" / "recorded" / "calibration_kola"
# What a payload takes: reading it is what makes reading a market slow.
RULES = "If the bench is level, then the market resolves to Yes. " * 30
FILL_SERIES = """
    INSERT INTO markets_series (ticker, title, category, tags, frequency, fee_type,
        settlement_sources, contract_url)
    SELECT 'KXCAL' || n, 'Series ' || n,
        (ARRAY['Climate', 'Economics', 'Politics', 'Sports'])[1 + n %% 4], '{}', '', 'quadratic',
        '[]', ''
    FROM generate_series(0, %(series)s - 1) AS n
"""
FILL_FEES = """
    INSERT INTO markets_feechange (series_id, fee_type, fee_multiplier, effective_at, known_at,
        known_at_assumed, recorded_at)
    SELECT id, 'quadratic', 1, %(start)s, %(start)s, false, %(start)s FROM markets_series
"""
FILL_EVENTS = """
    INSERT INTO markets_event (ticker, series_id, title, sub_title, collateral_return_type,
        strike_period, settlement_sources, fee_type_override, recorded_at)
    SELECT 'KXCAL' || n %% %(series)s || '-' || n,
        (SELECT min(id) FROM markets_series) + n %% %(series)s, 'Event ' || n, '', '', '', '[]',
        '', %(start)s
    FROM generate_series(0, %(events)s - 1) AS n
"""
FILL_MARKETS = """
    INSERT INTO markets_market (ticker, event_id, market_type, title, yes_sub_title, no_sub_title,
        status, result, open_time, close_time, settlement_ts, can_close_early, strike_type,
        price_level_structure, price_ranges, is_provisional, rules_primary, rules_secondary,
        raw_data, recorded_at, is_hot, definition_mark)
    SELECT event.ticker || '-T' || m, event.id, 'binary', 'Market', 'Yes', 'No', 'finalized',
        CASE WHEN random() < (0.03 + 0.12 * m) THEN 'yes' ELSE 'no' END,
        closes - interval '3 days', closes, closes + interval '1 hour', true, '', '', '[]', false,
        %(rules)s, '', jsonb_build_object('rules_primary', %(rules)s::text), closes, false, 0
    FROM (
        SELECT id, ticker, %(start)s::timestamptz
            + (2 + id * 7919 %% (%(days)s - 3) + random()) * interval '1 day' AS closes
        FROM markets_event
    ) AS event CROSS JOIN generate_series(0, %(each)s - 1) AS m
"""
FILL_REVISIONS = """
    INSERT INTO markets_marketrevision (market_id, known_at, known_at_assumed, recorded_at, status,
        result, open_time, close_time, price_ranges)
    SELECT id, at, false, at, revised, CASE WHEN revised = 'active' THEN '' ELSE result END,
        open_time, close_time, '[]'
    FROM markets_market CROSS JOIN LATERAL (
        VALUES ('active', open_time), ('closed', close_time), ('finalized', settlement_ts)
    ) AS known (revised, at)
"""
FILL_SNAPSHOTS = """
    INSERT INTO markets_marketsnapshot (id, market_id, timestamp, recorded_at, quality, source,
        yes_bid, yes_ask)
    SELECT gen_random_uuid(), id, at, at, 0, 'POLL', round(likely::numeric, 2),
        round(likely::numeric + 0.02, 2)
    FROM (
        SELECT id, close_time - h * interval '1 hour' + random() * interval '50 minutes' AS at,
            least(greatest(0.03 + 0.12 * (id %% %(each)s) + 0.1 * (random() - 0.5), 0.01), 0.97)
                AS likely
        FROM markets_market CROSS JOIN generate_series(1, %(hours)s) AS h
    ) AS observed
"""


def main() -> None:
    measure.migrate()
    fill()
    report_reads()
    report_requests()
    report_rows()
    if SAMPLE.is_dir():
        report_sample()


def fill() -> None:
    partitions.create_missing(SNAPSHOTS, {(START + timedelta(days=d)).date() for d in range(DAYS)})
    words: dict[str, Any] = {
        "series": SERIES, "events": EVENTS, "each": MARKETS // EVENTS, "days": DAYS,
        "hours": HOURS, "start": START, "rules": RULES,
    }  # fmt: skip
    statements = (
        FILL_SERIES, FILL_FEES, FILL_EVENTS, FILL_MARKETS, FILL_REVISIONS, FILL_SNAPSHOTS,
    )  # fmt: skip
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, words)
        cursor.execute("ANALYZE")


def from_nothing(work: Callable[[], object]) -> float:
    def anew() -> None:
        cache.clear()
        work()

    return median([timed(anew) for _ in range(ROUNDS)])


def report_reads() -> None:
    found = calibrate(CalibrationRequest())
    assert found.coverage.eligible == MARKETS
    assert found.coverage.used > 0.9 * MARKETS
    with connection.cursor() as cursor:
        counted = median([timed(lambda: cursor.execute(COUNT)) for _ in range(ROUNDS)])
    for words, request in (
        ("a day before the close", CalibrationRequest()),
        ("first quote", CalibrationRequest(moment="first")),
        ("random instant", CalibrationRequest(moment="random")),
        ("one of 50 series", CalibrationRequest(series="KXCAL7")),
        ("each of 50 series", CalibrationRequest(by="series")),
        ("each of five lead times", CalibrationRequest(by="moment")),
    ):
        seconds = from_nothing(partial(calibrate, request))
        ratio = f"{seconds / counted:.0f} x reading the markets and their events"
        report(f"{MARKETS:,} settled markets, {words}", f"{seconds:.2f} s", ratio=ratio)
    again = median([timed(lambda: calibrate(CalibrationRequest())) for _ in range(ROUNDS)])
    report("  the same again, from what is kept", f"{again:.2f} s")


COUNT = """
    SELECT count(*), max(close_time), max(event.title) FROM markets_market AS market
    JOIN markets_event AS event ON event.id = event_id WHERE market.status = 'finalized'
"""


def report_requests() -> None:
    client = Client(headers={"host": "localhost"})
    for words, address in (
        ("page", "/calibration/"),
        ("page with the markets of a bin", "/calibration/?bin=3"),
        ("API", "/api/v1/calibration/"),
        ("API, 100 markets", "/api/v1/calibration/markets/"),
    ):
        fetch = partial(fetched, client, address)
        first = from_nothing(fetch)
        again = median([timed(fetch) for _ in range(ROUNDS)])
        report(words, f"{again:.2f} s", ratio=f"{first:.2f} s for the first who asks")


def fetched(client: Client, address: str) -> None:
    assert client.get(address).status_code == 200


def report_rows() -> None:
    chance = np.random.default_rng(1)
    price = chance.integers(1, 100, ROWS) / 100
    outcome = (chance.uniform(size=ROWS) < price).astype(float)
    event = chance.integers(0, ROWS // 10, ROWS)
    seconds = timed(lambda: reliability(price, outcome, event))
    report(f"curve of {ROWS:,} rows in {ROWS // 10:,} events", f"{seconds:.2f} s")


def report_sample() -> None:
    """Report the early prices of a sample of markets: means of trades, not quotes."""
    columns = defaultdict(list)
    with (SAMPLE / "m4_trades.csv").open() as file:
        for row in csv.DictReader(file):
            of_row = (float(row["p"]), float(row["y"]), row["ticker"].rpartition("-")[0])
            columns[row["category"]].append(of_row)
            columns["all"].append(of_row)
    for category, rows in sorted(columns.items()):
        report_category(category, rows)


def report_category(category: str, rows: Sequence[tuple[float, float, str]]) -> None:
    price, outcome, names = zip(*rows, strict=True)
    event = np.unique(names, return_inverse=True)[1]
    found = scores(np.array(price), np.array(outcome), event)
    assert found
    between = "" if found.bias_low is None else f"{found.bias_low:+.3f} to {found.bias_high:+.3f}"
    report(
        f"early prices, {category}: {found.count:,} in {found.events:,} events",
        f"{found.bias:+.3f}",
        ratio=f"{between}; Brier {found.brier:.4f}",
    )


if __name__ == "__main__":
    main()
