"""Orders and cancellations, and the queue of those that are on their way."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple

from backtests.data.gaps import MarketGaps, gap_on_the_way
from backtests.engine.event_driven.book_top import BookTop
from backtests.engine.event_driven.queue_place import QueuePlace
from backtests.rules import execution as rules
from backtests.rules.execution import ExecutionModel, Reason, SelfTradePrevention
from markets.fees import MOST_COUNT
from markets.observed import AFTER_ALL, ObservedInstants, first_observation


class KeptPlace(NamedTuple):
    """The place of a replaced order of the same price, for its successor if that is not larger.

    `number` is its number among the orders that rest in its market, `left` what was left of it.
    """

    place: QueuePlace
    number: int
    left: int


@dataclass(slots=True, eq=False)
class Ticket:
    """An order in integers.

    Until it meets its observation, `earlier` is the book in which it arrived, once a newer one was
    seen, `traded_then` tells whether its market was trading then, and `stopped` whether trading
    ended since.
    """

    number: int
    side: int
    left: int
    limit: int
    rests: bool
    post_only: bool
    replaces: Ticket | None
    arrives: int
    traded_then: bool
    prevention: SelfTradePrevention = SelfTradePrevention.TAKER_AT_CROSS
    expires: int = AFTER_ALL
    reduce_only: bool = False
    most: int = MOST_COUNT  # to be filled at once; what is held, where it may only reduce that
    met_own: bool = False  # it met another order of the run, where the rest of it ends
    price_is_exact: bool = True  # whether 1/10,000 dollar could express its price
    earlier: BookTop | None = None
    stopped: bool = False
    # What the order that it replaces filled while this one was in flight.
    filled_meanwhile: int = 0
    place: QueuePlace | None = None  # once it rests
    kept: KeptPlace | None = None
    filled: int = 0  # in all, with what the order had filled that it amends, as known when sent
    accumulated: int = 0
    reserved: int = 0
    reason: Reason = Reason.NONE  # why it ended, where it was not wholly filled
    refused: bool = False
    order: Any = None  # backtrader's order, where the strategy sent one

    @property
    def wanted(self) -> int:
        return min(self.left, self.most)

    @property
    def queue_place(self) -> QueuePlace:
        """The place of an order that rests."""
        if self.place is None:
            raise ValueError("the order does not rest")
        return self.place


@dataclass(slots=True, eq=False)
class CancelRequest:
    """A cancellation that a strategy has sent."""

    ticket: Ticket
    arrives: int


@dataclass(slots=True, eq=False)
class Expiration:
    """The instant at which the exchange cancels an order by itself."""

    ticket: Ticket


@dataclass(slots=True, eq=False)
class AmendRequest:
    """An amendment that a strategy has sent: an order in place of the one that it replaces.

    `size` counts what that one and those before it have filled by then; None leaves it as it is.
    """

    ticket: Ticket
    size: int | None
    arrives: int


@dataclass(slots=True, eq=False)
class SecondLook:
    """The observation after the one at which an order came to rest, for fewest fills.

    It fills with what its own book was short of the other one, as far as that is still offered.
    """

    ticket: Ticket
    contracts: int


SentOut = Ticket | CancelRequest | AmendRequest | SecondLook
# Refused for these as it arrives, whatever the market shows then.
REFUSED_AT_ONCE = frozenset((Reason.NO_OFFER, Reason.NOT_BEGUN, Reason.NOT_FUTURE))


@dataclass(slots=True)
class Arrival:
    """The end of the way of what was sent to a market; `reason` where no observation ends it."""

    at: int
    market: int
    sent: SentOut | Expiration
    reason: Reason


class Arrivals:
    """All that is on its way, by the instant at which that ends, then by market and order.

    A cancellation or expiration comes before the observation that its own order meets; an
    amendment has the number of its new order, so it comes after it.
    """

    def __init__(
        self,
        execution: ExecutionModel,
        observed: ObservedInstants,
        gaps: MarketGaps,
        *,
        last: int,
    ) -> None:
        self._execution = execution
        self._last = last
        self._observed = observed
        self._gaps = gaps
        self._waiting: list[tuple[int, int, int, bool, int, Arrival]] = []
        self._sent = 0

    @property
    def next_at(self) -> int:
        return self._waiting[0][0] if self._waiting else AFTER_ALL

    def add_order(self, ticket: Ticket, market: int, *, sent_at: int) -> None:
        """Send an order to its observation, which the record knows already."""
        arrives, execution = ticket.arrives, self._execution
        meeting = int(first_observation(self._observed, market, arrives))
        gap = AFTER_ALL
        if execution.expires_at_gaps:
            gap = int(gap_on_the_way(self._gaps, market, sent_at, arrives))
        at, reason = rules.end_of_way(arrives, meeting, execution.patience, gap, self._last)
        self._add(Arrival(at, market, ticket, Reason(reason)))

    def add_refusal(self, ticket: Ticket, market: int, reason: Reason) -> None:
        """Send an order that is refused as it arrives, or unfinished after the run's end."""
        if ticket.arrives > self._last:
            self._add(Arrival(self._last + 1, market, ticket, Reason.RUN_ENDED))
        else:
            self._add(Arrival(ticket.arrives, market, ticket, reason))

    def add_expiration(self, ticket: Ticket, market: int) -> None:
        """Let an order expire, unless the run ends first."""
        if ticket.expires <= self._last:
            self._add(Arrival(ticket.expires, market, Expiration(ticket), Reason.NONE))

    def add_cancel(self, request: CancelRequest, market: int) -> None:
        """Send a cancellation, which takes effect as it arrives."""
        self._add(Arrival(request.arrives, market, request, Reason.NONE))

    def add_amend(self, request: AmendRequest, market: int) -> None:
        """Send an amendment, whose order is unfinished where it arrives after the run's end."""
        if request.arrives > self._last:
            self._add(Arrival(self._last + 1, market, request.ticket, Reason.RUN_ENDED))
        else:
            self._add(Arrival(request.arrives, market, request, Reason.NONE))

    def add_look(self, look: SecondLook, market: int, *, after: int) -> bool:
        """Wait for the next observation; return whether there is one."""
        at = int(first_observation(self._observed, market, after + 1))
        if at == AFTER_ALL:
            return False
        self._add(Arrival(at, market, look, Reason.NONE))
        return True

    def pop(self) -> Arrival:
        return heappop(self._waiting)[-1]

    def _add(self, arrival: Arrival) -> None:
        sent = arrival.sent
        is_order = isinstance(sent, Ticket)
        number = sent.number if isinstance(sent, Ticket) else sent.ticket.number
        key = (arrival.at, arrival.market, number, is_order, self._sent)
        heappush(self._waiting, (*key, arrival))
        self._sent += 1
