"""The simulated exchange in its own process."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kalshi_insights.embedded.servers import free_port
from kalshi_insights.processes.parents import ends_with_parent
from markets.kalshi.client import KalshiClient
from markets.kalshi.errors import TemporaryError


@contextmanager
def simulated_exchange(
    *,
    markets: int,
    speed: float = 1.0,
    trades_per_second: float | None = None,
    retention_days: float | None = None,
) -> Iterator[str]:
    """Run an exchange without a rate limit during a `with` block; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "markets.simulator", "--port", str(port), "--rate", "0"]
    # Without the exchange's weekly pause, so that a Thursday morning measures the same.
    command += ["--markets", str(markets), "--speed", str(speed), "--no-pauses"]
    if trades_per_second is not None:
        command += ["--trades-per-second", str(trades_per_second)]
    if retention_days is not None:
        command += ["--retention-days", str(retention_days)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        preexec_fn=ends_with_parent(signal.SIGTERM),  # noqa: PLW1509
    )
    try:
        yield f"http://127.0.0.1:{port}/trade-api/v2"
    finally:
        process.terminate()
        process.wait()


def wait_until_up(client: KalshiClient) -> None:
    while True:
        try:
            client.exchange_status()
        except TemporaryError:
            time.sleep(0.05)
        else:
            return
