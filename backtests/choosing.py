"""Which markets and which time a run is of: named by a person, checked against the record."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection
from django.db.models import Max, Min, Q, QuerySet

from backtests.models import Sources
from markets.models import Event, Market, MarketSnapshot, Series

# Some two gigabytes while they are loaded.
MOST_SNAPSHOTS = 20_000_000
NAMED = 5


class BadInput(ValueError):
    """What was asked for makes no sense; `field` says where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Every market of these series and events and those named, from `start` on, before `end`."""

    start: datetime
    end: datetime
    series: Sequence[str] = ()
    events: Sequence[str] = ()
    tickers: Sequence[str] = ()
    sources: str = Sources.BEST

    @property
    def field(self) -> str:
        """What its markets were chosen by, for messages."""
        return "series" if self.series else "event" if self.events else "ticker"

    def check(self, *, now: datetime) -> None:
        """Raise `BadInput` for what can be told without loading anything."""
        if self.sources not in Sources.values:
            raise BadInput("sources", f"Must be one of {', '.join(Sources.values)}.")
        _check_window(self.start, self.end, now=now)
        if not (self.series or self.events or self.tickers):
            raise BadInput("ticker", "Name a series, an event or a market.")
        _check_names("series", Series.objects.all(), self.series)
        _check_names("event", Event.objects.all(), self.events)
        _check_names("ticker", Market.objects.all(), self.tickers)

    def markets(self) -> list[int]:
        """Their ids. Raises `BadInput` where there is none."""
        wanted = (
            Q(ticker__in=self.tickers)
            | Q(event__ticker__in=self.events)
            | Q(event__series__ticker__in=self.series)
        )
        found = list(Market.objects.filter(wanted).order_by("pk").values_list("pk", flat=True))
        if not found:
            raise BadInput(self.field, "No market of it is on record.")
        return found

    def count(self, ids: Sequence[int]) -> int:
        """How many snapshots there are to load. Raises `BadInput`: none, or too many."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM (SELECT FROM markets_marketsnapshot WHERE market_id = ANY(%s)"
                " AND timestamp >= %s AND timestamp < %s LIMIT %s) AS found",
                [list(ids), self.start, self.end, MOST_SNAPSHOTS + 1],
            )
            count: int = cursor.fetchone()[0]
        if count > MOST_SNAPSHOTS:
            most = f"{MOST_SNAPSHOTS:,}"
            raise BadInput(
                "end", f"More than {most} snapshots; choose fewer markets or a shorter time."
            )
        if not count:
            raise self.nothing(ids)
        return count

    def nothing(self, ids: Sequence[int]) -> BadInput:
        """Why there are no quotes."""
        found = MarketSnapshot.objects.filter(market_id__in=ids)
        if self.sources != Sources.BEST:
            backfilled = self.sources == Sources.BACKFILLED
            found = (found.filter if backfilled else found.exclude)(source="BACKFILL")
        first, last = found.aggregate(first=Min("timestamp"), last=Max("timestamp")).values()
        if first is None:
            return BadInput(self.field, "Nothing is recorded of it.")
        field = "end" if first >= self.end else "start"
        there = f"{_minute(first)} to {_minute(last)}"
        return BadInput(field, f"Nothing is recorded then; there are quotes from {there}.")


def _check_window(start: datetime, end: datetime, *, now: datetime) -> None:
    for field, instant in (("start", start), ("end", end)):
        if instant.tzinfo is None:
            raise BadInput(field, "Does not say its time zone.")
    if start >= now:
        raise BadInput("start", f"{_minute(start)} is in the future.")
    if end > now:
        raise BadInput("end", f"{_minute(end)} is in the future.")
    if start >= end:
        raise BadInput("end", "Must lie after the start.")


def _check_names(
    field: str, known: QuerySet[Event | Market | Series], names: Sequence[str]
) -> None:
    if any("\0" in name for name in names):
        raise BadInput(field, "No name holds a NUL character.")
    there = set(known.filter(ticker__in=names).values_list("ticker", flat=True))
    unknown = [name for name in names if name not in there]
    if unknown:
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        raise BadInput(field, f"Not on record: {', '.join(unknown[:NAMED])}{more}.")


def _minute(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
