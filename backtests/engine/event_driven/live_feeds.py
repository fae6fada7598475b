"""The feeds whose market is trading and was observed lately, kept up to date event by event."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from heapq import heappop, heappush

from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.order_book import Book
from markets.observed import (
    AFTER_ALL,
    ObservedInstants,
    first_observation,
    last_observation,
)


class LiveFeeds:
    """The live feeds of a run, in the order of their markets.

    A feed enters or leaves where its market opens or closes, and where its newest observation
    becomes too old or another one comes. A step at which nothing of that happens looks at no
    market, so thousands of them cost no more than a few.
    """

    def __init__(self, books: Sequence[Book], observed: ObservedInstants, *, patience: int) -> None:
        self.books = books
        self.observed = observed
        self.patience = patience
        # The markets that have opened or closed since the feeds were last asked for.
        self.changed: set[int] = set()
        self._markets: list[int] = []
        self._feeds: list[Feed] = []
        # Whether a market was observed lately, for those of which that is known, and a heap of the
        # instants from which on it is unknown again.
        self._is_observed: dict[int, bool] = {}
        self._expiries: list[tuple[int, int]] = []

    def at(self, now: int) -> list[Feed]:
        """Return the live feeds at an instant, which never lies before the one asked last."""
        while self._expiries and self._expiries[0][0] <= now:
            market = heappop(self._expiries)[1]
            del self._is_observed[market]
            self.changed.add(market)
        for market in self.changed:
            self._update(market, now)
        self.changed.clear()
        return self._feeds.copy()

    def _update(self, market: int, now: int) -> None:
        is_live = self.books[market].is_open and self._observed_lately(market, now)
        place = bisect_left(self._markets, market)
        was_live = place < len(self._markets) and self._markets[place] == market
        if is_live and not was_live:
            self._markets.insert(place, market)
            self._feeds.insert(place, self.books[market].feed)
        elif was_live and not is_live:
            del self._markets[place], self._feeds[place]

    def _observed_lately(self, market: int, now: int) -> bool:
        if market not in self._is_observed:
            last = last_observation(self.observed, market, now + 1)
            is_observed = last >= now - self.patience
            self._is_observed[market] = is_observed
            expiry = (
                last + self.patience + 1
                if is_observed
                else first_observation(self.observed, market, now + 1)
            )
            if expiry < AFTER_ALL:
                heappush(self._expiries, (int(expiry), market))
        return self._is_observed[market]
