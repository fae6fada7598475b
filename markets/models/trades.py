"""Public trades: the tape of the exchange, in daily partitions.

Prices are kept in 1/10,000 dollar and counts in 1/100 contract, as backtests count them; whoever
reads a trade gets decimals. A trade is known by its id, and yet no index can say so: each unique
index of a partitioned table holds the day, and another source may tell the same trade's time more
coarsely, in whole seconds. So one writer at a time compares with what is there.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Self
from uuid import UUID, uuid5

from django.db import connection, models
from django.db.models import Case, F, Func, Value, When

from kalshi_insights.arrays import Ints
from kalshi_insights.export.copy import read_integers, stage_rows
from markets.kalshi.payloads import TradePayload
from markets.models.fields import Row
from markets.models.imports import LINE_BITS, Import, Kind, of_finished_imports, rows_of
from markets.models.markets import Market
from markets.models.observations import instant

# Times of one trade differ by less from source to source; beyond it, one id is two trades.
SAME_TRADE_WITHIN = timedelta(seconds=2)
# An id that is no UUID becomes the UUID (version 5) of its text in here.
NAMESPACE = UUID("6b1d0c52-5c0f-5f0a-9f5e-0d6c7d3c8a11")
PRICES_IN_A_DOLLAR = 10_000
HUNDREDTHS = 100
STAGED = {
    "trade_id": "uuid",
    "market_id": "bigint",
    "created_time": "timestamptz",
    "known_at": "timestamptz",
    "contracts": "bigint",
    "price": "smallint",
    "taker_side": "smallint",
    "is_block_trade": "boolean",
}
# The columns that tell the same of a trade, whoever tells it and whenever.
CONTENT = ("contracts", "price", "taker_side", "is_block_trade")
# The name of the table alone is the lock of who creates a partition, which may take long.
ONE_WRITER = "SELECT pg_advisory_xact_lock(hashtext('writer of markets_trade'))"
# The trade on record is the one that is written. The bounds as literals let PostgreSQL leave other
# days alone.
SAME_TRADE = """
    old.market_id = new.market_id AND old.trade_id = new.trade_id AND old.source_code <> 3
    AND old.created_time BETWEEN new.created_time - %(within)s * interval '1 s'
        AND new.created_time + %(within)s * interval '1 s'
    AND old.created_time BETWEEN %(first)s AND %(last)s
"""
TRADE_ON_RECORD = f"SELECT FROM markets_trade AS old WHERE {SAME_TRADE}"
INSERT_TRADES = f"""
    WITH known AS (
        SELECT new.trade_id, new.market_id, new.created_time,
            ROW({", ".join(f"old.{name}" for name in CONTENT)})
                IS DISTINCT FROM ROW({", ".join(f"new.{name}" for name in CONTENT)}) AS differs
        FROM trade_staging AS new JOIN markets_trade AS old ON {SAME_TRADE}
    ), written AS (
        INSERT INTO markets_trade ({", ".join(STAGED)}, recorded_at, source_code)
        SELECT {", ".join(STAGED)}, %(recorded_at)s, %(source)s FROM trade_staging
        WHERE trade_id NOT IN (SELECT trade_id FROM known) ORDER BY created_time, trade_id
        ON CONFLICT DO NOTHING RETURNING market_id
    )
    SELECT count(*), NULL, NULL FROM written
    UNION ALL SELECT NULL, market_id, created_time FROM known WHERE differs
"""
# The trade on record was fetched afterwards, and the archive knows when it was learned live.
LEARNED_LATER = "old.known_at = old.created_time AND new.known_at <> new.created_time"
SAME_CONTENT = f"""
    ROW({", ".join(f"old.{name}" for name in CONTENT)})
        IS NOT DISTINCT FROM ROW({", ".join(f"new.{name}" for name in CONTENT)})
"""


def _microseconds_sql(column: str) -> str:
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"


def _line_id_sql(row: str) -> str:
    """Return the id that an imported trade has by its import and line (see `PlacedRows.ids`)."""
    at = _microseconds_sql(f"{row}.created_time")
    return (
        f"(lpad(to_hex({at} / 1000), 12, '0') || to_hex({0x7000} + mod({at}, 1000))"
        f" || to_hex(({-(2**63)})::bigint | {row}.sequence))::uuid"
    )


# A trade of the record has its id for itself: that of an import, which stands beside it, gets the
# id of its line.
FREE_IDS = f"""
    UPDATE markets_trade AS old SET trade_id = {_line_id_sql("old")} FROM ({{trades}}) AS new
    WHERE old.source_code = 3 AND old.trade_id = new.trade_id
        AND old.created_time = new.created_time
        AND old.created_time BETWEEN %(first)s AND %(last)s
