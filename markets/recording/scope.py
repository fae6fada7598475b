"""The series that are recorded, where the settings name some: nothing else is written then."""

import time
from collections.abc import Mapping, Sequence

from django.conf import settings

from markets.kalshi.payloads import EventPayload
from markets.models import Series

# The category of a series may change, and new series come.
READ_AGAIN_AFTER = 60.0  # seconds
FORGET_AFTER = 3600.0  # seconds


class RecordedScope:
    """Tells which events are recorded, and remembers those that are not.

    Nobody is asked again for an event or a market that lies outside.
    """

    def __init__(self, *, everything: bool = False) -> None:
        self._everything = everything
        self.forget()

    def forget(self) -> None:
        self.outside_events: set[str] = set()
        self.outside_markets: set[str] = set()
        self._series: frozenset[str] = frozenset()
        self._known: frozenset[str] = frozenset()
        # What the settings name and the exchange does not have.
        self.unknown: list[str] = []
        self._read_at = self._began_at = float("-inf")

    @property
    def is_narrow(self) -> bool:
        named = settings.RECORD_SERIES or settings.RECORD_CATEGORIES
        return bool(named) and not self._everything

    def select(self, events: Sequence[EventPayload]) -> set[str]:
        """Return the tickers of those of these events that are recorded.

        Where the category decides and a series is not on record, its events wait until the
        reference data have it, which is a matter of minutes.
        """
        if not self.is_narrow:
            return {event.ticker for event in events}
        self._read_series()
        inside = {event.ticker for event in events if event.series_ticker in self._series}
        others = [event for event in events if event.ticker not in inside]
        unknown = {event.series_ticker for event in others if not self._is_known(event)}
        if unknown:
            Series.objects.ids(unknown)
        self.outside_events |= {e.ticker for e in others if e.series_ticker not in unknown}
        return inside

    def excludes(self, event_ticker: str, *, market: str) -> bool:
        """Return True for a market of an event that lies outside, and remember the market."""
        if event_ticker not in self.outside_events:
            return False
        self.outside_markets.add(market)
        return True

    def _is_known(self, event: EventPayload) -> bool:
        return not settings.RECORD_CATEGORIES or event.series_ticker in self._known

    def _read_series(self) -> None:
        now = time.monotonic()
        if now - self._began_at > FORGET_AFTER:
            self.forget()
            self._began_at = now
        if now - self._read_at > READ_AGAIN_AFTER:
            self._read_at = now
            recorded = Series.objects.in_scope().values_list("ticker", flat=True)
            self._series = settings.RECORD_SERIES | frozenset(recorded)
            read = dict(Series.objects.exclude(refreshed_at=None).values_list("ticker", "category"))
            self._known = frozenset(read)
            self.unknown = names_not_in(read) if read else []


def names_not_in(categories: Mapping[str, str]) -> list[str]:
    """Tell which names of the settings are no series, or no category of one."""
    series = sorted(settings.RECORD_SERIES - categories.keys())
    others = sorted(settings.RECORD_CATEGORIES - set(categories.values()))
    return [
        *(f"RECORD_SERIES: the exchange has no series {name}" for name in series),
        *(f"RECORD_CATEGORIES: the exchange has no category {name}" for name in others),
    ]


# Each process has one, since runs follow each other in it.
scope = RecordedScope()
# What is asked for by name, such as a backfill, is not narrowed.
EVERYTHING = RecordedScope(everything=True)
