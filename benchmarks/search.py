"""Searches of 80,000 markets, on the page and by the API: typical ones, and the dearest."""

from random import Random
from urllib.parse import quote

from django.db import connection
from django.test import Client

from benchmarks import measure, titled_universe
from benchmarks.cpu_time import CpuTime, measure_cpu_time
from benchmarks.measure import median, percentile, report, timed
from benchmarks.titled_universe import COMMON, PLACES, THINGS
from markets.models import Market, MarketSearchText

TYPICAL, DEAREST = 50, 300  # milliseconds
SEARCHES, ROUNDS = 100, 3
ADDRESSES = {
    "page": "/markets/?status=all&q={}",
    "page, as typed": "/markets/?q={}",
    "API": "/api/v1/markets/?q={}",
    "API, events": "/api/v1/events/?q={}",
    "API, ordered": "/api/v1/markets/?ordering=-volume_24h&q={}",
}


def main() -> None:
    measure.migrate()
    titled_universe.create()
    with connection.cursor() as cursor:
        # Parallel workers would use time that is not seen here.
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute("VACUUM ANALYZE")
    print(f"  {titled_universe.MARKETS:,} markets; CPU time of a whole response, p95 of {SEARCHES}")
    for name, address in ADDRESSES.items():
        report_typical(name, address, typical_searches())
        report_dearest(name, address)
    report_writing()


def typical_searches() -> list[str]:
    """Searches as people type them: a place, a thing, both, a ticker, and what is cut short."""
    random, places, things = Random(1), PLACES.split(), THINGS.split()
    tickers = list(Market.objects.values_list("ticker", flat=True)[:2_000])
    searches = []
    for n in range(SEARCHES):
        place, thing = random.choice(places), random.choice(things)
        words = [place, thing, f"{place} {thing}", random.choice(tickers), f"{thing[:4]} {place}"]
        searches.append(words[n % len(words)])
    return searches


def dear_searches() -> list[str]:
    """Searches that many or all texts match, that no trigram helps, or that nothing matches."""
    common = COMMON.split()
    return [
        COMMON,
        " ".join(common[:4]),
        *common,
        "kx",
        "k",
        f"kx {' '.join(common[:7])}",
        "a.b.c",
        "zzz",
        f"{' '.join(common[:7])} zzz",
        f"{' '.join(common[:7])} 999",
        " ".join(f"{word[1:4]}" for word in common),
        "or° above",
        "x" * 300,
    ]


def report_typical(name: str, address: str, searches: list[str]) -> None:
    used = [cost(address.format(quote(search))) for search in searches]
    report(
        f"{name}: typical words",
        f"{percentile([each.processor for each in used], 0.95) * 1000:.1f} ms",
        ratio=f"in the database {percentile([each.database for each in used], 0.95) * 1000:.1f},"
        f" median {median([each.processor for each in used]) * 1000:.1f} ms",
        target=f"target {TYPICAL} ms",
    )


def report_dearest(name: str, address: str) -> None:
    most, search = max(
        (min(cost(address.format(quote(search))).processor for _ in range(ROUNDS)), search)
        for search in dear_searches()
    )
    report(
        f"{name}: the dearest search",
        f"{most * 1000:.1f} ms",
        ratio=search[:48],
        target=f"target {DEAREST} ms",
    )


def cost(address: str) -> CpuTime:
    """The CPU time of a response, here and in the database."""
    client = Client(headers={"accept": "application/json", "host": "localhost"})

    def get() -> None:
        assert client.get(address).status_code == 200, address

    return measure_cpu_time(get)


def report_writing() -> None:
    """Report the time that the recorder takes for the texts of what it has defined."""
    ids = list(Market.objects.values_list("pk", flat=True)[:2_000])
    same = timed(lambda: MarketSearchText.objects.refresh(ids))
    MarketSearchText.objects.filter(pk__in=ids).delete()
    new = timed(lambda: MarketSearchText.objects.refresh(ids))
    report(
        "texts of 2,000 new markets",
        f"{new * 1000:.0f} ms",
        ratio=f"unchanged ones {same * 1000:.0f} ms",
    )


if __name__ == "__main__":
    main()