"""
# The columns of `Trade.objects.columns`; `taker` is 1 for YES, -1 for NO, 0 where it is unknown;
# `import` is the id of the import, 0 for what was recorded.
COLUMNS = {
    "at": _microseconds_sql("created_time"),
    "market": "market_id",
    "price": "price::bigint",
    "contracts": "contracts",
    "taker": "(CASE taker_side WHEN 1 THEN 1 WHEN 2 THEN -1 ELSE 0 END)::bigint",
    "known_at": _microseconds_sql("known_at"),
    "recorded_at": _microseconds_sql("recorded_at"),
    "source": "source_code::bigint",
    "import": f"(CASE source_code WHEN 3 THEN sequence >> {LINE_BITS} ELSE 0 END)",
}


class TradeOrigin(models.IntegerChoices):
    """The source from which a trade is known."""

    TAPE = 1, "TAPE"
    BACKFILL = 2, "BACKFILL"
    IMPORT = 3, "IMPORT"


# The words by which the API and files tell of it.
SOURCES = [(origin.label, origin.label) for origin in TradeOrigin]


class TakerSide(models.IntegerChoices):
    """The side that the taker bought: YES by a bid, or NO by an ask, which is one and the same."""

    YES = 1, "yes"
    NO = 2, "no"


BOOK_SIDES: dict[int, str] = {TakerSide.YES: "bid", TakerSide.NO: "ask"}
# Other words, and words that contradict each other, leave the side unknown.
SIDES = {(TakerSide(side).label, book): side for side, book in BOOK_SIDES.items()}


class PublicTrade(NamedTuple):
    """One public trade, its fields in the order of `STAGED`."""

    trade_id: UUID
    market_id: int
    created_time: datetime
    known_at: datetime
    contracts: int
    price: int
    taker_side: int | None
    is_block_trade: bool


class TradesWritten(NamedTuple):
    """The number of new trades, and market and time of each that differs from the record.

    Those that differ are not written: the record stays as it is.
    """

    trades: int
    differing: Sequence[tuple[int, datetime]] = ()


def trade_uuid(text: str) -> UUID:
    """Return a trade's id; one that is no UUID is made into one, always the same."""
    try:
        return UUID(text)
    except ValueError:
        return uuid5(NAMESPACE, text)


def public_trade(
    payload: TradePayload, market_id: int, *, known_at: datetime | None = None
) -> PublicTrade:
    """Make a trade of the exchange's payload.

    Without an instant at which it was learned live, it was known when it happened, as all facts
    are that were fetched later.
    """
    return PublicTrade(
        trade_id=trade_uuid(payload.trade_id),
        market_id=market_id,
        created_time=payload.created_time,
        known_at=known_at or payload.created_time,
        contracts=int(payload.count * HUNDREDTHS),
        price=int(payload.yes_price * PRICES_IN_A_DOLLAR),
        taker_side=SIDES.get((payload.taker_outcome_side, payload.taker_book_side)),
        is_block_trade=payload.is_block_trade,
    )


def decimal_sql(column: str, per_unit: int, *, digits: int, places: int) -> Func:
    """Return a column of whole parts as the decimal that they make."""
    return Func(
        F(column),
        template=f"(%(expressions)s * {1 / Decimal(per_unit)})::numeric({digits},{places})",
        output_field=models.DecimalField(max_digits=digits, decimal_places=places),
    )


def words_sql(column: str, words: Mapping[int, str]) -> Case:
    """Return the word of each code in a column; NULL where there is none."""
    return Case(
        *(When(**{column: code}, then=Value(word)) for code, word in words.items()),
        output_field=models.CharField(),
    )


# The names and values by which the API and files tell of a trade.
SHOWN = {
    "count": decimal_sql("contracts", HUNDREDTHS, digits=18, places=2),
    "yes_price": decimal_sql("price", PRICES_IN_A_DOLLAR, digits=6, places=4),
    "taker_outcome_side": words_sql("taker_side", dict(TakerSide.choices)),
    "taker_book_side": words_sql("taker_side", BOOK_SIDES),
    "source": words_sql("source_code", dict(TradeOrigin.choices)),
}


