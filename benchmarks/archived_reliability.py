"""The reliability figure from 10,000,000 archived quotes, by DuckDB, as `docs/archive.md` has it.

Its figures are compared with those that numpy computes from the same files, which Arrow reads. The
files are written as the archive writes them, from rows that PostgreSQL generates.
It runs on request only: `make bench ARGS=archived_reliability`.
"""

import tempfile
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
from django.db import connection

from benchmarks.measure import median, report
from kalshi_insights.export import parquet
from kalshi_insights.export.copy import ColumnTypes
from markets.storage.account import SETTLEMENTS
from markets.storage.columns import COLUMNS, FOLDERS, MARKET_COLUMNS, copy_statement
from markets.storage.partitions import ONE_DAY, SNAPSHOTS
from markets.tests.archive_recipes import recipe

FIRST_DAY = date(2026, 3, 1)
DAYS, MARKETS, EACH = 10, 20_000, 50
ROUNDS = 3
TARGET = 5
# Each market has a chance of its own, and quotes around it that a tenth of the time lack a side.
QUOTES = f"""
    SELECT md5(market_id::text || at)::uuid AS id, market_id, at AS timestamp, at AS recorded_at,
        NULL::bigint AS sequence, 0 AS quality, 'POLL' AS source, NULL::jsonb AS raw_data,
        CASE WHEN odd > 0.05 THEN round((chance - 0.01)::numeric, 2) END AS yes_bid,
        CASE WHEN odd < 0.95 THEN round((chance + 0.01)::numeric, 2) END AS yes_ask,
        round((5000 * random() ^ 3)::numeric, 2) AS yes_bid_size,
        round((5000 * random() ^ 3)::numeric, 2) AS yes_ask_size,
        round(chance::numeric, 2) AS last_price,
        round((100000 * random() ^ 3)::numeric, 2) AS volume,
        round((50000 * random() ^ 3)::numeric, 2) AS open_interest
    FROM (
        SELECT market_id, '{{day}}'::timestamptz + (n + random()) * interval '24 hours' / {EACH}
            AS at, 0.02 + 0.96 * (market_id * 7919 % 1000) / 1000.0 + 0.01 * random() AS chance,
            random() AS odd
        FROM generate_series(1, {MARKETS}) AS market_id
        CROSS JOIN generate_series(0, {EACH} - 1) AS n
    ) AS quoted ORDER BY market_id, timestamp
"""
LISTED = f"""
    SELECT id, 'KXBENCH-' || id AS ticker, 'KXBENCH-' || id / 8 AS event_ticker,
        'KXBENCH' AS series_ticker, 'Bench' AS title, '' AS yes_sub_title, '' AS no_sub_title,
        'active' AS status, '' AS result, NULL::timestamptz AS open_time,
        NULL::timestamptz AS close_time, '[]'::jsonb AS price_ranges
    FROM generate_series(1, {MARKETS}) AS id
"""
OUTCOMES = f"""
    SELECT id AS number, id AS market_id, 'finalized' AS status,
        CASE WHEN won THEN 'yes' ELSE 'no' END AS result,
        won::int::numeric(7, 6) AS settlement_value, '{{day}}'::timestamptz AS settlement_ts
    FROM (SELECT id, id * 104729 % 1000 < id * 7919 % 1000 AS won
          FROM generate_series(1, {MARKETS}) AS id) AS settled
"""


class Rows(NamedTuple):
    """The rows of a file: their columns, what generates them, and what they are sorted by."""

    columns: ColumnTypes
    query: str
    sorted_by: str


MARKETS_OF_DAY = Rows(MARKET_COLUMNS, LISTED, "id")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kalshi-bench-archive-") as folder:
        size = fill(Path(folder))
        report(f"archived quotes of {DAYS} days", f"{DAYS * MARKETS * EACH:,}", ratio=size)
        statement = recipe("sql", "first_noon", folder)
        taken, figures = zip(*(by_duckdb(statement) for _ in range(ROUNDS)), strict=True)
        began = time.perf_counter()
        expected = by_numpy(Path(folder) / "tables")
        seconds = time.perf_counter() - began
        np.testing.assert_allclose(figures[-1], expected, atol=1e-9)
        report(
            f"reliability of {sum(each[1] for each in expected):,.0f} markets, median of {ROUNDS}",
            f"{median(list(taken)):.2f} s",
            ratio=f"{median(list(taken)) / seconds:.2f} x Arrow and numpy, the same figures",
            target=f"target {TARGET} s",
        )


