"""Requests for lists of markets: sorts, pages, statuses, categories, searches, and wrong ones."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlencode

from django.db import connection
from django.test import Client

from benchmarks.cpu_time import Stopwatch
from benchmarks.measure import median, percentile, report
from benchmarks.recorded_universe import progress
from markets.models.listed_markets import ORDERS
from markets.views import DEFAULT_ORDERING, PAGE_SIZE

STATUSES = ("all", "unopened", "closed", "settled", "unknown")
CATEGORIES = ("Sports", "Crypto", "Climate and Weather")
# A few of the simulated exchange's markets have the first, most of them the second.
SEARCHES = {"rare": "hike", "common": "month", "two words": "points month", "nothing": "zzzyxx"}
DEEP = 100
# Every request is sent in turn, so that each meets the recorder in all that it does.
LEAST_ROUNDS, MOST_ROUNDS = 3, 20
ENOUGH = 600.0
DATABASE_ROUNDS = 2
OK = 200
WARM_UP = 16
LIST_TARGET, SEARCH_TARGET = 60, 50  # milliseconds
FINDING = 2.0
ROWS_FRAGMENT = {"HX-Request": "true", "HX-Target": "rows"}
JSON = {"Accept": "application/json"}
HEADERS = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br",
}
# Some pages have waited for the database for fifteen seconds.
PATIENCE = 60


class ListRequest(NamedTuple):
    address: str
    headers: Mapping[str, str] = {}
    target: int = LIST_TARGET


@dataclass(slots=True)
class Timing:
    """Seconds of each request, whole and in the database, and the statuses of the answers."""

    whole: list[float] = field(default_factory=list)
    database: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)


Query = Mapping[str, str | int]


def requests_of(markets: int) -> dict[str, ListRequest]:
    """The requests for lists of so many open markets, by name; pages and API give the same rows."""
    requests = {}
    for name, query in list_queries(markets):
        target = SEARCH_TARGET if "q" in query else LIST_TARGET
        requests[f"page {name}"] = ListRequest(f"/markets/?{urlencode(query)}", target=target)
        requests[f"API {name}"] = ListRequest(api_address(query), JSON, target)
    for number in (1, middle_page(markets)):
        name = f"refresh of the rows of {place_of(number)}"
        requests[name] = ListRequest(f"/markets/?page={number}", ROWS_FRAGMENT)
    return requests


def list_queries(markets: int) -> Iterator[tuple[str, Query]]:
    places = {"page 1": 1, f"page {DEEP}": middle_page(markets), "last page": pages_of(markets)}
    for key in ORDERS:
        for order in (key, f"-{key}"):
            for place, number in places.items():
                yield f"by {order}, {place}", {"ordering": order, "page": number}
    for status in STATUSES:
        yield f"of status {status}", {"status": status}
    for category in CATEGORIES:
        yield f"of {category}", {"category": category}
    for kind, words in SEARCHES.items():
        yield f"search, {kind}: {words}", {"q": words}


def place_of(number: int) -> str:
    return "page 1" if number == 1 else f"page {DEEP}"


def pages_of(markets: int) -> int:
    return max(-(-markets // PAGE_SIZE), 1)


def middle_page(markets: int) -> int:
    """A deep page: the hundredth, or the one in the middle where there are not twice as many."""
    return min(DEEP, -(-pages_of(markets) // 2))


def api_address(query: Query) -> str:
    wanted = {"status": "open", "ordering": DEFAULT_ORDERING, "limit": PAGE_SIZE, **query}
    wanted["skip"] = PAGE_SIZE * (int(wanted.pop("page", 1)) - 1)
    return f"/api/v1/markets/?{urlencode(wanted)}"


def wrong_requests() -> dict[str, ListRequest]:
    """Requests for what does not exist, which should cost little and be answered clearly."""
    words = " ".join(f"w{n}" for n in range(500))
    queries: dict[str, tuple[Query, Query]] = {
        "a page beyond the end": ({"page": 999_999}, {"skip": 9_999_999}),
        "a sort that nobody offers": ({"ordering": "charm"}, {"ordering": "charm"}),
        "a word of one letter": ({"q": "k"}, {"q": "k"}),
        "500 words": ({"q": words}, {"q": words}),
    }
    requests = {}
    for name, (page, api) in queries.items():
        requests[f"page, {name}"] = ListRequest(f"/markets/?{urlencode(page)}")
        requests[f"API, {name}"] = ListRequest(f"/api/v1/markets/?{urlencode(api)}", JSON)
    return requests


# --- measuring ----------------------------------------------------------------------------------


def time_requests(port: int, requests: Mapping[str, ListRequest]) -> dict[str, Timing]:
    """Send all requests in turn, round after round, until there is time for no more rounds."""
    for _ in range(WARM_UP):
        fetch(port, ListRequest("/markets/"))
    timings = {name: Timing() for name in requests}
    until = time.monotonic() + ENOUGH
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.monotonic() > until:
            break
        progress(f"round {number + 1} of {len(requests)} requests")
        for name, request in requests.items():
            seconds, status = fetch(port, request)
            timings[name].whole.append(seconds)
            timings[name].statuses.add(status)
            if number < DATABASE_ROUNDS and status == OK:
                timings[name].database.append(seconds_in_database(request))
    return timings


def fetch(port: int, request: ListRequest) -> tuple[float, int]:
    """Send a request on a connection of its own; return the seconds it took, and the status."""
    began = time.perf_counter()
    client = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    client.request("GET", request.address, headers={**HEADERS, **request.headers})
    answer = client.getresponse()
    answer.read()
    client.close()
    return time.perf_counter() - began, answer.status


def seconds_in_database(request: ListRequest) -> float:
    """The time of a request's statements, measured in this process."""
    stopwatch = Stopwatch()
    client = Client(headers={**HEADERS, "host": "localhost"}, raise_request_exception=False)
    with connection.execute_wrapper(stopwatch):
        client.get(request.address, headers=request.headers)
    return stopwatch.seconds


