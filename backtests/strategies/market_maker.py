"""A market maker: rest a bid and an ask around the midpoint, and lean against what is held."""

import math
from typing import Any, ClassVar

from backtests.data.universe import SECOND
from backtests.strategies.base import CONTRACTS, Parameter, Schema, Strategy, bt

CENT = 0.01
NEARLY = 1e-6  # cents by which a float may miss a price on the grid
DAY_SECONDS = 86_400
LOOK_SECONDS = 60  # between two looks at all orders
WATCHED_SECONDS = 600


class MarketMaker(Strategy):
    """Earns the spread where as many buy from it as sell to it.

    Each contract that it holds moves both of its prices by `lean`, so that the side which reduces
    the position is the better one. It takes its orders back where nobody observes the market any
    more, and before the close, when those who trade know more than it does. What it then holds it
    keeps to settlement.
    """

    name = "market-maker"
    version = "1"
    summary = "Rests a bid and an ask in wide markets, and leans against what it holds."
    schema: ClassVar[Schema] = {
        "contracts": CONTRACTS,
        "held": Parameter(
            default=50, least=1, most=1_000_000, unit="contracts", label="Maximum position",
            help="Stop buying or selling where more would be held than this.",
        ),
        "margin": Parameter(
            default=0.02, least=0.01, most=0.5, unit="dollars",
            help="Quote at least this far from the fair value; the maker fee comes on top.",
        ),
        "lean": Parameter(
            default=0.001, least=0.0, most=0.1, unit="dollars",
            help="The fair value falls by this for each contract that is held.",
        ),
        "narrowest": Parameter(
            default=0.04, least=0.01, most=1.0, unit="dollars", label="Minimum spread",
            help="Quote only where the spread of others is at least this.",
        ),
        "hours_least": Parameter(
            default=1.0, least=0.0, most=87_600.0, unit="hours", label="Minimum hours to close",
            help="Take the orders back this long before the close.",
        ),
        "observed": Parameter(
            default=0.9, least=0.0, most=1.0, label="Minimum share observed",
            help="Quote only where so much of the last ten minutes was observed.",
        ),
    }  # fmt: skip

    def start(self) -> None:
        # The orders whose cancellation is on its way, and the last look at all of them.
        self.cancelled: set[int] = set()
        self.looked_at = 0

    def next(self) -> None:
        if self.now - self.looked_at >= LOOK_SECONDS * SECOND:
            self.looked_at = self.now
            for order in self.open_orders():
                if not self._is_safe(order.feed):
                    self._take_back(order)
        for feed in self.fresh:
            self._quote(feed)

    def notify_order(self, order: Any) -> None:
        if not order.alive():
            self.cancelled.discard(order.ref)

    def _is_safe(self, feed: Any) -> bool:
        """Return whether a market is watched and far from its close; an unknown close fails."""
        passed = (self.lines.datetime[0] - feed.datetime[0]) * DAY_SECONDS
        return bool(
            feed.time_to_close[0] - passed >= 3_600 * self.p.hours_least
            and self.unobserved_since(feed) is None
            and self.observed_share(feed, WATCHED_SECONDS) >= self.p.observed
        )

    def _is_wide(self, feed: Any) -> bool:
        """Return whether others leave room between them; a missing side fails."""
        return bool(feed.ask[0] - feed.bid[0] >= self.p.narrowest - NEARLY * CENT)

    def _quote(self, feed: Any) -> None:
        """Send, move or take back the orders of a market."""
        mine = {order.book_side: order for order in self.open_orders(feed)}
        is_quoted = self.condition("room between the prices", self._is_wide(feed))
        is_quoted = is_quoted and self.condition(
            "watched and far from the close", self._is_safe(feed)
        )
        held = self.getposition(feed).size
        for side, sign in (("bid", 1), ("ask", -1)):
            has_room = held * sign + self.p.contracts <= self.p.held
            price = self._price(feed, held, sign) if is_quoted and has_room else None
            self._renew(feed, sign, price, mine.get(side))

    def _price(self, feed: Any, held: float, sign: int) -> float | None:
        """The price of a quote, in whole cents away from the fair value; None where none is left.

        It does not meet the others' best price: a quote that would trade at once is no quote.
        """
        fair = feed.close[0] - self.p.lean * held
        if not CENT <= fair <= 1 - CENT:
            return None
        fee = self.maker_fee(feed, sign * self.p.contracts, fair) / self.p.contracts
        if sign > 0:
            cents = min(_down(fair - self.p.margin - fee), _up(feed.ask[0]) - 1)
        else:
            cents = max(_up(fair + self.p.margin + fee), _down(feed.bid[0]) + 1)
        return cents / 100 if 0 < cents < 100 else None

    def _renew(self, feed: Any, sign: int, price: float | None, order: Any) -> None:
        """Send, move or take back the order of one side; one on its way is left alone."""
        if order is None:
            if price is not None:
                send = self.buy if sign > 0 else self.sell
                send(feed, self.p.contracts, price, exectype=bt.Order.Limit, post_only=True)
        elif price is None:
            self._take_back(order)
        elif order.rests and not self._is_going(order) and _differ(order.limit, price):
            self.amend(order.order, price=price)

    def _take_back(self, order: Any) -> None:
        if not self._is_going(order):
            self.cancelled.add(order.order.ref)
            self.cancel(order.order)

    def _is_going(self, order: Any) -> bool:
        return order.order.ref in self.cancelled


def _down(price: float) -> int:
    return math.floor(price / CENT + NEARLY)


def _up(price: float) -> int:
    return math.ceil(price / CENT - NEARLY)


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > NEARLY
