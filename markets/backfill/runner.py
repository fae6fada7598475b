"""The backfill: what the exchange recorded before we did, asked for, written, accounted for.

Span by span is fetched and written, each piece and how far it reaches in one transaction:
whenever this is interrupted, the same order goes on from there. What is on record is never
changed, so that an order may be repeated and may run beside the recorder.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from math import ceil
from typing import NamedTuple, TypeVar

import msgspec
from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Least

from markets import prices
from markets.backfill.planning import TRADES, Wanted, done, plan
from markets.kalshi import payloads
from markets.kalshi.candles import QuoteRange
from markets.kalshi.client import KalshiClient, NotFound, Page, pages
from markets.kalshi.drift import shape_drift
from markets.kalshi.params import Span, TradeFilters
from markets.models import BackfillSpan, Candlestick, Drift, Market, Source, Trade
from markets.models.candlesticks import Candle
from markets.models.trades import PublicTrade
from markets.recording.batch import grid
from markets.storage import partitions

SLICE = 1000
MOST_MARKETS = 100
MOST_CANDLES = 10_000
# What one market may be asked for alone, in either tier.
MOST_ALONE = 5_000
CONCURRENT = 4
# A reply of ten thousand candles is some four megabytes.
REPLY_TIMEOUT = 60.0
REASONS_KEPT = 5
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
# A bid of nothing and an ask of a whole dollar are nobody's.
NOBODY = frozenset((Decimal(0), prices.ONE))

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Sides = tuple[Decimal | None, ...]


@dataclass(slots=True)
class Progress:
    """Time of markets asked for and behind us, and what came of it."""

    markets: int = 0
    asked: timedelta = timedelta()
    done: timedelta = timedelta()
    candlesticks: int = 0
    snapshots: int = 0
    trades: int = 0
    refused: int = 0
    reasons: list[str] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)

    @property
    def share(self) -> float:
        return self.done / self.asked if self.asked else 1.0

    def refuse(self, ticker: str, reason: object) -> None:
        self.refused += 1
        if len(self.reasons) < REASONS_KEPT:
            self.reasons.append(f"{ticker}: {reason}")


def backfill(client: KalshiClient, wanted: Wanted, *, tell: Callable[[Progress], None]) -> Progress:
    """Fill the span of every market wanted; `tell` hears of each piece that was written.

    Raises `BadInput` for markets the exchange does not know, before any record of them is
    fetched, and `KalshiError` where it does not answer. The same order then goes on later.
    """
    client.total_timeout = REPLY_TIMEOUT
    progress = Progress()
    planned = plan(client, wanted, refuse=progress.refuse)
    progress.markets, progress.asked = planned.markets, planned.asked
    progress.done = planned.done
    tell(progress)
    run = Run(client, wanted, progress)
    for start in range(0, len(planned.spans), SLICE):
        spans = unfinished(planned.spans[start : start + SLICE])
        for _ in run.fill([span for span in spans if span.kind != TRADES]):
            tell(progress)
        for _ in run.fill_trades([span for span in spans if span.kind == TRADES]):
            tell(progress)
    return progress


def unfinished(ids: Sequence[int]) -> list[BackfillSpan]:
    spans = BackfillSpan.objects.filter(pk__in=ids, finished_at=None).order_by("start", "pk")
    names = ("market__ticker", "market__settlement_ts", "market__event__series__ticker")
    return list(spans.select_related("market__event__series").only(*OWN_FIELDS, *names))


OWN_FIELDS = [field.attname for field in BackfillSpan._meta.concrete_fields]


# --- which candles to ask for together ----------------------------------------------------------


class Call(NamedTuple):
    """Markets to be asked for their candles that end in (after, until]."""

    spans: list[BackfillSpan]
    after: datetime
    until: datetime


def calls(spans: Iterable[BackfillSpan], period: timedelta, *, together: int) -> Iterator[Call]:
    """Cut spans into what one call may ask for, always going on where least is done."""
    waiting = [(span.done_until or span.start, span.pk, span) for span in spans]
    heapq.heapify(waiting)
    while waiting:
        group = [heapq.heappop(waiting) for _ in range(min(together, len(waiting)))]
        after = group[0][0]
        # One period less: days of 23 hours, and exchanges that count both ends.
        until = after + (min(MOST_CANDLES // len(group), MOST_ALONE) - 1) * period
        asked = [span for at, _, span in group if at < until]
        until = min(until, max(span.end for span in asked))
        yield Call(asked, after, until)
        for at, pk, span in group:
            reached = until if at < until else at
            if reached < span.end:
                heapq.heappush(waiting, (reached, pk, span))


class Candles(NamedTuple):
    """What came of a call, unread, by ticker; nothing of markets that no tier knows."""

    call: Call
    found: dict[str, list[msgspec.Raw]]


def ask_live(client: KalshiClient, call: Call, *, minutes: int) -> Candles:
    tickers = [span.market.ticker for span in call.spans]
    found: dict[str, list[msgspec.Raw]] = {}
    # One market that has moved to the historical tier meanwhile may cost all the others.
    with suppress(NotFound):
        found = client.batch_candlesticks(tickers, **_span(call, minutes))
    for span in call.spans:
        if span.market.ticker not in found:
            alone = Call([span], call.after, call.until)
            found |= ask_alone(client, alone, minutes=minutes).found
    return Candles(call, found)


def ask_alone(client: KalshiClient, call: Call, *, minutes: int) -> Candles:
    """Ask for one market wherever it lives now."""
    market = call.spans[0].market
    asked = _span(call, minutes)
    live = partial(client.candlesticks, market.event.series.ticker, market.ticker)
    for tier in (live, partial(client.historical_candlesticks, market.ticker)):
        with suppress(NotFound):
            return Candles(call, {market.ticker: tier(**asked).items})
    return Candles(call, {})


def ask_historical(client: KalshiClient, call: Call, *, minutes: int) -> Candles:
    ticker = call.spans[0].market.ticker
    with suppress(NotFound):
        page = client.historical_candlesticks(ticker, **_span(call, minutes))
        return Candles(call, {ticker: page.items})
    return Candles(call, {})


def _span(call: Call, minutes: int) -> Span:
    return {
        "start_ts": int(call.after.timestamp()) + 1,
        "end_ts": int(call.until.timestamp()),
        "period_interval": minutes,
    }


def ahead(
    ask: Callable[[Asked], Answer], questions: Iterable[Asked], *, workers: int = CONCURRENT
) -> Iterator[Answer]:
    """Answers in the order of the questions, a few being waited for at once."""
    coming: deque[Future[Answer]] = deque()
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        for question in questions:
            coming.append(pool.submit(ask, question))
            if len(coming) > workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


# --- what is done with them ---------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """One order being carried out."""

    client: KalshiClient
    wanted: Wanted
    progress: Progress
    days: set[date] = field(default_factory=set)

    def fill(self, spans: Sequence[BackfillSpan]) -> Iterator[None]:
        """Candles: the live tier's in batches, then the historical one's market by market."""
        if not spans:
            return
        cutoff = self.client.historical_cutoff().market_settled_ts
        grids = Market.objects.grids({span.market_id for span in spans})
        moved = [s for s in spans if s.market.settlement_ts and s.market.settlement_ts < cutoff]
        gone = {span.pk for span in moved}
        live = [span for span in spans if span.pk not in gone]
        for ask, group, together in ((ask_live, live, MOST_MARKETS), (ask_historical, moved, 1)):
            asked = partial(ask, self.client, minutes=self.wanted.interval)
            for answer in ahead(asked, calls(group, self.wanted.period, together=together)):
                self.write(answer, grids)
                yield

    def write(self, answer: Candles, grids: dict[int, str]) -> None:
        """Candles, their closing quotes, and how far they reach, in one transaction."""
        call = answer.call
        absent = self.progress.absent
        absent |= {span.market.ticker for span in call.spans} - answer.found.keys()
        # Past a hole nothing is done, or the next run would not know of it.
        known = [span for span in call.spans if span.market.ticker not in absent]
        rows = [
            candle
            for span in known
            for raw in answer.found[span.market.ticker]
            if (candle := self.candle(span, raw, price_ranges=grids[span.market_id]))
            and span.start < candle.end_period_ts <= min(call.until, span.end)
        ]
        self.provide({row.end_period_ts.date() for row in rows})
        now = datetime.now(UTC)
        with transaction.atomic():
            written = Candlestick.objects.record(
                rows,
                period_interval=self.wanted.interval,
                source=Source.BACKFILL,
                recorded_at=now,
            )
            reach(known, call.until, now=now)
        self.progress.candlesticks += written.candlesticks
        self.progress.snapshots += written.snapshots
        for span in known:
            self.advance(span, min(call.until, span.end))

    def candle(self, span: BackfillSpan, raw: msgspec.Raw, *, price_ranges: str) -> Candle | None:
        try:
            read = payloads.candlestick(raw)
        except msgspec.MsgspecError as reason:
            self.refuse("candlestick", span, raw=raw, reason=reason)
            return None
        bid, ask = _side(read.yes_bid), _side(read.yes_ask)
        return Candle(
            market_id=span.market_id,
            end_period_ts=EPOCH + timedelta(seconds=read.end_period_ts),
            yes_bid=bid,
            yes_ask=ask,
            price=msgspec.structs.astuple(read.price),
            volume=read.volume,
            open_interest=read.open_interest,
            quality=quality(bid[-1], ask[-1], price_ranges=price_ranges),
        )

    def refuse(
        self, kind: str, span: BackfillSpan, *, raw: msgspec.Raw, reason: msgspec.MsgspecError
    ) -> None:
        self.progress.refuse(span.market.ticker, reason)
        Drift.objects.note([shape_drift(kind, reason, raw=raw)], at=datetime.now(UTC))

    def provide(self, days: set[date]) -> None:
        """Pieces of the snapshots' table for days that nobody has recorded yet."""
        missing = days - self.days
        if missing:
            partitions.create_missing(partitions.SNAPSHOTS, missing)
            self.days |= missing

    def advance(self, span: BackfillSpan, until: datetime) -> None:
        before = done(span)
        span.done_until = until
        self.progress.done += done(span) - before

    def fill_trades(self, spans: Sequence[BackfillSpan]) -> Iterator[None]:
        """Trades, newest first: all that the live tier has, then what is older.

        Only then is the cutoff read. It moves, and what has passed it meanwhile is found here.
        """
        if not spans:
            return
        for span in spans:
            yield from self.walk(self.client.trades, span)
        cutoff = self.client.historical_cutoff().trades_created_ts
        for span in spans:
            if span.start < cutoff:
                yield from self.walk(self.client.historical_trades, span)
            self.advance(span, span.start)
            span.finished_at = datetime.now(UTC)
            span.save(update_fields=["done_until", "finished_at"])

    def walk(self, fetch: Callable[..., Page], span: BackfillSpan) -> Iterator[None]:
        asked: TradeFilters = {
            "ticker": span.market.ticker,
            "min_ts": int(span.start.timestamp()),
            "max_ts": ceil((span.done_until or span.end).timestamp()),
        }
        # The other tier knows a market that this one does not.
        with suppress(NotFound):
            for page in pages(lambda cursor: fetch(cursor=cursor, **asked)):
                self.write_trades(span, page)
                yield

    def write_trades(self, span: BackfillSpan, page: Page) -> None:
        trades = [trade for raw in page.items if (trade := self.trade(span, raw))]
        trades = [trade for trade in trades if span.start < trade.created_time <= span.end]
        if not trades:
            return
        oldest = min(trade.created_time for trade in trades)
        self.advance(span, min(oldest, span.done_until or span.end))
        with transaction.atomic():
            self.progress.trades += Trade.objects.record(trades, recorded_at=datetime.now(UTC))
            span.save(update_fields=["done_until"])

    def trade(self, span: BackfillSpan, raw: msgspec.Raw) -> PublicTrade | None:
        try:
            read = payloads.trade(raw)
        except msgspec.MsgspecError as reason:
            self.refuse("trade", span, raw=raw, reason=reason)
            return None
        return PublicTrade(
            trade_id=read.trade_id,
            market_id=span.market_id,
            created_time=read.created_time,
            contracts=read.count,
            yes_price=read.yes_price,
            taker_outcome_side=read.taker_outcome_side,
            taker_book_side=read.taker_book_side,
            is_block_trade=read.is_block_trade,
        )


def _side(read: QuoteRange) -> Sides:
    return tuple(None if price in NOBODY else price for price in msgspec.structs.astuple(read))


@lru_cache(maxsize=100_000)
def quality(bid: Decimal | None, ask: Decimal | None, *, price_ranges: str) -> int:
    """As `prices` has it: the quotes of a few markets repeat, and their grids too."""
    return int(prices.quality(bid, ask, grid(price_ranges)))


def reach(spans: Sequence[BackfillSpan], until: datetime, *, now: datetime) -> None:
    """Note that these spans are filled up to an instant, or to their end where that is sooner."""
    BackfillSpan.objects.filter(pk__in=[span.pk for span in spans]).update(
        done_until=Least(Value(until), F("end")),
        finished_at=Case(When(end__lte=until, then=Value(now))),
    )
