"""Quotes and trades: prices of either side become those of YES."""

from collections.abc import Mapping

from kalshi_insights.arrays import Ints, np
from markets.importing.parsed_rows import MISSING
from markets.importing.reading.batch_columns import DOLLAR, BatchColumns

TAKERS = {"yes": 1, "no": 2, "bid": 1, "ask": 2}
TAKERS_OF_NO = {"yes": 1, "no": 2, "bid": 2, "ask": 1}
TRUTH = {"false": 0, "true": 1, "f": 0, "t": 1, "0": 0, "1": 1}


def read_quotes(columns: BatchColumns) -> Mapping[str, Ints]:
    """Read quotes. Nobody quotes a side at 0 or 1 dollar, nor one whose size is known to be 0."""
    bid = _side(columns, "bid", "no_ask")
    ask = _side(columns, "ask", "no_bid")
    last = _inside(columns.prices("last_price"))
    if columns.shape.scale == "no":
        bid, ask = (_complement(ask[0]), ask[1]), (_complement(bid[0]), bid[1])
        last = _complement(last)
    return {
        "yes_bid": bid[0],
        "yes_ask": ask[0],
        "yes_bid_size": bid[1],
        "yes_ask_size": ask[1],
        "last_price": last,
        "volume": columns.counts("volume"),
        "open_interest": columns.counts("open_interest"),
    }


def read_trades(columns: BatchColumns) -> Mapping[str, Ints]:
    field = "price" if columns.has("price") else "no_price"
    price, of_no = columns.prices("price"), columns.prices("no_price")
    _refuse_contradictions(columns, ("price", price), ("no_price", of_no))
    price = np.where(price == MISSING, _complement(of_no), price)
    columns.refuse_missing(price, field)
    outside = (price == 0) | (price == DOLLAR)
    columns.refuse(outside, columns.column(field), "is no price between 0 and 1 dollar")
    count = columns.counts("count")
    columns.refuse(count <= 0, columns.column("count"), "is no count above 0")
    is_no = columns.shape.scale == "no"
    return {
        "yes_price": _complement(price) if is_no else price,
        "count": count,
        "taker_side": columns.codes("taker_side", TAKERS_OF_NO if is_no else TAKERS),
        "is_block_trade": np.maximum(columns.codes("is_block_trade", TRUTH), 0),
    }


def _side(columns: BatchColumns, own: str, other: str) -> tuple[Ints, Ints]:
    """Return price and size of a side, taken from the opposite offer where it has none itself."""
    price, size = _offer(columns, own)
    opposite, opposite_size = _offer(columns, other)
    _refuse_contradictions(columns, (own, price), (other, opposite))
    is_unknown = price == MISSING
    return (
        np.where(is_unknown, _complement(opposite), price),
        np.where(is_unknown, opposite_size, size),
    )


def _refuse_contradictions(
    columns: BatchColumns, one: tuple[str, Ints], other: tuple[str, Ints]
) -> None:
    """Refuse rows whose prices of both sides of one trade or offer do not make a dollar."""
    (field, price), (opposite, of_opposite) = one, other
    known = (price != MISSING) & (of_opposite != MISSING)
    contradict = known & (price + of_opposite != DOLLAR)
    if contradict.any():
        name = columns.column(opposite).name
        columns.refuse(contradict, columns.column(field), f"and {name} do not make a dollar")


def _offer(columns: BatchColumns, field: str) -> tuple[Ints, Ints]:
    price = _inside(columns.prices(field))
    size = columns.counts(f"{field}_size")
    price = np.where(size == 0, MISSING, price)
    return price, np.where(price == MISSING, MISSING, size)


def _inside(prices: Ints) -> Ints:
    return np.where((prices <= 0) | (prices >= DOLLAR), MISSING, prices)


def _complement(prices: Ints) -> Ints:
    return np.where(prices == MISSING, MISSING, DOLLAR - prices)
