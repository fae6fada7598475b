"""The universe of series, events and their lifecycles, computed from calendars, never stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import copysign

from markets.simulator.cadence import DAY, HOUR, MINUTE, STEP
from markets.simulator.catalogue import COMBO, catalogue
from markets.simulator.noise import MASK, end_point, fraction, key_of
from markets.simulator.series import LONGEST_DELAY, SimulatedSeries
from markets.simulator.shapes import Draw, EventDraft, SimulatedOutcome

COMBO_LINES = 8
# Games are listed with a close this long after their start, and close when they are decided.
OVERHANG = 14 * DAY
NEVER = 1 << 40
# The shares of events that are disputed, corrected, and so on. VOID games are not played.
DISPUTED, CORRECTED, VOID, UNPUBLISHED, POSTPONED = 0.02, 0.5, 0.02, 0.02, 0.05


@dataclass(frozen=True, slots=True)
class EventLine:
    """An endless sequence of events, such as one city's days or one slot of a league's evenings."""

    series: SimulatedSeries
    index: int
    family: int
    parent: EventLine | None = None

    def numbers(self, start: int, end: int) -> list[int]:
        """List the numbers of the events that are visible at any time within [start, end)."""
        if self.parent is not None:
            return self.parent.numbers(start, end)
        series = self.series
        ahead = series.lead + series.preopen
        return series.cadence_of(self.index).numbers(start - series.tail, end + ahead)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedEvent:
    """One event. Instants are whole seconds, in multiples of five."""

    line: EventLine
    ticker: str
    key: int
    anchor: int
    created: int
    opened: int
    # Trading pauses from `calm_end` to `late_start`; for most events the two are equal.
    calm_end: int
    late_start: int
    ended: int
    # The close as first listed. It is corrected at `relisted`, or else when trading ends.
    listed_close: int
    relisted: int
    determined: int
    settled: int
    disputed: bool
    # The first published result was wrong.
    corrected: bool
    void: bool
    # Nobody published the number, so the event settles at a fair price.
    scalar: bool
    draw: Draw
    legs: tuple[tuple[str, str], ...] = ()

    @property
    def series(self) -> SimulatedSeries:
        return self.line.series

    @property
    def outcomes(self) -> tuple[SimulatedOutcome, ...]:
        return self.draw.outcomes

    @property
    def reveal(self) -> float:
        """The share of the variance known at the end; less where nothing is played or published."""
        return self.series.known if self.void or self.scalar else self.series.reveal

    @property
    def end_point(self) -> float:
        return end_point(self.key)

    @property
    def first_point(self) -> float:
        """The figure published first; one that is corrected later lies nearer to the usual one."""
        point = self.end_point
        return point - copysign(1.0, point) if self.corrected else point

    def close_at(self, at: int) -> int:
        """The close time that an open market lists at an instant."""
        return self.ended if at >= self.relisted else self.listed_close

    def tickers(self) -> list[str]:
        return [f"{self.ticker}-{outcome.suffix}" for outcome in self.outcomes]

    def wins(self, outcome: SimulatedOutcome, *, at_first: bool = False) -> bool:
        point = self.first_point if at_first else self.end_point
        return outcome.low < point <= outcome.high

    def texts(self) -> dict[str, str]:
        """The values of the placeholders in the series' texts."""
        series = self.series
        subject = series.subjects[self.line.index % len(series.subjects)][1]
        away, home = sides(series, self.key, self.anchor, self.line.index)
        return {
            "title": series.title,
            "subject": subject,
            "away": away[1],
            "home": home[1],
            "when": series.when(self.anchor),
        }


def sides(
    series: SimulatedSeries, key: int, anchor: int, line: int
) -> tuple[tuple[str, str], tuple[str, str]]:
    if series.teams is None:
        return ("", ""), ("", "")
    return series.teams.sides(EventDraft(key, 0, anchor, anchor, line))


