"""The simulated exchange serving 80,000 markets: is it ever the bottleneck of a measurement?"""

from benchmarks.exchange import simulated, until_up
from benchmarks.measure import median, report, timed
from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page, pages

MARKETS = 80_000
ROUNDS = 5
A_TICKERS_CALL = 240


def main() -> None:
    with simulated(markets=MARKETS) as url, KalshiClient(url) as client:
        report("from start to the first answer", f"{timed(lambda: until_up(client)):.1f} s")
        measure(client)


def measure(client: KalshiClient) -> None:
    events(client)
    sweeps = [timed(lambda: events(client)) for _ in range(ROUNDS)]
    listing = [timed(lambda: markets(client)) for _ in range(ROUNDS)]
    count = sum(len(page.items) for page in markets(client))
    report(f"{count:,} markets by /events, with the client", f"{median(sweeps):.2f} s")
    report(f"{count:,} markets by /markets, with the client", f"{median(listing):.2f} s")
    names = [payloads.ticker_of(raw) for raw in markets(client)[0].items][:A_TICKERS_CALL]
    named = [timed(lambda: client.markets(tickers=names)) for _ in range(4 * ROUNDS)]
    report(f"{A_TICKERS_CALL} markets by name", f"{median(named) * 1000:.0f} ms")


def events(client: KalshiClient) -> list[Page]:
    return list(pages(lambda cursor: client.events(status="open", cursor=cursor)))


def markets(client: KalshiClient) -> list[Page]:
    listing = pages(
        lambda cursor: client.markets(status="open", mve_filter="exclude", cursor=cursor)
    )
    return list(listing)


if __name__ == "__main__":
    main()
