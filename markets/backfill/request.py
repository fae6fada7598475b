"""The request of a backfill: which markets, what time, and what to fetch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kalshi_insights.bad_input import UNWRITABLE, BadInput

INTERVALS = (1, 60, 1440)
# The kind of the spans of trades; those of candlesticks name their minutes.
TRADES = "trades"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillRequest:
    """Markets by ticker, or those of one event or series, and the time to fill: (start, end]."""

    start: datetime
    end: datetime
    tickers: Sequence[str] = ()
    event: str = ""
    series: str = ""
    interval: int = 60
    trades: bool = False

    @property
    def period(self) -> timedelta:
        return timedelta(minutes=self.interval)

    @property
    def kinds(self) -> list[str]:
        """The kinds of `BackfillSpan` that each market needs."""
        return [f"candles-{self.interval}", *([TRADES] if self.trades else [])]

    def check(self, *, now: datetime) -> None:
        """Raise `BadInput` for what can be told without asking the exchange."""
        self._check_names()
        if self.interval not in INTERVALS:
            raise BadInput("--interval", f"{self.interval} is not one of 1, 60 and 1440 minutes")
        check_times(self.start, self.end, now=now)

    def _check_names(self) -> None:
        if bool(self.tickers) + bool(self.event) + bool(self.series) != 1:
            raise BadInput("--ticker", "give exactly one of --ticker, --event and --series")
        names = {"--ticker": self.tickers, "--event": [self.event], "--series": [self.series]}
        for option, tickers in names.items():
            if any(map(UNWRITABLE.search, tickers)):
                raise BadInput(option, "a ticker contains a character that cannot be written")


def check_times(start: datetime, end: datetime, *, now: datetime) -> None:
    """Raise `BadInput` unless start comes before end, and end not after now."""
    if start >= now:
        raise BadInput("--start", f"{start:%Y-%m-%d %H:%M} UTC is in the future")
    if end > now:
        raise BadInput("--end", f"{end:%Y-%m-%d %H:%M} UTC is in the future")
    if start >= end:
        raise BadInput("--start", f"must be before --end ({end:%Y-%m-%d %H:%M} UTC)")
