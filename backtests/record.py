"""The record that backtests read: one Protocol of all reads of `markets`, and its managers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from kalshi_insights.arrays import Array
from markets import models
from markets.models.revisions import FeeTerms

Period = tuple[datetime, datetime]


class TickerReads(Protocol):
    def as_written(self, tickers: Iterable[str]) -> dict[str, str]: ...


class MarketReads(TickerReads, Protocol):
    def ids_of(
        self, *, series: Iterable[str], events: Iterable[str], tickers: Iterable[str]
    ) -> list[int]: ...

    def by_ids(self, ids: Iterable[int]) -> list[models.Market]: ...

    def most_traded(self, size: int) -> list[str]: ...


class SnapshotReads(Protocol):
    def count_up_to(self, most: int, ids: Sequence[int], start: datetime, end: datetime) -> int: ...

    def has_any(self, ids: Sequence[int], start: datetime, end: datetime) -> bool: ...

    def first_and_last(
        self, ids: Sequence[int], *, backfilled: bool | None = None
    ) -> Period | None: ...

    def arrays(
        self, ids: Sequence[int], start: datetime, end: datetime, *, recorded_by: datetime
    ) -> Iterator[tuple[int, Mapping[str, Array]]]: ...


class MarketRevisionReads(Protocol):
    def histories(
        self, markets: Iterable[models.Market], *, recorded_by: datetime
    ) -> dict[int, list[models.MarketRevision]]: ...


class EventRevisionReads(Protocol):
    def histories(
        self, events: Iterable[int], *, recorded_by: datetime
    ) -> dict[int, list[models.EventRevision]]: ...


class FeeChangeReads(Protocol):
    def schedule(
        self,
        markets: Iterable[models.Market],
        *,
        start: datetime,
        end: datetime,
        recorded_by: datetime | None = None,
    ) -> dict[int, list[FeeTerms]]: ...


class ClosureReads(Protocol):
    def between(self, start: datetime, end: datetime, *, known_by: datetime) -> list[Period]: ...


class PollReads(Protocol):
    def closed_periods(
        self, start: datetime, end: datetime, *, known_by: datetime
    ) -> list[Period]: ...


class Record(Protocol):
    """Everything that backtests read of `markets`, by the manager that answers.

    `known_by` and `recorded_by` leave out what was recorded later.
    """

    @property
    def series(self) -> TickerReads: ...
    @property
    def events(self) -> TickerReads: ...
    @property
    def markets(self) -> MarketReads: ...
    @property
    def snapshots(self) -> SnapshotReads: ...
    @property
    def market_revisions(self) -> MarketRevisionReads: ...
    @property
    def event_revisions(self) -> EventRevisionReads: ...
    @property
    def fee_changes(self) -> FeeChangeReads: ...
    @property
    def closures(self) -> ClosureReads: ...
    @property
    def polls(self) -> PollReads: ...


class _Managers(NamedTuple):
    series: TickerReads
    events: TickerReads
    markets: MarketReads
    snapshots: SnapshotReads
    market_revisions: MarketRevisionReads
    event_revisions: EventRevisionReads
    fee_changes: FeeChangeReads
    closures: ClosureReads
    polls: PollReads


record: Record = _Managers(
    series=models.Series.objects,
    events=models.Event.objects,
    markets=models.Market.objects,
    snapshots=models.MarketSnapshot.objects,
    market_revisions=models.MarketRevision.objects,
    event_revisions=models.EventRevision.objects,
    fee_changes=models.FeeChange.objects,
    closures=models.Closure.objects,
    polls=models.Poll.objects,
)
