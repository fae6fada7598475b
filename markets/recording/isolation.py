"""Requests that the exchange always fails to answer, made smaller until the culprit is alone."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

from markets.kalshi.client import KalshiClient, Page, pages
from markets.kalshi.errors import KalshiError, ServerError, Unintelligible
from markets.models import Sweep
from markets.recording.ahead import PagesAhead
from markets.recording.tick import Tick

T = TypeVar("T")

# Errors that one item can cause for all that are asked for together with it.
CONTAGIOUS = (ServerError, Unintelligible)
# After a page of one item, each next page asks for so many times more, until one fails again.
GROWTH = 4


class Blocked(KalshiError):
    """The page at the cursor of a listing fails however short it is."""


def fetch_page(tick: Tick, sweep: Sweep, listing: PagesAhead, *, size: int) -> Page:
    """Fetch the page at the sweep's cursor; one that always fails is fetched in shorter parts.

    While the page is parsed, the next one is under way, but for those that are fetched in parts.

    Unless something was skipped in the tier's last sweep too, the first failure is raised, since
    the exchange may be failing as a whole; the next run looks closer. Raises `Blocked` where the
    first item alone fails.
    """
    while True:
        limit = sweep.page_size or tick.page_size(size)
        try:
            with tick.client.without_retries() if sweep.page_size else nullcontext():
                page = listing(cursor=sweep.cursor, limit=limit)
        except CONTAGIOUS as error:
            is_first, sweep.page_size = sweep.page_size is None, 1
            if limit == 1:
                raise Blocked(str(error)) from error
            if is_first and not has_culprit(sweep.tier):
                raise
        else:
            longer = limit * GROWTH
            sweep.page_size = longer if sweep.page_size and longer < size else None
            if sweep.page_size is None:
                listing.request_after(page)
            return page


def pages_in_parts(fetch: Callable[..., Page], *, size: int) -> Iterator[Page]:
    """Follow a listing to its end; a page that fails is fetched in shorter parts.

    Raises the error of a page of one item, and `Unintelligible` when a cursor is repeated.
    """
    limit = size

    def fetch_next(cursor: str) -> Page:
        nonlocal limit
        while True:
            try:
                page = fetch(cursor=cursor, limit=limit)
            except CONTAGIOUS:
                if limit == 1:
                    raise
                limit = 1
            else:
                limit = min(limit * GROWTH, size)
                return page

    return pages(fetch_next)


def has_culprit(tier: str) -> bool:
    before = Sweep.objects.newest_finished(tier)
    return before is not None and bool(before.skipped or before.by_market)


def fetch_in_parts(
    client: KalshiClient,
    tickers: Sequence[str],
    fetch: Callable[[list[str]], T],
    *,
    go_on: Callable[[], bool] = lambda: True,
    is_answering: bool = False,
) -> Iterator[tuple[list[str], T | KalshiError]]:
    """Fetch tickers whose common request fails, in halves down to single ones.

    Yields tickers with their reply, and each ticker that fails on its own with its error. Unless
    the exchange `is_answering`, a single ticker is fetched first; where two requests in a row
    fail, the error is raised, since the exchange is probably failing as a whole.
    """
    probe = [] if is_answering else random.sample(list(tickers), 1)
    groups = [[ticker for ticker in tickers if ticker not in probe], probe]
    held: list[tuple[list[str], KalshiError]] = []
    with client.without_retries():
        while (groups := list(filter(None, groups))) and go_on():
            group = groups.pop()
            try:
                reply = fetch(group)
            except CONTAGIOUS as error:
                if held:
                    raise
                if len(group) > 1:
                    groups += [group[len(group) // 2 :], group[: len(group) // 2]]
                elif is_answering:
                    yield group, error
                else:
                    held.append((group, error))
                continue
            is_answering = True
            yield group, reply
            yield from held
            held.clear()
    if held:
        raise held[0][1]


def fetch_named(fetch: Callable[..., Page], tickers: Sequence[str]) -> Page:
    """Fetch markets by ticker as one page, however many the exchange makes of it."""
    found = list(pages(lambda cursor: fetch(tickers=tickers, cursor=cursor)))
    return Page([raw for page in found for raw in page.items], "", found[-1].received_at)


def add_in_parts(
    tick: Tick, tickers: Sequence[str], fetch: Callable[..., Page], *, is_answering: bool
) -> list[str]:
    """Fetch markets into the batch by `fetch_in_parts`; name those that are never answered.

    Returns the tickers that were rejected or, because the turn was over, not fetched.
    """
    rejected: list[str] = []
    left = dict.fromkeys(tickers)
    for group, reply in fetch_in_parts(
        tick.client,
        tickers,
        partial(fetch_named, fetch),
        go_on=tick.has_turn,
        is_answering=is_answering,
    ):
        for ticker in group:
            del left[ticker]
        if isinstance(reply, Page):
            rejected += tick.add_markets_page(reply)
        else:
            rejected.append(tick.batch.reject_unanswered("market", group[0], reply))
    return [*rejected, *left]
