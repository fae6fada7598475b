"""Cadence of the demo's recorder over ten minutes, half of them beside three web processes.

It runs on request only: `make bench ARGS=cadence`.
"""

import os
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any

import psycopg

from benchmarks.measure import report
from kalshi_insights import embedded
from kalshi_insights.embedded.servers import free_port

HALF = 300
INTERVAL = 5
REQUEST_INTERVAL = 0.5


def main() -> None:
    port = free_port()
    variables = {**os.environ, "PORT": str(port), "DEMO_SECONDS": str(2 * HALF + 60)}
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DEBUG", "LOG_LEVEL"):
        variables.pop(name, None)
    command = [sys.executable, "-m", "kalshi_insights.demo"]
    demo = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        wait_until_ready(demo)
        for name in ("DATABASE_URL", "REDIS_URL"):
            os.environ.pop(name, None)
        with embedded.services(), psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            connection.autocommit = True
            began = now(connection)
            time.sleep(HALF)
            report_slots("alone", connection, began)
            began = now(connection)
            with_three_web_processes()
            report_slots("with three more web processes", connection, began)
            report_snapshots_per_day(connection)
    finally:
        demo.terminate()
        demo.wait()


def wait_until_ready(demo: "subprocess.Popen[str]") -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if "READY" in line:
            report("time from start to a page with live data", line.split("s  ")[0].strip() + " s")
            threading.Thread(target=demo.stdout.read, daemon=True).start()
            return
    raise SystemExit("The demo exited before it was ready.")


def with_three_web_processes() -> None:
    ports = [free_port() for _ in range(3)]
    gunicorn = ["-m", "gunicorn", "--no-control-socket", "--log-level", "error"]
    variables = {**os.environ, "DEBUG": "false", "SECRET_KEY": "bench", "LOG_LEVEL": "ERROR"}
    webs = [
        subprocess.Popen(
            [sys.executable, *gunicorn, "--bind", f"127.0.0.1:{port}", "kalshi_insights.asgi"],
            env=variables,
        )
        for port in ports
    ]
    try:
        until = time.monotonic() + HALF
        while time.monotonic() < until:
            time.sleep(REQUEST_INTERVAL)
            for port in ports:
                visit(f"http://127.0.0.1:{port}/markets/")
    finally:
        for web in webs:
            web.terminate()
            web.wait()


def visit(url: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            answer.read()
    except OSError:
        time.sleep(1)  # still starting


def now(connection: "psycopg.Connection[tuple[object, ...]]") -> object:
    return query(connection, "SELECT now()")[0]


def query(
    connection: "psycopg.Connection[tuple[object, ...]]", sql: str, **values: object
) -> tuple[Any, ...]:
    row = connection.execute(sql, values).fetchone()
    assert row is not None
    return row


def report_slots(
    when: str,
    connection: "psycopg.Connection[tuple[object, ...]]",
    began: object,
    *,
    ended: object = None,
) -> None:
    polls, longest, errors, slots, gap = query(
        connection,
        """SELECT count(*), max(extract(epoch FROM finished_at - started_at)),
                  count(*) FILTER (WHERE error <> ''),
                  extract(epoch FROM coalesce(%(ended)s, now()) - %(began)s) / %(interval)s,
                  max(extract(epoch FROM started_at - before))
           FROM (SELECT *, lag(started_at) OVER (ORDER BY started_at) AS before FROM markets_poll
                 WHERE started_at >= %(began)s
                     AND started_at < coalesce(%(ended)s, 'infinity'::timestamptz)) AS polls""",
        began=began,
        ended=ended,
        interval=INTERVAL,
    )
    (overlaps,) = query(
        connection,
        """SELECT count(*) FROM (SELECT started_at, lag(finished_at) OVER (ORDER BY started_at)
           AS before FROM markets_poll) AS polls WHERE started_at < before""",
    )
    report(f"slots filled, {when}", f"{100 * polls / float(slots):.1f} %", target="target 99 %")
    report(
        "  polls, slots, overlaps, errors",
        f"{polls}, {slots:.1f}, {overlaps}, {errors}",
        ratio=f"longest {longest:.2f} s, at most {gap:.1f} s from start to start",
    )


def report_snapshots_per_day(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    markets, least = query(
        connection,
        """SELECT count(*), min(snapshots) FROM (
               SELECT count(*) AS snapshots FROM markets_market AS market
               JOIN markets_marketsnapshot AS snapshot ON snapshot.market_id = market.id
               WHERE market.status = 'active' AND market.open_time < now() - interval '1 day'
                   AND snapshot.timestamp > now() - interval '1 day'
               GROUP BY market.id) AS counted""",
    )
    report(
        f"fewest snapshots in a day, of {markets} markets open all day",
        f"{least}",
        target="target 100",
    )


if __name__ == "__main__":
    main()
