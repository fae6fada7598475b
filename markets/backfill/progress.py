"""The progress of a backfill: what it has filled and written, and what it could not take."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

# So many records of a kind are named at the end; the others are counted.
RECORDS_NAMED = 100


class PastRecord(NamedTuple):
    """A candlestick or a trade; the instant is None where it cannot be read."""

    ticker: str
    kind: str
    at: datetime | None

    def __str__(self) -> str:
        at = "" if self.at is None else f" {self.at:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
        return f"{self.ticker} {self.kind}{at}"


@dataclass(slots=True)
class BackfillProgress:
    """The market time that a backfill has filled, and the rows that it has written."""

    markets: int = 0
    total: timedelta = timedelta()
    done: timedelta = timedelta()
    candlesticks: int = 0
    snapshots: int = 0
    trades: int = 0
    # Records that cannot be read. They stay open work: the same request asks for them again.
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    # Records that the exchange tells differently now; what is on record stays.
    differing: int = 0
    differences: list[str] = field(default_factory=list)
    # Markets of which neither tier had candlesticks at least once.
    absent: set[str] = field(default_factory=set)

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 1.0

    def reject(self, what: PastRecord | str, reason: object) -> None:
        """Note a record, or a market by its ticker, that cannot be read."""
        self.rejected += 1
        if len(self.reasons) < RECORDS_NAMED:
            self.reasons.append(f"{what or '(no ticker)'}: {reason}")

    def keep_recorded(self, records: Iterable[PastRecord]) -> None:
        """Note records that are left out because the record has them with other values."""
        for record in records:
            self.differing += 1
            if len(self.differences) < RECORDS_NAMED:
                self.differences.append(str(record))
