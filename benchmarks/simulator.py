"""Throughput of the simulated exchange with 80,000 markets, lest it limit other benchmarks."""

import time
from collections.abc import Iterator

from benchmarks.exchange_process import simulated_exchange, wait_until_up
from benchmarks.measure import median, report, timed
from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page, pages

MARKETS = 80_000
ROUNDS = 5
TICKERS_PER_CALL = 240
# The tape of all markets is followed for a minute, tick by tick, as a recorder does it.
TAPES = [(5_000, 300), (5_000, 3_000), (MARKETS, 300), (MARKETS, 3_000)]
TICKS, INTERVAL = 12, 5


def main() -> None:
    with simulated_exchange(markets=MARKETS) as url, KalshiClient(url) as client:
        report("time to the first reply", f"{timed(lambda: wait_until_up(client)):.1f} s")
        measure(client)
    for number, rate in TAPES:
        exchange = simulated_exchange(markets=number, trades_per_second=rate)
        with exchange as url, KalshiClient(url) as client:
            wait_until_up(client)
            follow_tape(client, f"tape of {number:,} markets, {rate:,} trades/s in the mean")


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


def follow_tape(client: KalshiClient, name: str) -> None:
    """Fetch each tick's trades; reports the time of a tick, client included."""
    began, seconds, trades = int(time.time()), [], 0
    for start in range(began, began + TICKS * INTERVAL, INTERVAL):
        time.sleep(max(0.0, start + INTERVAL - time.time()))
        asked = time.perf_counter()
        trades += sum(len(page.items) for page in tape(client, start, start + INTERVAL))
        seconds.append(time.perf_counter() - asked)
    report(
        f"{name}, {INTERVAL} s of it",
        f"{median(seconds) * 1000:.0f} ms",
        ratio=f"{trades / TICKS / INTERVAL:,.0f} trades/s, longest {max(seconds) * 1000:.0f} ms",
    )


def tape(client: KalshiClient, start: int, end: int) -> Iterator[Page]:
    return pages(lambda cursor: client.trades(min_ts=start, max_ts=end, cursor=cursor))


def events(client: KalshiClient) -> list[Page]:
    return list(pages(lambda cursor: client.events(status="open", cursor=cursor)))


def markets(client: KalshiClient) -> list[Page]:
    listing = pages(
        lambda cursor: client.markets(status="open", mve_filter="exclude", cursor=cursor)
    )
    return list(listing)


if __name__ == "__main__":
    main()
