"""What exists: lines of events, and each event's life. Computed from the calendar, never stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import copysign

from markets.simulator.cadence import DAY, HOUR, MINUTE, STEP
from markets.simulator.catalogue import COMBO, catalogue
from markets.simulator.noise import MASK, end_point, fraction, key_of
from markets.simulator.series import LONGEST_DELAY, Series
from markets.simulator.shapes import Draw, Occasion, Outcome

COMBO_LINES = 8
# A game's markets are listed as closing this long after its start, and close when it is decided.
OVERHANG = 14 * DAY
NEVER = 1 << 40
# Shares of the events to which it happens; games are not played, numbers not published.
DISPUTED, CORRECTED, VOID, UNPUBLISHED, POSTPONED = 0.02, 0.5, 0.02, 0.02, 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """A never-ending row of events: one city's days, one slot of a league's evenings."""

    series: Series
    index: int
    family: int
    parent: Line | None = None

    def numbers(self, start: int, end: int) -> list[int]:
        """The numbers of the events of which anything can be seen within [start, end)."""
        if self.parent is not None:
            return self.parent.numbers(start, end)
        series = self.series
        ahead = series.lead + series.preopen
        return series.cadence_of(self.index).numbers(start - series.tail, end + ahead)


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One event. Instants are whole seconds on the 5-second grid."""

    line: Line
    ticker: str
    key: int
    anchor: int
    created: int
    opened: int
    # Trading rests from `hush` to `knee` where the event was paused, else both are the same.
    hush: int
    knee: int
    ended: int
    # As listed at first; put right at `relisted`, before the end, or else by the end itself.
    listed_close: int
    relisted: int
    determined: int
    settled: int
    disputed: bool
    # The result published at first was wrong.
    corrected: bool
    void: bool
    # Settled at a fair price, as nobody published the number.
    scalar: bool
    draw: Draw
    legs: tuple[tuple[str, str], ...] = ()

    @property
    def series(self) -> Series:
        return self.line.series

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return self.draw.outcomes

    @property
    def reveal(self) -> float:
        """Nothing is learned of a game that is never played, or of a number never published."""
        return self.series.known if self.void or self.scalar else self.series.reveal

    @property
    def end_point(self) -> float:
        return end_point(self.key)

    @property
    def first_point(self) -> float:
        """What is published at first: where it is corrected later, a figure nearer to the usual."""
        point = self.end_point
        return point - copysign(1.0, point) if self.corrected else point

    def close_at(self, at: int) -> int:
        """The close as an open market's listing has it."""
        return self.ended if at >= self.relisted else self.listed_close

    def tickers(self) -> list[str]:
        return [f"{self.ticker}-{outcome.suffix}" for outcome in self.outcomes]

    def wins(self, outcome: Outcome, *, at_first: bool = False) -> bool:
        point = self.first_point if at_first else self.end_point
        return outcome.low < point <= outcome.high

    def words(self) -> dict[str, str]:
        """What the series' texts may name."""
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
    series: Series, key: int, anchor: int, line: int
) -> tuple[tuple[str, str], tuple[str, str]]:
    if series.teams is None:
        return ("", ""), ("", "")
    return series.teams.sides(Occasion(key, 0, anchor, anchor, line))


