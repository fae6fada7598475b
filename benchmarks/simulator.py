"""Throughput of the simulated exchange with 80,000 markets, lest it limit other benchmarks."""

from benchmarks.exchange_process import simulated_exchange, wait_until_up
from benchmarks.measure import median, report, timed
from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page, pages

MARKETS = 80_000
ROUNDS = 5
TICKERS_PER_CALL = 240


def main() -> None:
    with simulated_exchange(markets=MARKETS) as url, KalshiClient(url) as client:
        report("time to the first reply", f"{timed(lambda: wait_until_up(client)):.1f} s")
        measure(client)


def measure(client: KalshiClient) -> None:
    events(client)
    sweeps = [timed(lambda: events(client)) for _ in range(ROUNDS)]
    listing = [timed(lambda: markets(client)) for _ in range(ROUNDS)]
    count = sum(len(page.items) for page in markets(client))
    report(f"{count:,} markets from /events, client included", f"{median(sweeps):.2f} s")
    report(f"{count:,} markets from /markets, client included", f"{median(listing):.2f} s")
    names = [payloads.ticker_of(raw) for raw in markets(client)[0].items][:TICKERS_PER_CALL]
    named = [timed(lambda: client.markets(tickers=names)) for _ in range(4 * ROUNDS)]
    report(f"{TICKERS_PER_CALL} markets by ticker", f"{median(named) * 1000:.0f} ms")


def events(client: KalshiClient) -> list[Page]:
    return list(pages(lambda cursor: client.events(status="open", cursor=cursor)))


def markets(client: KalshiClient) -> list[Page]:
    listing = pages(
        lambda cursor: client.markets(status="open", mve_filter="exclude", cursor=cursor)
    )
    return list(listing)


if __name__ == "__main__":
    main()
