"""Quotes, trades and volume of any market at any instant: closed forms, vectorised over markets.

Prices are integers in 1/10,000 dollar and counts in 1/100 contract. `rows` are indices of markets
and `at` instants on the 5-second grid, of the same length. A missing bid is 0, a missing ask
10,000, both with size 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from markets.simulator.cadence import STEP
from markets.simulator.hours import Hours
from markets.simulator.noise import Bools, Floats, Ints, Keys, brownian, mix, phi, uniform
from markets.simulator.series import GRIDS
from markets.simulator.universe import Event

UNIT = 10_000
# How much the crowd overpays longshots, and underpays favourites.
BIAS = 0.06
# Steps that the sizes at an unchanged price stay the same in the calm stretch.
SIZE_CLOCK = 24

# Open interest as a share of volume, at most.
HELD = 0.6

# Every stream of draws has a key of its own.
CLOCK, BOUNCE, BID_SIZE, ASK_SIZE, TRADE, LOT, TAKER, MARKET, INTEREST = (
    (i + 1) << 48 for i in range(9)
)


class Quotes(NamedTuple):
    bid: Ints
    ask: Ints
    bid_size: Ints
    ask_size: Ints


@dataclass(frozen=True, slots=True)
class Lives:
    """Columns of events."""

    key: Keys
    created: Ints
    opened: Ints
    hush: Ints
    knee: Ints
    ended: Ints
    # The end as it was listed at first, and when the listing was put right, or NEVER.
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
    def of(cls, events: Sequence[Event]) -> Lives:
        def ints(name: str) -> Ints:
            return np.array([getattr(event, name) for event in events], dtype=np.int64)

        def traits(name: str) -> list[float]:
            return [getattr(event.series, name) for event in events]

        paces = np.array([event.series.pace for event in events], dtype=np.int64).reshape(-1, 2)
        return cls(
            key=np.array([event.key for event in events], dtype=np.uint64),
            created=ints("created"),
            opened=ints("opened"),
            hush=ints("hush"),
            knee=ints("knee"),
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
    """Columns of markets. `event` is the row of the market's event."""

    event: Ints
    key: Keys
    low: Floats
    high: Floats
    edge: Ints
    edge_step: Ints
    center_step: Ints
    width: Floats
    # 0 both sides are quoted, 1 no bids, 2 no offers, 3 neither.
    offered: Ints
    calm_trades: Floats
    late_trades: Floats
    lot: Ints
    whole: Bools

    @classmethod
    def of(cls, events: Sequence[Event], lives: Lives) -> Traits:
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
    """Where in each window of `pace` steps the quotes are set anew."""
    return np.asarray(window * pace + (mix(key, window) % pace.astype(np.uint64)).astype(np.int64))


class Spans(NamedTuple):
    """The events' lives in trading time."""

    opened: Ints
    hush: Ints
    knee: Ints
    ended: Ints


def undisturbed(traits: Traits, lives: Lives, spans: Spans) -> Traits:
    """Pauses cost the trades that would have happened in them."""
    calm = (spans.hush - spans.opened) / np.maximum(lives.hush - lives.opened, 1)
    late = (spans.ended - spans.knee) / np.maximum(lives.ended - lives.knee, 1)
    return replace(
        traits,
        calm_trades=traits.calm_trades * calm[traits.event],
        late_trades=traits.late_trades * late[traits.event],
    )


