"""Pages of the exchange's trades: parsed, and stored for the markets that are recorded."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import transaction

from markets.kalshi import payloads
from markets.kalshi.client import Page
from markets.kalshi.errors import Unintelligible
from markets.kalshi.honoured import COMBO
from markets.kalshi.payloads import TradePayload
from markets.models import Market, Trade, TradeOrigin, WaitingTrade
from markets.models.recording import CLOCK_TOLERANCE
from markets.models.tape_scope import HOT
from markets.models.trades import public_trade, trade_uuid
from markets.recording.scope import scope
from markets.storage import partitions

# With so many of the newest trades a walk is joined to the one before it: any of them will do.
JOINING_TRADES = 20
# A trade that is dated further ahead of the exchange's clock is refused.
FURTHEST_AHEAD = timedelta(minutes=10)
# An answer tells the exchange's time in whole seconds, of which up to one has passed.
WHOLE_SECOND = timedelta(seconds=1)


class RefusedTrade(NamedTuple):
    """A trade that cannot be read, and its instant if that can be."""

    raw: msgspec.Raw
    reason: msgspec.MsgspecError
    at: datetime | None


class TapePage(NamedTuple):
    """A page of trades, newest first; the cursor of the last one leads nowhere.

    Of a trade that is dated after the `present`, by the exchange's clock, nothing follows for the
    tape: it is kept, and others will still come before it.
    """

    trades: Sequence[TradePayload]
    refused: Sequence[RefusedTrade]
    received_at: datetime
    present: datetime
    cursor: str

    @property
    def is_last(self) -> bool:
        return not self.cursor

    @property
    def past(self) -> list[TradePayload]:
        return [trade for trade in self.trades if trade.created_time <= self.present]

    @property
    def newest(self) -> datetime | None:
        return max((trade.created_time for trade in self.past), default=None)

    @property
    def oldest(self) -> datetime | None:
        return min((trade.created_time for trade in self.past), default=None)

    @property
    def newest_ids(self) -> list[UUID]:
        newest = sorted(self.past, key=attrgetter("created_time"), reverse=True)
        return [trade_uuid(trade.trade_id) for trade in newest[:JOINING_TRADES]]

    def has_any(self, ids: Iterable[UUID]) -> bool:
        named = set(ids)
        return any(trade_uuid(trade.trade_id) in named for trade in self.trades)


def parse_page(page: Page, *, skew: timedelta | None) -> TapePage:
    """Parse a page; raises `Unintelligible` where it does not tell what time it covers.

    `skew` is by how much our clock is ahead of the exchange's. Where nobody knows, trades of the
    next minutes may be of the present.
    """
    trades: list[TradePayload] = []
    refused = []
    ahead = FURTHEST_AHEAD if skew is None else WHOLE_SECOND + CLOCK_TOLERANCE - skew
    present = page.received_at + ahead
    latest = present if skew is None else present + FURTHEST_AHEAD
    for raw in page.items:
        try:
            trades.append(read_trade(raw, latest=latest))
        except msgspec.MsgspecError as reason:
            refused.append(RefusedTrade(raw, reason, payloads.created_time_of(raw)))
    if refused and not trades:
        raise Unintelligible(f"no trade of a page can be read: {refused[0].reason}")
    if trades and trades[0].created_time < trades[-1].created_time:
        raise Unintelligible("the trades are not listed newest first")
    return TapePage(trades, refused, page.received_at, present, page.cursor)


def read_trade(raw: msgspec.Raw, *, latest: datetime) -> TradePayload:
    trade = payloads.trade(raw)
    if trade.created_time > latest:
        raise msgspec.ValidationError("The time lies in the future - at `$.created_time`")
    return trade


class StoredPage(NamedTuple):
    """The number of new trades of a page, and the ids of those that are on record by now."""

    new: int
    ids: frozenset[str]


def store_page(
    page: TapePage, *, known_at: datetime | None, stored: frozenset[str] = frozenset()
) -> StoredPage:
    """Write the trades of recorded markets, and let those of unknown markets wait.

    Without an instant at which they were seen live, they were known when they happened. A trade
    that is on record stays as it is; those that are known to be, by their ids, cost nothing.
    """
    again = stored.intersection(trade.trade_id for trade in page.trades)
    wanted = [t for t in page.trades if t.trade_id not in again and is_wanted(t.ticker)]
    if not wanted:
        return StoredPage(0, again)
    ensure_partitions(trade.created_time for trade in wanted)
    ids = market_ids({trade.ticker for trade in wanted})
    known = [
        public_trade(trade, ids[trade.ticker], known_at=known_at)
        for trade in wanted
        if trade.ticker in ids
    ]
    with transaction.atomic():
        written = Trade.objects.record(
            known, source=TradeOrigin.TAPE, recorded_at=datetime.now(UTC)
        )
        if settings.RECORD_TRADES != HOT:
            keep_waiting([trade for trade in wanted if trade.ticker not in ids], known_at=known_at)
    read = (trade.trade_id for trade in wanted if trade.ticker in ids)
    return StoredPage(written.trades, again.union(read))


def ensure_partitions(times: Iterable[datetime]) -> None:
    """Create the days that trades lack."""
    # Where a table is in use for long, they wait in the default partition.
    with suppress(partitions.TableBusy):
        partitions.create_missing(partitions.TRADES, {at.astimezone(UTC).date() for at in times})


def is_wanted(ticker: str) -> bool:
    is_combo = ticker.startswith(COMBO)
    return (settings.RECORD_COMBOS or not is_combo) and ticker not in scope.outside_markets


def market_ids(tickers: Iterable[str]) -> dict[str, int]:
    """Return by ticker the ids of those of these markets whose trades are recorded."""
    markets = Market.objects.in_scope()
    if settings.RECORD_TRADES == HOT:
        markets = markets.hot()
    return markets.ids(tickers)


def keep_waiting(trades: Sequence[TradePayload], *, known_at: datetime | None) -> None:
    """Keep the trades of markets that are not on record until they are."""
    on_record = Market.objects.ids({trade.ticker for trade in trades}) if trades else {}
    WaitingTrade.objects.keep(
        [
            WaitingTrade.of_trade(public_trade(trade, 0, known_at=known_at), ticker=trade.ticker)
            for trade in trades
            if trade.ticker not in on_record
        ]
    )
