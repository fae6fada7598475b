"""Markets requested by their tickers, from either tier of the exchange."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from markets.kalshi.client import Page
from markets.kalshi.fields import is_ticker
from markets.models import Sweep
from markets.recording.isolation import CONTAGIOUS, add_in_parts, fetch_named
from markets.recording.tick import Tick

# About as many tickers as fit into one URL.
TICKERS_PER_REQUEST = 200
# A reply that lacks most of the requested markets is treated as truncated, and its markets not as
# unlisted, if more markets than this were requested.
SMALL_REQUEST = 10


def fetch_markets(tick: Tick, sweep: Sweep, tickers: Sequence[str]) -> list[str]:
    """Fetch these markets from the live or the historical tier; return those without a quote.

    Older versions recorded tickers that are refused now. No reply can bring such a market back,
    so that it is not asked for and becomes unlisted.
    """
    tick.batch.unlisted |= {t: datetime.now(UTC) for t in tickers if not is_ticker(t)}
    tickers = [ticker for ticker in tickers if is_ticker(ticker)]
    rejected = fetch_by_ticker(tick, sweep, tickers, tick.client.markets)
    not_live = [t for t in tickers if t not in tick.batch.observed and t not in rejected]
    if not_live:
        rejected += fetch_by_ticker(tick, sweep, not_live, tick.client.historical_markets)
    sweep.page_size = None
    missing = [ticker for ticker in tickers if ticker not in tick.batch.observed]
    unlisted = [ticker for ticker in missing if ticker not in rejected]
    if is_credible(unlisted, requested=tickers, rejected=rejected):
        tick.batch.unlisted |= dict.fromkeys(unlisted, datetime.now(UTC))
    return missing


def fetch_by_ticker(
    tick: Tick, sweep: Sweep, tickers: Sequence[str], fetch: Callable[..., Page]
) -> list[str]:
    """Fetch markets into the batch; return those that were rejected or not fetched.

    Those that failed in the tier's last sweep are fetched apart from the others, and all of them
    where the last request for them failed.
    """
    before = Sweep.objects.newest_finished(sweep.tier)
    skipped = before.skipped if before else []
    suspects = [t for t in tickers if sweep.page_size is not None or t in skipped]
    others = [ticker for ticker in tickers if ticker not in suspects]
    rejected = []
    if others:
        try:
            rejected += tick.batch.add_markets_page(fetch_named(fetch, others))
        except CONTAGIOUS:
            sweep.page_size = 1
            raise
    if suspects:
        rejected += add_in_parts(tick, suspects, fetch, is_answering=bool(others))
    return rejected


def is_credible(
    unlisted: Sequence[str], *, requested: Sequence[str], rejected: Sequence[str]
) -> bool:
    """Return False if the reply looks truncated, or if a rejected payload has no ticker.

    Any of the missing markets may be the one whose ticker could not be read.
    """
    is_whole = len(requested) <= SMALL_REQUEST or 2 * len(unlisted) <= len(requested)
    return is_whole and "" not in rejected


def fetch_refused_again(tick: Tick, sweep: Sweep, refused: Sequence[str]) -> None:
    """Fetch what the last sweep of a listing could not read: no later listing has it again."""
    tickers = [ticker for ticker in dict.fromkeys(refused) if ticker][:TICKERS_PER_REQUEST]
    if tickers:
        missing = fetch_markets(tick, sweep, tickers)
        still_refused = [ticker for ticker in missing if ticker not in tick.batch.unlisted]
        sweep.add_page(datetime.now(UTC), markets=len(tickers), skipped=still_refused, cursor="")
