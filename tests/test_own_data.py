"""Somebody's log, from a CSV file to a backtest that earned something on it."""

import json
import os
import subprocess
import sys
from io import StringIO
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.management import call_command

from markets.models import Import

pytestmark = pytest.mark.django_db
TICKER = "KXOWN-26NOV02-T60"


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def files(tmp_path):
    """A bot's log in New York's time and cents; result and times of the market elsewhere."""
    log, results, markets = (
        tmp_path / name for name in (f"{TICKER}.csv", "results.csv", "markets.csv")
    )
    rows = [f"2026-11-02 10:{minute:02}:00,{8 + minute % 2},89" for minute in range(60)]
    log.write_text("\n".join(["Time,yes_bid,no_bid", *rows, "2026-11-02 11:00:00,9"]))
    results.write_text(f"Market Ticker,Result,Settled Time\n{TICKER},no,2026-11-03T15:00:00Z\n")
    markets.write_text(
        f"ticker,open_time,close_time\n{TICKER},2026-11-01T15:00:00Z,2026-11-03T05:00:00Z\n"
    )
    return str(log), str(results), str(markets)


def test_a_log_is_imported_backtested_and_undone(files, tmp_path):
    log, results, markets = files
    run(
        "importdata", "quotes", log, "--preset", "bot-log", "--ticker-from-name", "--time-zone",
        "America/New_York", "--recording", "on-change", "--gap-after", "600", "--fee-type",
        "quadratic", "--refused", str(tmp_path / "refused.csv"),
    )  # fmt: skip
    run("importdata", "settlements", results, "--preset", "kalshi-download")
    times = ("--column", "at=open_time", "--column", "open_time=open_time")
    run("importdata", "markets", markets, *times)
    quotes, settlements, definitions = Import.objects.order_by("pk")
    assert (quotes.rows, quotes.refused, settlements.rows) == (60, 1, 1)
    named = (quotes, settlements, definitions)
    result = json.loads(
        run(
            "runbacktest", "fade-longshots", "--ticker", TICKER, "--start", "2026-11-02", "--end",
            "2026-11-04", "--import", *(str(row.pk) for row in named), "--assumed-size", "100",
            "--json",
        )
    )  # fmt: skip
    assert result["status"] == "done"
    assert float(result["final_cash"]) > float(result["cash"])
    assert result["imports"] == [row.pk for row in named]
    for row in Import.objects.all():
        run("undoimport", str(row.group))
    assert set(Import.objects.values_list("state", flat=True)) == {"undone"}


def test_a_database_without_tables_is_told_in_a_line(monkeypatch):
    empty = urlsplit(os.environ["DATABASE_URL"])._replace(path="/postgres").geturl()
    monkeypatch.setenv("DATABASE_URL", empty)
    command = [sys.executable, "manage.py", "imports"]
    ended = subprocess.run(
        command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    [line] = [line for line in ended.stderr.splitlines() if "relation" in line]
    assert line.startswith("The database is not up to date, run manage.py migrate first: ")
    assert "Traceback" not in ended.stderr
