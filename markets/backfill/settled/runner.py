"""The backfill of settled markets: those candlesticks that calibration reads, and no others.

Markets are found and recorded first, each with its windows; then the windows are filled. Each
reply is written in one transaction together with its windows, so that the same request continues
after any interruption.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec

from markets.backfill.progress import BackfillProgress
from markets.backfill.runner import (
    REPLY_TIMEOUT,
    BackfillRun,
    CandlestickCall,
    CandlestickReply,
    fetch_ahead,
    fetch_historical,
    fetch_live,
    unfinished_spans,
)
from markets.backfill.settled.calls import batch_calls, single_calls
from markets.backfill.settled.planning import SettledPlan, plan_pages, unfilled
from markets.backfill.settled.request import SettledRequest
from markets.backfill.settled.windows import MINUTES, CandleWindow, wanted_of
from markets.intervals import EPOCH
from markets.kalshi.candles import period_end
from markets.kalshi.client import KalshiClient
from markets.kalshi.drift import SAMPLE_LENGTH, DriftNote
from markets.models import BackfillSpan, Drift, Market

# Windows are loaded in slices, so that memory does not grow with the request.
WINDOWS_PER_SLICE = 10_000

UNASKED_MARKET = "candlesticks: a market that was not asked for"
UNASKED_TIME = "candlesticks: outside the time that was asked for"

Cut = Callable[[Sequence[BackfillSpan], timedelta], Iterator[CandlestickCall]]
Fetch = Callable[..., CandlestickReply]


@dataclass(frozen=True, slots=True)
class TierWork:
    """The windows to fill from one tier, by id, and the number of calls that they take."""

    ids: list[int]
    cut: Cut
    fetch: Fetch
    calls: int


@dataclass(slots=True)
class SettledProgress(BackfillProgress):
    """The progress of both stages: markets are listed, then windows filled call by call."""

    plan: SettledPlan = field(default_factory=SettledPlan)
    listed: float = 0.0
    calls: int = 0
    calls_done: int = 0

    @property
    def share(self) -> float:
        return self.calls_done / self.calls if self.calls else 1.0


@dataclass(frozen=True, slots=True)
class SettledWork:
    """The calls that are left to make after the markets were found."""

    live: TierWork
    historical: TierWork

    @property
    def calls(self) -> int:
        return self.live.calls + self.historical.calls


def find_settled(
    client: KalshiClient,
    request: SettledRequest,
    progress: SettledProgress,
    *,
    on_progress: Callable[[SettledProgress], None],
) -> SettledWork:
    """Find and record the markets of a request; return what is left to fetch of them.

    Raises `BadInput` for a series or a category that the exchange does not have, and `KalshiError`
    if the exchange fails.
    """
    plan = progress.plan
    for page in plan_pages(client, request, plan, on_rejected=progress.reject):
        progress.markets, progress.listed = plan.markets, page.share
        on_progress(progress)
    progress.differing = plan.differing
    work = SettledWork(
        tier_work(unfilled(plan.live, by_market=False), batch_calls, fetch_live),
        tier_work(unfilled(plan.historical, by_market=True), single_calls, fetch_historical),
    )
    progress.calls = work.calls
    return work


def tier_work(ids: list[int], cut: Cut, fetch: Fetch) -> TierWork:
    calls = sum(1 for part in slices(ids) for _ in calls_of(load(part), cut))
    return TierWork(ids, cut, fetch, calls)


def slices(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), WINDOWS_PER_SLICE):
        yield ids[start : start + WINDOWS_PER_SLICE]


def load(ids: Sequence[int]) -> list[BackfillSpan]:
    """Load windows in the order of these ids, those that are not filled yet."""
    spans = {span.pk: span for span in unfinished_spans(ids)}
    return [spans[id] for id in ids if id in spans]


def calls_of(spans: Sequence[BackfillSpan], cut: Cut) -> Iterator[tuple[int, CandlestickCall]]:
    """Yield the calls for these windows, each with the minutes of its candlesticks."""
    for minutes in sorted(set(MINUTES.values())):
        own = [span for span in spans if MINUTES[span.kind] == minutes]
        for call in cut(own, timedelta(minutes=minutes)):
            yield minutes, call


# --- filling ------------------------------------------------------------------------------------


def fill_settled(
    client: KalshiClient,
    work: SettledWork,
    progress: SettledProgress,
    *,
    on_progress: Callable[[SettledProgress], None],
) -> None:
    """Fetch and write what is left; `on_progress` is called after each call.

    Raises `KalshiError` if the exchange fails.
    """
    client.total_timeout = REPLY_TIMEOUT
    runs = {minutes: BackfillRun(client, minutes, progress) for minutes in MINUTES.values()}
    for tier in (work.live, work.historical):
        for part in slices(tier.ids):
            spans = load(part)
            grids = Market.objects.grids({span.market_id for span in spans})
            calls = calls_of(spans, tier.cut)
            for minutes, reply in fetch_ahead(partial(fetch, client, tier.fetch), calls):
                write(runs[minutes], reply, grids)
                progress.calls_done += 1
                on_progress(progress)


def fetch(
    client: KalshiClient, fetch_call: Fetch, timed_call: tuple[int, CandlestickCall]
) -> tuple[int, CandlestickReply]:
    minutes, call = timed_call
    return minutes, fetch_call(client, call, minutes=minutes)


def write(run: BackfillRun, reply: CandlestickReply, grids: dict[int, str]) -> None:
    for ticker, error in reply.unanswered.items():
        run.progress.reject(ticker, error)
    Drift.objects.note(unasked(reply, run.period), at=datetime.now(UTC))
    run.write_candlesticks(keep_wanted(reply), grids)


def keep_wanted(reply: CandlestickReply) -> CandlestickReply:
    """Return the reply with those candlesticks alone for which its windows are there."""
    # Each once, though it may serve several windows.
    kept: dict[str, dict[bytes, msgspec.Raw]] = {}
    for span in reply.call.spans:
        ticker = span.market.ticker
        if ticker in reply.candlesticks:
            window = CandleWindow(span.kind, span.start, span.end)
            wanted = wanted_of(reply.candlesticks[ticker], window)
            kept.setdefault(ticker, {}).update((bytes(raw), raw) for raw in wanted)
    return reply._replace(candlesticks={t: list(raws.values()) for t, raws in kept.items()})


def unasked(reply: CandlestickReply, period: timedelta) -> Iterator[DriftNote]:
    """Yield what a reply has beside the markets and the time that it was asked for."""
    call = reply.call
    asked = {span.market.ticker for span in call.spans}
    others = sorted(reply.candlesticks.keys() - asked)
    if others:
        yield DriftNote("shape", UNASKED_MARKET, ", ".join(others)[:SAMPLE_LENGTH])
    for ticker in sorted(asked & reply.candlesticks.keys()):
        for raw in (*reply.candlesticks[ticker][:1], *reply.candlesticks[ticker][-1:]):
            seconds = period_end(raw)
            at = None if seconds is None else EPOCH + timedelta(seconds=seconds)
            if at and not call.after - period <= at <= call.until + period:
                yield DriftNote("shape", UNASKED_TIME, f"{ticker} {at:%Y-%m-%d %H:%M:%S}")
