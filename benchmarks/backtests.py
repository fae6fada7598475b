"""Backtests from the database to a stored result, compared with backtrader and vectorbt.

Pure computations run in child processes, so that their peak memory can be measured.
"""

import threading
import time
from datetime import timedelta

from django.db import connection

# This import comes first, because it sets up Django.
from benchmarks import measure

# isort: split

from backtests import runner
from backtests.loading import load
from backtests.models import BacktestResult, BacktestStatus, Engine
from backtests.requests import BacktestRequest
from backtests.strategies import STRATEGIES
from backtests.tests import record_builders
from backtests.tests.silent_strategies import SilentSignal, SilentStrategy
from benchmarks import child_process, whole_exchange
from benchmarks.measure import now, report, timed
from markets.models import Market
from markets.models.snapshots import ARRAYS
from markets.storage import partitions

QUOTES = 100_000
MARKETS, EACH = 500, 2_000
SWEPT, SETS = 1_000_000, 1_000
DAY = 17_280  # instants of five seconds


def main() -> None:
    measure.migrate()
    markets = create_snapshots()
    measure_stored_run(markets[0])
    measure_cancellation(markets[0])
    measure_loading(markets)
    compare_with_backtrader()
    compare_with_vectorbt()
    measure_kernel()
    measure_many_markets()
    measure_live_markets()
    measure_whole_exchange()


