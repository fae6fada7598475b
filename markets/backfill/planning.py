"""The plan of a backfill: find and record its markets, and give each of them spans to fill."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from django.db import transaction
from django.db.models import OuterRef, Subquery

from markets.backfill.listing import OnRejected, list_markets
from markets.backfill.request import TRADES, BackfillRequest
from markets.intervals import Interval
from markets.kalshi.client import KalshiClient, Page
from markets.kalshi.payloads import MarketPayload
from markets.models import (
    BackfillSpan,
    Drift,
    Market,
    MarketRevision,
    MarketSnapshot,
    Poll,
    Source,
    Status,
)
from markets.models.markets import MarketDefinition
from markets.recording.batch import Batch, parse_definitions, write_definitions
from markets.recording.events import fetch_missing_events, fetch_missing_series

# What makes a span unique: market id, kind, start, end.
SpanKey = tuple[int, str, datetime, datetime]


@dataclass(slots=True)
class BackfillPlan:
    """The ids of the spans to fill, and how much of their time an earlier run has done."""

    spans: list[int]
    markets: int
    total: timedelta
    done: timedelta
    differing: int = 0  # revisions that the record has otherwise

    def add(self, spans: Sequence[BackfillSpan]) -> None:
        self.spans += [span.pk for span in spans]
        self.markets += len({span.market_id for span in spans})
        self.total += sum((span.end - span.start for span in spans), timedelta())
        self.done += sum((time_done(span) for span in spans), timedelta())


def make_plan(
    client: KalshiClient, request: BackfillRequest, *, on_rejected: OnRejected
) -> BackfillPlan:
    """Find the markets of the request, record them, and give each of them its spans.

    Raises `BadInput` for markets that the exchange does not know.
    """
    plan = BackfillPlan([], markets=0, total=timedelta(), done=timedelta())
    planned: set[int] = set()
    for page in list_markets(client, request, on_rejected=on_rejected):
        spans, differing = record_page(client, page, request=request, on_rejected=on_rejected)
        plan.differing += differing
        # A market is listed twice if it moves to the historical tier in the meantime.
        plan.add([span for span in spans if span.pk not in planned])
        planned |= {span.pk for span in spans}
    return plan


def time_done(span: BackfillSpan) -> timedelta:
    """Return how much of a span is filled: trades are filled backwards, candlesticks forwards."""
    if span.finished_at:
        return span.end - span.start
    if span.done_until is None:
        return timedelta()
    return span.end - span.done_until if span.kind == TRADES else span.done_until - span.start


# --- recording the markets ----------------------------------------------------------------------


def record_page(
    client: KalshiClient, page: Page, *, request: BackfillRequest, on_rejected: OnRejected
) -> tuple[list[BackfillSpan], int]:
    """Record the markets of a page that existed during the requested time.

    Returns their spans, and the number of revisions that the record has otherwise.
    """
    batch = Batch(rejects_kept=2 * len(page.items))  # a market and its event
    batch.add_markets_page(page)
    existing = {
        definition.payload.ticker: (definition, lifetime)
        for definition in parse_definitions(batch, batch.observed)
        if (lifetime := _lifetime_within(definition.payload, request))
    }
    changed, known = news_of([definition for definition, _ in existing.values()])
    fetch_missing_events(client, batch, {d.payload.event_ticker for d in changed})
    fetch_missing_series(client, {event.series_ticker for event in batch.events.values()})
    for reject in batch.rejects:
        on_rejected(reject["ticker"], reject["reason"])
    with transaction.atomic():
        differing = record_definitions(batch, changed, known=known)
        ids = recorded_ids(existing, on_rejected=on_rejected)
        lifetimes = {ids[t]: existing[t][1] for t in existing if t in ids}
        return ensure_spans(lifetimes, request), differing


def news_of(
    definitions: Iterable[MarketDefinition],
) -> tuple[list[MarketDefinition], dict[str, str]]:
    """Return the markets that are new or settled now, and the statuses of those on record."""
    markets = {definition.payload.ticker: definition for definition in definitions}
    on_record = Market.objects.described().filter(ticker__in=markets)
    known = dict(on_record.values_list("ticker", "status"))
    return [d for d in markets.values() if _is_new_or_settled(d.payload, known)], known


def recorded_ids(tickers: Iterable[str], *, on_rejected: OnRejected) -> dict[str, int]:
    """Return the ids of markets by ticker; those that could not be written are rejected."""
    wanted = list(tickers)
    ids = Market.objects.ids(wanted)
    for ticker in wanted:
        if ticker not in ids:
            on_rejected(ticker, "its event could not be read")
    return ids


def _lifetime_within(market: MarketPayload, request: BackfillRequest) -> Interval | None:
    end = request.end
    if market.close_time:
        # The period in which a market closes ends after the close.
        end = min(end, market.close_time + request.period)
    start = max(request.start, market.open_time or request.start)
    return Interval(start, end) if start < end else None


def _is_new_or_settled(market: MarketPayload, known: dict[str, str]) -> bool:
    """Return True for a market to write: of a known one only its settlement is written.

    Every other change of a known market is left to the recorder.
    """
    if market.ticker not in known:
        return True
    return market.status == Status.FINALIZED != known[market.ticker]


def record_definitions(
    batch: Batch, changed: Sequence[MarketDefinition], *, known: dict[str, str]
) -> int:
    """Write definitions with their past; return how many revisions the record has otherwise."""
    now = datetime.now(UTC)
    Drift.objects.note(batch.drift_notes, at=now)
    settled = (d.payload for d in changed if d.payload.status == Status.FINALIZED)
    followed = possibly_seen_unsettled(
        {market.ticker: at[0] for market in settled if (at := settlement_known_at(market))}
    )
    in_order = sorted(changed, key=lambda definition: definition.payload.ticker)
    ids = write_definitions(batch, in_order, now)
    return MarketRevision.objects.add(
        revision
        for definition in changed
        if (market_id := ids.get(definition.payload.ticker))
        for revision in past_revisions(
            definition,
            market_id,
            is_new=definition.payload.ticker not in known,
            is_followed=definition.payload.ticker in followed,
            now=now,
        )
    )


def possibly_seen_unsettled(settled: Mapping[str, datetime]) -> set[str]:
    """Return those of these markets that we may have seen unsettled after their settlement.

    `settled` maps tickers to the instant of settlement. Evidence is a revision of that time or
    later. The recorder writes none while nothing changes, so for a market that it has ever polled
    any later run counts as well.
    """
    revisions = MarketRevision.objects.recorded().filter(market=OuterRef("pk"))
    newest = revisions.order_by("-known_at")
    own = MarketSnapshot.objects.recorded().filter(market=OuterRef("pk"))
    polled = own.exclude(source=Source.BACKFILL)
    rows = Market.objects.filter(ticker__in=settled).values_list(
        "ticker",
        Subquery(newest.values("known_at")[:1]),
        # PostgreSQL may turn an EXISTS into a join, which reads all snapshots of every market.
        Subquery(polled.order_by().values("timestamp")[:1]),
    )
    last_run = Poll.objects.first()
    last_run_at = last_run and (last_run.finished_at or last_run.started_at)
    return {
        ticker
        for ticker, revised_at, polled_at in rows
        if any(at and at >= settled[ticker] for at in (revised_at, polled_at and last_run_at))
    }


def past_revisions(
    definition: MarketDefinition, market_id: int, *, is_new: bool, is_followed: bool, now: datetime
) -> Iterator[MarketRevision]:
    """Yield what was known of a market at its opening, and at its settlement if it is settled.

    Of instants that the exchange does not tell nothing is yielded.
    """
    market = definition.payload
    price_ranges = msgspec.to_builtins(market.price_ranges)
    if is_new and market.open_time:
        yield MarketRevision(
            market_id=market_id,
            known_at=market.open_time,
            # Price ranges and opening time are today's; they may have been others then.
            known_at_assumed=True,
            recorded_at=now,
            status=Status.ACTIVE,
            open_time=market.open_time,
            price_ranges=price_ranges,
        )
    settled = settlement_known_at(market) if market.status == Status.FINALIZED else None
    # For a market that we followed, `write_definitions` has recorded what we know since when.
    if settled and not is_followed and settled[0] <= now:
        yield MarketRevision(
            market_id=market_id,
            known_at=settled[0],
            known_at_assumed=settled[1],
            recorded_at=now,
            status=market.status,
            result=market.result,
            settlement_value=market.settlement_value,
            settlement_ts=market.settlement_ts,
            open_time=market.open_time,
            close_time=market.close_time,
            expected_expiration_time=market.expected_expiration_time,
            price_ranges=price_ranges,
            raw_data=msgspec.json.decode(definition.raw),
        )


def settlement_known_at(market: MarketPayload) -> tuple[datetime, bool] | None:
    """Return the instant from which a settlement could be known, and True if it is assumed.

    None means that the exchange tells neither the settlement nor the close.
    """
    if market.settlement_ts:
        return market.settlement_ts, False
    if market.close_time is None:
        return None
    return market.close_time + timedelta(seconds=market.settlement_timer_seconds), True


# --- spans --------------------------------------------------------------------------------------


def ensure_spans(lifetimes: dict[int, Interval], request: BackfillRequest) -> list[BackfillSpan]:
    """Return the spans of these markets; new ones begin with what older ones have filled.

    What was refused in their time comes after them.
    """
    of_markets = BackfillSpan.objects.filter(market_id__in=lifetimes, kind__in=request.kinds)
    spans = of_markets.as_requested()
    earlier: dict[tuple[int, str], list[BackfillSpan]] = {}
    for span in spans:
        earlier.setdefault((span.market_id, span.kind), []).append(span)
    keys = {
        key
        for market_id, (start, end) in lifetimes.items()
        for kind in request.kinds
        for key in _split((market_id, kind, start, end), earlier.get((market_id, kind), []))
    }
    missing = keys - {_key(span) for same in earlier.values() for span in same}
    BackfillSpan.objects.bulk_create(
        (_new_span(key, earlier.get(key[:2], [])) for key in missing),
        batch_size=1000,
        ignore_conflicts=True,
    )
    found = [span for span in spans.all().order_by("start", "pk") if _key(span) in keys]
    refused = [
        span
        for span in of_markets.refused().order_by("start", "pk")
        if span.start < lifetimes[span.market_id].end and span.end > lifetimes[span.market_id].start
    ]
    return found + refused


def _key(span: BackfillSpan) -> SpanKey:
    return span.market_id, span.kind, span.start, span.end


def _split(key: SpanKey, earlier: Sequence[BackfillSpan]) -> Iterator[SpanKey]:
    """Reuse earlier spans of trades, and yield one more for the time after their end.

    Trades are listed newest first, so a span of trades cannot simply be prolonged.
    """
    market_id, kind, start, end = key
    if kind == TRADES:
        for span in sorted(earlier, key=lambda span: (span.start, span.start - span.end)):
            # An unfinished span that ends after `end` would fetch the trades beyond it first.
            is_resumable = span.start == start and span.end <= end
            if span.start <= start < span.end and (span.finished_at or is_resumable):
                yield _key(span)
                start = span.end
    if start < end:
        yield market_id, kind, start, end


def _new_span(key: SpanKey, earlier: Sequence[BackfillSpan]) -> BackfillSpan:
    market_id, kind, start, end = key
    span = BackfillSpan(market_id=market_id, kind=kind, start=start, end=end)
    if kind == TRADES:
        return span
    filled_until = [
        other.done_until
        for other in earlier
        if other.done_until and other.start <= start < other.done_until
    ]
    if filled_until:
        span.done_until = min(max(filled_until), end)
        span.finished_at = datetime.now(UTC) if span.done_until == end else None
    return span
