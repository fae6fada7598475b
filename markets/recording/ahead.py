"""Pages of a listing that are requested before anybody reads them.

A listing goes by cursor, so the next page can be requested as soon as one has arrived: while that
one is parsed, and while other tiers have their turn.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import RLock
from typing import Any, NamedTuple

from markets.kalshi.client import Page
from markets.kalshi.errors import OutOfTokens
from markets.recording.pace import pace


class RequestedPage(NamedTuple):
    cursor: str
    limit: int
    reply: Future[Page]


class PagesAhead:
    """A listing of the exchange, called like the endpoint, whose pages may have arrived already.

    One request is under way at a time, in a thread of its own. `next_size` says, also in that
    thread, how many items the next page should have, or 0 if it must wait. It is given the limits
    of all unread pages, and of the one that was read last, since its reader may still be at it.

    The error of a page is raised for whoever reads the page. Pages that nobody reads are dropped,
    and the sweep's cursor still leads to them.
    """

    def __init__(
        self, fetch: Callable[..., Page], *, next_size: Callable[[Sequence[int]], int]
    ) -> None:
        self._fetch = fetch
        self._next_size = next_size
        # Whoever looks at what is requested sees a request that has just been sent.
        self._lock = RLock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pages-ahead")
        self._requested: deque[RequestedPage] = deque()
        self._in_hand: list[int] = []
        # The number of times that the reader went elsewhere; what was begun before leads nowhere.
        self._place = 0
        self._is_closed = False

    def __call__(self, *, cursor: str, limit: int, **options: Any) -> Page:
        """Return the page at a cursor; one that was requested ahead has the limit of then."""
        self._in_hand = []
        if self._requested and self._requested[0].cursor == cursor and not options:
            try:
                return self._take()
            except OutOfTokens:
                # This turn may have tokens for it where an earlier one had none.
                pass
        with self._lock:
            self._requested.clear()
            self._place += 1
        page = self._fetch_timed(cursor=cursor, limit=limit, **options)
        self._in_hand = [limit]
        return page

    @property
    def has_pages(self) -> bool:
        """True if pages have been requested that nobody has read."""
        return bool(self._requested)

    def request(self, *, cursor: str, limit: int) -> None:
        """Request the page at a cursor, and then the pages after it as `next_size` says."""
        with self._lock:
            reply = self._thread.submit(self._follow, cursor, limit, self._place)
            self._requested.append(RequestedPage(cursor, limit, reply))

    def request_after(self, page: Page) -> None:
        """Request the page after the newest one, if no request is under way.

        The newest one is `page`, which has just been read, unless later ones have arrived.
        """
        with self._lock:
            newest = page
            if self._requested:
                reply = self._requested[-1].reply
                if not reply.done() or reply.exception():
                    return
                newest = reply.result()
            self._request_next(newest)

    def close(self) -> None:
        """Request nothing more, and do not wait for what is under way."""
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> Page:
        """Return the page that was requested first, when it has arrived."""
        first = self._requested[0]
        try:
            page = first.reply.result()
        finally:
            with self._lock:
                self._requested.popleft()
                self._in_hand = [first.limit]
        return page

    def _follow(self, cursor: str, limit: int, place: int) -> Page:
        page = self._fetch_timed(cursor=cursor, limit=limit)
        # Once this reply counts as done, the next page has been requested or will not be from here.
        with self._lock:
            if place == self._place and not self._is_closed:
                self._request_next(page)
        return page

    def _fetch_timed(self, **request: Any) -> Page:
        began = time.monotonic()
        page = self._fetch(**request)
        pace.wait_for_page(time.monotonic() - began)
        return page

    def _request_next(self, page: Page) -> None:
        with self._lock:
            unread = [*self._in_hand, *(each.limit for each in self._requested)]
            if page.cursor and (limit := self._next_size(unread)):
                self.request(cursor=page.cursor, limit=limit)
