"""Typical reads of a large database, each time of another market and another day."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from random import Random

from django.db.models import QuerySet

from markets.coverage.coverage import coverage
from markets.models import Market, MarketSnapshot
from markets.models.snapshots import MarketSnapshotQuerySet
from markets.storage.partitions import SNAPSHOTS, DayPartition

PAGE = 100
MINUTE = timedelta(minutes=1)


class Reads:
    def __init__(self, days: Sequence[date]) -> None:
        self.days = days
        self.markets = list(Market.objects.select_related("event").order_by("ticker"))
        self.random = Random(1)
        self.ids = list(
            MarketSnapshot.objects.between(*self.window()).values_list("id", flat=True)[:50_000]
        )

    @property
    def all(self) -> dict[str, Callable[[], object]]:
        return {
            "newest quotes of a page of 100 markets": self.newest_quotes,
            "  the same from the snapshots": self.newest_snapshots,
            "one market's newest snapshot": lambda: self.snapshots().newest(),
            "one market's day in buckets of a minute": self.closes,
            "coverage of one market's day": self.coverage,
            "100 snapshots of one market, from the first on": self.first_snapshots,
            "100 snapshots of one market, from an instant on": self.snapshots_since,
            "one snapshot by its id": self.snapshot,
        }

    def market(self) -> Market:
        return self.random.choice(self.markets)

    def window(self) -> tuple[datetime, datetime]:
        return DayPartition(SNAPSHOTS, self.random.choice(self.days)).bounds

    def snapshots(self) -> MarketSnapshotQuerySet:
        return MarketSnapshot.objects.for_market(self.market())

    def page(self) -> QuerySet[Market]:
        skipped = self.random.randrange(len(self.markets) - PAGE)
        return Market.objects.with_event().order_by("ticker")[skipped : skipped + PAGE]

    def newest_quotes(self) -> object:
        return list(self.page())

    def newest_snapshots(self) -> object:
        page = self.page().values("pk")
        return list(MarketSnapshot.objects.newest_of_all().filter(market__in=page))

    def closes(self) -> object:
        return self.snapshots().between(*self.window()).closes(bucket=MINUTE)

    def coverage(self) -> object:
        found = coverage(self.market(), *self.window())
        assert found.share
        return found

    def first_snapshots(self) -> object:
        return list(self.snapshots().oldest_first()[:PAGE])

    def snapshots_since(self) -> object:
        start, end = self.window()
        noon = start + (end - start) / 2
        return list(self.snapshots().between(noon, None).oldest_first()[:PAGE])

    def snapshot(self) -> object:
        return MarketSnapshot.objects.select_related("market").get(pk=self.random.choice(self.ids))
