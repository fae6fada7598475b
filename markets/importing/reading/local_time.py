"""Local times and the hour that a clock shows twice.

Where a clock is set back, an hour comes twice. The order of a market's rows tells which is which
if its own clock is seen to fall back in it once: rows before that are of the first hour, and rows
from there on of the second.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from kalshi_insights.arrays import Bools, Ints, np

DAY = 86_400 * 1_000_000
# No line: the clock is not seen to fall back.
UNSEEN = -1
# Days by which a zone that changes its clock is known.
WINTER, SUMMER = datetime(2025, 1, 15, tzinfo=UTC), datetime(2025, 7, 15, tzinfo=UTC)


class Instants(NamedTuple):
    """Local times as microseconds since 1970 UTC, read as the first of two hours and as the second;
    the two differ where a time comes twice."""

    first: Ints
    second: Ints
    skipped: Bools  # times that no clock of the zone has shown

    @property
    def is_twice(self) -> Bools:
        twice: Bools = (self.first != self.second) & ~self.skipped
        return twice


def changes_its_clock(zone: ZoneInfo) -> bool:
    return WINTER.astimezone(zone).utcoffset() != SUMMER.astimezone(zone).utcoffset()


def instants_of(local: Ints, zone: str) -> Instants:
    """Return the instants of local times in microseconds, as if 1970 had begun there."""
    times = pa.array(local).cast(pa.timestamp("us"))
    first, second = (
        pc.assume_timezone(times, zone, ambiguous=which, nonexistent=which)
        for which in ("earliest", "latest")
    )
    shown = pc.local_timestamp(first).cast(pa.int64()).to_numpy()
    return Instants(_microseconds(first), _microseconds(second), shown != local)


class ClockFalls:
    """The lines at which the clock of each market falls back, gathered from a whole file."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._newest: dict[str, int] = {}
        self._lines: dict[tuple[str, int], int] = {}
        self._disordered: set[str] = set()

    def add(self, tickers: Sequence[str], market: Ints, lines: Ints, local: Ints) -> None:
        """Look at further rows of the file, each with a known time."""
        order = np.argsort(market, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(market[order])) + 1):
            if len(rows):
                self._add_market(tickers[market[rows[0]]], lines[rows], local[rows])

    def settle(
        self, tickers: Sequence[str], market: Ints, lines: Ints, local: Ints
    ) -> tuple[Bools, Bools]:
        """Tell which times that come twice are of the second hour, and which may be of either."""
        falls = np.array(
            [
                UNSEEN
                if (ticker := tickers[place]) in self._disordered
                else self._lines.get((ticker, time // DAY), UNSEEN)
                for place, time in zip(market.tolist(), local.tolist(), strict=True)
            ],
            np.int64,
        )
        return lines >= falls, falls < 0

    @property
    def found(self) -> list[tuple[str, int]]:
        """The market and the line of each fall that settles which hour is which."""
        return [
            (ticker, line)
            for (ticker, _), line in self._lines.items()
            if ticker not in self._disordered
        ]

    def _add_market(self, ticker: str, lines: Ints, local: Ints) -> None:
        before = np.concatenate(([self._newest.get(ticker, local[0])], local[:-1]))
        self._newest[ticker] = int(local[-1])
        for place in np.flatnonzero(local < before):
            self._note(ticker, int(lines[place]), int(before[place]), int(local[place]))

    def _note(self, ticker: str, line: int, before: int, after: int) -> None:
        """Note a fall; outside an hour that comes twice it means that rows are not in order."""
        both = instants_of(np.array([before, after]), self.zone)
        key = (ticker, after // DAY)
        if both.is_twice.all() and before // DAY == after // DAY and key not in self._lines:
            self._lines[key] = line
        else:
            self._disordered.add(ticker)


def _microseconds(times: pa.Array) -> Ints:
    array: Ints = times.cast(pa.int64()).to_numpy()
    return array
