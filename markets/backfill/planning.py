"""What a backfill is of: its markets, found and defined, and a span of time for each of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import msgspec
from django.db import transaction
from django.db.models import OuterRef, Subquery

from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, NotFound, Page, pages, ticker_batches
from markets.kalshi.payloads import MarketPayload
from markets.models import (
    BackfillSpan,
    Drift,
    Event,
    Market,
    MarketRevision,
    MarketSnapshot,
    Poll,
    Series,
    Source,
    Status,
)
from markets.models.markets import MarketDefinition
from markets.recording.batch import Batch, define, readable_definitions

TRADES = "trades"
INTERVALS = (1, 60, 1440)
EVENTS_LISTED = 200
NAMED = 5

Refuse = Callable[[str, object], None]
Key = tuple[int, str, datetime, datetime]


class BadInput(ValueError):
    """The words of an order make no sense; they are named, and nothing was fetched for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Markets by name, or those of one event or series, and the time to fill: (start, end]."""

    start: datetime
    end: datetime
    tickers: Sequence[str] = ()
    event: str = ""
    series: str = ""
    interval: int = 60
    trades: bool = False

    @property
    def period(self) -> timedelta:
        return timedelta(minutes=self.interval)

    @property
    def kinds(self) -> list[str]:
        return [f"candles-{self.interval}", *([TRADES] if self.trades else [])]

    def check(self, *, now: datetime) -> None:
        """Raise `BadInput`, naming the option, for what can be told without asking anybody."""
        if bool(self.tickers) + bool(self.event) + bool(self.series) != 1:
            raise BadInput("name markets by one of --ticker, --event and --series")
        if any("\0" in name for name in (*self.tickers, self.event, self.series)):
            raise BadInput("no name holds a NUL character")
        if self.interval not in INTERVALS:
            raise BadInput(f"--interval: {self.interval} is none of 1, 60 and 1440 minutes")
        if self.start >= now:
            raise BadInput(f"--start: {self.start:%Y-%m-%d %H:%M} UTC is in the future")
        if self.end > now:
            raise BadInput(f"--end: {self.end:%Y-%m-%d %H:%M} UTC is in the future")
        if self.start >= self.end:
            raise BadInput(f"--start: not before --end ({self.end:%Y-%m-%d %H:%M} UTC)")


@dataclass(slots=True)
class Plan:
    """The spans of an order, by their ids, and how much of them an earlier run has done."""

    spans: list[int]
    markets: int
    asked: timedelta
    done: timedelta

    def add(self, spans: Sequence[BackfillSpan]) -> None:
        self.spans += [span.pk for span in spans]
        self.markets += len({span.market_id for span in spans})
        self.asked += sum((span.end - span.start for span in spans), timedelta())
        self.done += sum((done(span) for span in spans), timedelta())


def plan(client: KalshiClient, wanted: Wanted, *, refuse: Refuse) -> Plan:
    """Find the markets, put them on record, and give each its spans."""
    planned = Plan([], markets=0, asked=timedelta(), done=timedelta())
    seen: set[int] = set()
    for page in listing(client, wanted):
        # A market that moves from tier to tier meanwhile is listed twice.
        spans = [s for s in place(client, page, wanted=wanted, refuse=refuse) if s.pk not in seen]
        seen |= {span.pk for span in spans}
        planned.add(spans)
    return planned


def done(span: BackfillSpan) -> timedelta:
    """Trades are listed backwards, candles forwards."""
    if span.finished_at:
        return span.end - span.start
    if span.done_until is None:
        return timedelta()
    return span.end - span.done_until if span.kind == TRADES else span.done_until - span.start


# --- which markets ------------------------------------------------------------------------------


def listing(client: KalshiClient, wanted: Wanted) -> Iterator[Page]:
    """The markets wherever they live now, the live tier first."""
    if wanted.tickers:
        yield from _named(client, wanted.tickers)
        return
    option, name = ("--event", wanted.event) if wanted.event else ("--series", wanted.series)
    known = False
    for fetch in (client.markets, client.historical_markets):
        for page in pages(partial(_narrowed, fetch, wanted=wanted)):
            known = known or bool(page.items)
            yield page
    if not known:
        raise BadInput(f"{option}: the exchange knows no market of {name}")


def _narrowed(fetch: Callable[..., Page], cursor: str, *, wanted: Wanted) -> Page:
    if wanted.event:
        return fetch(event_ticker=wanted.event, cursor=cursor)
    return fetch(series_ticker=wanted.series, cursor=cursor)


def _named(client: KalshiClient, tickers: Sequence[str]) -> list[Page]:
    """All of them are found before any is put on record."""
    found, unknown = [], []
    for batch in ticker_batches(dict.fromkeys(tickers)):
        missing = batch
        for fetch in (client.markets, client.historical_markets):
            page = fetch(tickers=missing)
            found.append(page)
            seen = {payloads.ticker_of(raw) for raw in page.items}
            missing = [ticker for ticker in missing if ticker not in seen]
            if not missing:
                break
        unknown += missing
    if unknown:
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        raise BadInput(f"--ticker: the exchange knows no {', '.join(unknown[:NAMED])}{more}")
    return found


# --- what is put on record of them --------------------------------------------------------------


class Limits(NamedTuple):
    """Where a market's own life cuts the time that is asked for."""

    start: datetime
    end: datetime


