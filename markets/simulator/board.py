"""The listed markets at one instant as JSON, encoded again only where something changed.

Lifecycles and quotes move in steps of five seconds, but trades do with every microsecond: a board
shows the lifecycles of its step and the books of its own instant.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import compress

import msgspec
import numpy as np

from markets.simulator import fees
from markets.simulator.book import SimulatedBooks
from markets.simulator.cadence import DAY, HOUR, STEP
from markets.simulator.hours import TradingHours
from markets.simulator.lives import Lives
from markets.simulator.noise import Bools, Ints
from markets.simulator.orders import SECOND
from markets.simulator.prices import Prices
from markets.simulator.provisional import provisional, withdrawals
from markets.simulator.render import (
    ACTIVE,
    AMENDED,
    ARCHIVED,
    CLOSED,
    DETERMINED,
    DISPUTED,
    FINALIZED,
    INACTIVE,
    INITIALIZED,
    UNLISTED,
    SimulatedQuote,
    event_head,
    lifecycle_fields,
    market_body,
    market_heads,
    market_tail,
)
from markets.simulator.tape import Tape
from markets.simulator.trades import last_prices
from markets.simulator.universe import SimulatedEvent, SimulatedUniverse

CURSOR_SEPARATOR = "\x1f"
# A stamp combines the instant of the last change with the phase: instant * PHASES + phase.
PHASES = 16


def phases(lives: Lives, at: int, cutoff: int) -> Ints:
    """The phase of each event; those settled before the cutoff are archived."""
    since = at - lives.determined
    disputed = lives.disputed
    selected = np.select(
        [
            at < lives.created,
            at < lives.opened,
            (at >= lives.calm_end) & (at < lives.late_start),
            at < lives.ended,
            at < lives.determined,
            lives.settled < cutoff,
            at >= lives.settled,
            disputed & (since >= 3 * lives.timer),
            disputed & (since >= lives.timer),
        ],
        [UNLISTED, INITIALIZED, INACTIVE, ACTIVE, CLOSED, ARCHIVED, FINALIZED, AMENDED, DISPUTED],
        DETERMINED,
    )
    return np.asarray(selected, dtype=np.int64)


def halves(*columns: Ints) -> tuple[list[Ints], list[Ints]]:
    middle = len(columns[0]) // 2
    return [column[:middle] for column in columns], [column[middle:] for column in columns]


class Board:
    """The markets of a list of events. `order` holds the events' sort keys, ascending."""

    def __init__(
        self,
        events: Sequence[SimulatedEvent],
        order: Sequence[str],
        *,
        bias: bool,
        hours: TradingHours,
        liveliness: float,
    ) -> None:
        self.events = events
        self.order = order
        self.prices = Prices.of(events, bias=bias, hours=hours, liveliness=liveliness)
        self.books = SimulatedBooks.of(self.prices)
        self.provisional = provisional(self.prices, events)
        self.withdrawn = withdrawals(self.books.orders, self.provisional)
        counts = np.array([len(event.outcomes) for event in events], dtype=np.int64)
        self.ends = np.cumsum(counts)
        self.starts = self.ends - counts
        size = int(counts.sum())
        self.event_heads: list[bytes] = [b""] * len(events)
        self.bodies: list[bytes] = [b""] * len(events)
        self.heads: list[bytes] = [b""] * size
        self.tails: list[bytes] = [b""] * size
        # `_stamps` has each market's stamp as of the instant in `_stamped`, in microseconds, and
        # `rendered` the stamp that its tail was made for.
        self._stamps = np.zeros(size, dtype=np.int64)
        self._stamped = np.full(size, -1, dtype=np.int64)
        self.rendered = np.full(size, -1, dtype=np.int64)
        self.phases = np.zeros(len(events), dtype=np.int64)
        # The events that are visible, and the markets that are listed.
        self.visible: Bools = np.zeros(len(events), dtype=np.bool_)
        self.listed: Bools = np.zeros(size, dtype=np.bool_)
        # The step, in seconds, and the instant within it, in microseconds.
        self.at, self.micros = 0, 0

    def __len__(self) -> int:
        return len(self.listed)

    @cached_property
    def tape(self) -> Tape:
        return Tape(self.books, self.withdrawn, self.at)

    @cached_property
    def tickers(self) -> list[str]:
        return [ticker for event in self.events for ticker in event.tickers()]

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {ticker: row for row, ticker in enumerate(self.tickers)}

    @cached_property
    def event_of(self) -> dict[str, int]:
        return {event.ticker: i for i, event in enumerate(self.events)}

    @cached_property
    def combos(self) -> Bools:
        return np.array([bool(event.legs) for event in self.events], dtype=np.bool_)

    @cached_property
    def series(self) -> list[str]:
        return [event.series.ticker for event in self.events]

    @cached_property
    def _fee_changes(self) -> dict[int, list[fees.FeeOverride]]:
        found = ((i, fees.overrides(event)) for i, event in enumerate(self.events))
        return {i: changes for i, changes in found if changes}

    @property
    def closes(self) -> Ints:
        """The close time that each event lists."""
        lives = self.prices.lives
        known = (self.phases >= CLOSED) | (self.at >= lives.relisted)
        return np.where(known, lives.ended, lives.listed_close)

    def rows(self, event: int) -> range:
        return range(int(self.starts[event]), int(self.ends[event]))

    def listed_rows(self, event: int) -> list[int]:
        rows = self.rows(event)
        return list(compress(rows, self.listed[rows.start : rows.stop].tolist()))

    def reuse_rendering(self, old: Board) -> None:
        """Take over the JSON that the previous board has rendered."""
        for i, event in enumerate(self.events):
            j = old.event_of.get(event.ticker)
            if j is None:
                continue
            here, there = self.rows(i), old.rows(j)
            self.event_heads[i] = old.event_heads[j]
            self.bodies[i] = old.bodies[j]
            self.heads[here.start : here.stop] = old.heads[there.start : there.stop]
            self.tails[here.start : here.stop] = old.tails[there.start : there.stop]
            self.rendered[here.start : here.stop] = old.rendered[there.start : there.stop]

    def advance(self, at: int, cutoff: int) -> None:
        """Move on to a step. Changed markets are rendered when they are requested."""
        self.at, self.micros = at, at * SECOND
        self.phases = phases(self.prices.lives, at, cutoff)
        self.visible = (self.phases != UNLISTED) & (self.phases != ARCHIVED)
        self.listed = self.visible[self.prices.traits.event] & (self.withdrawn > at)

    def stamps(self, rows: Ints) -> Ints:
        """The stamps of markets at the board's instant."""
        due = rows[self._stamped[rows] != self.micros]
        if len(due):
            self._stamps[due] = self._compute_stamps(due)
            self._stamped[due] = self.micros
        return self._stamps[rows]

    def _compute_stamps(self, rows: Ints) -> Ints:
        moved = self.books.last_moves(rows, np.full(len(rows), self.micros))
        # Opening, closing and settling change a market too, and so does another close.
        events = self.prices.traits.event[rows]
        relisted = self.prices.lives.relisted[events]
        moved = np.where(self.at >= relisted, np.maximum(moved, relisted * SECOND), moved)
        return moved * PHASES + self.phases[events]

    def _render(self, rows: Ints) -> None:
        stale = rows[self.rendered[rows] != self.stamps(rows)]
        if not len(stale):
            return
        events = self.prices.traits.event[stale]
        lives = {
            i: lifecycle_fields(self.events[i], int(self.phases[i]), self.at)
            for i in np.unique(events).tolist()
        }
        places = (stale - self.starts[events]).tolist()
        fields = zip(stale.tolist(), events.tolist(), places, self._quotes(stale), strict=True)
        for row, event, place, quote in fields:
            self.tails[row] = market_tail(quote, lives[event][place])
        self.rendered[stale] = self._stamps[stale]

    def _quotes(self, rows: Ints) -> list[SimulatedQuote]:
        books, orders = self.books, self.books.orders
        moved, phase = np.divmod(self._stamps[rows], PHASES)
        yesterday = moved - DAY * SECOND
        # `moved` lies within trading even where the market is not open yet, or is closed by now.
        trading = (phase == ACTIVE) | (phase == INACTIVE)
        shown_at = np.concatenate([np.where(trading, moved, 0), yesterday])
        # Both instants at once, because few rows cost as much as many.
        twice = np.concatenate([rows, rows])
        now, before = halves(*books.best(twice, shown_at))
        count = orders.count(twice, np.concatenate([moved, yesterday]))
        volume = orders.volume(twice, count)
        (last, total), (last_before, total_before) = halves(
            last_prices(books, twice, count), volume
        )
        had = before[2] + before[3] > 0
        columns = (
            *now,
            last,
            before[0],
            np.where(had, before[1], 0),
            last_before,
            total,
            total - total_before,
            orders.interest(rows, total),
        )
        return [
            SimulatedQuote(*row)
            for row in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def market(self, row: int) -> bytes:
        return self.markets([row])[1:-1]

    def markets(self, rows: Sequence[int]) -> bytes:
        self._render(np.asarray(rows, dtype=np.int64))
        return self._rendered_markets(rows)

    def _rendered_markets(self, rows: Sequence[int]) -> bytes:
        events = self.prices.traits.event[np.asarray(rows, dtype=np.int64)].tolist()
        for i in events:
            if not self.bodies[i]:
                self._render_once(i)
        heads, bodies, tails = self.heads, self.bodies, self.tails
        parts = [heads[row] + bodies[i] + tails[row] for row, i in zip(rows, events, strict=True)]
        return b"[" + b",".join(parts) + b"]"

    def _render_once(self, i: int) -> None:
        self.bodies[i] = market_body(self.events[i])
        rows = self.rows(i)
        is_provisional = self.provisional[rows.start : rows.stop].tolist()
        self.heads[rows.start : rows.stop] = market_heads(self.events[i], is_provisional)

    def event_page(self, selected: Sequence[int], *, nested: bool) -> bytes:
        if nested:
            # All markets are rendered at once, because event by event costs ten times as much.
            rows = np.flatnonzero(self.listed)
            self._render(rows[np.isin(self.prices.traits.event[rows], selected)])
        return b"[" + b",".join([self._event(i, nested=nested) for i in selected]) + b"]"

    def event(self, i: int, *, nested: bool) -> bytes:
        return self.event_page([i], nested=nested)[1:-1]

    def _event(self, i: int, *, nested: bool) -> bytes:
        if not self.event_heads[i]:
            self.event_heads[i] = event_head(self.events[i])
        head = self.event_heads[i] + self._fees(i)
        if not nested:
            return head + b"}"
        return head + b',"markets":' + self._rendered_markets(self.listed_rows(i)) + b"}"

    def _fees(self, i: int) -> bytes:
        changes = self._fee_changes.get(i)
        multiplier = fees.in_force(changes, self.at) if changes else None
        if multiplier is None:
            return b""
        fields = {
            "fee_type_override": self.events[i].series.fee_type,
            "fee_multiplier_override": multiplier,
        }
        return b"," + msgspec.json.encode(fields)[1:-1]

    def cursor_at(self, row: int) -> str:
        """Make a cursor that names a market, not a position, so that the list may change."""
        event = int(self.prices.traits.event[row])
        return f"{self.order[event]}{CURSOR_SEPARATOR}{row - int(self.starts[event])}"

    def row_after(self, cursor: str) -> int:
        key, _, place = cursor.partition(CURSOR_SEPARATOR)
        i = bisect_left(self.order, key)
        if i == len(self.order):
            return len(self)
        start = int(self.starts[i])
        if self.order[i] != key or not place.isdecimal():
            return start
        return start + int(place) + 1

    def event_after(self, cursor: str) -> int:
        return bisect_right(self.order, cursor)


class Listings:
    """The live and the historical boards of a universe at any instant."""

    def __init__(
        self,
        universe: SimulatedUniverse,
        *,
        bias: bool = True,
        retention: int = 2 * DAY,
        history: int = 7 * DAY,
        hours: TradingHours | None = None,
    ) -> None:
        self.universe = universe
        self.hours = hours or TradingHours()
        self.bias = bias
        self.retention = retention
        self.history = history
        self._live: tuple[int, Board] | None = None
        self._past: tuple[int, Board] | None = None
        self._at = -1

    def cutoff(self, at: int) -> int:
        """Markets settled before this instant are in the historical tier only."""
        return (at - self.retention) // HOUR * HOUR

    def live(self, now: float) -> Board:
        """The board at an instant in seconds, which may lie between two steps."""
        micros = round(now * SECOND)
        at = micros // (STEP * SECOND) * STEP
        if self._live is None or self._live[0] != at // HOUR:
            self._live = (at // HOUR, self._build(at // HOUR * HOUR))
            self._at = -1
        board = self._live[1]
        if at != self._at:
            board.advance(at, self.cutoff(at))
            self._at = at
        board.micros = micros
        return board

    def _build(self, start: int) -> Board:
        cutoff, end = self.cutoff(start), start + HOUR
        events = self._events(cutoff, end, lambda e: e.created < end and e.settled >= cutoff)
        events.sort(key=lambda event: event.ticker)
        board = self._board(events, [event.ticker for event in events])
        if self._live is not None:
            board.reuse_rendering(self._live[1])
        return board

    def _board(self, events: Sequence[SimulatedEvent], order: Sequence[str]) -> Board:
        return Board(
            events, order, bias=self.bias, hours=self.hours, liveliness=self.universe.liveliness
        )

    def _events(
        self, start: int, end: int, matches: Callable[[SimulatedEvent], bool]
    ) -> list[SimulatedEvent]:
        universe, fit = self.universe, self.hours.fit
        found = (
            fit(universe.event(line, n))
            for line in universe.lines
            for n in line.numbers(start, end)
        )
        return [event for event in found if event is not None and matches(event)]

    def past(self, at: int) -> Board:
        cutoff = self.cutoff(at)
        if self._past is None or self._past[0] != cutoff:
            self._past = (cutoff, self._build_past(cutoff, at))
        return self._past[1]

    def _build_past(self, cutoff: int, at: int) -> Board:
        oldest = cutoff - self.history
        events = self._events(oldest, cutoff, lambda e: oldest <= e.settled < cutoff)
        events.sort(key=lambda event: (-event.settled, event.ticker))
        order = [f"{10**11 - event.settled}:{event.ticker}" for event in events]
        board = self._board(events, order)
        board.advance(at, 0)
        return board