# --- reporting ----------------------------------------------------------------------------------


def report_lists(
    requests: Mapping[str, ListRequest],
    timings: Mapping[str, Timing],
    *,
    before: Mapping[str, Timing],
) -> None:
    """Print each list with its ratio to the same list of fewer markets."""
    rounds = len(next(iter(timings.values())).whole)
    print(f"  p95 of {rounds} requests each, in the database of {DATABASE_ROUNDS}")
    for name, timing in timings.items():
        report_timing(name, timing, target=requests[name].target, before=before[name])
    ratios = {name: growth(timing, before[name]) for name, timing in timings.items()}
    dear = [name for name, ratio in ratios.items() if ratio > FINDING]
    report("lists that cost more than twice as much", f"{len(dear)} of {len(ratios)}")
    for name in sorted(dear, key=lambda name: -median(timings[name].whole))[:10]:
        report(f"  {name}", f"{median(timings[name].whole) * 1000:,.0f} ms")


def report_timing(name: str, timing: Timing, *, target: int, before: Timing) -> None:
    ratio = growth(timing, before)
    report_seconds(
        name,
        timing,
        f"fastest {min(timing.whole) * 1000:,.0f}, {ratio:.1f} x {min(before.whole) * 1000:,.0f}",
        target=f"target {target} ms{', FINDING' if ratio > FINDING else ''}",
    )


def report_seconds(name: str, timing: Timing, *more: str, target: str = "") -> None:
    words = [f"p50 {median(timing.whole) * 1000:,.0f}"]
    if timing.database:
        typical, longest = median(timing.database), percentile(timing.database, 0.95)
        words.append(f"database {typical * 1000:,.0f} / {longest * 1000:,.0f}")
    words += (f"status {status}" for status in sorted(timing.statuses - {OK}))
    p95 = f"{percentile(timing.whole, 0.95) * 1000:,.0f} ms"
    report(name, p95, ratio="; ".join([*words, *more]), target=target)


def growth(timing: Timing, before: Timing) -> float:
    """The ratio of the fastest answers, which others on the machine touch least."""
    return min(timing.whole) / min(before.whole)
