"""Assumptions that hold until a file shows that they cannot: the unit of prices, and their side."""

from kalshi_insights.arrays import Ints, np
from kalshi_insights.bad_input import BadInput
from markets.importing.parsed_rows import MISSING, Levels, ParsedRows
from markets.importing.reading.batch_columns import MILLION, PARTS, PriceStatistics
from markets.importing.reading.file_shape import FileShape
from markets.models.imports import Kind

# A book may be crossed now and then; a side that is taken for the other one is so often.
MOST_CROSSED = 0.01
ENOUGH_ROWS = 10_000
COLUMNS_OF_NO = {
    Kind.QUOTES: "--column no_bid=NAME or --column no_ask=NAME",
    Kind.BOOKS: "--column no_bid_prices=NAME",
}


class CrossedRows:
    """Counts rows whose bid is above their ask, which many are where a side is the other's."""

    def __init__(self, file: str, shape: FileShape) -> None:
        self._file = file
        self._kind = shape.kind
        self._is_said = bool(shape.scale) or shape.kind not in COLUMNS_OF_NO
        self._two_sided = self._crossed = self._line = 0

    def add(self, rows: ParsedRows) -> None:
        if self._is_said:
            return
        bid, ask = _best_prices(rows)
        is_two_sided = (bid != MISSING) & (ask != MISSING)
        is_crossed = is_two_sided & (bid > ask)
        if is_crossed.any() and not self._crossed:
            self._line = int(rows.lines[is_crossed][0])
        self._two_sided += int(is_two_sided.sum())
        self._crossed += int(is_crossed.sum())
        if self._two_sided >= ENOUGH_ROWS:
            self.check()

    def check(self) -> None:
        if self._crossed > MOST_CROSSED * self._two_sided:
            raise BadInput(
                "--scale",
                f"{self._file}: in {self._crossed:,} of {self._two_sided:,} rows the bid is above"
                f" the ask, first in line {self._line}, as if one of them were of the NO side;"
                f" map such a column: {COLUMNS_OF_NO[self._kind]}; if all prices are of NO give"
                " --scale no, and --scale yes if they are all of YES",
            )


def _best_prices(rows: ParsedRows) -> tuple[Ints, Ints]:
    """Return the best bid and ask of each row; MISSING for a side without one."""
    if rows.kind == Kind.QUOTES:
        return rows.numbers["yes_bid"], rows.numbers["yes_ask"]
    bids, asks = (_first_prices(rows.levels[side]) for side in ("bids", "asks"))
    return bids, asks


def _first_prices(levels: Levels) -> Ints:
    best = np.full(len(levels.counts), MISSING)
    has_any = levels.counts > 0
    best[has_any] = levels.prices[(np.cumsum(levels.counts) - levels.counts)[has_any]]
    return best


def check_unit(file: str, shape: FileShape, prices: PriceStatistics) -> None:
    if not shape.unit and prices.largest and not prices.has_fractions:
        raise BadInput(
            "--unit",
            f"{file}: all prices are 0 or 1, which may be cents or dollars; state the unit",
        )
    if shape.unit == "dollars" and _are_cents(prices):
        raise BadInput(
            "--unit",
            f"{file}: {prices.over:,} of {prices.known:,} prices are over a dollar, as those in"
            " cents are; give --unit cents",
        )
    if shape.unit == "cents" and "result" not in shape.columns:
        _check_settlements(file, prices)
    if shape.unit == "cents" and prices.has_fractions and prices.largest <= PARTS["cents"]:
        raise BadInput(
            "--unit", f"{file}: no price is above a cent; if they are dollars, give --unit dollars"
        )


def _are_cents(prices: PriceStatistics) -> bool:
    """Tell prices in cents that were called dollars from a few that are wrong."""
    return prices.over > 0 and (not prices.has_fractions or 2 * prices.over > prices.known)


def _check_settlements(file: str, prices: PriceStatistics) -> None:
    """Raise BadInput where settlement values in cents are those of dollars."""
    if 0 < prices.largest_settlement <= MILLION // 100:
        raise BadInput(
            "--unit",
            f"{file}: no settlement value is above a cent; if they are dollars, give --unit"
            " dollars, and a column of results where they are cents",
        )
