"""Evidence for resting orders where no tape is whole: volume, last price and books.

Between two looks the volume tells how much traded, and the last price where the last of it did.
The evidence is two numbers: the contracts that count at an order's price or beyond it, and those
beyond it alone. As in `queue`, these functions take plain integers and call nothing.
"""

from backtests.rules.queue import ENDLESS


def volume_evidence(
    fills: int, side: int, limit: int, volume: int, last: int, low: int, high: int
) -> tuple[int, int]:
    """The part of the volume between two looks that counts, at an order's price and beyond it.

    `low` and `high` are the range of its prices, as a candlestick has it; below zero, unknown.
    At each known price one unit is sure to have traded, and nothing outside of the range. For
    fewest fills counts what is sure to have traded beyond the price; for most, what may have
    reached it; for expected ones, all that may have if the last of it did.
    """
    if volume <= 0:
        return 0, 0
    deepest, shallowest = (low, high) if side > 0 else (high, low)
    reached = last >= 0 and (limit - last) * side >= 0
    passed = reached and last != limit
    sure = 1 if passed or (deepest >= 0 and (limit - deepest) * side > 0) else 0
    if shallowest >= 0 and (limit - shallowest) * side > 0:
        sure = volume
    possible = volume
    if deepest >= 0 and (limit - deepest) * side < 0:
        possible = 0
    elif (last >= 0 and not reached) or (shallowest >= 0 and (limit - shallowest) * side < 0):
        possible = volume - 1
    possible = max(sure, possible)
    if fills == 2:
        return possible, possible
    if fills == 0 or not reached:
        return sure, sure
    return possible, possible if passed else sure


def split_overlap(
    is_beyond: bool, count: int, counted_at: int, counted_beyond: int
) -> tuple[int, int, int]:
    """The part of a trade on the tape that the volume before it has not counted, and what may
    still be counted twice, at an order's price and beyond it.

    The clocks differ, so a trade just after a row may be in the volume that the row told.
    """
    twice = min(count, counted_beyond if is_beyond else counted_at)
    counted_at -= twice
    counted_beyond -= twice if is_beyond else 0
    return count - twice, counted_at, min(counted_beyond, counted_at)


def offer_evidence(fills: int, side: int, limit: int, best: int, fresh: int) -> tuple[int, int]:
    """The part of the other side's new offers that counts, at an order's price and beyond it.

    `best` is the other side's best price, with `fresh` contracts that the book before did not
    show. An offer stands only where everybody at its price is gone, so it would have met the
    order; for fewest fills it has to be beyond the order's price.
    """
    if best < 0 or (limit - best) * side < 0 or (fills == 0 and limit == best):
        return 0, 0
    return fresh, fresh


def fresh_offers(price_before: int, size_before: int, price: int, size: int) -> int:
    """The contracts at a side's best price that the book before did not show.

    Nobody knows of any where a size is unknown: what takers assume does not count here.
    """
    if price < 0 or size < 0:
        return 0
    if price != price_before:
        return size
    return max(0, size - size_before) if size_before >= 0 else 0


def meet_evidence(left: int, ahead: int, at: int, beyond: int) -> tuple[int, int]:
    """The part of an order that fills, and the queue after it.

    What counts beyond its price fills it; what counts at its price eats the queue first.
    """
    filled = min(left, max(beyond, at - ahead))
    if beyond > 0:
        return filled, 0
    return filled, ahead if ahead == ENDLESS else max(0, ahead - at)


def least_or_most_offered(fills: int) -> int:
    """The size of an offer that nobody knows: one unit is sure, and for most fills any number."""
    return ENDLESS if fills == 2 else 1
