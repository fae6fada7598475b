"""A search for the dearest query of every public address, by any measure of what one costs.

Each parameter is tried with the values that make queries dear; the dearest stays while the next
parameter is tried. `benchmarks/dearest.py` measures seconds on a universe of full size,
`tests/test_dear_queries.py` what the planner reckons with on a small one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from drf_spectacular.generators import SchemaGenerator

from markets.filters import STATUS_CHOICES, MarketFilter
from markets.forms import CalibrationPageForm
from markets.models import Market, Poll
from markets.models.listed_markets import ORDERS

NOUNS = (
    "series",
    "events",
    "markets",
    "trades",
    "tape",
    "polls",
    "health",
    "outages",
    "calibration",
)
PAGES = {
    "/markets/": [*MarketFilter.base_filters, "ordering", "page"],
    "/markets/{market}/": ["table"],
    "/markets/{market}/chart.json": ["range"],
    "/recorder/": [],
    "/calibration/": list(CalibrationPageForm.base_fields),
    "/backtests/": ["status", "page"],
    "/backtests/new/": [],
}


class Address(NamedTuple):
    path: str
    parameters: Sequence[str]


class Dearest(NamedTuple):
    cost: float
    address: str


def dearest_of_each(
    cost: Callable[[str], float | None], *, common_words: str
) -> Iterator[tuple[Address, Dearest]]:
    """Find the dearest query of each address; `cost` is None where a query is refused.

    `common_words` are eight that every title has.
    """
    market = Market.objects.with_event().order_by("-pk")[0]
    names = {
        "market": market.ticker,
        "event": market.event.ticker,
        "series": market.event.series.ticker,
        "poll": str(Poll.objects.order_by("pk").values_list("pk", flat=True).first() or 1),
    }
    values = dear_values(market, common_words)
    for address in addresses(names):
        yield address, dearest(address, values, cost)


def addresses(names: Mapping[str, str]) -> Iterator[Address]:
    """Every public address of the record, with the parameters that it knows."""
    for path, operations in SchemaGenerator().get_schema(public=True)["paths"].items():
        noun = path.split("/")[3]
        if "get" in operations and noun in NOUNS:
            known = [each["name"] for each in operations["get"].get("parameters", ())]
            placed = path.replace("{ticker}", f"{{{noun.removesuffix('s')}}}")
            placed = placed.replace("{serie}", "{series}").replace("{id}", "{poll}")
            yield Address(placed.format_map(names), known)
    for path, known in PAGES.items():
        yield Address(path.format_map(names), known)


def dear_values(market: Market, common_words: str) -> dict[str, Sequence[str]]:
    now = datetime.now(UTC)
    past, long_ago = (f"{now - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (0, 300))
    rows = str(Market.objects.count() - 1_000)
    return {
        # Words in all texts, one in none of them, the beginning of all tickers, no trigram.
        "q": [common_words, f"{common_words.rpartition(' ')[0]} zzz", market.ticker[:2], "a.b.c"],
        "category": [market.event.series.category],
        "series": [market.event.series.ticker],
        "event": [market.event.ticker],
        "status": [word for word, _ in STATUS_CHOICES],
        **dict.fromkeys(("closes_after", "updated_since"), (long_ago,)),
        **dict.fromkeys(("price_min", "volume_min", "interest_min"), ("0",)),
        **dict.fromkeys(("price_max", "spread_max"), ("1",)),
        **dict.fromkeys(("two_sided", "markets", "failed", "block"), ("true", "false")),
        "as_of": [past],
        "start": [long_ago],
        "end": [past],
        "interval": ["1m", "1h", "1d"],
        "moment": ["7d", "first", "random"],
        "by": ["series", "moment"],
        "ordering": [f"{sign}{key}" for key in ORDERS for sign in ("", "-")],
        "limit": ["1000", "100"],
        "skip": [rows, "10000"],
        "format": ["columns"],
        **dict.fromkeys(("table", "range"), ("1w", "all")),
        "page": [str(int(rows) // 50)],
    }


def dearest(
    address: Address, values: Mapping[str, Sequence[str]], cost: Callable[[str], float | None]
) -> Dearest:
    query: dict[str, str] = {}
    most = Dearest(cost(address.path) or 0.0, address.path)
    for parameter in address.parameters:
        kept = query
        for value in values.get(parameter, ()):
            tried = kept | {parameter: value}
            where = f"{address.path}?{urlencode(tried)}"
            if (found := cost(where)) is not None and found > most.cost:
                most, query = Dearest(found, where), tried
    return most