def place(
    client: KalshiClient, page: Page, *, wanted: Wanted, refuse: Refuse
) -> list[BackfillSpan]:
    """Put a page's markets on record, as far as they lived in time; their spans."""
    batch = Batch()
    batch.see_markets(page)
    lived = {
        definition.payload.ticker: (definition, limits)
        for definition in readable_definitions(batch, batch.sightings)
        if (limits := _limits(definition.payload, wanted))
    }
    for reject in batch.rejects:
        refuse(reject["ticker"], reject["reason"])
    known = dict(Market.objects.filter(ticker__in=lived).values_list("ticker", "status"))
    news = [d for d, _ in lived.values() if _is_news(d.payload, known)]
    see_events(client, batch, {d.payload.event_ticker for d in news})
    see_series(client, {event.series_ticker for event in batch.events.values()})
    with transaction.atomic():
        write_definitions(batch, news, known=known)
        ids = Market.objects.ids(lived)
        for ticker in lived.keys() - ids.keys():
            refuse(ticker, "its event could not be read")
        return ensure_spans({ids[t]: lived[t][1] for t in lived if t in ids}, wanted)


def _limits(market: MarketPayload, wanted: Wanted) -> Limits | None:
    # The period in which a market closed ends after it.
    end = min(wanted.end, market.close_time + wanted.period)
    start = max(wanted.start, market.open_time)
    return Limits(start, end) if start < end else None


def _is_news(market: MarketPayload, known: dict[str, str]) -> bool:
    """Of markets on record only the end is news: the rest is the recorder's to tell."""
    if market.ticker not in known:
        return True
    return market.status == Status.FINALIZED != known[market.ticker]


def see_events(client: KalshiClient, batch: Batch, tickers: set[str]) -> None:
    """Ask for the events that are not on record."""
    missing = sorted(tickers - batch.events.keys() - Event.objects.ids(tickers).keys())
    for names in ticker_batches(missing):
        for start in range(0, len(names), EVENTS_LISTED):
            asked = names[start : start + EVENTS_LISTED]
            _see(batch, client.events(tickers=asked, with_nested_markets=False))
    # A listing leaves out what it does not know, which may be an event of long ago.
    for ticker in missing:
        if ticker not in batch.events:
            try:
                _see(batch, client.event(ticker))
            except NotFound:
                continue


def _see(batch: Batch, page: Page) -> None:
    for raw in page.items:
        try:
            event = payloads.event(raw)
        except msgspec.MsgspecError:
            continue
        # Its other markets were not asked for.
        batch.events[event.ticker] = msgspec.structs.replace(event, markets=[])


def see_series(client: KalshiClient, tickers: set[str]) -> None:
    read = Series.objects.filter(ticker__in=tickers).exclude(refreshed_at=None)
    known = set(read.values_list("ticker", flat=True))
    for ticker in sorted(tickers - known):
        try:
            page = client.series(ticker)
            readable = [payloads.series(raw) for raw in page.items]
        except (NotFound, msgspec.MsgspecError):
            continue
        Series.objects.refresh(readable, at=page.received_at)


def write_definitions(
    batch: Batch, news: Sequence[MarketDefinition], *, known: dict[str, str]
) -> None:
    now = datetime.now(UTC)
    Drift.objects.note(batch.drifted, at=now)
    ended = (d.payload for d in news if d.payload.status == Status.FINALIZED)
    followed = seen_since({market.ticker: settled_at(market)[0] for market in ended})
    ids = define(batch, sorted(news, key=lambda definition: definition.payload.ticker), now)
    MarketRevision.objects.add(
        revision
        for definition in news
        if (market_id := ids.get(definition.payload.ticker))
        for revision in past_revisions(
            definition,
            market_id,
            is_new=definition.payload.ticker not in known,
            is_followed=definition.payload.ticker in followed,
            now=now,
        )
    )


