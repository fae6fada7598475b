"""The series that a strategy draws, thinned so that they can be kept."""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backtests.annotations.checks import BadAnnotation, name_of, names_of, number_or_nan
from backtests.data.universe import DOLLAR, Floats, Ints, Quotes, to_floats
from kalshi_insights.arrays import np

MOST_POINTS = 600  # of one series in one market
MOST_NAMES = 12
MOST_MARKETS = 24  # whose series are kept, the most traded first
MOST_HELD = 5_000  # series of one market each that a run holds until it ends
# The series that a run has beside its strategy's own: the probability that it states, and the
# sides of the book wherever anything is drawn.
PROBABILITY, BID, ASK = "stated probability", "bid", "ask"
OURS = (PROBABILITY, BID, ASK)


class DrawnSeries(NamedTuple):
    """A series in one market: each value stands from its instant on, NaN is none."""

    name: str
    market: int
    at: Ints
    values: Floats
    is_thinned: bool = False


class KeptSeries(NamedTuple):
    """The series that a result keeps, and words about those that were not even held."""

    series: Sequence[DrawnSeries] = ()
    notes: Sequence[str] = ()


def series_name(value: Any) -> str:
    """Return the name of a series as it is stored. Raises BadAnnotation."""
    name = name_of("name", value)
    if name in OURS:
        raise BadAnnotation(f"name: charts have the {name} already; call the series otherwise")
    return name


def series_names(values: Iterable[Any]) -> list[str]:
    """Return the names of all series of a signal as they are stored. Raises BadAnnotation."""
    names = names_of("name", map(series_name, values))
    check_names(names)
    return names


def beside_book(drawn: Sequence[DrawnSeries], quotes: Quotes) -> list[DrawnSeries]:
    """Series market by market, each market's followed by its bids and asks in dollars."""
    markets = dict.fromkeys(series.market for series in drawn)
    quotes = quotes.select(np.isin(quotes.market, list(markets)))
    return [
        each
        for market in markets
        for each in (
            *(series for series in drawn if series.market == market),
            *_book(quotes.select(quotes.market == market), market),
        )
    ]


def _book(quotes: Quotes, market: int) -> Iterator[DrawnSeries]:
    for name, prices in ((BID, quotes.bid), (ASK, quotes.ask)):
        yield thinned(name, market, quotes.at, to_floats(prices, DOLLAR))


def thinned(name: str, market: int, at: Ints, values: Floats) -> DrawnSeries:
    """A series without values that repeat, and of too many points the last ones of even spans."""
    same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
    kept = np.concatenate((np.ones(min(1, len(values)), np.bool_), ~same))
    at, values = at[kept], values[kept]
    if len(at) <= MOST_POINTS:
        return DrawnSeries(name, market, at, values)
    last = _last_of_spans(at, _width(at))
    return DrawnSeries(name, market, at[last], values[last], is_thinned=True)


def _width(at: Ints) -> int:
    """The width of spans of which a series has at most as many as it may have points."""
    return int(at[-1] - at[0]) // (MOST_POINTS - 2) + 1


def _last_of_spans(at: Ints, width: int) -> Any:
    spans = at // width
    return np.append(spans[1:] != spans[:-1], True)


@dataclass(slots=True)
class HeldSeries:
    """A series in one market while the run goes on, in bounded memory."""

    at: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    width: int = 1
    is_thinned: bool = False

    def add(self, at: int, value: float) -> None:
        if self.values and _same(value, self.values[-1]):
            return
        if self.at and at // self.width == self.at[-1] // self.width:
            self.at[-1], self.values[-1] = at, value
            return
        self.at.append(at)
        self.values.append(value)
        if len(self.at) > 2 * MOST_POINTS:
            self._widen()

    def _widen(self) -> None:
        instants = np.array(self.at)
        self.width, self.is_thinned = max(2 * self.width, _width(instants)), True
        last = _last_of_spans(instants, self.width)
        self.at = array("q", instants[last].tolist())
        self.values = array("d", np.array(self.values)[last].tolist())

    def drawn(self, name: str, market: int) -> DrawnSeries:
        series = thinned(name, market, np.array(self.at, np.int64), np.array(self.values))
        return series._replace(is_thinned=series.is_thinned or self.is_thinned)


def _same(value: float, other: float) -> bool:
    return value == other or (math.isnan(value) and math.isnan(other))


@dataclass(slots=True)
class SeriesRecorder:
    """The series that a strategy draws while it runs."""

    held: dict[tuple[str, int], HeldSeries] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    refused: set[tuple[str, int]] = field(default_factory=set)

    def add(self, name: Any, market: int, *, at: int, value: Any) -> None:
        """Add a value that stands from an instant on. Raises BadAnnotation."""
        number = number_or_nan("value", value)
        series = self._begin(self._own_name(name), market)
        if series is not None:
            series.add(at, number)

    def add_probability(self, market: int, *, at: int, value: float) -> None:
        series = self._begin(PROBABILITY, market)
        if series is not None:
            series.add(at, value)

    def _own_name(self, given: Any) -> str:
        name = series_name(given)
        if name not in self.names:
            check_names([*self.names, name])
            self.names[name] = None
        return name

    def _begin(self, name: str, market: int) -> HeldSeries | None:
        """The series of a name in a market; None where the run holds too many others."""
        key = name, market
        if key in self.held:
            return self.held[key]
        if len(self.held) < MOST_HELD:
            self.held[key] = HeldSeries()
            return self.held[key]
        if len(self.refused) < MOST_HELD:
            self.refused.add(key)
        return None

    def kept(self, traded: Mapping[int, int]) -> KeptSeries:
        """The series of the markets that were traded most; `traded` counts their fills."""
        points = Counter[int]()
        for (_, market), series in self.held.items():
            points[market] += len(series.at)
        markets = most_traded(points, traded)
        drawn = [
            series.drawn(name, market)
            for market in markets
            for (name, of_market), series in self.held.items()
            if of_market == market
        ]
        lost = f"Of more than {MOST_HELD:,} series of a market, those begun later are not kept."
        return KeptSeries(drawn, (lost,) if self.refused else ())


def check_names(names: Sequence[str]) -> None:
    if len(names) > MOST_NAMES:
        raise BadAnnotation(f"name: a strategy can draw {MOST_NAMES} series, not {names[-1]!r} too")


def most_traded(points: Mapping[int, int], traded: Mapping[int, int]) -> list[int]:
    """The markets whose series are kept: by fills, then by points, then as listed."""
    order = sorted(points, key=lambda market: (-traded.get(market, 0), -points[market], market))
    return order[:MOST_MARKETS]
