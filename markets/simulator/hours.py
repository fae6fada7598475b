"""When the exchange trades: not in its weekly pause, and not under maintenance.

Prices and trades run on trading time, the wall's time without its pauses. A pause has no length
there, so books stand still in it, nothing is traded, and everything goes on where it stopped.
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
from markets.simulator.universe import Event

EXCHANGE_ZONE = ZoneInfo("America/New_York")
PAUSED_FROM, PAUSED_UNTIL = 3, 5
FIRST_THURSDAY, LAST_THURSDAY = date(2015, 1, 1), date(2065, 1, 1)
LONG_AGO = -(1 << 62)

Span = tuple[int, int]
Times = TypeVar("Times", Ints, Floats)


@cache
def weekly_pauses() -> tuple[Span, ...]:
    """Thursdays from three to five in New York, whatever that is in UTC."""
    weeks = (LAST_THURSDAY - FIRST_THURSDAY).days // 7
    days = (FIRST_THURSDAY + timedelta(weeks=i) for i in range(weeks))
    return tuple((hour_of(day, PAUSED_FROM), hour_of(day, PAUSED_UNTIL)) for day in days)


def hour_of(day: date, hour: int) -> int:
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=EXCHANGE_ZONE).timestamp())


def merged(spans: Sequence[Span]) -> Iterator[Span]:
    """The same time in spans that neither overlap nor touch."""
    held: Span | None = None
    for start, end in sorted(spans):
        if held is None or start > held[1]:
            if held is not None:
                yield held
            held = start, end
        else:
            held = held[0], max(held[1], end)
    if held is not None:
        yield held


class Hours:
    def __init__(self, *, pauses: bool = True, maintenance: Sequence[Span] = ()) -> None:
        for start, end in maintenance:
            if start >= end:
                raise ValueError(f"a maintenance window ends before it begins: {start}:{end}")
        self.pauses = pauses
        self.maintenance = list(merged(maintenance))
        self.rests = list(merged([*(weekly_pauses() if pauses else ()), *maintenance]))
        spans = np.array(self.rests, dtype=np.int64).reshape(-1, 2)
        self._starts: Ints = spans[:, 0]
        self._ends: Ints = np.append(LONG_AGO, spans[:, 1])
        self._lost: Ints = np.append(0, np.cumsum(spans[:, 1] - spans[:, 0]))
        # Where the pauses are in trading time.
        self._stops: Ints = self._starts - self._lost[:-1]

    def elapsed(self, at: Ints) -> Ints:
        """Trading time: stands still while the exchange rests."""
        begun = np.searchsorted(self._starts, at, side="right")
        return np.asarray(at - self._lost[begun] + np.maximum(self._ends[begun] - at, 0))

    def instant(self, elapsed: Times) -> Times:
        """The earliest instant that has this trading time."""
        lost: Ints = self._lost[np.searchsorted(self._stops, elapsed, side="left")]
        return elapsed + lost

    def resumption(self, at: float) -> int | None:
        """When the rest ends that the exchange takes at an instant, None while it trades."""
        return within(self.rests, at)

    def maintained(self, at: float) -> bool:
        return within(self.maintenance, at) is not None

    def fitted(self, event: Event) -> Event | None:
        """Nothing opens during a pause, and what would end in the same pause never is."""
        opened = self.resumption(event.opened)
        if opened is None:
            return event
        if opened >= event.ended:
            return None
        hush, knee = max(event.hush, opened), max(event.knee, opened)
        return replace(event, opened=opened, hush=hush, knee=knee)


def within(spans: Sequence[Span], at: float) -> int | None:
    """The end of the span [start, end) around an instant."""
    i = bisect_right(spans, at, key=lambda span: span[0])
    return spans[i - 1][1] if i and at < spans[i - 1][1] else None
