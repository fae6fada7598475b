"""Definitions of markets in an import, which fill placeholders."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal

from kalshi_insights.arrays import Bools, np
from markets.importing import placeholders
from markets.importing.known_definitions import write_known_definitions
from markets.importing.parsed_rows import MISSING, ParsedRows
from markets.importing.placeholders import Parents, guessed_parents
from markets.importing.row_ids import PlacedRows
from markets.importing.settlement_rows import write_settlements
from markets.models import Event, Market, Series
from markets.models.observations import instant

TEXTS = ("title", "yes_sub_title", "no_sub_title", "strike_type")
STRIKES = ("floor_strike", "cap_strike")
TIMES = ("open_time", "close_time", "expected_expiration_time")


def create_named(rows: ParsedRows, *, now: datetime) -> None:
    """Create placeholders of the markets that rows define, with the parents that they state."""
    known = Market.objects.as_written(rows.tickers)
    stated = {ticker: _parents(ticker, row) for ticker, row in _by_ticker(rows)}
    placeholders.create_markets(
        {ticker: own for ticker, own in stated.items() if ticker not in known}, now=now
    )


def write_definitions(placed: PlacedRows, rows: ParsedRows, recorded_at: datetime) -> Bools:
    """Write what rows state: of placeholders all, and revisions of the others; return which were.

    What the exchange has described stays as it is, and a run takes of these revisions those that
    count beside the record.
    """
    filled = np.isin(placed.market, _fill(rows, now=recorded_at))
    revised = write_known_definitions(placed, rows, recorded_at)
    return filled | revised | write_settlements(placed, rows, recorded_at)


def _fill(rows: ParsedRows, *, now: datetime) -> list[int]:
    """Fill placeholders; return the ids of the markets."""
    written = Market.objects.as_written(rows.tickers)
    stated = {written[ticker]: row for ticker, row in _by_ticker(rows)}
    found = Market.objects.filter(ticker__in=stated, is_placeholder=True)
    markets = list(found.select_related("event__series").defer("raw_data"))
    parents = {market.ticker: _parents(market.ticker, stated[market.ticker]) for market in markets}
    events = placeholders.event_ids(set(parents.values()), now=now)
    guessed = {market.event_id for market in markets}
    for market in markets:
        row = stated[market.ticker]
        market.event_id = events[parents[market.ticker].event]
        for name, value in _columns(row).items():
            setattr(market, name, value)
    Market.objects.bulk_update(markets, ["event", *TEXTS, *STRIKES, *TIMES], batch_size=500)
    placeholders.remove_empty_events(guessed)
    _fill_parents(stated, parents)
    return [market.pk for market in markets]


StatedMarket = Mapping[str, str | int]


def _by_ticker(rows: ParsedRows) -> Iterator[tuple[str, StatedMarket]]:
    """Yield what each row states, by the names of its columns."""
    names = (*rows.texts, *rows.numbers)
    columns = (*rows.texts.values(), *(each.tolist() for each in rows.numbers.values()))
    for place, values in zip(rows.market.tolist(), zip(*columns, strict=True), strict=True):
        yield rows.tickers[place], dict(zip(names, values, strict=True))


def _parents(ticker: str, row: StatedMarket) -> Parents:
    event = str(row["event_ticker"]) or guessed_parents(ticker).event
    return Parents(event, str(row["series_ticker"]) or guessed_parents(event).series)


def _columns(row: StatedMarket) -> dict[str, str | Decimal | datetime]:
    """Return the columns of a market that a row states."""
    texts = {name: str(row[name]) for name in TEXTS if row[name]}
    strikes = {name: Decimal(row[name]) for name in STRIKES if row[name]}
    times = {name: instant(int(row[name])) for name in TIMES if row[name] != MISSING}
    return {**texts, **strikes, **times}


def _fill_parents(stated: Mapping[str, StatedMarket], parents: Mapping[str, Parents]) -> None:
    for ticker, own in parents.items():
        row = stated[ticker]
        if row["mutually_exclusive"] != MISSING:
            events = Event.objects.filter(ticker=own.event, is_placeholder=True)
            events.update(mutually_exclusive=bool(row["mutually_exclusive"]))
        if row["category"]:
            series = Series.objects.filter(ticker=own.series, is_placeholder=True)
            series.update(category=row["category"])
