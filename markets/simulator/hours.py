"""Trading hours: the exchange has a weekly pause and closes for maintenance.

Prices and trades run on trading time, which is wall time without the closures. A closure has no
length there, so books stand still in it, nothing trades, and everything continues where it stopped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from markets.simulator.noise import Floats, Ints
from markets.simulator.universe import SimulatedEvent

EXCHANGE_ZONE = ZoneInfo("America/New_York")
PAUSED_FROM, PAUSED_UNTIL = 3, 5
FIRST_THURSDAY, LAST_THURSDAY = date(2015, 1, 1), date(2065, 1, 1)
LONG_AGO = -(1 << 62)

Span = tuple[int, int]
Times = TypeVar("Times", Ints, Floats)


@cache
def weekly_pauses() -> tuple[Span, ...]:
    """Thursdays from three to five in the morning, New York time."""
    weeks = (LAST_THURSDAY - FIRST_THURSDAY).days // 7
    days = (FIRST_THURSDAY + timedelta(weeks=i) for i in range(weeks))
    return tuple((hour_of(day, PAUSED_FROM), hour_of(day, PAUSED_UNTIL)) for day in days)


def hour_of(day: date, hour: int) -> int:
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=EXCHANGE_ZONE).timestamp())


def merged(spans: Sequence[Span]) -> Iterator[Span]:
    """Merge spans that overlap or touch."""
    current: Span | None = None
    for start, end in sorted(spans):
        if current is None or start > current[1]:
            if current is not None:
                yield current
            current = start, end
        else:
            current = current[0], max(current[1], end)
    if current is not None:
        yield current


class TradingHours:
    def __init__(self, *, pauses: bool = True, maintenance: Sequence[Span] = ()) -> None:
        for start, end in maintenance:
            if start >= end:
                raise ValueError(f"The maintenance window {start}:{end} ends before it begins.")
        self.pauses = pauses
        self.maintenance = list(merged(maintenance))
        self.closures = list(merged([*(weekly_pauses() if pauses else ()), *maintenance]))
        spans = np.array(self.closures, dtype=np.int64).reshape(-1, 2)
        self._starts: Ints = spans[:, 0]
        self._ends: Ints = np.append(LONG_AGO, spans[:, 1])
        self._lost: Ints = np.append(0, np.cumsum(spans[:, 1] - spans[:, 0]))
        # The starts of the closures in trading time.
        self._stops: Ints = self._starts - self._lost[:-1]

    def trading_time(self, at: Times) -> Times:
        """Convert wall time to trading time, which stands still during closures."""
        begun = np.searchsorted(self._starts, at, side="right")
        stood: Times = np.maximum(self._ends[begun] - at, 0)
        return at - self._lost[begun] + stood

    def instant(self, trading_time: Times) -> Times:
        """Convert trading time to the earliest wall time that has it."""
        lost: Ints = self._lost[np.searchsorted(self._stops, trading_time, side="left")]
        return trading_time + lost

    def resumes_at(self, at: float) -> int | None:
        """The end of the closure around an instant; None during trading hours."""
        closure = self.closure_at(at)
        return closure[1] if closure else None

    def closure_at(self, at: float) -> Span | None:
        return within(self.closures, at)

    def under_maintenance(self, at: float) -> bool:
        return within(self.maintenance, at) is not None

    def fit(self, event: SimulatedEvent) -> SimulatedEvent | None:
        """Move an opening out of a closure; None if the event would also end within it."""
        opened = self.resumes_at(event.opened)
        if opened is None:
            return event
        if opened >= event.ended:
            return None
        calm_end, late_start = max(event.calm_end, opened), max(event.late_start, opened)
        return replace(event, opened=opened, calm_end=calm_end, late_start=late_start)


def within(spans: Sequence[Span], at: float) -> Span | None:
    """The span [start, end) that contains an instant."""
    i = bisect_right(spans, at, key=lambda span: span[0])
    return spans[i - 1] if i and at < spans[i - 1][1] else None
