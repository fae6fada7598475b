"""Pages of a listing that are requested before anybody reads them.

A listing goes by cursor, so the next page can be requested as soon as one has arrived: while that
one is parsed, and while other tiers have their turn.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from markets.kalshi.client import Page
from markets.kalshi.errors import OutOfTokens


class RequestedPage(NamedTuple):
    request: dict[str, Any]
    reply: Future[Page]


class PagesAhead:
    """A listing of the exchange, called like the endpoint, whose pages may have arrived already.

    One request is under way at a time, in a thread of its own. `go_on` says, also in that thread,
    whether to request another page; it is told how many are unread, counting the one that was read
    last, since its reader may still be at it. The error of a page is raised for whoever reads the
    page. Pages that nobody reads are dropped, and the sweep's cursor still leads to them.
    """

    def __init__(self, fetch: Callable[..., Page], *, go_on: Callable[[int], bool]) -> None:
        self._fetch = fetch
        self._go_on = go_on
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pages-ahead")
        self._requested: deque[RequestedPage] = deque()
        self._is_reading = False
        self._is_closed = False

    def __call__(self, **request: Any) -> Page:
        self._is_reading = False
        page = self._read(request)
        self._is_reading = True
        return page

    def _read(self, request: dict[str, Any]) -> Page:
        if self._requested and self._requested[0].request == request:
            try:
                return self._requested[0].reply.result()
            except OutOfTokens:
                # This turn may have tokens for it where an earlier one had none.
                pass
            finally:
                self._requested.popleft()
        self._requested.clear()
        return self._fetch(**request)

    @property
    def has_pages(self) -> bool:
        """True if pages have been requested that nobody has read."""
        return bool(self._requested)

    def request(self, *, cursor: str, limit: int) -> None:
        """Request the page at a cursor, and then the pages after it while `go_on`."""
        request = {"cursor": cursor, "limit": limit}
        self._requested.append(RequestedPage(request, self._thread.submit(self._follow, request)))

    def request_after(self, page: Page, *, limit: int) -> None:
        """Request the page after the newest one, if no request is under way.

        The newest one is `page`, which has just been read, unless later ones have arrived.
        """
        newest = page
        if self._requested:
            reply = self._requested[-1].reply
            if not reply.done() or reply.exception():
                return
            newest = reply.result()
        self._request_next(newest, limit)

    def close(self) -> None:
        """Request nothing more, and do not wait for what is under way."""
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _follow(self, request: dict[str, Any]) -> Page:
        page = self._fetch(**request)
        # Once this reply counts as done, the next page has been requested or will not be from here.
        if not self._is_closed:
            self._request_next(page, request["limit"])
        return page

    def _request_next(self, page: Page, limit: int) -> None:
        if page.cursor and self._go_on(len(self._requested) + self._is_reading):
            self.request(cursor=page.cursor, limit=limit)
