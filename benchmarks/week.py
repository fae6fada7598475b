"""Seven days of minutes of 1,000 markets, ten million candles: some ten minutes, five gigabytes.

Not among the benchmarks that run by themselves: `make bench ARGS=week`.
"""

from datetime import timedelta

from benchmarks.backfill import RATES, START, begin_markets, fill, tell_memory


def main() -> None:
    begin_markets()
    fill(START, START + timedelta(days=7), rate=RATES[0])
    tell_memory()


if __name__ == "__main__":
    main()
