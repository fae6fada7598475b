"""Import asks of sports markets from before their games, with what each game came to."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
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
from markets.prices import complement
from markets.storage import partitions

TENTH_OF_CENT = Decimal("0.001")
MILLISECOND = timedelta(milliseconds=1)
ASKS = (
    "created_iso", "ticker", "event_ticker", "series_ticker", "side", "entry_ask_tenths",
    "depth_at_ask", "commence_ms", "market_result",
)  # fmt: skip
SIDES = ("yes", "no")


def import_asks(folder: Path, on_progress: OnProgress) -> ImportResult:
    """Import the asks of both sides of an instant as one quote: who asks for NO bids for YES.

    A side that a row does not have is unknown. The result was learned later than any ask.
    """
    rows = read_table(folder / "asks_with_results_2026-08-07_16.csv.gz", ASKS)
    rows.sort(key=_instant_of_market)
    by_market = [list(each) for _, each in groupby(rows, lambda row: row.ticker("ticker"))]
    definitions = [_market(each) for each in by_market]
    events = {each.ticker: each for each in map(_event, (each[0] for each in by_market))}
    ids, new, differing = store_definitions(list(events.values()), definitions)
    observations = [_quote(list(of_both), ids) for _, of_both in groupby(rows, _instant_of_market)]
    partitions.create_missing(
        partitions.SNAPSHOTS, {each.timestamp.date() for each in observations}
    )
    on_progress(0.5, "writing the asks before the games")
    with transaction.atomic():
        snapshots = MarketSnapshot.objects.record(
            observations, source=Source.BACKFILL, recorded_at=datetime.now(UTC)
        )
    return ImportResult(
        new,
        0,
        snapshots,
        differing,
        note="Nothing was recorded once a game had begun.",
        rows=_first_and_last(observations),
    )


def _instant_of_market(row: TableRow) -> tuple[str, datetime]:
    return row.ticker("ticker"), row.instant("created_iso")


def _begins(row: TableRow) -> datetime:
    number = row.number("commence_ms")
    if number is None or number != int(number):
        raise row.error("commence_ms", f"{row.values['commence_ms']!r} is not a time")
    return datetime(1970, 1, 1, tzinfo=UTC) + int(number) * MILLISECOND


def _market(rows: Sequence[TableRow]) -> ImportedMarket:
    first = rows[0]
    ends = _begins(first) + KNOWN_AFTER
    return ImportedMarket(
        ticker=first.ticker("ticker"),
        event=first.ticker("event_ticker"),
        series=first.ticker("series_ticker"),
        open_time=first.instant("created_iso"),
        close_time=ends,
        known_at=ends,
        result=first.text("market_result", RESULTS),
    )


def _event(row: TableRow) -> ImportedEvent:
    return ImportedEvent(
        ticker=row.ticker("event_ticker"),
        series=row.ticker("series_ticker"),
        title="Baseball",
        category="Sports",
        mutually_exclusive=False,
        strike_date=_begins(row),
    )


def _quote(rows: Sequence[TableRow], ids: Mapping[str, int]) -> Observation:
    asks = {row.text("side", SIDES): row for row in rows}
    prices = {side: row.price("entry_ask_tenths", unit=TENTH_OF_CENT) for side, row in asks.items()}
    no = prices.get("no")
    bid, ask = None if no is None else complement(no), prices.get("yes")
    sizes = {side: row.count("depth_at_ask") for side, row in asks.items()}
    return Observation(
        market_id=market_id_of(rows[0], ids),
        timestamp=rows[0].instant("created_iso"),
        quote=Quote(
            yes_bid=bid,
            yes_ask=ask,
            yes_bid_size=None if bid is None else sizes["no"],
            yes_ask_size=None if ask is None else sizes["yes"],
            last_price=None,
            volume=None,
            open_interest=None,
        ),
        quality=quality_flags(bid, ask),
        volume_24h=None,
        previous_price=None,
        quote_mark=0,
    )


def _first_and_last(observations: Iterable[Observation]) -> dict[int, ImportedRows]:
    """Return the instants of each market's first and last quote; quotes are in order."""
    by_market = groupby(observations, lambda each: each.market_id)
    spans = {id: [each.timestamp for each in quotes] for id, quotes in by_market}
    return {id: ImportedRows(times[0], times[-1]) for id, times in spans.items()}
