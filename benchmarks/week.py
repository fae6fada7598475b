"""A backfill of seven days for 1,000 markets: ten million candles, ten minutes, five gigabytes.

It runs on request only: `make bench ARGS=week`.
"""

from datetime import timedelta

from benchmarks.backfill import RATES, START, create_markets, fill, report_memory


def main() -> None:
    create_markets()
    fill(START, START + timedelta(days=7), rate=RATES[0])
    report_memory()


if __name__ == "__main__":
    main()
