"""The tape: the trades of the whole exchange, newest first, and the spans that were read whole.

Each walk begins with the newest trade and goes back past the end of the walk before it by ten
seconds, for trades that come late, and until it meets a trade of that walk. What it could not
reach is an open span. Later runs list open spans by their times, the newest first.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction

from kalshi_insights.processes.session_limits import short_waits
from markets.intervals import Interval, intersect
from markets.kalshi.client import KalshiClient, Page, ticker_batches
from markets.kalshi.drift import DriftNote, find_drift, shape_drift
from markets.kalshi.params import TradeFilters
from markets.models import Drift, Sweep, TapeSpan, Tier, WaitingTrade
from markets.models.tape import Proof
from markets.models.tape_scope import TapeScope
from markets.recording.by_ticker import TICKERS_PER_REQUEST, fetch_markets
from markets.recording.events import fetch_missing_events
from markets.recording.isolation import CONTAGIOUS, pages_in_parts
from markets.recording.scope import scope
from markets.recording.tape_pages import TapePage, parse_page, store_page
from markets.recording.tick import Tick

# Trades may be listed so much later than they happened.
LATENESS = timedelta(seconds=10)
TRADES_PER_PAGE = 1000
# The share of a run's tokens that the tape takes at most.
MOST_TOKENS = 0.25
# A time that could not be read whole is listed again after this.
TRY_AGAIN_AFTER = timedelta(minutes=10)
# What fails at the end of a time is passed by so much, which filters of whole seconds can tell.
SKIPPED = timedelta(seconds=2)
# Another writer of trades holds up a run of the recorder by so many seconds at most.
LOCK_SECONDS = 1.0
MICROSECOND = timedelta(microseconds=1)


class ListingPlace(NamedTuple):
    """The place where the listing of a time was left, so that the next run goes on from there.

    Filters of whole seconds would list up to two of them again, which are many pages in a burst.
    """

    left: Interval
    is_past: bool
    filters: TradeFilters
    cursor: str


class NewestWalk(NamedTuple):
    """The trades of the newest walk that are on record, by the span with which it ended.

    The next one reads most of them again, and need not write them. Where another process has
    followed the tape meanwhile, it has ended with another span.
    """

    end: datetime
    newest_ids: Sequence[UUID]
    stored: frozenset[str]

    def stored_by(self, newest: TapeSpan | None) -> frozenset[str]:
        """Return the ids of its trades, if the newest span is still its own."""
        is_own = newest and (newest.end, newest.newest_ids) == (self.end, self.newest_ids)
        return self.stored if is_own else frozenset()


@dataclass(slots=True)
class TapeReader:
    """Reads and stores pages of trades. `go_on` tells whether another page may be requested."""

    client: KalshiClient
    go_on: Callable[[], bool] = lambda: True
    new: int = 0
    refused: int = 0
    notes: list[DriftNote] = field(default_factory=list)
    # Where the historical tier ended when it was asked last.
    cutoff: datetime | None = None
    place: ListingPlace | None = None
    newest_walk: NewestWalk | None = None

    # --- the newest trades ----------------------------------------------------------------------

    def follow(self) -> bool:
        """Walk from the newest trade back to the tape on record; return False if a gap is left."""
        before, newest_walk = TapeSpan.objects.newest(), self.newest_walk
        walk, self.newest_walk = Walk(before), None
        stored = newest_walk.stored_by(before) if newest_walk else frozenset()
        try:
            for page in self.pages(self.client.trades, walk=walk, stored=stored):
                walk.add(page)
                if walk.is_done or not self.go_on():
                    break
        finally:
            # A walk that ends early has read what it has read.
            walk.mark()
        if walk.read:
            self.newest_walk = NewestWalk(walk.read.end, walk.newest_ids, frozenset(walk.stored))
        return walk.is_done and not walk.refused

    # --- open spans -----------------------------------------------------------------------------

    def close_next(self) -> bool:
        """List the newest open span, as far as it goes; return False where none is due."""
        now = datetime.now(UTC)
        newest = TapeSpan.objects.newest()
        # What is newer may still have trades to come.
        settled = newest.end - LATENESS if newest else now
        time = TapeSpan.objects.to_close(before=settled, tried_before=now - TRY_AGAIN_AFTER)
        if time is None:
            return False
        left = time
        for part in self.list_parts(time):
            left = part
            if not self.go_on():
                break
        if left == time and self.cutoff is None and self.go_on():
            # The exchange does not tell where its live tier begins, so that nothing is proved.
            mark_tried(left)
        return True

    def list_parts(self, time: Interval) -> Iterator[Interval]:
        """List the trades of a time, newest first; yield what is left of it after each page.

        Of a time on both sides of the historical cutoff, the older part is left for the next call.
        """
        left, is_past, filters, cursor = self._place_of(time)
        fetch = self.client.historical_trades if is_past else self.client.trades
        self.place = None
        try:
            for page in self.pages(partial(fetch, **filters), cursor=cursor):
                read = self._read_of(left, page, is_past=is_past)
                mark_listed(read, page, proof=Proof.HISTORICAL if is_past else Proof.LISTED)
                left = Interval(left.start, read.start)
                self.place = ListingPlace(left, is_past, filters, page.cursor)
                yield left
                if not left or page.is_last:
                    self.place = None
                    break
        except CONTAGIOUS:
            mark_tried(left)
            raise

    def _place_of(self, time: Interval) -> ListingPlace:
        if self.place and self.place.left == time:
            return self.place
        is_past = self.cutoff is not None and time.end <= self.cutoff
        return ListingPlace(time, is_past, seconds_around(time), "")

    def _read_of(self, left: Interval, page: TapePage, *, is_past: bool) -> Interval:
        """Return the part of a time that a page has read whole: from some instant to its end."""
        if page.is_last and is_past:
            return left
        if page.is_last:
            # The cutoff advances all the time, so it is asked for when the live tier was read.
            self.cutoff = self.client.historical_cutoff().trades_created_ts
            since = left.end if self.cutoff is None else max(left.start, self.cutoff)
        elif page.oldest is None:
            since = left.end
        else:
            # The next page may go on with trades of the same instant.
            since = max(left.start, page.oldest + MICROSECOND)
        return Interval(min(since, left.end), left.end)

    # --- pages ----------------------------------------------------------------------------------

    def pages(
        self,
        fetch: Callable[..., Page],
        *,
        cursor: str = "",
        walk: "Walk | None" = None,
        stored: frozenset[str] = frozenset(),
    ) -> Iterator[TapePage]:
        """Follow a listing from a cursor on, and store each page before it is given out.

        Trades of a walk are seen live; those `stored` are known to be on record.
        """

        def fetch_from(*, cursor: str, limit: int, since: str = cursor) -> Page:
            return fetch(cursor=cursor or since, limit=limit)

        for page in pages_in_parts(fetch_from, size=TRADES_PER_PAGE):
            # One sample per page is enough: a changed contract shows in every payload.
            self.notes += [note for raw in page.items[:1] for note in find_drift("trade", raw)]
            parsed = parse_page(page, skew=self.client.clock_skew)
            page_stored = store_page(
                parsed, known_at=parsed.received_at if walk else None, stored=stored
            )
            self.new += page_stored.new
            if walk:
                walk.stored |= page_stored.ids
            self.refused += len(parsed.refused)
            self.notes += [
                shape_drift("trade", refused.reason, raw=refused.raw) for refused in parsed.refused
            ]
            yield parsed


class Walk:
    """A walk from the newest trade back, and what it proves beside the tape before it."""

    def __init__(self, before: TapeSpan | None) -> None:
        self.before = before
        self.read: Interval | None = None
        self.newest_ids: list[UUID] = []
        self.refused: list[Interval] = []
        # The ids of its trades that are on record.
        self.stored: set[str] = set()
        # A tape that names no trades is met by whoever comes far enough.
        self.has_met = before is not None and not before.newest_ids
        # Up to here no late trade can have changed what is on record.
        self.settled = settled_until(before) if before else None

    @property
    def is_done(self) -> bool:
        """Return True if it met the tape before, and read what late trades may have added to it.

        The first walk of all needs but one page.
        """
        if self.settled is None:
            return True
        return self.has_met and self.read is not None and self.read.start <= self.settled

    def add(self, page: TapePage) -> None:
        if page.oldest is None or page.newest is None:
            return
        # The next page may go on with trades of the same instant.
        since = page.oldest if page.is_last else page.oldest + MICROSECOND
        if self.read is None:
            self.read, self.newest_ids = Interval(since, page.newest), page.newest_ids
        else:
            self.read = Interval(min(since, self.read.start), max(page.newest, self.read.end))
        self.refused += refused_times(page)
        if self.before and page.has_any(self.before.newest_ids):
            self.has_met = True

    def mark(self) -> None:
        """Store what was read whole, and leave open what lies between it and the tape before."""
        if self.read is None:
            return
        whole, missed = self.read, None
        if self.before and self.settled and not self.is_done:
            met = whole.start if self.has_met else max(whole.start, self.before.end)
            missed = Interval(self.settled, met)
            whole = Interval(met, whole.end)
        with transaction.atomic():
            span = whole_span(Proof.JOINED, newest_ids=self.newest_ids)
            TapeSpan.objects.mark_whole(whole, span, at=datetime.now(UTC))
            if missed:
                TapeSpan.objects.mark_open(missed)
            reopen(self.refused)


def settled_until(span: TapeSpan) -> datetime:
    """Return up to where a span needs no second look; where nothing whole is before it, its start.

    What is before it and open will be listed in any case.
    """
    since = span.end - LATENESS
    if since >= span.start or TapeSpan.objects.ends_whole(span.start):
        return since
    return span.start


def seconds_around(time: Interval) -> TradeFilters:
    """Return the filters of a time; they are whole seconds, so that a little more is listed."""
    return {"min_ts": int(time.start.timestamp()) - 1, "max_ts": int(time.end.timestamp()) + 1}


def whole_span(proof: Proof, *, newest_ids: Sequence[UUID] = ()) -> TapeSpan:
    scope = TapeScope.of_settings()
    return TapeSpan(is_whole=True, proof=proof, newest_ids=list(newest_ids), **scope._asdict())


def mark_listed(read: Interval, page: TapePage, *, proof: Proof) -> None:
    with transaction.atomic():
        TapeSpan.objects.mark_whole(read, whole_span(proof), at=datetime.now(UTC))
        reopen(part for each in refused_times(page) for part in intersect([each], [read]))


def mark_tried(left: Interval) -> None:
    """Leave the end of a time for later, so that the next listing passes what fails there."""
    end = Interval(max(left.start, left.end - SKIPPED), left.end)
    with transaction.atomic():
        TapeSpan.objects.mark_open(end, tried_at=datetime.now(UTC))


def reopen(times: Iterable[Interval]) -> None:
    """Leave the instants of refused trades open; they are listed again later."""
    now = datetime.now(UTC)
    for time in times:
        TapeSpan.objects.mark_open(time, tried_at=now)


def refused_times(page: TapePage) -> list[Interval]:
    """Return the instant of each refused trade; all of the page's time where it is unknown.

    One in the future is listed again when its time has come.
    """
    if page.oldest is None or page.newest is None:
        return []
    whole = Interval(page.oldest, page.newest + MICROSECOND)
    return [
        Interval(each.at, each.at + MICROSECOND)
        if each.at and whole.start <= each.at < whole.end
        else whole
        for each in page.refused
        if each.at is None or each.at <= page.present
    ]


# --- the tier -----------------------------------------------------------------------------------


@dataclass(slots=True)
class LastRun:
    """The places in the tape where the last run of this process ended."""

    place: ListingPlace | None = None
    newest_walk: NewestWalk | None = None


# Each process has one, since runs follow each other in it.
last_run = LastRun()


def fetch_trades(tick: Tick) -> None:
    """Read the newest trades, ask for unknown markets, and list open spans, within the turn.

    While spans are open, the newest trades are read in every second run only: each walk reads
    what late trades may change once more, and the rest of the tokens closes the gap.
    """
    tick.limit_requests(MOST_TOKENS)
    reader = TapeReader(
        tick.client,
        go_on=tick.has_turn,
        place=last_run.place,
        newest_walk=last_run.newest_walk,
    )
    try:
        with short_waits(connection, seconds=LOCK_SECONDS):
            read_newest_and_open(tick, reader)
    finally:
        last_run.place, last_run.newest_walk = reader.place, reader.newest_walk
        tick.batch.drift_notes += reader.notes
        tick.batch.rejected += reader.refused


def read_newest_and_open(tick: Tick, reader: TapeReader) -> None:
    now = datetime.now(UTC)
    WaitingTrade.objects.release(at=now)
    waiting = TapeSpan.objects.to_close(before=now, tried_before=now - TRY_AGAIN_AFTER)
    is_joined = (waiting is None or tick.poll.pk % 2 == 0) and reader.follow()
    ask_for_markets(tick, at=now)
    if waiting is None and is_joined:
        return
    while tick.has_turn() and reader.close_next():
        pass


def ask_for_markets(tick: Tick, *, at: datetime) -> None:
    """Fetch some of the markets for whose definition trades are waiting."""
    waiting = WaitingTrade.objects.tickers_to_ask(TICKERS_PER_REQUEST, at=at)
    if not waiting or not tick.has_turn():
        return
    tickers = next(ticker_batches(waiting))
    WaitingTrade.objects.of(tickers).update(asked_at=at)
    sweep = Sweep(tier=Tier.TRADES, started_at=at)
    try:
        with tick.client.without_retries():
            fetch_markets(tick, sweep, tickers)
    except CONTAGIOUS:
        # One of them may be the cause: now they are fetched in parts.
        fetch_markets(tick, sweep, tickers)
    events = {
        t: tick.batch.observed[t].quote.event_ticker for t in tickers if t in tick.batch.observed
    }
    fetch_missing_events(tick.client, tick.batch, set(events.values()))
    for ticker, event_ticker in events.items():
        scope.excludes(event_ticker, market=ticker)
    WaitingTrade.objects.of(scope.outside_markets.intersection(tickers)).delete()


# --- by hand ------------------------------------------------------------------------------------


def read_window(
    client: KalshiClient, window: Interval, *, on_progress: Callable[[float, TapeReader], None]
) -> TapeReader:
    """Read all of a window that was not read yet; raises `KalshiError` if the exchange fails.

    `on_progress` is given the share that is done. The same call continues after an interruption.
    """
    reader = TapeReader(client)
    unread = TapeSpan.objects.unread(window)
    total = sum((time.length for time in unread), timedelta())
    done = timedelta()
    for time in reversed(unread):
        left = time
        while left:
            before, cutoff = left, reader.cutoff
            for left in reader.list_parts(before):
                on_progress((done + (time.length - left.length)) / total, reader)
            if left == before and reader.cutoff == cutoff:
                break
        done += time.length
    Drift.objects.note(reader.notes, at=datetime.now(UTC))
    return reader
