"""Hundreds of thousands of combinations at the front of /markets, which never change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from markets.simulator.board import CURSOR_SEPARATOR
from markets.simulator.cadence import DAY, WEEK, iso
from markets.simulator.catalogue import COMBO
from markets.simulator.query import Query
from markets.simulator.render import PRICES, Json, price_ranges
from markets.simulator.universe import SimulatedEvent

COLLECTION = "KXMVECROSSCATEGORY"
TICKER = re.compile(rf"{COLLECTION}-S[0-9A-F]{{4}}([0-9A-F]{{7}})-C1")
# There are this many pairs of legs; rows with the same pair differ in their tickers only.
PAIRS = 64
OPEN_FOR = 2 * WEEK


class Front(NamedTuple):
    """The combinations at the front of a page, where they end, and whether more follow."""

    rows: list[bytes]
    end: str
    more: bool


NOTHING = Front([], "", more=False)


class Flood:
    """`count` open combinations that nobody trades; each day has its own."""

    def __init__(self, count: int, at: int, events: Iterable[SimulatedEvent]) -> None:
        self.count = count
        self.day = at // DAY
        start = self.day * DAY
        # The legs depend on the start of the day, so that they stay the same all day.
        legs = [
            (event.ticker, event.tickers()[0])
            for event in events
            if event.opened <= start < event.ended and not event.legs
        ]
        pairs = [(legs[i % len(legs)], legs[(7 * i + 1) % len(legs)]) for i in range(PAIRS)]
        self._rests = [rest_of(start, pair) for pair in pairs]

    def event_ticker(self, number: int) -> str:
        return f"{COLLECTION}-S{self.day % 0x10000:04X}{number:07X}"

    def row(self, number: int) -> bytes:
        event = self.event_ticker(number)
        head = f'{{"ticker":"{event}-C1","event_ticker":"{event}",'
        return head.encode() + self._rests[number % PAIRS]

    def number_of(self, ticker: str) -> int | None:
        found = TICKER.fullmatch(ticker)
        if found is None or not 0 <= int(found[1], 16) < self.count:
            return None
        number = int(found[1], 16)
        return number if ticker == f"{self.event_ticker(number)}-C1" else None

    def front(self, query: Query, limit: int) -> Front:
        numbers = self.matching_numbers(query)
        shown = numbers[:limit]
        end = f"{CURSOR_SEPARATOR}{shown[-1]}" if shown else ""
        return Front([self.row(n) for n in shown], end, more=len(numbers) > limit)

    def matching_numbers(self, query: Query) -> Sequence[int]:
        """Select the numbers of the combinations that match a query of /markets."""
        start = first_after(query.cursor())
        if start is None or not self._matches(query):
            return []
        named = query.words("tickers")
        if named:
            found = map(self.number_of, set(named))
            return sorted(n for n in found if n is not None and n >= start)
        return range(start, self.count)

    def _matches(self, query: Query) -> bool:
        """True if the filters match; all combinations are alike in what filters compare."""
        created = self.day * DAY
        times = {"created": created, "updated": created, "close": created + OPEN_FOR}
        return (
            query.text("mve_filter") != "exclude"
            and query.text("status") in {"", "open"}
            and query.text("series_ticker") in {"", COLLECTION}
            and not any(map(query.text, ("event_ticker", "min_settled_ts", "max_settled_ts")))
            and all(at >= (query.integer(f"min_{name}_ts") or 0) for name, at in times.items())
            and all(at <= (query.integer(f"max_{name}_ts") or at) for name, at in times.items())
        )


def first_after(cursor: str) -> int | None:
    """The first combination after a cursor; None where the cursor is past them all.

    Their cursors begin with the separator, which the board sorts before its first event.
    """
    if not cursor:
        return 0
    number = cursor.removeprefix(CURSOR_SEPARATOR)
    return int(number) + 1 if number != cursor and number.isdecimal() else None


def rest_of(start: int, pair: Sequence[tuple[str, str]]) -> bytes:
    """A combination's JSON without its tickers."""
    empty = dict.fromkeys(("yes_bid_dollars", "no_bid_dollars", "last_price_dollars"), PRICES[0])
    empty |= dict.fromkeys(("yes_ask_dollars", "no_ask_dollars"), PRICES[-1])
    empty |= dict.fromkeys(("previous_yes_bid_dollars", "previous_price_dollars"), PRICES[0])
    counts = ("yes_bid_size_fp", "yes_ask_size_fp", "volume_fp", "volume_24h_fp")
    label = ",".join(f"yes {ticker}" for _, ticker in pair)
    fields: Json = {
        "market_type": "binary",
        "title": "Combination",
        "yes_sub_title": label,
        "no_sub_title": label,
        "created_time": iso(start),
        "updated_time": iso(start),
        "open_time": iso(start),
        "close_time": iso(start + OPEN_FOR),
        "latest_expiration_time": iso(start + OPEN_FOR + WEEK),
        "settlement_timer_seconds": COMBO.timer,
        "status": "active",
        "notional_value_dollars": "1.0000",
        **empty,
        "previous_yes_ask_dollars": PRICES[-1],
        **dict.fromkeys((*counts, "open_interest_fp"), "0.00"),
        "result": "",
        "can_close_early": True,
        "expiration_value": "",
        "rules_primary": f"Resolves to Yes if every leg does: {label}.",
        "rules_secondary": "Simulated: no money is at stake.",
        "price_level_structure": COMBO.structure,
        "price_ranges": price_ranges(COMBO.structure),
        "settlement_bounds_type": "default",
        "is_provisional": True,
        "exchange_index": COMBO.exchange_index,
        "strike_type": "custom",
        "mve_collection_ticker": COLLECTION,
        "mve_selected_legs": [
            {"event_ticker": event, "market_ticker": ticker, "side": "yes"}
            for event, ticker in pair
        ],
    }
    return msgspec.json.encode(fields)[1:]