def _around(first: datetime, last: datetime) -> dict[str, datetime | float]:
    """Return the parameters by which the same trades are found between two instants."""
    return {
        "first": first - SAME_TRADE_WITHIN,
        "last": last + SAME_TRADE_WITHIN,
        "within": SAME_TRADE_WITHIN.total_seconds(),
    }


def has_imported_trades() -> bool:
    return Import.objects.filter(kind=Kind.TRADES).exists()


class TradeQuerySet(models.QuerySet["Trade"]):
    def record(
        self, trades: Iterable[PublicTrade], *, source: TradeOrigin, recorded_at: datetime
    ) -> TradesWritten:
        """Write the trades that are not on record; call it in a transaction.

        A trade is on record if its market has one of its id within `SAME_TRADE_WITHIN` of it.
        """
        rows = list({trade.trade_id: trade for trade in trades}.values())
        if not rows:
            return TradesWritten(0)
        times = [trade.created_time for trade in rows]
        with connection.cursor() as cursor:
            cursor.execute(ONE_WRITER)
            stage_rows("trade_staging", STAGED, rows)
            around = _around(min(times), max(times))
            if has_imported_trades():
                cursor.execute(FREE_IDS.format(trades="TABLE trade_staging"), around)
            cursor.execute(
                INSERT_TRADES, {**around, "recorded_at": recorded_at, "source": source.value}
            )
            (written, _, _), *differing = cursor.fetchall()
        return TradesWritten(written, [(market_id, at) for _, market_id, at in differing])

    def restore(
        self, archived: str, columns: Iterable[str], start: datetime, end: datetime
    ) -> tuple[int, int]:
        """Write what a query selects of archived trades in a window, but for those on record.

        Return how many were written, and how many differ from the record, which stays as it is;
        call it in a transaction. A trade that was fetched again has other times and another source;
        it is known again since it was learned live, and counts as written.
        """
        names = ", ".join(columns)
        known = _around(start, end)
        with connection.cursor() as cursor:
            cursor.execute(ONE_WRITER)
            if has_imported_trades():
                own = f"SELECT * FROM ({archived}) AS archived WHERE source_code <> 3"
                cursor.execute(FREE_IDS.format(trades=own), known)
            cursor.execute(
                f"""INSERT INTO markets_trade ({names}) SELECT {names} FROM ({archived}) AS new
                    WHERE NOT EXISTS ({TRADE_ON_RECORD}) ON CONFLICT DO NOTHING""",
                known,
            )
            written: int = cursor.rowcount
            cursor.execute(
                f"""UPDATE markets_trade AS old SET known_at = new.known_at,
                        recorded_at = least(old.recorded_at, new.recorded_at)
                    FROM ({archived}) AS new WHERE {SAME_TRADE} AND {LEARNED_LATER}""",
                known,
            )
            written += cursor.rowcount
            cursor.execute(
                f"""SELECT count(*) FROM ({archived}) AS new
                    WHERE NOT EXISTS ({TRADE_ON_RECORD} AND {SAME_CONTENT})""",
                known,
            )
            return written, cursor.fetchone()[0]

    def take_imported(
        self, staged: str, columns: Iterable[str], at: Ints, *, recorded_at: datetime
    ) -> list[int]:
        """Write the trades of an import from a staging table; return the sequences of those
        written, which are all but those that repeat one of the import.

        One whose id the record or another import has at its instant gets that of its line. `at`
        are their instants. Call it in a transaction.
        """
        names = [name for name in columns if name != "trade_id"]
        times = _around(instant(int(at.min())), instant(int(at.max())))
        with connection.cursor() as cursor:
            cursor.execute(ONE_WRITER)
            cursor.execute(
                f"""INSERT INTO markets_trade
                        (trade_id, {", ".join(names)}, recorded_at, source_code)
                    SELECT CASE WHEN old.trade_id IS NULL THEN new.trade_id
                            ELSE {_line_id_sql("new")} END,
                        {", ".join(f"new.{name}" for name in names)}, %(recorded_at)s, %(source)s
                    FROM {staged} AS new LEFT JOIN markets_trade AS old
                        ON old.trade_id = new.trade_id AND old.created_time = new.created_time
                        AND old.created_time BETWEEN %(first)s AND %(last)s
                    WHERE old.sequence >> {LINE_BITS} IS DISTINCT FROM new.sequence >> {LINE_BITS}
                    ORDER BY new.sequence ON CONFLICT DO NOTHING RETURNING sequence""",
                {**times, "recorded_at": recorded_at, "source": TradeOrigin.IMPORT.value},
            )
            return [sequence for (sequence,) in cursor.fetchall()]

    def columns(
        self,
        ids: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        imports: Sequence[int] = (),
        only_imported: bool = False,
    ) -> dict[str, Ints]:
        """Return the trades of markets in a window by time, without block trades, as columns (see
        `COLUMNS`): instants in microseconds since 1970, counts in 1/100 contract.

        Of imported trades there are those of the named imports alone, beside what was recorded
        unless these are asked for alone. One trade may be there several times: the record and each
        import have their own.
        """
        return read_integers(
            f"""
            SELECT {", ".join(COLUMNS.values())} FROM markets_trade
            WHERE market_id = ANY(%s) AND created_time >= %s AND created_time < %s
                AND NOT is_block_trade
                AND ((source_code <> 3 AND NOT %s) OR sequence >> {LINE_BITS} = ANY(%s))
            ORDER BY created_time, market_id, sequence, trade_id
            """,
            [list(ids), start, end, only_imported, list(imports)],
            list(COLUMNS),
        )

    def for_market(self, market: Market) -> Self:
        return self.filter(market=market)

    def oldest_first(self) -> Self:
        return self.order_by("created_time", "trade_id")

    def newest_first(self) -> Self:
        return self.order_by("-created_time", "-trade_id")

    def in_the_book(self) -> Self:
        """Trades without block trades, which were negotiated outside the order book."""
        return self.filter(is_block_trade=False)

    def blocks(self) -> Self:
        return self.filter(is_block_trade=True)

    def recorded(self) -> Self:
        """Trades without imported ones, which only those read who name their import."""
        return self.exclude(source_code=TradeOrigin.IMPORT)

    def from_source(self, name: str) -> Self:
        """Trades of a source; of imports those that are finished."""
        found = self.filter(source_code=TradeOrigin[name])
        return of_finished_imports(found) if name == TradeOrigin.IMPORT.label else found

    def of_import(self, id: int) -> Self:
        return self.filter(rows_of([id]), source_code=TradeOrigin.IMPORT)

    def between(self, start: datetime, end: datetime) -> Self:
        """Trades from `start` on and before `end`."""
        return self.filter(created_time__gte=start, created_time__lt=end)

    def rows(self, columns: Iterable[str], **known: Any) -> models.QuerySet[Any, Row]:
        """Return these columns under the names that the API has for them.

        `known` are values that all rows share, such as the ticker of a single market.
        """
        shown = {"ticker": F("market__ticker"), **SHOWN, **known}
        computed = {name: value for name, value in shown.items() if name in columns}
        rows: models.QuerySet[Any, Row] = self.annotate(**computed).values(*columns)
        return rows


