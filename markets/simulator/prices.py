"""Quotes, trades and volume of any market at any instant, in closed form for many markets at once.

Prices are integers in 1/10,000 dollar and counts in 1/100 contract. `rows` are indices of markets
and `at` instants in multiples of five seconds, of the same length. A missing bid is 0, a missing
ask 10,000, both with size 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from markets.simulator.cadence import STEP
from markets.simulator.hours import TradingHours
from markets.simulator.noise import Bools, Floats, Ints, Keys, brownian, mix, phi, uniform
from markets.simulator.series import GRIDS
from markets.simulator.universe import SimulatedEvent

UNIT = 10_000
# The favourite-longshot bias: the market overprices longshots and underprices favourites.
BIAS = 0.06
# In the calm stretch, the sizes at an unchanged price stay the same for this many steps.
SIZE_CLOCK = 24

# The largest share of volume that is still held as open interest.
MOST_HELD = 0.6

# Every stream of draws has a key of its own.
CLOCK, BOUNCE, BID_SIZE, ASK_SIZE, TRADE, LOT, TAKER, MARKET, INTEREST = (
    (i + 1) << 48 for i in range(9)
)


class SimulatedQuotes(NamedTuple):
    bid: Ints
    ask: Ints
    bid_size: Ints
    ask_size: Ints


@dataclass(frozen=True, slots=True)
class Lives:
    """The lifecycles of a set of events, one column for each attribute."""

    key: Keys
    created: Ints
    opened: Ints
    calm_end: Ints
    late_start: Ints
    ended: Ints
    # The close as first listed, and the instant when it is corrected, or NEVER.
    listed_close: Ints
    relisted: Ints
    determined: Ints
    settled: Ints
    timer: Ints
    disputed: Bools
    known: Floats
    reveal: Floats
    calm_pace: Ints
    late_pace: Ints

    @classmethod
    def of(cls, events: Sequence[SimulatedEvent]) -> Lives:
        def ints(name: str) -> Ints:
            return np.array([getattr(event, name) for event in events], dtype=np.int64)

        def traits(name: str) -> list[float]:
            return [getattr(event.series, name) for event in events]

        paces = np.array([event.series.pace for event in events], dtype=np.int64).reshape(-1, 2)
        return cls(
            key=np.array([event.key for event in events], dtype=np.uint64),
            created=ints("created"),
            opened=ints("opened"),
            calm_end=ints("calm_end"),
            late_start=ints("late_start"),
            ended=ints("ended"),
            listed_close=ints("listed_close"),
            relisted=ints("relisted"),
            determined=ints("determined"),
            settled=ints("settled"),
            timer=np.array(traits("dispute"), dtype=np.int64),
            disputed=np.array([event.disputed for event in events], dtype=np.bool_),
            known=np.array(traits("known")),
            reveal=np.array([event.reveal for event in events]),
            calm_pace=paces[:, 0],
            late_pace=paces[:, 1],
        )


@dataclass(frozen=True, slots=True)
class Traits:
    """The constant attributes of a set of markets. `event` is the row of a market's event."""

    event: Ints
    key: Keys
    low: Floats
    high: Floats
    edge: Ints
    edge_step: Ints
    center_step: Ints
    width: Floats
    # 0: both sides are quoted; 1: no bids; 2: no asks; 3: neither.
    offered: Ints
    calm_trades: Floats
    late_trades: Floats
    lot: Ints
    whole: Bools

    @classmethod
    def of(cls, events: Sequence[SimulatedEvent], lives: Lives) -> Traits:
        counts = np.array([len(event.outcomes) for event in events], dtype=np.int64)
        event = np.repeat(np.arange(len(events), dtype=np.int64), counts)
        within = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
        # A combination shares its parent's path, not its parent's markets.
        combined = np.array([bool(each.legs) for each in events], dtype=np.int64)
        key = mix(mix(lives.key, MARKET + combined)[event], within)
        grids = np.array([GRIDS[e.series.structure] for e in events], dtype=np.int64).reshape(-1, 3)
        bounds = [(o.low, o.high) for e in events for o in e.outcomes]
        low, high = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
        trades = np.array([e.series.trades for e in events], dtype=np.float64).reshape(-1, 2)[event]
        width = np.array([e.series.width for e in events])[event]
        quiet = uniform(key, 1) < np.array([e.series.quiet for e in events])[event]
        chance = phi(high) - phi(low)
        # The strikes near the money trade most.
        liquid = np.sqrt(4.0 * chance * (1.0 - chance)) * (0.3 + 0.7 * uniform(key, 2)) + 0.01
        liquid *= np.where(quiet, 0.03, 1.0)
        return cls(
            event=event,
            key=key,
            low=low,
            high=high,
            edge=grids[event, 0],
            edge_step=grids[event, 1],
            center_step=grids[event, 2],
            width=np.maximum(width * (0.6 + uniform(key, 4)) * np.where(quiet, 3.5, 1.0), 0.004),
            offered=np.where(quiet, np.searchsorted((0.8, 0.9, 0.96), uniform(key, 3)), 0),
            calm_trades=trades[:, 0] * liquid,
            late_trades=trades[:, 1] * liquid + 0.01,
            lot=(300 + 20_000 * uniform(key, 5) ** 4).astype(np.int64),
            whole=uniform(key, 6) < 0.7,
        )