def fill(folder: Path) -> str:
    """Write the days as the archive would; returns their size in words."""
    snapshots, settlements = FOLDERS[SNAPSHOTS], FOLDERS[SETTLEMENTS]
    for n in range(DAYS):
        day = FIRST_DAY + n * ONE_DAY
        write(folder, snapshots, day, Rows(COLUMNS[SNAPSHOTS], QUOTES, "market_id"))
        write(folder, f"markets_of_{snapshots}", day, MARKETS_OF_DAY)
    settled = FIRST_DAY + DAYS * ONE_DAY
    write(folder, settlements, settled, Rows(COLUMNS[SETTLEMENTS], OUTCOMES, "number"))
    write(folder, f"markets_of_{settlements}", settled, MARKETS_OF_DAY)
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    return f"{size / 1e6:,.0f} MB, {size / (DAYS * MARKETS * EACH):.0f} bytes each"


def write(folder: Path, kind: str, day: date, rows: Rows) -> None:
    path = folder / "tables" / kind / f"day={day}" / f"{kind}.parquet"
    path.parent.mkdir(parents=True)
    statement = copy_statement(rows.columns, rows.query.format(day=day))
    with (
        connection.cursor() as cursor,
        path.open("wb") as sink,
        cursor.copy(statement) as lines,
    ):
        parquet.write(sink, rows.columns, lines, sorted_by=rows.sorted_by)


def by_duckdb(statement: str) -> tuple[float, list[tuple[float, ...]]]:
    """Return the seconds of a session of its own, and its figures."""
    began = time.perf_counter()
    with duckdb.connect() as database:
        rows = database.execute(statement).fetchall()
    return time.perf_counter() - began, rows


def by_numpy(tables: Path) -> list[tuple[float, ...]]:
    """Compute the same without DuckDB: the last quote of a market before its first noon."""
    prices = np.full(MARKETS + 1, np.nan)
    is_seen = np.zeros(MARKETS + 1, bool)
    for n in range(DAYS):
        ids, price, spread = at_noon(tables / "snapshots", FIRST_DAY + n * ONE_DAY)
        new = ~is_seen[ids]
        is_seen[ids] = True
        prices[ids[new]] = np.where(spread[new] < 0.1 + 1e-9, price[new], np.nan)
    settled = ds.dataset(tables / "settlements").to_table().sort_by("market_id")
    outcomes = settled["settlement_value"].cast("double").to_numpy()
    usable = ~np.isnan(prices[1:])
    price, outcome = prices[1:][usable], outcomes[usable]
    bins = np.searchsorted(np.arange(1, 10) / 10, price, "right")
    return [
        (number, is_in.sum(), price[is_in].mean(), outcome[is_in].mean())
        for number in np.unique(bins)
        if (is_in := bins == number).any()
    ]


def at_noon(folder: Path, day: date) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the markets of a day's noon with the middle and the width of their quotes."""
    columns = ["market_id", "timestamp", "yes_bid", "yes_ask"]
    table = ds.dataset(folder / f"day={day}").to_table(columns)
    at = table["timestamp"].cast("int64").to_numpy()
    noon = (np.datetime64(day) + np.timedelta64(12, "h")).astype("datetime64[us]").astype("int64")
    within = np.flatnonzero((at > noon - 70 * 60 * 10**6) & (at <= noon))
    ids = table["market_id"].to_numpy()[within]
    # The rows of a market lie together and in order, so that the last one is its newest.
    last = within[np.append(np.flatnonzero(np.diff(ids)), len(ids) - 1)]
    bid, ask = (
        pc.cast(table[name], "double").to_numpy(zero_copy_only=False)[last]
        for name in ("yes_bid", "yes_ask")
    )
    return table["market_id"].to_numpy()[last], (bid + ask) / 2, ask - bid


if __name__ == "__main__":
    main()
