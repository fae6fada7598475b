"""Calendars of events. The n-th event of a cadence has one anchor, in seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

STEP = 5
MINUTE, HOUR, DAY = 60, 3600, 86400
WEEK = 7 * DAY


@dataclass(frozen=True, slots=True)
class Every:
    period: int
    phase: int = 0

    def anchor(self, number: int) -> int:
        return self.phase + number * self.period

    def numbers(self, start: int, end: int) -> list[int]:
        """List the numbers whose anchors lie in [start, end)."""
        first = -((self.phase - start) // self.period)
        return list(range(first, -((self.phase - end) // self.period)))

    def later(self, seconds: int) -> Every:
        return Every(self.period, self.phase + seconds)


@dataclass(frozen=True, slots=True)
class Weekdays:
    phase: int
    period: int = DAY

    def anchor(self, number: int) -> int:
        return self.phase + number * DAY

    def numbers(self, start: int, end: int) -> list[int]:
        days = Every(DAY, self.phase).numbers(start, end)
        # The epoch was a Thursday.
        return [n for n in days if (self.anchor(n) // DAY + 3) % 7 < 5]

    def later(self, seconds: int) -> Weekdays:
        return Weekdays(self.phase + seconds)


@dataclass(frozen=True, slots=True)
class Monthly:
    day: int
    second: int
    months: int = 1

    @property
    def period(self) -> int:
        return self.months * 30 * DAY + self.months * DAY // 2

    def anchor(self, number: int) -> int:
        year, month = divmod(number * self.months, 12)
        return int(datetime(year, month + 1, self.day, tzinfo=UTC).timestamp()) + self.second

    def numbers(self, start: int, end: int) -> list[int]:
        first, last = self._number(start) - 1, self._number(end) + 1
        return [n for n in range(first, last + 1) if start <= self.anchor(n) < end]

    def later(self, seconds: int) -> Monthly:
        return Monthly(self.day, self.second + seconds, self.months)

    def _number(self, at: int) -> int:
        moment = datetime.fromtimestamp(at, UTC)
        return (moment.year * 12 + moment.month - 1) // self.months


Cadence = Every | Weekdays | Monthly


def day_code(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%y%b%d").upper()


def hour_code(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%y%b%d%H").upper()


def minute_code(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%y%b%d%H%M").upper()


def month_code(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%y%b").upper()


def year_code(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%y")


def day_label(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%b %-d, %Y")


def minute_label(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%b %-d, %Y at %H:%M UTC")


def month_label(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%B %Y")


def year_label(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y")


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="auto").replace("+00:00", "Z")