def seen_since(settled: Mapping[str, datetime]) -> set[str]:
    """Of markets settled at an instant, those that we may since have seen not to be settled.

    A revision says so. Where nothing changes, the recorder writes none: a market that it has
    polled may have been seen by any run.
    """
    newest = MarketRevision.objects.filter(market=OuterRef("pk")).order_by("-known_at")
    polled = MarketSnapshot.objects.filter(market=OuterRef("pk")).exclude(source=Source.BACKFILL)
    rows = Market.objects.filter(ticker__in=settled).values_list(
        "ticker",
        Subquery(newest.values("known_at")[:1]),
        # A value and no Exists: that could be joined, and every market's snapshots read for it.
        Subquery(polled.order_by().values("timestamp")[:1]),
    )
    run = Poll.objects.first()
    ran = run and (run.finished_at or run.started_at)
    return {
        ticker
        for ticker, revised, is_polled in rows
        if any(at and at >= settled[ticker] for at in (revised, is_polled and ran))
    }


def past_revisions(
    definition: MarketDefinition, market_id: int, *, is_new: bool, is_followed: bool, now: datetime
) -> Iterator[MarketRevision]:
    """What could be known of a market at its opening, and at its settlement where it has one."""
    market = definition.payload
    grid = msgspec.to_builtins(market.price_ranges)
    if is_new:
        yield MarketRevision(
            market_id=market_id,
            known_at=market.open_time,
            known_at_assumed=True,  # its grid and its opening, as they are told today
            recorded_at=now,
            status=Status.ACTIVE,
            open_time=market.open_time,
            price_ranges=grid,
        )
    known_at, assumed = settled_at(market)
    # Of a market that we followed, `define` has written what is known, and since when.
    if not is_followed and market.status == Status.FINALIZED and known_at <= now:
        yield MarketRevision(
            market_id=market_id,
            known_at=known_at,
            known_at_assumed=assumed,
            recorded_at=now,
            status=market.status,
            result=market.result,
            settlement_value=market.settlement_value,
            settlement_ts=market.settlement_ts,
            open_time=market.open_time,
            close_time=market.close_time,
            expected_expiration_time=market.expected_expiration_time,
            price_ranges=grid,
            raw_data=msgspec.json.decode(definition.raw),
        )


def settled_at(market: MarketPayload) -> tuple[datetime, bool]:
    """When a settlement could be known, and whether that is an assumption."""
    if market.settlement_ts:
        return market.settlement_ts, False
    return market.close_time + timedelta(seconds=market.settlement_timer_seconds), True


def ensure_spans(limits: dict[int, Limits], wanted: Wanted) -> list[BackfillSpan]:
    """The spans of these markets; new ones begin where an older one has come to."""
    there = BackfillSpan.objects.filter(market_id__in=limits, kind__in=wanted.kinds)
    earlier: dict[tuple[int, str], list[BackfillSpan]] = {}
    for span in there:
        earlier.setdefault((span.market_id, span.kind), []).append(span)
    keys = {
        key
        for market_id, times in limits.items()
        for kind in wanted.kinds
        for key in _cut((market_id, kind, *times), earlier.get((market_id, kind), []))
    }
    missing = keys - {_key(span) for spans in earlier.values() for span in spans}
    BackfillSpan.objects.bulk_create(
        (_new_span(key, earlier.get(key[:2], [])) for key in missing),
        batch_size=1000,
        ignore_conflicts=True,
    )
    return [span for span in there.all().order_by("start", "pk") if _key(span) in keys]


def _key(span: BackfillSpan) -> Key:
    return span.market_id, span.kind, span.start, span.end


def _cut(key: Key, earlier: Sequence[BackfillSpan]) -> Iterator[Key]:
    """Trades come newest first: those after an earlier span's end are a span of their own."""
    market_id, kind, start, end = key
    if kind == TRADES:
        for span in sorted(earlier, key=lambda span: (span.start, span.start - span.end)):
            # An unfinished one that ends later would come to these trades last.
            goes_on = span.start == start and span.end <= end
            if span.start <= start < span.end and (span.finished_at or goes_on):
                yield _key(span)
                start = span.end
    if start < end:
        yield market_id, kind, start, end


def _new_span(key: Key, earlier: Sequence[BackfillSpan]) -> BackfillSpan:
    market_id, kind, start, end = key
    span = BackfillSpan(market_id=market_id, kind=kind, start=start, end=end)
    if kind == TRADES:
        return span
    reached = [
        other.done_until
        for other in earlier
        if other.done_until and other.start <= start < other.done_until
    ]
    if reached:
        span.done_until = min(max(reached), end)
        span.finished_at = datetime.now(UTC) if span.done_until == end else None
    return span
