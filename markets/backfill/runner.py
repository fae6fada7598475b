"""The backfill: fetch and write candlesticks and trades from before our own recording.

Each reply is written in one transaction together with how far its spans are filled, so that the
same request continues after any interruption. A record that cannot be read leaves its time open,
and the same request asks for it again. Nothing that is recorded is ever changed: a request may be
repeated and may run beside the recorder.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from math import ceil
from typing import NamedTuple, TypeVar

import msgspec
from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Least

from markets.backfill.parsing import UnreadableRecord, parse_candlesticks, parse_trades
from markets.backfill.planning import make_plan, time_done
from markets.backfill.progress import BackfillProgress, PastRecord
from markets.backfill.refusals import refused_span, refused_within
from markets.backfill.request import TRADES, BackfillRequest
from markets.intervals import Interval
from markets.kalshi.client import KalshiClient, Page
from markets.kalshi.drift import shape_drift
from markets.kalshi.errors import KalshiError, UnknownResource
from markets.kalshi.params import CandlestickFilters, TradeFilters
from markets.models import BackfillSpan, Candlestick, Drift, Market, Source, Trade, TradeOrigin
from markets.recording.isolation import CONTAGIOUS, pages_in_parts
from markets.storage import partitions

# Spans are loaded in slices of this size, so that memory does not grow with the request.
SPANS_PER_SLICE = 1000
MARKETS_PER_REQUEST = 100
TRADES_PER_PAGE = 1000
CANDLESTICKS_PER_REQUEST = 10_000
# The limit of a request for a single market, in either tier.
CANDLESTICKS_PER_MARKET = 5_000
PARALLEL_REQUESTS = 4
# Ten thousand candlesticks are a reply of about 4 MB.
REPLY_TIMEOUT = 60.0
MICROSECOND = timedelta(microseconds=1)
# The exchange takes whole seconds, so trades of this much time more are listed.
TRADES_MARGIN = timedelta(seconds=1)

Call = TypeVar("Call")
Reply = TypeVar("Reply")


def backfill(
    client: KalshiClient,
    request: BackfillRequest,
    *,
    on_progress: Callable[[BackfillProgress], None],
) -> BackfillProgress:
    """Fill the requested time of every market; `on_progress` is called after each write.

    Raises `BadInput` for markets that the exchange does not know, before anything of them is
    written, and `KalshiError` if the exchange fails. The same request continues later.
    """
    client.total_timeout = REPLY_TIMEOUT
    progress = BackfillProgress()
    plan = make_plan(client, request, on_rejected=progress.reject)
    progress.markets, progress.total, progress.done = plan.markets, plan.total, plan.done
    progress.differing = plan.differing
    on_progress(progress)
    run = BackfillRun(client, request.interval, progress)
    for start in range(0, len(plan.spans), SPANS_PER_SLICE):
        spans = unfinished_spans(plan.spans[start : start + SPANS_PER_SLICE])
        for _ in run.fill_candlesticks([span for span in spans if span.kind != TRADES]):
            on_progress(progress)
        for _ in run.fill_trades([span for span in spans if span.kind == TRADES]):
            on_progress(progress)
    return progress


def unfinished_spans(ids: Sequence[int]) -> list[BackfillSpan]:
    spans = BackfillSpan.objects.filter(pk__in=ids, finished_at=None).order_by("start", "pk")
    names = ("market__ticker", "market__settlement_ts", "market__event__series__ticker")
    return list(spans.select_related("market__event__series").only(*SPAN_FIELDS, *names))


SPAN_FIELDS = [field.attname for field in BackfillSpan._meta.concrete_fields]


# --- requests for candlesticks ------------------------------------------------------------------


class CandlestickCall(NamedTuple):
    """One request: the candlesticks of these markets that end in (after, until]."""

    spans: list[BackfillSpan]
    after: datetime
    until: datetime

    def filters(self, minutes: int) -> CandlestickFilters:
        return {
            "start_ts": int(self.after.timestamp()) + 1,
            "end_ts": int(self.until.timestamp()),
            "period_interval": minutes,
        }


class CandlestickReply(NamedTuple):
    """Raw candlesticks by ticker; a market that neither tier knows is left out.

    `unanswered` holds the errors of markets that were the only ones to fail.
    """

    call: CandlestickCall
    candlesticks: Mapping[str, Sequence[msgspec.Raw]]
    unanswered: Mapping[str, KalshiError]


def candlestick_calls(
    spans: Iterable[BackfillSpan], period: timedelta, *, markets: int
) -> Iterator[CandlestickCall]:
    """Cut spans into requests of at most so many markets, those that are least filled first."""
    queue = [(span.done_until or span.start, span.pk, span) for span in spans]
    heapq.heapify(queue)
    while queue:
        group = [heapq.heappop(queue) for _ in range(min(markets, len(queue)))]
        after = group[0][0]
        # One period is left free for days of 23 hours and for exchanges that count both ends.
        most = min(CANDLESTICKS_PER_REQUEST // len(group), CANDLESTICKS_PER_MARKET)
        until = after + (most - 1) * period
        included = [span for at, _, span in group if at < until]
        until = min(until, max(span.end for span in included))
        yield CandlestickCall(included, after, until)
        for at, pk, span in group:
            filled_until = until if at < until else at
            if filled_until < span.end:
                heapq.heappush(queue, (filled_until, pk, span))


def fetch_live(client: KalshiClient, call: CandlestickCall, *, minutes: int) -> CandlestickReply:
    """Fetch markets together, and those missing from the reply one by one from either tier."""
    one_of_each = {span.market.ticker: span for span in call.spans}
    found: dict[str, Sequence[msgspec.Raw]] = {}
    unanswered: dict[str, KalshiError] = {}
    # One market that has just moved to the historical tier, or that the exchange cannot answer
    # for, may fail the request for all.
    with suppress(UnknownResource, *CONTAGIOUS):
        found = client.batch_candlesticks(list(one_of_each), **call.filters(minutes))
    for ticker, span in one_of_each.items():
        if ticker not in found:
            try:
                found |= fetch_single(client, span, call.filters(minutes))
            except CONTAGIOUS as error:
                client.exchange_status()  # raises where the exchange is failing as a whole
                unanswered[ticker] = error
    return CandlestickReply(call, found, unanswered)


def fetch_single(
    client: KalshiClient, span: BackfillSpan, filters: CandlestickFilters
) -> dict[str, Sequence[msgspec.Raw]]:
    market = span.market
    live = partial(client.candlesticks, market.event.series.ticker, market.ticker)
    for fetch in (live, partial(client.historical_candlesticks, market.ticker)):
        with suppress(UnknownResource):
            return {market.ticker: fetch(**filters).items}
    return {}


def fetch_historical(
    client: KalshiClient, call: CandlestickCall, *, minutes: int
) -> CandlestickReply:
    """Fetch the only market of a call from the historical tier."""
    ticker = call.spans[0].market.ticker
    try:
        page = client.historical_candlesticks(ticker, **call.filters(minutes))
    except UnknownResource:
        return CandlestickReply(call, {}, {})
    except CONTAGIOUS as error:
        client.exchange_status()  # raises where the exchange is failing as a whole
        return CandlestickReply(call, {}, {ticker: error})
    return CandlestickReply(call, {ticker: page.items}, {})


def fetch_ahead(fetch: Callable[[Call], Reply], calls: Iterable[Call]) -> Iterator[Reply]:
    """Yield the replies in the order of the calls, while the next few are already under way."""
    pending: deque[Future[Reply]] = deque()
    pool = ThreadPoolExecutor(max_workers=PARALLEL_REQUESTS)
    try:
        for call in calls:
            pending.append(pool.submit(fetch, call))
            if len(pending) > PARALLEL_REQUESTS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


# --- writing ------------------------------------------------------------------------------------


@dataclass(slots=True)
class BackfillRun:
    """A backfill in progress."""

    client: KalshiClient
    interval: int  # minutes of a candlestick
    progress: BackfillProgress
    days_with_partition: set[partitions.DayPartition] = field(default_factory=set)
    # The ids of spans of refused records that were refused again.
    refused_again: set[int] = field(default_factory=set)

    @property
    def period(self) -> timedelta:
        return timedelta(minutes=self.interval)

    def fill_candlesticks(self, spans: Sequence[BackfillSpan]) -> Iterator[None]:
        """Fill the live tier's markets in batches, then the historical ones one by one."""
        if not spans:
            return
        cutoff = self.client.historical_cutoff().market_settled_ts
        grids = Market.objects.grids({span.market_id for span in spans})
        historical = {s for s in spans if cutoff and (at := s.market.settlement_ts) and at < cutoff}
        live = [span for span in spans if span not in historical]
        for fetch, group, markets in (
            (fetch_live, live, MARKETS_PER_REQUEST),
            (fetch_historical, historical, 1),
        ):
            calls = candlestick_calls(group, self.period, markets=markets)
            fetch_call = partial(fetch, self.client, minutes=self.interval)
            for reply in fetch_ahead(fetch_call, calls):
                for ticker, error in reply.unanswered.items():
                    self.progress.reject(ticker, error)
                self.write_candlesticks(reply, grids)
                yield

    def write_candlesticks(self, reply: CandlestickReply, grids: dict[int, str]) -> None:
        """Write candlesticks, their closing quotes and the filled time in one transaction."""
        call, period = reply.call, self.period
        absent = self.progress.absent
        absent |= {span.market.ticker for span in call.spans} - reply.candlesticks.keys()
        # A market that was absent once is not filled any further: its gap would be forgotten.
        known = [span for span in call.spans if span.market.ticker not in absent]
        parsed = {
            span: parse_candlesticks(
                span, reply.candlesticks[span.market.ticker], grids[span.market_id]
            )
            for span in known
        }
        rows = [
            candle
            for span, (candles, _) in parsed.items()
            for candle in candles
            if span.start < candle.end_period_ts <= min(call.until, span.end)
        ]
        self.ensure_partitions(partitions.SNAPSHOTS, {row.end_period_ts.date() for row in rows})
        asked = Interval(call.after - period, call.until + period)
        now = datetime.now(UTC)
        with transaction.atomic():
            written = Candlestick.objects.record(
                rows,
                period_interval=self.interval,
                source=Source.BACKFILL,
                recorded_at=now,
            )
            for span, (_, refused) in parsed.items():
                time = Interval(span.done_until or span.start, min(call.until, span.end))
                own = refused_within(time, refused, asked=asked)
                self.keep_open(span, own, time=time, step=period)
            filled = [span for span in known if span.pk not in self.refused_again]
            mark_filled(filled, call.until, now=now)
        self.progress.candlesticks += written.candlesticks
        self.progress.snapshots += written.snapshots
        self.tell_differing(known, written.differing)
        for span in filled:
            self.advance(span, min(call.until, span.end))

    def keep_open(
        self,
        span: BackfillSpan,
        refused: Sequence[UnreadableRecord],
        *,
        time: Interval,
        step: timedelta,
    ) -> None:
        """Leave the time of a span's refused records to the next run; call it in a transaction."""
        if not refused:
            return
        for each in refused:
            record = PastRecord(span.market.ticker, span.kind, each.at)
            self.progress.reject(record, each.reason)
        kind = "trade" if span.kind == TRADES else "candlestick"
        notes = [shape_drift(kind, each.reason, raw=each.raw) for each in refused]
        Drift.objects.note(notes, at=datetime.now(UTC))
        if span.refusal:
            self.refused_again.add(span.pk)
        else:
            opened = BackfillSpan.objects.keep_open(
                refused_span(span, refused, time=time, step=step)
            )
            self.progress.total += opened.end - opened.start

    def tell_differing(
        self, spans: Iterable[BackfillSpan], differing: Iterable[tuple[int, datetime]]
    ) -> None:
        of_markets = {span.market_id: span for span in spans}
        self.progress.keep_recorded(
            PastRecord(of_markets[market_id].market.ticker, of_markets[market_id].kind, at)
            for market_id, at in differing
        )

    def ensure_partitions(self, table: str, days: set[date]) -> None:
        """Create the partitions of a table that these days still lack."""
        missing = {partitions.DayPartition(table, day) for day in days} - self.days_with_partition
        if missing:
            partitions.create_missing(table, {partition.day for partition in missing})
            self.days_with_partition |= missing

    def advance(self, span: BackfillSpan, until: datetime) -> None:
        before = time_done(span)
        span.done_until = until
        self.progress.done += time_done(span) - before

    def fill_trades(self, spans: Sequence[BackfillSpan]) -> Iterator[None]:
        """Fill trades, newest first: all of the live tier, then what is older.

        The cutoff advances all the time. It is read only after the live tier, so that trades that
        have moved in the meantime are found in the historical tier.
        """
        if not spans:
            return
        for span in spans:
            yield from self.fill_trades_from(self.client.trades, span)
        cutoff = self.client.historical_cutoff().trades_created_ts
        for span in spans:
            # Without a cutoff either tier may have them.
            if cutoff is None or span.start < cutoff:
                yield from self.fill_trades_from(self.client.historical_trades, span)
            if span.pk not in self.refused_again:
                self.advance(span, span.start)
                finish_trades(span)

    def fill_trades_from(self, fetch: Callable[..., Page], span: BackfillSpan) -> Iterator[None]:
        filters: TradeFilters = {
            "ticker": span.market.ticker,
            "min_ts": int(span.start.timestamp()),
            "max_ts": ceil((span.done_until or span.end).timestamp()),
        }
        # A market that this tier does not know is in the other one.
        with suppress(UnknownResource):
            for page in pages_in_parts(partial(fetch, **filters), size=TRADES_PER_PAGE):
                self.write_trades(span, page)
                yield

    def write_trades(self, span: BackfillSpan, page: Page) -> None:
        until = span.done_until or span.end
        parsed, refused = parse_trades(span, page.items)
        trades = [trade for trade in parsed if span.start < trade.created_time <= span.end]
        asked = Interval(span.start - TRADES_MARGIN, until + TRADES_MARGIN)
        time = Interval(span.start, until)
        own = refused_within(time, refused, asked=asked)
        if not trades and not own:
            return
        self.ensure_partitions(partitions.TRADES, {trade.created_time.date() for trade in trades})
        with transaction.atomic():
            written = Trade.objects.record(
                trades, source=TradeOrigin.BACKFILL, recorded_at=datetime.now(UTC)
            )
            self.keep_open(span, own, time=time, step=MICROSECOND)
            # What is left of a refused record's time is not worth a note.
            if trades and not span.refusal:
                self.advance(span, min(until, *(trade.created_time for trade in trades)))
                span.save(update_fields=["done_until"])
        self.progress.trades += written.trades
        self.tell_differing([span], written.differing)


def mark_filled(spans: Sequence[BackfillSpan], until: datetime, *, now: datetime) -> None:
    """Note that spans are filled up to an instant, or up to their end if that is earlier."""
    filled = BackfillSpan.objects.filter(pk__in=[span.pk for span in spans])
    filled.update(
        done_until=Least(Value(until), F("end")),
        finished_at=Case(When(end__lte=until, then=Value(now))),
    )
    filled.refused().filter(end__lte=until).delete()


def finish_trades(span: BackfillSpan) -> None:
    if span.refusal:
        span.delete()
    else:
        span.finished_at = datetime.now(UTC)
        span.save(update_fields=["done_until", "finished_at"])
