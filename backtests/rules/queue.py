"""The queue before a resting order: trades eat it, and each book bounds it.

Prices are those of YES; a side is +1 for buying YES and -1 for selling it. `ahead` are the
contracts of others that come before an order at its price, `level` all contracts of others there,
as far as the record tells. Both engines call these functions, and numba compiles them: they take
plain integers and call nothing.
"""

# A queue of unknown length: no trade comes to its end. What is longer than `LONGEST_QUEUE`, 21
# million contracts, counts as unknown too, so that products of two lengths stay below 2**63.
ENDLESS = 2**62
LONGEST_QUEUE = 2**31


def is_evidence(fills: int, at: int, arrived: int, met: int, tolerance: int) -> bool:
    """Return whether a trade may fill an order that arrived, and then met a book.

    Trades after that book do. Those between the arrival and the book count for most fills only,
    and so does one that is as close to the arrival as the clocks of the exchange and of the record
    may differ.
    """
    if fills == 2:
        return at >= arrived - tolerance
    return at > met and at > arrived + tolerance


def shown_at(side: int, limit: int, best: int, size: int) -> int:
    """The contracts of others that a book shows at an order's price; below zero where it does not.

    `best` is the best price on the order's side, with `size` there. Nobody waits at a price that
    is better than the best. Behind it the top of a book shows nothing.
    """
    if best < 0 or (limit - best) * side > 0:
        return 0
    if limit == best and 0 <= size <= LONGEST_QUEUE:
        return size
    return -1


def queue_when_joining(fills: int, shown: int, assumed: int) -> int:
    """The queue before an order as it joins, given what the book shows at its price.

    An unknown queue is as long as assumed, and endless without an assumption (below zero); for
    most fills there is none.
    """
    if shown >= 0:
        return shown
    if fills == 2:
        return 0
    return assumed if assumed >= 0 else ENDLESS


def meet_trade(
    fills: int, side: int, left: int, limit: int, ahead: int, price: int, count: int, taker: int
) -> tuple[int, int]:
    """The part of an order that a trade of `count` contracts fills, and the queue after it.

    A trade beyond the order's price fills it, whichever side took: what traded there would have
    met everybody at the order's price first. At its price only a taker of the other side comes
    to the queue, and eats it before the order; for most fills an unknown taker does, too.
    """
    if (limit - price) * side > 0:
        return min(left, count), 0
    comes = taker == -side or (fills == 2 and taker == 0)
    if price != limit or not comes or ahead == ENDLESS:
        return 0, ahead
    return min(left, max(0, count - ahead)), max(0, ahead - count)


def level_after_trade(
    fills: int, side: int, limit: int, level: int, price: int, count: int, taker: int
) -> int:
    """The contracts of others that a trade leaves at an order's price."""
    if (limit - price) * side > 0:
        return 0
    comes = taker == -side or (fills == 2 and taker == 0)
    if price != limit or not comes or level == ENDLESS:
        return level
    return max(0, level - count)


def queue_after_book(fills: int, ahead: int, level: int, shown: int) -> int:
    """The queue once a book shows `shown` contracts at the order's price, instead of `level`.

    It is at most what is shown. What is gone beyond the trades was cancelled: none of it before
    the order for fewest fills, all of it for most, and its share for expected ones.
    """
    if shown < 0:
        return ahead
    if shown < level < ENDLESS:
        if fills == 1:
            ahead = -(-ahead * shown // level)
        elif fills == 2:
            ahead = max(0, ahead - (level - shown))
    return min(ahead, shown)