def window_steps(key: Keys, window: Ints, pace: Ints) -> Ints:
    """The step in each window of `pace` steps at which the quotes change."""
    return np.asarray(window * pace + (mix(key, window) % pace.astype(np.uint64)).astype(np.int64))


class TradingSpans(NamedTuple):
    """The bounds of the events' trading, in trading time."""

    opened: Ints
    calm_end: Ints
    late_start: Ints
    ended: Ints


def without_paused_trades(traits: Traits, lives: Lives, spans: TradingSpans) -> Traits:
    """Take away the trades that would fall into closures."""
    calm = (spans.calm_end - spans.opened) / np.maximum(lives.calm_end - lives.opened, 1)
    late = (spans.ended - spans.late_start) / np.maximum(lives.ended - lives.late_start, 1)
    return replace(
        traits,
        calm_trades=traits.calm_trades * calm[traits.event],
        late_trades=traits.late_trades * late[traits.event],
    )


@dataclass(frozen=True, slots=True)
class Prices:
    """The latent process of a set of events, with the quotes and trades that follow from it.

    Arguments and results are in wall time; the process itself runs on trading time.
    """

    lives: Lives
    traits: Traits
    bias: bool
    hours: TradingHours
    spans: TradingSpans

    @classmethod
    def of(cls, events: Sequence[SimulatedEvent], *, bias: bool, hours: TradingHours) -> Prices:
        lives = Lives.of(events)
        bounds = (lives.opened, lives.calm_end, lives.late_start, lives.ended)
        spans = TradingSpans(*(hours.trading_time(each) for each in bounds))
        traits = without_paused_trades(Traits.of(events, lives), lives, spans)
        return cls(lives, traits, bias, hours, spans)

    def _instants(self, events: Ints, trading_time: Ints) -> Ints:
        # An event that opens as a closure ends has the trading time at which the closure began.
        return np.maximum(self.hours.instant(trading_time), self.lives.opened[events])

    def last_change(self, events: Ints, at: Ints) -> Ints:
        """The newest instant at which quotes changed, which they do once in each window."""
        lives, spans, now = self.lives, self.spans, self.hours.trading_time(at)
        late = now >= spans.late_start[events]
        start = np.where(late, spans.late_start[events], spans.opened[events])
        pace = np.where(late, lives.late_pace[events], lives.calm_pace[events])
        last = np.where(late, spans.ended[events] - STEP, spans.calm_end[events])
        step = (np.minimum(now, last) - start) // STEP
        window = step // pace
        key = mix(lives.key[events], CLOCK + late)
        here, before = window_steps(key, window, pace), window_steps(key, window - 1, pace)
        changed = np.where(here <= step, here, before)
        return self._instants(events, start + np.maximum(changed, 0) * STEP)

    def changes(self, event: int, start: int, end: int) -> Ints:
        """List the instants in (start, end] at which one event's quotes change."""
        opened, calm_end, late_start, ended = (column[event] for column in self.spans)
        calm = self._stretch(event, opened, calm_end, late=False)
        late = self._stretch(event, late_start, ended - STEP, late=True)
        moves = np.concatenate([calm[calm < late_start], late])
        found = np.unique(self._instants(np.full(len(moves), event), moves))
        return np.asarray(found[(found > start) & (found <= end)])

    def _stretch(self, event: int, start: np.int64, last: np.int64, *, late: bool) -> Ints:
        paces = self.lives.late_pace if late else self.lives.calm_pace
        pace = paces[event : event + 1]
        windows = np.arange((last - start) // STEP // pace[0] + 1, dtype=np.int64)
        key = mix(self.lives.key[event : event + 1], CLOCK + late)
        steps = np.append(window_steps(key, windows, pace), 0)
        return np.asarray(start + steps[steps * STEP <= last - start] * STEP)

    def known_share(self, events: Ints, at: Ints) -> Floats:
        """The share of the final draw's variance that is known at an instant, in [0, 1)."""
        known, reveal = self.lives.known[events], self.lives.reveal[events]
        calm, late = self._progress(events, at)
        begun = self.hours.trading_time(at) >= self.spans.late_start[events]
        share = np.where(begun, known + (reveal - known) * late, known * calm)
        return np.asarray(np.minimum(share, 1.0 - 1e-7))

    def _progress(self, events: Ints, at: Ints) -> tuple[Floats, Floats]:
        """The shares of the calm and of the late stretch that are over."""
        now = self.hours.trading_time(at)
        opened, calm_end, late_start, ended = (column[events] for column in self.spans)
        calm = np.clip((now - opened) / np.maximum(calm_end - opened, 1), 0.0, 1.0)
        late = np.clip((now - late_start) / np.maximum(ended - late_start, 1), 0.0, 1.0)
        return calm, late

    def chances(self, rows: Ints, at: Ints) -> Floats:
        """The true probability of YES given what is known, a martingale that ends in the result."""
        traits = self.traits
        known = self.known_share(traits.event[rows], at)
        # Markets of an event share a path, so it is computed once for each event and instant.
        pairs, place = np.unique(traits.event[rows] * (1 << 36) + at, return_inverse=True)
        share = self.known_share(pairs >> 36, pairs & ((1 << 36) - 1))
        path = brownian(self.lives.key[pairs >> 36], share)[place.reshape(-1)]
        rest = np.sqrt(1.0 - known)
        above, below = (traits.high[rows] - path) / rest, (traits.low[rows] - path) / rest
        return np.asarray(phi(above) - phi(below))

    def beliefs(self, rows: Ints, at: Ints) -> Floats:
        """The market's estimate of the probability, which overprices longshots."""
        chance = np.clip(self.chances(rows, at), 0.0, 1.0)
        if not self.bias:
            return chance
        rare = np.minimum(chance, 1.0 - chance)
        tilt = BIAS * np.sqrt(rare) * (1.0 - 2.0 * rare)
        return np.asarray(chance + np.where(chance < 0.5, tilt, -tilt))

    def quotes(self, rows: Ints, at: Ints) -> SimulatedQuotes:
        """The top of the books; empty before the open and after the end."""
        traits, lives = self.traits, self.lives
        events = traits.event[rows]
        changed = self.last_change(events, at)
        belief = self.beliefs(rows, changed)
        half = traits.width[rows] * (0.25 + 1.5 * np.sqrt(belief * (1.0 - belief)))
        bounce = half * 1.2 * (uniform(mix(traits.key[rows], BOUNCE), changed // STEP) - 0.5)
        bid = self.on_grid(rows, belief - half + bounce, up=False)
        ask = self.on_grid(rows, belief + half + bounce, up=True)
        trading = (at >= lives.opened[events]) & (at < lives.ended[events])
        offered = traits.offered[rows]
        bid = np.where(trading & (bid > 0) & (offered & 1 == 0), bid, 0)
        ask = np.where(trading & (ask < UNIT) & (offered & 2 == 0), ask, UNIT)
        clock = self._clock(events, changed)
        return SimulatedQuotes(
            bid,
            ask,
            np.where(bid > 0, self.sizes(rows, bid, clock, stream=BID_SIZE), 0),
            np.where(ask < UNIT, self.sizes(rows, ask, clock, stream=ASK_SIZE), 0),
        )

    def size_clock(self, rows: Ints, at: Ints) -> Ints:
        """A counter; the size at a price changes only when it does."""
        events = self.traits.event[rows]
        return self._clock(events, self.last_change(events, at))

    def _clock(self, events: Ints, changed: Ints) -> Ints:
        busy = (changed >= self.lives.late_start[events]) & (self.lives.late_pace[events] < 6)
        return np.where(busy, changed // STEP, changed // (STEP * SIZE_CLOCK))

    def on_grid(self, rows: Ints, price: Floats, *, up: bool) -> Ints:
        """Round prices in dollars outwards to the market's price grid."""
        traits = self.traits
        exact = np.clip(price, 0.0, 1.0) * UNIT
        edge = traits.edge[rows]
        outer = (exact < edge) | (exact > UNIT - edge)
        step = np.where(outer, traits.edge_step[rows], traits.center_step[rows])
        # The tolerance keeps a price on the grid from being rounded to its neighbour.
        count = np.ceil(exact / step - 1e-9) if up else np.floor(exact / step + 1e-9)
        return np.asarray((count * step).astype(np.int64))

    def sizes(self, rows: Ints, price: Ints, clock: Ints, *, stream: int) -> Ints:
        """The size of a price level in 1/100 contract."""
        draw = uniform(mix(mix(self.traits.key[rows], stream), clock), price)
        size = (self.traits.lot[rows] * (0.5 + 9.0 * draw**3)).astype(np.int64)
        return np.where(self.traits.whole[rows], size // 100 * 100, size)

    def trade_clock(self, rows: Ints, at: Ints) -> Floats:
        """The number of trades that are due, which grows evenly within each stretch."""
        traits = self.traits
        calm, late = self._progress(traits.event[rows], at)
        return np.asarray(traits.calm_trades[rows] * calm + traits.late_trades[rows] * late)

    def trade_count(self, rows: Ints, at: Ints) -> Ints:
        """Count trades up to an instant, inclusive; trade i happens at clock i + a draw."""
        clock = self.trade_clock(rows, at)
        whole = np.floor(clock)
        happened = uniform(mix(self.traits.key[rows], TRADE), whole.astype(np.int64))
        return np.asarray(whole.astype(np.int64) + (happened <= clock - whole))

    def trade_times(self, rows: Ints, number: Ints) -> Ints:
        """The times of trades in microseconds, which invert the trade clock."""
        traits = self.traits
        clock = number + uniform(mix(traits.key[rows], TRADE), number)
        calm, late = traits.calm_trades[rows], traits.late_trades[rows]
        opened, calm_end, late_start, ended = (column[traits.event[rows]] for column in self.spans)
        # A stretch that lies within a closure has no trades.
        early = opened + clock / np.maximum(calm, 1e-9) * (calm_end - opened)
        later = late_start + (clock - calm) / np.maximum(late, 1e-9) * (ended - late_start)
        trading_time = np.minimum(np.where(clock < calm, early, later), ended - 1e-3)
        seconds = self.hours.instant(trading_time)
        return np.asarray((seconds * 1e6).astype(np.int64))

    def volume(self, rows: Ints, count: Ints) -> Ints:
        """The volume of the first `count` trades in 1/100 contract, in closed form."""
        traits = self.traits
        key = mix(traits.key[rows], LOT)
        lot = traits.lot[rows]
        # Most trades are about a lot, and every ninth is a large one.
        wiggle = lot * 0.6 * (uniform(key, count) - uniform(key, np.zeros_like(count)))
        phase = (key % np.uint64(9)).astype(np.int64)
        exact = (
            lot * count + wiggle.astype(np.int64) + lot * 5 * ((count + phase) // 9 - phase // 9)
        )
        return np.where(traits.whole[rows], exact // 100 * 100, exact)

    def interest(self, rows: Ints, volume: Ints) -> Ints:
        """Open interest, a share of volume that is constant for each market."""
        share = MOST_HELD * uniform(mix(self.traits.key[rows], INTEREST), 0)
        return np.asarray((volume * share).astype(np.int64))

    def trades(self, rows: Ints, number: Ints) -> tuple[Ints, Bools]:
        """The prices of trades, and True where the taker bought YES."""
        second = self.trade_times(rows, number) // 1_000_000
        quotes = self.quotes(rows, second // STEP * STEP)
        buys = uniform(mix(self.traits.key[rows], TAKER), number) < 0.5
        bids, asks = quotes.bid > 0, quotes.ask < UNIT
        buys = np.where(bids == asks, buys, asks)
        prices = np.where(buys, quotes.ask, quotes.bid)
        # A trade without a quote happens near the market's estimate.
        bare = np.flatnonzero(~(bids | asks))
        if len(bare):
            prices[bare] = self._fair(rows[bare], second[bare] // STEP * STEP)
        return prices, buys

    def _fair(self, rows: Ints, at: Ints) -> Ints:
        # The coarsest step of any grid, so that the price is on every grid.
        price = np.rint(self.beliefs(rows, at) * 100).astype(np.int64) * 100
        return np.clip(price, 100, UNIT - 100)

    def last_prices(self, rows: Ints, count: Ints) -> Ints:
        """The price of the last of `count` trades, 0 where there was none."""
        prices = np.zeros(len(rows), dtype=np.int64)
        traded = np.flatnonzero(count > 0)
        if len(traded):
            prices[traded] = self.trades(rows[traded], count[traded] - 1)[0]
        return prices

    def last_moves(self, rows: Ints, at: Ints, count: Ints) -> Ints:
        """The newest instant at which anything of the markets' quotes or trades changed."""
        moved = self.last_change(self.traits.event[rows], at)
        traded = np.flatnonzero(count > 0)
        if len(traded):
            micros = self.trade_times(rows[traded], count[traded] - 1)
            # A trade becomes visible at the first step after it.
            visible = -(-micros // (STEP * 1_000_000)) * STEP
            moved[traded] = np.maximum(moved[traded], np.minimum(visible, at[traded]))
        return moved
