"""The tape of a universe: the public trades of its markets, and where none is missing."""

from collections.abc import Sequence
from typing import NamedTuple

from kalshi_insights.arrays import Bools, Ints, first_from, np


class TapeTrade(NamedTuple):
    """One trade of a tape."""

    at: int
    market: int
    price: int
    contracts: int
    taker: int
    known_at: int


# The columns of trades.
TRADE_COLUMNS = TapeTrade._fields


class TradeTape(NamedTuple):
    """Public trades in the order of time, those of one instant by market, without block trades.

    `at` is the instant of a trade on the record's clock, `known_at` that from which on the record
    had it; `taker` is 1 where the taker bought YES, -1 where it sold YES, 0 where nobody knows.
    For each `i` from `spans[m]` on and before `spans[m + 1]`, the trades of market `m` from
    `since[i]` to `until[i]`, both included, are all here, and none is here from outside of such a
    stretch. The stretches of a market are sorted and disjoint.
    """

    at: Ints
    market: Ints
    price: Ints
    contracts: Ints
    taker: Ints
    known_at: Ints
    spans: Ints
    since: Ints
    until: Ints

    @property
    def markets(self) -> int:
        return len(self.spans) - 1

    def select(self, markets: Ints) -> "TradeTape":
        """Return the tape of some of the markets, in the given order."""
        new_index = np.full(self.markets, -1)
        new_index[markets] = np.arange(len(markets))
        market = new_index[self.market]
        kept = np.flatnonzero(market >= 0)
        kept = kept[np.lexsort((market[kept], self.at[kept]))]
        stretches = self.spans[markets + 1] - self.spans[markets]
        spans = np.concatenate(([0], np.cumsum(stretches)))
        places = np.arange(spans[-1]) - np.repeat(spans[:-1] - self.spans[markets], stretches)
        return self.trades(kept)._replace(
            market=market[kept], spans=spans, since=self.since[places], until=self.until[places]
        )

    def trades(self, kept: Ints | Bools | slice) -> "TradeTape":
        """Return some of the trades, with all stretches."""
        return self._replace(**{name: getattr(self, name)[kept] for name in TRADE_COLUMNS})

    def as_trades(self, first: int, end: int) -> list[TapeTrade]:
        """Return the trades from one place on and before another."""
        columns = [getattr(self, name)[first:end].tolist() for name in TRADE_COLUMNS]
        return [TapeTrade(*values) for values in zip(*columns, strict=True)]

    def cut(self, at: int) -> "TradeTape":
        """Return the tape up to an instant, that instant included."""
        begun = self.since <= at
        spans = np.concatenate(([0], np.cumsum(begun)))[self.spans]
        return self.trades(slice(0, int(np.searchsorted(self.at, at, side="right"))))._replace(
            spans=spans, since=self.since[begun], until=np.minimum(self.until[begun], at)
        )


class KnownTrades:
    """The trades of a tape, market by market, as the record came to know of them."""

    def __init__(self, tape: TradeTape) -> None:
        self._tape = tape.trades(np.lexsort((tape.known_at, tape.market)))
        self._starts = np.searchsorted(self._tape.market, np.arange(tape.markets + 1))

    def between(self, market: int, since: int, until: int) -> list[TapeTrade]:
        """Return a market's trades that became known after an instant, up to another one."""
        first, end = self._starts[market : market + 2]
        known_at = self._tape.known_at[first:end]
        places = np.searchsorted(known_at, [since, until], side="right") + first
        return self._tape.as_trades(*places.tolist())

    def taken(self, market: int, at: Ints, *, taker: int) -> Ints:
        """Return the contracts that takers of a side traded in a market, by the trades that became
        known since the instant before each; -1 at the first, and where a trade may be missing."""
        own = slice(*self._starts[market : market + 2])
        of_side = np.where(self._tape.taker[own] == taker, self._tape.contracts[own], 0)
        sums = np.concatenate(([0], np.cumsum(of_side)))
        known = sums[np.searchsorted(self._tape.known_at[own], at, side="right")]
        return np.where(self._is_whole_since_the_last(market, at), np.diff(known, prepend=0), -1)

    def _is_whole_since_the_last(self, market: int, at: Ints) -> Bools:
        own = slice(*self._tape.spans[market : market + 2])
        last = np.concatenate((at[:1] - 1, at[:-1]))
        begun = np.searchsorted(self._tape.since[own], last, side="right") - 1
        until = np.append(self._tape.until[own], -1)[begun]
        whole: Bools = (begun >= 0) & (until >= at)
        whole[:1] = False
        return whole


def no_tape(markets: int) -> TradeTape:
    """The tape of markets of which no trade is on record."""
    nothing = np.empty(0, np.int64)
    trades = dict.fromkeys(TRADE_COLUMNS, nothing)
    return TradeTape(**trades, spans=np.zeros(markets + 1, np.int64), since=nothing, until=nothing)


def tape_of(
    trades: Sequence[Sequence[int]], stretches: Sequence[Sequence[tuple[int, int]]]
) -> TradeTape:
    """The tape of trades in the order of `TRADE_COLUMNS`, and of each market's whole stretches."""
    table = np.array(trades, np.int64).reshape(-1, len(TRADE_COLUMNS))
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    whole = np.array([pair for each in stretches for pair in each], np.int64).reshape(-1, 2)
    return TradeTape(
        **{name: table[:, n].copy() for n, name in enumerate(TRADE_COLUMNS)},
        spans=np.cumsum([0, *(len(each) for each in stretches)]),
        since=whole[:, 0].copy(),
        until=whole[:, 1].copy(),
    )


def is_whole(tape: TradeTape, market: int, since: int, until: int) -> bool:
    """Return whether no trade of a market is missing from one instant to another.

    It takes plain arrays: the kernel compiles it.
    """
    first = tape.spans[market]
    begun = first_from(tape.since, first, tape.spans[market + 1], since + 1)
    return bool(begun > first and tape.until[begun - 1] >= until)
