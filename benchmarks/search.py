"""Searches of 80,000 markets, on the page and by the API: typical ones, and the dearest."""

from itertools import combinations
from random import Random
from urllib.parse import quote

from benchmarks import measure, titled_universe
from benchmarks.measure import median, percentile, report, timed
from benchmarks.reading import REQUESTS, response_times
from benchmarks.titled_universe import COMMON, PLACES, THINGS
from markets.models import Market, MarketSearchText

TYPICAL, DEAREST = 50, 300  # milliseconds
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
    for name, address in ADDRESSES.items():
        report_searches(f"{name}: typical words", address, typical_searches(), target=TYPICAL)
    for name, address in ADDRESSES.items():
        report_dearest(name, address)
    report_writing()


def typical_searches() -> list[str]:
    """Searches as people type them: a place, a thing, both, a ticker, and what is cut short."""
    random, places, things = Random(1), PLACES.split(), THINGS.split()
    tickers = list(Market.objects.values_list("ticker", flat=True)[:2_000])
    searches = []
    for n in range(REQUESTS):
        place, thing = random.choice(places), random.choice(things)
        words = [place, thing, f"{place} {thing}", random.choice(tickers), f"{thing[:4]} {place}"]
        searches.append(words[n % len(words)])
    return searches


def dear_searches() -> list[str]:
    """Searches that many or all texts match, that no trigram helps, or that nothing matches."""
    common = COMMON.split()
    return [
        COMMON,
        *(" ".join(words) for words in combinations(common, 4)),
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


def report_searches(name: str, address: str, searches: list[str], *, target: int) -> None:
    database, whole = response_times(name, lambda n: address.format(quote(searches[n])))
    report(
        name,
        f"{percentile(whole, 0.95) * 1000:.1f} ms",
        ratio=f"in the database {percentile(database, 0.95) * 1000:.1f}, median"
        f" {median(whole) * 1000:.1f} ms",
        target=f"target {target} ms",
    )


def report_dearest(name: str, address: str) -> None:
    slowest = max(
        (median(response_times(name, lambda n, q=q: address.format(quote(q)), requests=3)[1]), q)
        for q in dear_searches()
    )
    report(
        f"{name}: the dearest search",
        f"{slowest[0] * 1000:.1f} ms",
        ratio=slowest[1][:48],
        target=f"target {DEAREST} ms",
    )


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
