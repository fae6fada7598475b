"""Rows saved by writing on change, over a day of the simulated exchange at five seconds."""

from collections.abc import Iterator

import msgspec
import numpy as np

from benchmarks.measure import report, timed
from markets.kalshi import payloads
from markets.simulator.board import Board, Listings
from markets.simulator.render import ACTIVE
from markets.simulator.universe import SimulatedUniverse

MARKETS = 60
STEP = 5
DAY = 86_400
# The heartbeats of the hot list and of all other markets, in seconds.
HEARTBEATS = (300, 3_600)
START = 1_790_000_000 // DAY * DAY


def main() -> None:
    print(f"  took {timed(report_rows):.0f} s")


def report_rows() -> None:
    naive = changes = 0
    beats = dict.fromkeys(HEARTBEATS, 0)
    marks: dict[str, tuple[int, int]] = {}
    for at, count, raws in simulated_day():
        naive += count
        for raw in raws:
            quote = payloads.quote(raw)
            mark, last = marks.get(quote.ticker, (None, at))
            if mark != quote.quote_mark:
                changes += 1
                for every in beats:
                    beats[every] += (at - last) // every
                marks[quote.ticker] = quote.quote_mark, at
    report(
        f"rows of a day, one per market every {STEP} s",
        f"{naive:,}",
        ratio=f"{naive * STEP / DAY:.0f} markets",
    )
    report("  on change alone", f"{changes:,}", ratio=f"{changes / naive:.1%} of that")
    for every, more in beats.items():
        report(
            f"  on change and after {every:,} s",
            f"{changes + more:,}",
            ratio=f"{(changes + more) / naive:.1%}",
        )


def simulated_day() -> Iterator[tuple[int, int, list[msgspec.Raw]]]:
    """Yield each instant, the number of trading markets, and the payloads that changed."""
    listings = Listings(SimulatedUniverse(seed=1, markets=MARKETS), retention=0)
    stamps: dict[str, int] = {}
    for at in range(START, START + DAY, STEP):
        board = listings.live(at)
        rows = active_rows(board)
        named = zip(rows, board.stamps(np.array(rows, dtype=np.int64)).tolist(), strict=True)
        now = {board.tickers[row]: (row, stamp) for row, stamp in named}
        changed = [row for ticker, (row, stamp) in now.items() if stamps.get(ticker) != stamp]
        stamps |= {ticker: stamp for ticker, (_, stamp) in now.items()}
        yield at, len(now), msgspec.json.decode(board.markets(changed), type=list[msgspec.Raw])


def active_rows(board: Board) -> list[int]:
    active = board.phases[board.prices.traits.event] == ACTIVE
    return [int(row) for row in np.flatnonzero(board.listed & active)]


if __name__ == "__main__":
    main()