class SimulatedUniverse:
    """Every event for a seed and a size, which is about how many markets are open at a time."""

    def __init__(self, *, seed: int = 1, markets: int = 2000, liveliness: float = 1.0) -> None:
        self.seed = seed
        self.markets = markets
        # Multiplies the trades of every market.
        self.liveliness = liveliness

    @cached_property
    def series(self) -> dict[str, SimulatedSeries]:
        found = {line.series.ticker: line.series for line in self.lines}
        return dict(sorted(found.items()))

    @cached_property
    def lines(self) -> list[EventLine]:
        """Enough lines for the requested number of open markets, and the combos in addition."""
        lines: list[EventLine] = []
        expected = 0.0
        for line in self._candidates():
            if expected >= self.markets:
                break
            lines.append(line)
            expected += line.series.open_at_once
        return lines + self._combos(lines)

    def _candidates(self) -> Iterator[EventLine]:
        pools = catalogue()
        yield from (self._line(series, 0) for series in pools if series.core)
        deepest = max(len(series.subjects) for series in pools)
        for index in range(deepest):
            for series in pools:
                if index < len(series.subjects) and not (index == 0 and series.core):
                    yield self._line(series, index)

    def _line(self, series: SimulatedSeries, index: int) -> EventLine:
        subject = series.subjects[index][0]
        family = key_of(self.seed, f"level:{series.underlying or series.ticker}:{subject}")
        return EventLine(series, index, family)

    def _combos(self, lines: list[EventLine]) -> list[EventLine]:
        ladders = [line for line in lines if line.series.title.endswith("home margin")]
        return [EventLine(COMBO, 0, 0, parent) for parent in ladders[:COMBO_LINES]]

    def event(self, line: EventLine, number: int) -> SimulatedEvent:
        if line.parent is not None:
            return self._combination(line, self.event(line.parent, number))
        series = line.series
        anchor = series.cadence_of(line.index).anchor(number)
        code = series.code(anchor)
        away, home = sides(series, 0, anchor, line.index)
        subject = series.subjects[line.index][0]
        ticker = f"{series.ticker}-{code}{away[0]}{home[0]}" + (f"-{subject}" if subject else "")
        return self._live(line, ticker, number=number)

    def _live(self, line: EventLine, ticker: str, *, number: int) -> SimulatedEvent:
        series = line.series
        anchor = series.cadence_of(line.index).anchor(number)
        opened = floor_to_step(anchor - series.lead)
        key = key_of(self.seed, f"event:{ticker}")
        planned = floor_to_step(anchor + series.duration * (0.8 + 0.4 * fraction(key, 1)))
        late_start = anchor if series.duration else floor_to_step(planned - series.late_length)
        relisted, ended = self._postponed(series, key, opened, planned=planned)
        determined = floor_to_step(ended + series.delay * (0.5 + fraction(key, 2)))
        disputed = fraction(key, 3) < DISPUTED
        return SimulatedEvent(
            line=line,
            ticker=ticker,
            key=key,
            anchor=anchor,
            created=floor_to_step(opened - series.preopen),
            opened=opened,
            calm_end=late_start - self._pause(series, key),
            late_start=max(late_start, opened),
            ended=ended,
            listed_close=floor_to_step(anchor + OVERHANG) if series.early else planned,
            relisted=relisted,
            determined=determined,
            settled=floor_to_step(determined + (4 * series.dispute if disputed else series.timer)),
            disputed=disputed,
            corrected=disputed and fraction(key, 9) < CORRECTED,
            void=bool(series.duration) and fraction(key, 4) < VOID,
            scalar=not series.duration and fraction(key, 8) < UNPUBLISHED,
            draw=series.shape.draw(EventDraft(key, line.family, anchor, opened, line.index)),
        )

    def _postponed(
        self, series: SimulatedSeries, key: int, opened: int, *, planned: int
    ) -> tuple[int, int]:
        """Return when a postponement becomes known (or NEVER), and when trading ends."""
        if not series.movable or fraction(key, 10) >= POSTPONED:
            return NEVER, planned
        known = planned - (0.5 + 2.5 * fraction(key, 13)) * HOUR
        delay = HOUR + (LONGEST_DELAY - HOUR) * fraction(key, 14)
        return max(floor_to_step(known), opened + STEP), floor_to_step(planned + delay)

    def _pause(self, series: SimulatedSeries, key: int) -> int:
        if series.lead < DAY or fraction(key, 5) > 0.04:
            return 0
        return floor_to_step(10 * MINUTE + 50 * MINUTE * fraction(key, 6))

    def _combination(self, line: EventLine, parent: SimulatedEvent) -> SimulatedEvent:
        """Combine two legs of one event, so that the combination is an interval of its path."""
        first, last = parent.outcomes[1], parent.outcomes[-2]
        label = f"yes {first.label}, no {last.label}"
        outcome = SimulatedOutcome("C1", label, first.low, last.low, "custom")
        code = f"{parent.key & MASK:016X}"[:11]
        tickers = parent.tickers()
        return replace(
            parent,
            line=line,
            ticker=f"{line.series.ticker}-S{code}",
            draw=Draw((outcome,), parent.draw.center, parent.draw.spread),
            legs=((tickers[1], "yes"), (tickers[-2], "no")),
        )


def floor_to_step(at: float) -> int:
    return int(at // STEP) * STEP