class Universe:
    """All that can exist for a seed and a size; `markets` is about how many are open at a time."""

    def __init__(self, *, seed: int = 1, markets: int = 2000) -> None:
        self.seed = seed
        self.markets = markets

    @cached_property
    def series(self) -> dict[str, Series]:
        found = {line.series.ticker: line.series for line in self.lines}
        return dict(sorted(found.items()))

    @cached_property
    def lines(self) -> list[Line]:
        """As many lines as the wanted number of open markets needs, and the combos on top."""
        lines: list[Line] = []
        expected = 0.0
        for line in self._candidates():
            if expected >= self.markets:
                break
            lines.append(line)
            expected += line.series.open_at_once
        return lines + self._combos(lines)

    def _candidates(self) -> Iterator[Line]:
        pools = catalogue()
        yield from (self._line(series, 0) for series in pools if series.core)
        deepest = max(len(series.subjects) for series in pools)
        for index in range(deepest):
            for series in pools:
                if index < len(series.subjects) and not (index == 0 and series.core):
                    yield self._line(series, index)

    def _line(self, series: Series, index: int) -> Line:
        subject = series.subjects[index][0]
        family = key_of(self.seed, f"level:{series.underlying or series.ticker}:{subject}")
        return Line(series, index, family)

    def _combos(self, lines: list[Line]) -> list[Line]:
        ladders = [line for line in lines if line.series.title.endswith("home margin")]
        return [Line(COMBO, 0, 0, parent) for parent in ladders[:COMBO_LINES]]

    def event(self, line: Line, number: int) -> Event:
        if line.parent is not None:
            return self._combination(line, self.event(line.parent, number))
        series = line.series
        anchor = series.cadence_of(line.index).anchor(number)
        code = series.code(anchor)
        away, home = sides(series, 0, anchor, line.index)
        subject = series.subjects[line.index][0]
        ticker = f"{series.ticker}-{code}{away[0]}{home[0]}" + (f"-{subject}" if subject else "")
        return self._live(line, ticker, number=number)

    def _live(self, line: Line, ticker: str, *, number: int) -> Event:
        series = line.series
        anchor = series.cadence_of(line.index).anchor(number)
        opened = grid(anchor - series.lead)
        key = key_of(self.seed, f"event:{ticker}")
        planned = grid(anchor + series.duration * (0.8 + 0.4 * fraction(key, 1)))
        knee = anchor if series.duration else grid(planned - series.knee)
        relisted, ended = self._postponed(series, key, opened, planned=planned)
        determined = grid(ended + series.delay * (0.5 + fraction(key, 2)))
        disputed = fraction(key, 3) < DISPUTED
        return Event(
            line=line,
            ticker=ticker,
            key=key,
            anchor=anchor,
            created=grid(opened - series.preopen),
            opened=opened,
            hush=knee - self._pause(series, key),
            knee=max(knee, opened),
            ended=ended,
            listed_close=grid(anchor + OVERHANG) if series.early else planned,
            relisted=relisted,
            determined=determined,
            settled=grid(determined + (4 * series.dispute if disputed else series.timer)),
            disputed=disputed,
            corrected=disputed and fraction(key, 9) < CORRECTED,
            void=bool(series.duration) and fraction(key, 4) < VOID,
            scalar=not series.duration and fraction(key, 8) < UNPUBLISHED,
            draw=series.shape.draw(Occasion(key, line.family, anchor, opened, line.index)),
        )

    def _postponed(self, series: Series, key: int, opened: int, *, planned: int) -> tuple[int, int]:
        """When it becomes known that trading goes on for longer, and until when it does."""
        if not series.movable or fraction(key, 10) >= POSTPONED:
            return NEVER, planned
        known = planned - (0.5 + 2.5 * fraction(key, 13)) * HOUR
        delay = HOUR + (LONGEST_DELAY - HOUR) * fraction(key, 14)
        return max(grid(known), opened + STEP), grid(planned + delay)

    def _pause(self, series: Series, key: int) -> int:
        if series.lead < DAY or fraction(key, 5) > 0.04:
            return 0
        return grid(10 * MINUTE + 50 * MINUTE * fraction(key, 6))

    def _combination(self, line: Line, parent: Event) -> Event:
        """Both legs are of one event, so that the combination is an interval of its path."""
        first, last = parent.outcomes[1], parent.outcomes[-2]
        label = f"yes {first.label}, no {last.label}"
        outcome = Outcome("C1", label, first.low, last.low, "custom")
        code = f"{parent.key & MASK:016X}"[:11]
        tickers = parent.tickers()
        return replace(
            parent,
            line=line,
            ticker=f"{line.series.ticker}-S{code}",
            draw=Draw((outcome,), parent.draw.center, parent.draw.spread),
            legs=((tickers[1], "yes"), (tickers[-2], "no")),
        )


def grid(at: float) -> int:
    return int(at // STEP) * STEP
