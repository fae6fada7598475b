"""The recorder's account of a day, as the archive keeps it.

It has runs, sweeps, hot periods, closures, the spans of the tape, the periods of imports, and the
outcomes of the markets that were settled that day.

It proves what the day's rows alone cannot: that a quote was looked at and had not changed. So that
a day can be read by itself, it has the last hour of the day before: sweeps tell what they showed by
the difference from others of the same hour. Only the spans of the tape and the outcomes begin with
the day. Nothing of it is ever dropped from the database.

A further table is archived with the day once it is in `ACCOUNT`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db import connection

from kalshi_insights.export.copy import ColumnTypes
from markets.intervals import Interval
from markets.models import Poll, Sweep, TapeSpan
from markets.models.tape import Proof
from markets.storage.partitions import ONE_DAY, DayPartition, midnight

POLLS, SWEEPS = "markets_poll", "markets_sweep"
HOT_PERIODS, CLOSURES = "markets_hotperiod", "markets_closure"
TAPE_SPANS = "markets_tapespan"
IMPORTED_PERIODS = "markets_importedperiod"
# In the archive, the markets that were settled on a day, whose outcomes are columns of the market.
SETTLEMENTS = "markets_settlement"
OUTCOME = ("status", "result", "settlement_value", "settlement_ts")
BEFORE = timedelta(hours=1)
MICROSECONDS = "(extract(epoch FROM {0}) * 1000000)::bigint"
INTERVAL = "{0} * interval '1 microsecond'"
INSTANT = f"'epoch'::timestamptz + {INTERVAL}"
NOW = MICROSECONDS.format("now()")


class Column(NamedTuple):
    """A column of a file: its type, how it is selected, and what it is restored as."""

    kind: str
    select: str = "{0}"
    restore: str = "{0}"
    column: str = ""  # of the table, if it has another name there


def texts() -> Column:
    return Column("jsonb", "to_jsonb({0})", "ARRAY(SELECT jsonb_array_elements_text(archived.{0}))")


NUMBER = Column("bigint", "{0}::bigint")
TIME = Column("timestamptz", restore=INSTANT)
DURATION = Column("bigint", MICROSECONDS, INTERVAL)
TEXT, JSON, FLAG = Column("text"), Column("jsonb"), Column("boolean")


# The columns of a row as SQL, by their names.
Expressions = Mapping[str, str]
SaysMore = Callable[[Expressions, Expressions], str]


@dataclass(frozen=True, slots=True)
class AccountTable:
    """A table of the account: its columns in a file, the rows of a day, and what tells them apart.

    `within` is a condition on `{since}`, an hour before the day, `{start}` and `{end}`. Rows in the
    database with the same `key` must have the same values, but for columns that are `derived`, and
    for those of which one side says more.
    """

    folder: str
    time: str
    within: str
    key: Sequence[str]
    columns: dict[str, Column]
    derived: Sequence[str] = ()
    # The condition that a row says more than another of its key, from the columns of both.
    says_more: SaysMore | None = None
    in_order_of_writing: bool = False
    # Columns that are not archived, with the value of a restored row.
    constants: dict[str, str] = field(default_factory=dict)
    # Called with the ids of restored rows, and with all that are staged.
    follow_up: Callable[[list[int], str], None] | None = None
    # Restores the staged rows by itself, and returns how many it wrote.
    restore: Callable[[str], int] | None = None
    # Rows of a closed day may still become others: the columns by which they say something else.
    said: Sequence[str] = ()
    # Columns that older files lack: what a staged row of such a file has there.
    later: dict[str, str] = field(default_factory=dict)
    # The table of the database, where the archive has another name for what it takes of it.
    source: str = ""

    @property
    def types(self) -> ColumnTypes:
        return {"number": "bigint"} | {name: each.kind for name, each in self.columns.items()}

    def rows(self, table: str) -> str:
        """Select the rows of a day in the order in which they were written."""
        selected = (
            f"{each.select.format(each.column or name)} AS {name}"
            for name, each in self.columns.items()
        )
        columns = ", ".join(["id AS number", *selected])
        source = self.source or table
        return f"SELECT {columns} FROM {source} WHERE {self.within} ORDER BY id"  # noqa: S608

    def restored(self) -> dict[str, str]:
        """Return expressions for the columns of the table, of rows that are called `archived`."""
        return {
            (each.column or f'"{name}"').strip('"'): expression(name, each)
            for name, each in self.columns.items()
        }


def expression(name: str, column: Column) -> str:
    if name == "market_id":
        return "market.id"
    if "archived." in column.restore:
        return column.restore.format(name)
    return column.restore.format(f"archived.{name}")


def _run_says_more(row: Expressions, than: Expressions) -> str:
    return f"{row['finished_at']} IS NOT NULL AND {than['finished_at']} IS NULL"


def _pass_says_more(row: Expressions, than: Expressions) -> str:
    """Compare two states of one pass.

    One that came to its end says more, then the one with more pages, then the one that was
    abandoned first. Two that both came to their end must be the same.
    """
    pages = "jsonb_array_length({pages})"
    ended = "coalesce({finished_at}, 'infinity')"
    return (
        f"NOT {than['complete']} AND ({row['complete']}"
        f" OR ({pages.format(**row)}, {ended.format(**than)})"
        f" > ({pages.format(**than)}, {ended.format(**row)}))"
    )


def _period_says_more(row: Expressions, than: Expressions) -> str:
    """Prefer the earlier end of a hot period, unless it is where a file was cut: at midnight."""
    ended = row["ended_at"]
    is_earlier = f"coalesce({than['ended_at']}, 'infinity') > {ended}"
    return f"{is_earlier} AND {ended} <> date_trunc('day', {ended}, 'UTC')"


def _closure_says_more(row: Expressions, than: Expressions) -> str:
    return f"{than['known_at']} > {row['known_at']}"


def _forget_silence(inserted: list[int], joined: str) -> None:
    """Forget how long before the first of these runs nothing was observed."""
    first = Poll.objects.filter(pk__in=inserted).order_by("started_at").first()
    if first:
        Poll.objects.filter(pk=first.pk).update(since_last=None)


def _measure_lateness(inserted: list[int], joined: str) -> None:
    Sweep.objects.filter(pk__in=inserted).store_lateness()


def _prolong_periods(inserted: list[int], joined: str) -> None:
    """End a period of several days where the last of those days does that are restored."""
    ended = expression("ended_at", ACCOUNT[HOT_PERIODS].columns["ended_at"])
    started = expression("started_at", TIME)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE markets_hotperiod AS known SET ended_at = {ended} FROM {joined}
            WHERE known.market_id = market.id AND known.started_at = {started}
                AND known.ended_at < {ended}
            """  # noqa: S608
        )


