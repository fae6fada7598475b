"""Placeholders: markets, events and series that rows name and that are not on record.

A file names a market by its ticker alone, and the ticker alone says here of which event and series
it is: all but its last word, and its first. That is nearly always so, and is a guess. A backfill
puts the exchange's own description in the place of each.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from django.db.models import ProtectedError
from django.db.models.query import QuerySet

from markets.models import Event, Market, Series, Status


class Parents(NamedTuple):
    """The tickers of a market's event and series."""

    event: str
    series: str


def guessed_parents(ticker: str) -> Parents:
    return Parents(ticker.rpartition("-")[0] or ticker, ticker.partition("-")[0] or ticker)


def market_ids(tickers: Collection[str], *, now: datetime) -> dict[str, int]:
    """Return the ids of markets by ticker; those not on record become placeholders."""
    written = Market.objects.as_written(tickers)
    missing = [ticker for ticker in tickers if ticker not in written]
    create_markets({ticker: guessed_parents(ticker) for ticker in missing}, now=now)
    written |= {ticker: ticker for ticker in missing}
    ids = Market.objects.ids(written.values())
    return {ticker: ids[known] for ticker, known in written.items()}


def create_markets(parents: Mapping[str, Parents], *, now: datetime) -> None:
    """Create placeholders of markets, with those of their events and series that are missing."""
    if not parents:
        return
    events = event_ids(set(parents.values()), now=now)
    Market.objects.bulk_create(
        (
            Market(
                ticker=ticker,
                event_id=events[own.event],
                status=Status.UNLISTED,
                raw_data={},
                definition_mark=0,
                recorded_at=now,
                is_placeholder=True,
            )
            for ticker, own in sorted(parents.items())
        ),
        ignore_conflicts=True,
        batch_size=1000,
    )


def event_ids(parents: Iterable[Parents], *, now: datetime) -> dict[str, int]:
    """Return the ids of events by ticker; those not on record become placeholders."""
    series_of = {each.event: each.series for each in parents}
    ids = Event.objects.ids(series_of)
    if missing := {event: series for event, series in series_of.items() if event not in ids}:
        series = _series_ids(set(missing.values()))
        Event.objects.bulk_create(
            (
                Event(ticker=event, series_id=series[own], recorded_at=now, is_placeholder=True)
                for event, own in sorted(missing.items())
            ),
            ignore_conflicts=True,
            batch_size=1000,
        )
        ids |= Event.objects.ids(missing)
    return ids


def _series_ids(tickers: set[str]) -> dict[str, int]:
    Series.objects.bulk_create(
        (Series(ticker=ticker, is_placeholder=True) for ticker in sorted(tickers)),
        ignore_conflicts=True,
    )
    return dict(Series.objects.filter(ticker__in=tickers).values_list("ticker", "id"))


def remove_unneeded(markets: Collection[int]) -> int:
    """Remove those of these markets that are placeholders nothing else needs, with their events
    and series; return how many markets."""
    left = Market.objects.filter(pk__in=markets, is_placeholder=True, imported_spans=None)
    events = set(left.values_list("event_id", flat=True))
    removed = _delete_what_can_go(left)
    remove_empty_events(events)
    return removed


def remove_empty_events(events: Collection[int]) -> None:
    """Remove those of these events that are placeholders without markets, with their series."""
    empty = Event.objects.filter(pk__in=events, is_placeholder=True, markets=None)
    series = set(empty.values_list("series_id", flat=True))
    _delete_what_can_go(empty)
    _delete_what_can_go(Series.objects.filter(pk__in=series, is_placeholder=True, events=None))


def _delete_what_can_go(rows: "QuerySet[Market] | QuerySet[Event] | QuerySet[Series]") -> int:
    """Delete rows one by one; those to which others refer stay."""
    removed = 0
    for row in rows:
        try:
            row.delete()
        except ProtectedError:
            continue
        removed += 1
    return removed
