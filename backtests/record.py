"""The record that backtests read: one Protocol of all reads of `markets`, and its managers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from kalshi_insights.arrays import Array, Ints
from markets import models
from markets.coverage.gap_arrays import CoverageOfMarkets, GapArrays
from markets.coverage.many_markets import coverage_of, recorder_silences
from markets.intervals import Interval
from markets.models.definitions import DefinedMarket, RevisedEvent, RevisedMarket
from markets.models.imports import ImportedTime
from markets.models.open_interest import open_interest_changes
from markets.models.order_books import BookLevels
from markets.models.revisions import FeeTerms
from markets.models.tape import WholeTape
from markets.observed import ObservedInstants

Period = tuple[datetime, datetime]


class TickerReads(Protocol):
    def as_written(self, tickers: Iterable[str]) -> dict[str, str]: ...


class MarketReads(TickerReads, Protocol):
    def ids_of(
        self, *, series: Iterable[str], events: Iterable[str], tickers: Iterable[str]
    ) -> list[int]: ...

    def defined(self, ids: Iterable[int]) -> list[DefinedMarket]: ...

    def most_traded(self, size: int) -> list[str]: ...


class SnapshotReads(Protocol):
    def count_up_to(self, most: int, ids: Sequence[int], start: datetime, end: datetime) -> int: ...

    def has_any(self, ids: Sequence[int], start: datetime, end: datetime) -> bool: ...

    def around(
        self, ids: Sequence[int], start: datetime, end: datetime, *, sources: Sequence[str] = ()
    ) -> tuple[datetime | None, datetime | None]: ...

    def newest_of(
        self, ids: Sequence[int], start: datetime, end: datetime, *, sources: Sequence[str] = ()
    ) -> datetime | None: ...

    def readable(self, imports: Sequence[int]) -> "SnapshotReads": ...

    def columns(
        self,
        ids: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        recorded_by: datetime,
        imports: Sequence[int] = (),
    ) -> Iterator[Mapping[str, Array]]: ...


class OrderBookReads(Protocol):
    def levels(
        self,
        market_id: int,
        start: datetime,
        end: datetime,
        *,
        imports: Sequence[int] = (),
        only_imported: bool = False,
    ) -> list[BookLevels]: ...

    def count_levels(
        self,
        market_id: int,
        start: datetime,
        end: datetime,
        *,
        imports: Sequence[int] = (),
        only_imported: bool = False,
    ) -> int: ...


class PeriodReads(Protocol):
    def periods(
        self, ids: Sequence[int], start: datetime, end: datetime, *, recorded_by: datetime
    ) -> list[tuple[int, int, int, int]]: ...


class CandlestickReads(PeriodReads, Protocol):
    def ranges(
        self, ids: Sequence[int], start: datetime, end: datetime, *, recorded_by: datetime
    ) -> Mapping[str, Ints]: ...


class ImportReads(Protocol):
    def why_unusable(self, ids: Iterable[int]) -> dict[int, str]: ...

    def note_use(self, ids: Sequence[int], user: str) -> None: ...


class ImportedSpanReads(Protocol):
    def imports_of(self, ids: Sequence[int]) -> list[int]: ...

    def times(
        self, imports: Sequence[int], ids: Sequence[int], start: datetime, end: datetime
    ) -> list[ImportedTime]: ...


class TradeReads(Protocol):
    def columns(
        self,
        ids: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        imports: Sequence[int] = (),
        only_imported: bool = False,
    ) -> Mapping[str, Ints]: ...


class TapeSpanReads(Protocol):
    def whole_for(
        self,
        ids: Sequence[int],
        tickers: Sequence[str],
        window: Interval,
        *,
        known_by: datetime,
        skew: timedelta,
    ) -> list[WholeTape]: ...


class BackfillSpanReads(Protocol):
    def whole(
        self, kind: str, ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime
    ) -> list[tuple[int, datetime, datetime]]: ...


class MarketRevisionReads(Protocol):
    def histories(
        self, ids: Iterable[int], *, recorded_by: datetime, imports: Sequence[int] = ()
    ) -> dict[int, list[RevisedMarket]]: ...


class EventRevisionReads(Protocol):
    def histories(
        self, events: Iterable[int], *, recorded_by: datetime
    ) -> dict[int, list[RevisedEvent]]: ...


class FeeChangeReads(Protocol):
    def schedule(
        self,
        ids: Iterable[int],
        *,
        start: datetime,
        end: datetime,
        recorded_by: datetime | None = None,
        imports: Sequence[int] = (),
    ) -> dict[int, list[FeeTerms]]: ...


class ClosureReads(Protocol):
    def between(self, start: datetime, end: datetime, *, known_by: datetime) -> list[Period]: ...


class PollReads(Protocol):
    def closed_periods(
        self, start: datetime, end: datetime, *, known_by: datetime
    ) -> list[Period]: ...

    def numbers_at(self, instants: Ints) -> Ints: ...

    def clock_skew(self, start: datetime, end: datetime) -> timedelta: ...


class SweepReads(Protocol):
    def observed(
        self, ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime
    ) -> ObservedInstants: ...


class OpenInterestRead(Protocol):
    def __call__(
        self,
        ids: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        recorded_by: datetime,
        imports: Sequence[int] = (),
    ) -> Mapping[str, Ints]: ...


class CoverageRead(Protocol):
    def __call__(
        self, ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime | None
    ) -> CoverageOfMarkets: ...


class SilenceRead(Protocol):
    def __call__(
        self, ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime
    ) -> GapArrays: ...


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
    def order_books(self) -> OrderBookReads: ...
    @property
    def candlesticks(self) -> CandlestickReads: ...
    @property
    def imported_periods(self) -> PeriodReads: ...
    @property
    def imports(self) -> ImportReads: ...
    @property
    def imported_spans(self) -> ImportedSpanReads: ...
    @property
    def trades(self) -> TradeReads: ...
    @property
    def tape_spans(self) -> TapeSpanReads: ...
    @property
    def backfill_spans(self) -> BackfillSpanReads: ...
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
    @property
    def sweeps(self) -> SweepReads: ...
    @property
    def open_interest(self) -> OpenInterestRead: ...
    @property
    def coverage_of(self) -> CoverageRead: ...
    @property
    def recorder_silences(self) -> SilenceRead: ...


class _Managers(NamedTuple):
    series: TickerReads
    events: TickerReads
    markets: MarketReads
    snapshots: SnapshotReads
    order_books: OrderBookReads
    candlesticks: CandlestickReads
    imported_periods: PeriodReads
    imports: ImportReads
    imported_spans: ImportedSpanReads
    trades: TradeReads
    tape_spans: TapeSpanReads
    backfill_spans: BackfillSpanReads
    market_revisions: MarketRevisionReads
    event_revisions: EventRevisionReads
    fee_changes: FeeChangeReads
    closures: ClosureReads
    polls: PollReads
    sweeps: SweepReads
    open_interest: OpenInterestRead
    coverage_of: CoverageRead
    recorder_silences: SilenceRead


record: Record = _Managers(
    series=models.Series.objects,
    events=models.Event.objects,
    markets=models.Market.objects,
    snapshots=models.MarketSnapshot.objects,
    order_books=models.OrderBookSnapshot.objects,
    candlesticks=models.Candlestick.objects,
    imported_periods=models.ImportedPeriod.objects,
    imports=models.Import.objects,
    imported_spans=models.ImportedSpan.objects,
    trades=models.Trade.objects,
    tape_spans=models.TapeSpan.objects,
    backfill_spans=models.BackfillSpan.objects,
    market_revisions=models.MarketRevision.objects,
    event_revisions=models.EventRevision.objects,
    fee_changes=models.FeeChange.objects,
    closures=models.Closure.objects,
    polls=models.Poll.objects,
    sweeps=models.Sweep.objects,
    open_interest=open_interest_changes,
    coverage_of=coverage_of,
    recorder_silences=recorder_silences,
)