def create_snapshots() -> list[Market]:
    """Insert a million snapshots, five seconds apart, of markets that settle afterwards."""
    markets = [record_builders.record_market(f"KXWALK-26OCT02-T{n}") for n in range(MARKETS)]
    for market in markets:
        record_builders.record_revision(market, record_builders.START)
        record_builders.record_settlement(market, record_builders.END)
    partitions.create_missing(partitions.SNAPSHOTS, [record_builders.START.date()])
    first, last = record_builders.START - 2 * record_builders.HOUR, record_builders.END
    record_builders.record_passes(first, last)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO markets_marketsnapshot (id, market_id, timestamp, recorded_at, source,
                yes_bid, yes_ask, yes_bid_size, yes_ask_size, last_price, volume, open_interest,
                quality)
            SELECT gen_random_uuid(), market.id, at, at, 'POLL', bid, bid + 0.02,
                10 + n %% 90, 10 + n %% 70, bid, n, n, 0
            FROM generate_series(1, %s) AS n CROSS JOIN markets_market AS market
            CROSS JOIN LATERAL (
                SELECT %s + n * interval '5 s' AS at,
                    round((0.5 + 0.3 * sin(n / 70.0 + market.id) + 0.05 * random())::numeric, 2)
                        AS bid
            ) AS quote
            """,
            [EACH, record_builders.START],
        )
        cursor.execute("ANALYZE")
    return markets


def measure_stored_run(market: Market) -> None:
    """Run a thousand snapshots through backtrader: the first run of a process, then later ones."""
    end = record_builders.START + 1_001 * timedelta(seconds=5)
    request = BacktestRequest(
        strategy="mean-reversion",
        selection=record_builders.selection_of(market, end=end),
        engine=Engine.BACKTRADER,
    )

    def run() -> BacktestResult:
        result = BacktestResult.objects.queue(request.validated(now=now()), user=None, now=now())
        runner.run(result.pk)
        result.refresh_from_db()
        assert result.status == BacktestStatus.DONE, result.error
        assert result.snapshots == 1_000, result.snapshots
        return result

    first, later = timed(run), [timed(run) for _ in range(7)]
    typical = measure.median(later)
    report(
        "1,000 snapshots by backtrader, from record to stored result",
        f"{typical * 1000:.0f} ms",
        ratio=f"{run().executions.count():,} lines stored; the process's first: {first:.2f} s",
        target="target 1,000 ms",
    )


def measure_cancellation(market: Market) -> None:
    """Cancel runs of strategies that compute in silence, a while after they have begun."""
    for strategy in (SilentSignal, SilentStrategy):
        STRATEGIES[strategy.name] = strategy
        seconds = [cancel_after(1 + n / 10, strategy.name, market) for n in range(10)]
        report(
            f"cancelling a run of a {strategy.name} that is under way",
            f"{measure.median(seconds):.2f} s",
            ratio=f"longest of ten {max(seconds):.2f} s",
            target="target 2 s",
        )


def cancel_after(seconds: float, strategy: str, market: Market) -> float:
    """Run a strategy and cancel it meanwhile; return the seconds until that was stored."""
    request = BacktestRequest(strategy=strategy, selection=record_builders.selection_of(market))
    result = BacktestResult.objects.queue(request.validated(now=now()), user=None, now=now())
    cancelled_at: list[float] = []

    def cancel() -> None:
        BacktestResult.objects.request_cancel(result.pk, now=now())
        cancelled_at.append(time.perf_counter())
        connection.close()

    threading.Timer(seconds, cancel).start()
    runner.run(result.pk)
    result.refresh_from_db()
    assert result.status == BacktestStatus.CANCELLED, result.error
    return time.perf_counter() - cancelled_at[0]


def measure_loading(markets: list[Market]) -> None:
    selection = record_builders.selection_of(*markets)

    def whole() -> None:
        assert len(load(selection, known_by=now()).quotes) >= MARKETS * EACH

    def bare() -> None:
        columns = ", ".join(sql for sql, _ in ARRAYS.values())
        copy_of = f"COPY (SELECT {columns} FROM markets_marketsnapshot) TO STDOUT (FORMAT binary)"
        with connection.cursor() as cursor, cursor.copy(copy_of) as copy:
            for _ in copy:
                pass

    copied = min(timed(bare) for _ in range(3))
    seconds = min(timed(whole) for _ in range(3))
    report(
        f"loading {MARKETS * EACH:,} snapshots into arrays",
        f"{seconds:.2f} s",
        ratio=f"{seconds / copied:.1f} x a bare COPY of the rows ({copied:.2f} s)",
        target="target 2 s",
    )


def compare_with_backtrader() -> None:
    stock = child_process.run_benchmark("stock_backtrader", QUOTES)
    ways = {"as a signal": "signal", "with bt.ind, event by event": "indicators"}
    for name, way in ways.items():
        ours = child_process.run_benchmark("moving_averages", QUOTES, way)
        assert ours["rows"] == stock["rows"]
        target = "target 2 x, and less memory" if way == "signal" else ""
        report(
            f"crossing averages over {QUOTES:,} quotes, {name}",
            f"{ours['cpu']:.2f} s CPU",
            ratio=f"{stock['cpu'] / ours['cpu']:.1f} x as fast as stock backtrader"
            f" ({stock['cpu']:.2f} s)",
            target=target,
        )
        report(
            "  peak memory",
            f"{ours['megabytes']:.0f} MB",
            ratio=f"{ours['megabytes'] / stock['megabytes']:.2f} x stock's"
            f" ({stock['megabytes']:.0f} MB); the same {len(stock['rows']):,} decisions",
        )


def compare_with_vectorbt() -> None:
    result = child_process.run_benchmark("vectorbt_comparison", SWEPT)
    if "missing" in result:
        print(
            f"  no comparison with vectorbt, which `make bench` installs: {result['missing']}",
            flush=True,
        )
        return
    assert result["fills"] == result["vectorbt_fills"], result
    for name, call in (("orders", "from_orders, our fills"), ("signals", "from_signals")):
        report(
            f"vectorbt's {call} over {SWEPT:,} quotes",
            f"{result[name] * 1000:.0f} ms",
            ratio=f"{result[name] / result['run']:.1f} x the kernel's"
            f" ({result['run'] * 1000:.0f} ms)",
        )
    report(
        "  its final cash minus ours",
        f"{result['difference']:.6f} $",
        ratio=f"{result['fills']:,} fills",
    )


def measure_kernel() -> None:
    result = child_process.run_benchmark("kernel_runs", SWEPT, SETS)
    idle = result["runs"]["nothing"]["seconds"]
    for name, run in result["runs"].items():
        report(
            f"kernel, one run of {name} on one core",
            f"{SWEPT / run['seconds'] / 1e6:.0f} M/s",
            ratio=f"{run['seconds'] / idle:.1f} x doing nothing; {run['lines']:,} journal lines",
            target="target 50 M quotes/s",
        )
    for name, run in result["makers"].items():
        report(
            f"  the same, resting on a tape of {SWEPT:,} trades: {name}",
            f"{2 * SWEPT / run['seconds'] / 1e6:.0f} M/s",
            ratio=f"rows and trades; {run['lines']:,} journal lines",
            target="target 10 M rows and trades/s",
        )
    sweep = result["sweep"]
    report(
        f"sweep of {SETS:,} parameter sets over {SWEPT:,} quotes",
        f"{sweep['seconds']:.1f} s",
        ratio=f"{SWEPT * SETS / sweep['seconds'] / 1e6:.0f} M quotes/s, targets included;"
        f" {sweep['cpu']:.1f} s CPU",
        target="target 30 s",
    )


def measure_many_markets() -> None:
    kernel = child_process.run_benchmark("many_markets", MARKETS, DAY, "kernel")
    report(
        f"{kernel['settled']:,} settled markets, {kernel['looks']:,} looks, three bands: kernel",
        f"{kernel['seconds']:.1f} s",
        ratio=f"{kernel['rows']:,} rows, {kernel['lines'][1]:,} journal lines",
        target="target 5 s",
    )
    report("  peak memory", f"{kernel['megabytes']:,.0f} MB", target="target 1,000 MB")
    slow = child_process.run_benchmark("many_markets", MARKETS, DAY, "backtrader")
    assert (slow["lines"], slow["cash"]) == (kernel["lines"], kernel["cash"])
    report(
        "  the same with backtrader",
        f"{slow['seconds']:.0f} s",
        ratio=f"{slow['cpu'] / kernel['cpu']:.0f} x the kernel's CPU",
    )


def measure_live_markets() -> None:
    for markets, target in ((2_000, "60 s"), (8_000, "900 s")):
        run = child_process.run_benchmark("live_markets", markets, 100)
        report(
            f"asking for {markets:,} live feeds at {run['steps']:,} steps of backtrader",
            f"{run['seconds']:.0f} s",
            ratio=f"{run['cpu']:.0f} s CPU; {run['megabytes']:,.0f} MB",
            target=f"target {target}",
        )


def measure_whole_exchange() -> None:
    whole_exchange.create()
    for strategy in ("momentum", "favourite-hold"):
        run = child_process.run_benchmark("whole_exchange", strategy)
        report(
            f"{strategy}, {run['markets']:,} markets, {run['rows']:,} rows, stored",
            f"{run['seconds']:.1f} s",
            ratio=f"{run['cpu']:.1f} s CPU; {run['lines']:,} journal lines",
            target="target 10 s",
        )
        report("  peak memory", f"{run['megabytes']:,.0f} MB", target="target 600 MB")


if __name__ == "__main__":
    main()