def _restore_spans(staged: str) -> int:
    """Add the spans of times of which the database knows nothing."""
    restored = ACCOUNT[TAPE_SPANS].restored()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(restored.values())} FROM {staged} AS archived"  # noqa: S608
            " ORDER BY archived.is_whole, archived.starts_at"
        )
        rows = [dict(zip(restored, row, strict=True)) for row in cursor.fetchall()]
    return sum(
        TapeSpan.objects.add(Interval(row.pop("start"), row.pop("end")), row) for row in rows
    )


def _restore_outcomes(staged: str) -> int:
    """Let markets say how they were settled, if the database does not know it."""
    columns = ACCOUNT[SETTLEMENTS].columns
    values = {name: expression(name, columns[name]) for name in OUTCOME}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE markets_market AS market
            SET {", ".join(f"{name} = {value}" for name, value in values.items())}
            FROM {staged} AS archived JOIN archived_market AS old ON old.id = archived.market_id
            WHERE market.ticker = old.ticker AND market.settlement_ts IS NULL
            """  # noqa: S608
        )
        count: int = cursor.rowcount
    return count


ACCOUNT: dict[str, AccountTable] = {
    POLLS: AccountTable(
        folder="runs",
        time="started_at",
        within="started_at >= '{since}' AND started_at < '{end}'",
        key=("started_at",),
        derived=("since_last",),
        says_more=_run_says_more,
        follow_up=_forget_silence,
        columns={
            "started_at": TIME,
            "finished_at": TIME,
            "pages": NUMBER,
            "requests": NUMBER,
            "bytes": NUMBER,
            "throttled": NUMBER,
            "markets": NUMBER,
            "snapshots": NUMBER,
            "rejected": NUMBER,
            "rejects": JSON,
            "order_books": NUMBER,
            "ages": JSON,
            "exchange_active": FLAG,
            "trading_active": FLAG,
            "clock_skew": DURATION,
            "error": TEXT,
            "warning": TEXT,
            "observed_from": TIME,
            "since_last": DURATION,
        },
    ),
    SWEEPS: AccountTable(
        folder="sweeps",
        time="started_at",
        within="started_at >= '{since}' AND started_at < '{end}'",
        key=("tier", "started_at"),
        in_order_of_writing=True,
        derived=("since_last",),
        says_more=_pass_says_more,
        follow_up=_measure_lateness,
        columns={
            "tier": TEXT,
            "started_at": TIME,
            "finished_at": TIME,
            "complete": FLAG,
            "markets": NUMBER,
            "skipped": texts(),
            "pages": JSON,
            "contents": Column("text", "encode({0}, 'hex')", "decode({0}, 'hex')"),
            "based_on": TIME,
            "by_market": FLAG,
            "since_last": DURATION,
        },
        constants={"cursor": "''", "page_size": "NULL"},
    ),
    HOT_PERIODS: AccountTable(
        folder="hotperiods",
        time="started_at",
        within=("started_at < '{end}' AND (ended_at IS NULL OR ended_at > '{since}')"),
        key=("market_id", "started_at"),
        derived=("ended_at",),
        says_more=_period_says_more,
        follow_up=_prolong_periods,
        columns={
            "market_id": NUMBER,
            "started_at": TIME,
            # Of what comes after the day, the day tells nothing.
            "ended_at": Column(
                "timestamptz",
                "least(coalesce({0}, '{{end}}'::timestamptz), '{{end}}'::timestamptz)",
                INSTANT,
            ),
        },
    ),
    CLOSURES: AccountTable(
        folder="closures",
        time="starts_at",
        within="start < '{end}' AND \"end\" > '{since}'",
        key=("start", "end"),
        derived=("known_at",),
        says_more=_closure_says_more,
        columns={
            "starts_at": TIME._replace(column="start"),
            "ends_at": TIME._replace(column='"end"'),
            "known_at": TIME,
        },
    ),
    TAPE_SPANS: AccountTable(
        folder="tapespans",
        time="starts_at",
        # The trades of the hour before the day are not in its archive.
        within="start < '{end}' AND \"end\" > '{start}'",
        key=("start",),
        restore=_restore_spans,
        constants={"newest_ids": "'{}'"},
        said=(
            "starts_at",
            "ends_at",
            "is_whole",
            "proof",
            "extent",
            "with_combos",
            "series",
            "categories",
            "known_at",
        ),
        # The default scope; what was read later counts as known from now on.
        later={
            "series": "'[]'",
            "categories": "'[]'",
            "known_at": f"CASE WHEN is_whole AND proof <> '{Proof.JOINED}' THEN {NOW} END",
        },
        columns={
            "starts_at": Column(
                "timestamptz", "greatest({0}, '{{start}}'::timestamptz)", INSTANT, "start"
            ),
            "ends_at": Column(
                "timestamptz", "least({0}, '{{end}}'::timestamptz)", INSTANT, '"end"'
            ),
            "is_whole": FLAG,
            "proof": TEXT,
            "extent": TEXT,
            "with_combos": FLAG,
            "series": texts(),
            "categories": texts(),
            "known_at": TIME,
            "tried_at": TIME,
        },
    ),
    IMPORTED_PERIODS: AccountTable(
        folder="importedperiods",
        time="starts_at",
        # Whole: on days that are not restored there are no rows of which they speak.
        within="starts_at < '{end}' AND ends_at >= '{start}'",
        key=("market_id", "starts_at", "ends_at", "recorded_at"),
        said=("starts_at", "ends_at", "gap_after", "recorded_at"),
        constants={"restored_at": "now()"},
        columns={
            "market_id": NUMBER,
            "starts_at": TIME,
            "ends_at": TIME,
            "gap_after": NUMBER,
            "recorded_at": TIME,
        },
    ),
    SETTLEMENTS: AccountTable(
        folder="settlements",
        source="markets_market",
        time="settlement_ts",
        within=(
            "settlement_ts >= '{start}' AND settlement_ts < '{end}' AND result <> ''"
            " AND NOT is_placeholder"
        ),
        key=("market_id",),
        restore=_restore_outcomes,
        # An outcome may be amended, or be learned late.
        said=OUTCOME,
        columns={
            "market_id": NUMBER._replace(column="id"),
            "status": TEXT,
            "result": TEXT,
            "settlement_value": Column("numeric(7,6)"),
            "settlement_ts": TIME,
        },
    ),
}


class Bounds(NamedTuple):
    since: datetime
    start: datetime
    end: datetime


def bounds_of(day: date) -> Bounds:
    start = midnight(day)
    return Bounds(start - BEFORE, start, start + ONE_DAY)


def count_rows(partition: DayPartition) -> int:
    rows = rows_query(partition)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({rows}) AS found")  # noqa: S608
        count: int = cursor.fetchone()[0]
    return count


def rows_query(partition: DayPartition) -> str:
    table = ACCOUNT[partition.table]
    return table.rows(partition.table).format(**bounds_of(partition.day)._asdict())


def market_ids_query(partition: DayPartition) -> str:
    """Select the ids of the markets that the rows of a day belong to."""
    if "market_id" not in ACCOUNT[partition.table].columns:
        return "SELECT NULL::bigint WHERE false"
    return f"SELECT market_id FROM ({rows_query(partition)}) AS found"  # noqa: S608