@dataclass(frozen=True, slots=True)
class Prices:
    """The latent process of a set of events, and all that follows from it.

    Instants that come in or go out are the wall's; the process itself knows trading time only.
    """

    lives: Lives
    traits: Traits
    bias: bool
    hours: Hours
    spans: Spans

    @classmethod
    def of(cls, events: Sequence[Event], *, bias: bool, hours: Hours) -> Prices:
        lives = Lives.of(events)
        bounds = (lives.opened, lives.hush, lives.knee, lives.ended)
        spans = Spans(*(hours.elapsed(each) for each in bounds))
        traits = undisturbed(Traits.of(events, lives), lives, spans)
        return cls(lives, traits, bias, hours, spans)

    def _instants(self, events: Ints, elapsed: Ints) -> Ints:
        # What opens as a pause ends has the trading time at which the pause began.
        return np.maximum(self.hours.instant(elapsed), self.lives.opened[events])

    def last_change(self, events: Ints, at: Ints) -> Ints:
        """The newest instant at which the events' quotes were set anew: one in each window."""
        lives, spans, now = self.lives, self.spans, self.hours.elapsed(at)
        late = now >= spans.knee[events]
        start = np.where(late, spans.knee[events], spans.opened[events])
        pace = np.where(late, lives.late_pace[events], lives.calm_pace[events])
        last = np.where(late, spans.ended[events] - STEP, spans.hush[events])
        step = (np.minimum(now, last) - start) // STEP
        window = step // pace
        key = mix(lives.key[events], CLOCK + late)
        here, before = window_steps(key, window, pace), window_steps(key, window - 1, pace)
        changed = np.where(here <= step, here, before)
        return self._instants(events, start + np.maximum(changed, 0) * STEP)

    def changes(self, event: int, start: int, end: int) -> Ints:
        """The instants in (start, end] at which one event's quotes were set anew."""
        opened, hush, knee, ended = (column[event] for column in self.spans)
        calm = self._stretch(event, opened, hush, late=False)
        late = self._stretch(event, knee, ended - STEP, late=True)
        moves = np.concatenate([calm[calm < knee], late])
        found = np.unique(self._instants(np.full(len(moves), event), moves))
        return np.asarray(found[(found > start) & (found <= end)])

    def _stretch(self, event: int, start: np.int64, last: np.int64, *, late: bool) -> Ints:
        paces = self.lives.late_pace if late else self.lives.calm_pace
        pace = paces[event : event + 1]
        windows = np.arange((last - start) // STEP // pace[0] + 1, dtype=np.int64)
        key = mix(self.lives.key[event : event + 1], CLOCK + late)
        steps = np.append(window_steps(key, windows, pace), 0)
        return np.asarray(start + steps[steps * STEP <= last - start] * STEP)

    def learned(self, events: Ints, at: Ints) -> Floats:
        """The share of the final draw's variance known at an instant, in [0, 1)."""
        known, reveal = self.lives.known[events], self.lives.reveal[events]
        calm, late = self._progress(events, at)
        begun = self.hours.elapsed(at) >= self.spans.knee[events]
        share = np.where(begun, known + (reveal - known) * late, known * calm)
        return np.asarray(np.minimum(share, 1.0 - 1e-7))

    def _progress(self, events: Ints, at: Ints) -> tuple[Floats, Floats]:
        """How much of the calm and of the last stretch is over."""
        now = self.hours.elapsed(at)
        opened, hush, knee, ended = (column[events] for column in self.spans)
        calm = np.clip((now - opened) / np.maximum(hush - opened, 1), 0.0, 1.0)
        late = np.clip((now - knee) / np.maximum(ended - knee, 1), 0.0, 1.0)
        return calm, late

    def chances(self, rows: Ints, at: Ints) -> Floats:
        """The true probability of YES given what is known: a martingale that ends in the result."""
        traits = self.traits
        known = self.learned(traits.event[rows], at)
        # Markets of an event share a path: walk it once for each event and instant.
        pairs, place = np.unique(traits.event[rows] * (1 << 36) + at, return_inverse=True)
        share = self.learned(pairs >> 36, pairs & ((1 << 36) - 1))
        path = brownian(self.lives.key[pairs >> 36], share)[place.reshape(-1)]
        rest = np.sqrt(1.0 - known)
        above, below = (traits.high[rows] - path) / rest, (traits.low[rows] - path) / rest
        return np.asarray(phi(above) - phi(below))

    def beliefs(self, rows: Ints, at: Ints) -> Floats:
        """What the crowd thinks of the chances: longshots cost more than they are worth."""
        chance = np.clip(self.chances(rows, at), 0.0, 1.0)
        if not self.bias:
            return chance
        rare = np.minimum(chance, 1.0 - chance)
        tilt = BIAS * np.sqrt(rare) * (1.0 - 2.0 * rare)
        return np.asarray(chance + np.where(chance < 0.5, tilt, -tilt))

    def quotes(self, rows: Ints, at: Ints) -> Quotes:
        """The top of the books; empty outside trading hours."""
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
        return Quotes(
            bid,
            ask,
            np.where(bid > 0, self.sizes(rows, bid, clock, stream=BID_SIZE), 0),
            np.where(ask < UNIT, self.sizes(rows, ask, clock, stream=ASK_SIZE), 0),
        )

    def size_clock(self, rows: Ints, at: Ints) -> Ints:
        """Sizes at a price are the same as long as this is."""
        events = self.traits.event[rows]
        return self._clock(events, self.last_change(events, at))

    def _clock(self, events: Ints, changed: Ints) -> Ints:
        busy = (changed >= self.lives.knee[events]) & (self.lives.late_pace[events] < 6)
        return np.where(busy, changed // STEP, changed // (STEP * SIZE_CLOCK))

    def on_grid(self, rows: Ints, price: Floats, *, up: bool) -> Ints:
        """Prices in dollars, rounded outwards to the market's grid."""
        traits = self.traits
        exact = np.clip(price, 0.0, 1.0) * UNIT
        edge = traits.edge[rows]
        outer = (exact < edge) | (exact > UNIT - edge)
        step = np.where(outer, traits.edge_step[rows], traits.center_step[rows])
        # A hair's tolerance, lest a price on the grid be rounded to its neighbour.
        count = np.ceil(exact / step - 1e-9) if up else np.floor(exact / step + 1e-9)
        return np.asarray((count * step).astype(np.int64))

    def sizes(self, rows: Ints, price: Ints, clock: Ints, *, stream: int) -> Ints:
        """Contracts at a price level, in hundredths."""
        draw = uniform(mix(mix(self.traits.key[rows], stream), clock), price)
        size = (self.traits.lot[rows] * (0.5 + 9.0 * draw**3)).astype(np.int64)
        return np.where(self.traits.whole[rows], size // 100 * 100, size)

    def trade_clock(self, rows: Ints, at: Ints) -> Floats:
        """How many trades are due: grows evenly in the calm and in the last stretch."""
        traits = self.traits
        calm, late = self._progress(traits.event[rows], at)
        return np.asarray(traits.calm_trades[rows] * calm + traits.late_trades[rows] * late)

    def trade_count(self, rows: Ints, at: Ints) -> Ints:
        """Trades until an instant, inclusive. Trade i happens when the clock shows i + a draw."""
        clock = self.trade_clock(rows, at)
        whole = np.floor(clock)
        happened = uniform(mix(self.traits.key[rows], TRADE), whole.astype(np.int64))
        return np.asarray(whole.astype(np.int64) + (happened <= clock - whole))

    def trade_times(self, rows: Ints, number: Ints) -> Ints:
        """When trades happened, in microseconds: the clock read backwards."""
        traits = self.traits
        clock = number + uniform(mix(traits.key[rows], TRADE), number)
        calm, late = traits.calm_trades[rows], traits.late_trades[rows]
        opened, hush, knee, ended = (column[traits.event[rows]] for column in self.spans)
        # A stretch that lies within a pause has no trades.
        early = opened + clock / np.maximum(calm, 1e-9) * (hush - opened)
        later = knee + (clock - calm) / np.maximum(late, 1e-9) * (ended - knee)
        elapsed = np.minimum(np.where(clock < calm, early, later), ended - 1e-3)
        seconds = self.hours.instant(elapsed)
        return np.asarray((seconds * 1e6).astype(np.int64))

    def volume(self, rows: Ints, count: Ints) -> Ints:
        """Contracts traded in the first `count` trades, in hundredths, without adding them up."""
        traits = self.traits
        key = mix(traits.key[rows], LOT)
        lot = traits.lot[rows]
        # Small trades of about a lot, and every ninth a large one.
        wiggle = lot * 0.6 * (uniform(key, count) - uniform(key, np.zeros_like(count)))
        phase = (key % np.uint64(9)).astype(np.int64)
        exact = (
            lot * count + wiggle.astype(np.int64) + lot * 5 * ((count + phase) // 9 - phase // 9)
        )
        return np.where(traits.whole[rows], exact // 100 * 100, exact)

    def interest(self, rows: Ints, volume: Ints) -> Ints:
        """Contracts still held of those that were traded: a share that is a trait of the market."""
        share = HELD * uniform(mix(self.traits.key[rows], INTEREST), 0)
        return np.asarray((volume * share).astype(np.int64))

    def trades(self, rows: Ints, number: Ints) -> tuple[Ints, Bools]:
        """Price of the given trades, and whether the taker bought YES."""
        second = self.trade_times(rows, number) // 1_000_000
        quotes = self.quotes(rows, second // STEP * STEP)
        buys = uniform(mix(self.traits.key[rows], TAKER), number) < 0.5
        bids, asks = quotes.bid > 0, quotes.ask < UNIT
        buys = np.where(bids == asks, buys, asks)
        prices = np.where(buys, quotes.ask, quotes.bid)
        # Nothing is quoted and yet somebody traded: about where the crowd sees it.
        bare = np.flatnonzero(~(bids | asks))
        if len(bare):
            prices[bare] = self._fair(rows[bare], second[bare] // STEP * STEP)
        return prices, buys

    def _fair(self, rows: Ints, at: Ints) -> Ints:
        # The coarsest step of any grid, so that the price is on every grid.
        price = np.rint(self.beliefs(rows, at) * 100).astype(np.int64) * 100
        return np.clip(price, 100, UNIT - 100)

    def last_prices(self, rows: Ints, count: Ints) -> Ints:
        """Price of the newest of `count` trades, 0 where there was none."""
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
            # Rounded up: a trade is seen at the first grid instant after it.
            seen = -(-micros // (STEP * 1_000_000)) * STEP
            moved[traded] = np.maximum(moved[traded], np.minimum(seen, at[traded]))
        return moved