class Trade(models.Model):
    """One public trade. Block trades were negotiated outside the order book."""

    trade_id = models.UUIDField(primary_key=True, editable=False)
    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="trades",
        db_index=False,  # `trade_market_created` begins with the market
    )
    created_time = models.DateTimeField(help_text="By the exchange's clock.")
    known_at = models.DateTimeField(
        help_text="When we learned of it live; of a trade fetched later, when it happened."
    )
    recorded_at = models.DateTimeField(help_text="When this row was written.")
    contracts = models.BigIntegerField(help_text="In 1/100 contract.")
    price = models.SmallIntegerField(help_text="Of YES, in 1/10,000 dollar.")
    taker_side = models.SmallIntegerField(choices=TakerSide, null=True, blank=True)
    source_code = models.SmallIntegerField(choices=TradeOrigin)
    is_block_trade = models.BooleanField()
    sequence = models.BigIntegerField(
        null=True, blank=True, editable=False, help_text="Of imports (see `Import`)."
    )

    objects = TradeQuerySet.as_manager()

    class Meta:
        ordering = ["created_time", "trade_id"]
        indexes = [models.Index(fields=["market", "created_time"], name="trade_market_created")]

    def __str__(self) -> str:
        return str(self.trade_id)

    @property
    def count(self) -> Decimal:
        """Contracts."""
        return Decimal(self.contracts).scaleb(-2)

    @property
    def yes_price(self) -> Decimal:
        """Dollars."""
        return Decimal(self.price).scaleb(-4)

    @property
    def taker_outcome_side(self) -> str | None:
        return None if self.taker_side is None else TakerSide(self.taker_side).label

    @property
    def taker_book_side(self) -> str | None:
        return None if self.taker_side is None else BOOK_SIDES[self.taker_side]

    @property
    def source(self) -> str:
        return TradeOrigin(self.source_code).label
