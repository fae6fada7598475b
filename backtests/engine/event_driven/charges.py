"""The fees of a run, by the terms and the rounding in force at an instant."""

from backtests.data.universe import microseconds
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import Ticket
from backtests.rules.execution import TAKER
from backtests.rules.ledger import flow
from markets import fees
from markets.fees import Rounding


class Charges:
    """The most that an order can cost in fees, and the fees of its fills."""

    def __init__(self, *, through_broker: bool) -> None:
        eras = fees.roundings(broker=through_broker)
        self._eras = [(microseconds(era.since), era) for era in eras]

    def most(self, book: Book, count: int, limit: int, *, at: int) -> int:
        """The most that an order can cost in fees."""
        terms, era = book.terms_at(at), self._era(at)
        return fees.bound(count, limit, terms.taker_numerator, terms.taker_denominator, era.grid)

    def of_fill(
        self, book: Book, ticket: Ticket, filled: tuple[int, int, int], *, liquidity: int, at: int
    ) -> int:
        """The fee of a fill, given its count, its price and the cash that it moves."""
        terms, era = book.terms_at(at), self._era(at)
        rate = terms[1:3] if liquidity == TAKER else terms[3:5]
        fee, ticket.accumulated = fees.charge(
            *filled, *rate, era.step, era.grid, era.rebate, ticket.accumulated
        )
        return fee

    def of_order(
        self, book: Book, side: int, count: int, price: int, *, liquidity: int, at: int
    ) -> int:
        """The fee of an order without a position before it that is filled at once."""
        ticket = Ticket(0, side, count, price, rests=False, post_only=False, replaces=None,
                        arrives=at, traded_then=True)  # fmt: skip
        filled = (count, price, flow(0, side, count, price))
        return self.of_fill(book, ticket, filled, liquidity=liquidity, at=at)

    def _era(self, at: int) -> Rounding:
        return next(era for since, era in reversed(self._eras) if since <= at)
