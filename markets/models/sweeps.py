"""Sweeps, the recorder's passes over its tiers, and the periods in which markets were hot."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models import F, Q

from markets.intervals import Interval
from markets.models.markets import NOT_OPEN_STATUSES, Market
from markets.models.observations import microseconds, observed_instants
from markets.models.recording import CLOCK_TOLERANCE, Poll, Tier
from markets.models.scope import in_scope_sql
from markets.observed import ObservedInstants
from markets.pages.market_spans import TimeWindow

# Tiers whose sweeps store the names on each page: what they showed was observed, changed or not.
LISTED_TIERS = (Tier.HOT, Tier.UNIVERSE, Tier.COMBOS)


class SweepQuerySet(models.QuerySet["Sweep"]):
    def newest(self, tier: str) -> "Sweep | None":
        """Return the sweep that began last, by order of writing: clocks step back."""
        return self.filter(tier=tier).defer("contents").order_by("-id").first()

    def newest_of_each_tier(self) -> "dict[str, Sweep]":
        """Return the `newest` sweep of every tier that has one, in one query.

        It is written out because a run begins with it, and to compose it took longer than to run.
        """
        names = [field.name for field in Sweep._meta.concrete_fields if field.name != "contents"]
        newest = (
            f"(SELECT {', '.join(names)} FROM markets_sweep WHERE tier = '{tier.value}'"
            " ORDER BY id DESC LIMIT 1)"
            for tier in Tier
        )
        return {sweep.tier: sweep for sweep in self.raw(" UNION ALL ".join(newest))}

    def newest_finished(self, tier: str) -> "Sweep | None":
        finished = self.filter(tier=tier, finished_at__isnull=False)
        return finished.defer("contents").order_by("-id").first()

    def store_lateness(self) -> None:
        """Store with each whole sweep among these the time since the last whole one began."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE markets_sweep AS sweep SET since_last = started_at - (
                    SELECT max(started_at) FROM markets_sweep AS before
                    WHERE before.tier = sweep.tier AND before.complete AND before.skipped = '{}'
                        AND before.started_at < sweep.started_at)
                WHERE id = ANY(%s) AND complete AND skipped = '{}'
                """,
                [list(self.values_list("pk", flat=True))],
            )

    def newest_complete(self, tier: str) -> "Sweep | None":
        complete = self.filter(tier=tier, complete=True)
        return complete.defer("contents").order_by("-id").first()

    def newest_complete_by(
        self, at: datetime, *tiers: str, most: int = 5
    ) -> list[tuple[str, datetime, list[str]]]:
        """Return tier, start and skipped names of each tier's newest complete sweeps by then."""
        begun = self.filter(complete=True, started_at__lte=at).order_by("-started_at")
        columns = ("tier", "started_at", "skipped")
        newest = [begun.filter(tier=tier).values_list(*columns)[:most] for tier in tiers]
        return list(newest[0].union(*newest[1:], all=True))

    def observed(
        self, ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime
    ) -> ObservedInstants:
        """Return when pages observed these markets from `start` on and before `end`.

        A market has the index of its id. Rows prove observations of their own, which are not among
        these. `known_by` leaves out pages that were written later, as the rows beside them were.
        Raises ValueError for an id that is not on record.
        """
        until = min(end, Poll.objects.written_until(known_by))
        observed = observed_instants(ids, TimeWindow(*map(microseconds, (start, until))))
        return observed._replace(runs=Poll.objects.numbers_at(observed.instants))

    def newest_complete_of(self, *tiers: str, at: datetime) -> "dict[str, Sweep]":
        """Return the newest complete sweep of each tier as of an instant, in one query."""
        begun = self.filter(complete=True, started_at__lte=at + CLOCK_TOLERANCE)
        complete = begun.defer("contents").order_by("-started_at")
        newest = [complete.filter(tier=tier)[:1] for tier in tiers]
        return {sweep.tier: sweep for sweep in newest[0].union(*newest[1:], all=True)}


class Sweep(models.Model):
    """One pass over a tier.

    Every complete sweep observed each listed market that it did not skip. Those of `LISTED_TIERS`
    say by their `contents` which page showed what, also where they did not come to their end; of
    sweeps that are older than this column nobody knows it.
    """

    tier = models.CharField(max_length=20, choices=Tier)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    complete = models.BooleanField(default=False)
    markets = models.IntegerField(default=0)
    skipped = ArrayField(models.TextField(), default=list, blank=True)
    pages = models.JSONField(
        default=list,
        blank=True,
        help_text="For each page: seconds since 1970, number of markets, first ticker.",
    )
    contents = models.BinaryField(
        null=True,
        help_text="The names on each page (see `markets.pages.contents`); null: not known.",
    )
    based_on = models.DateTimeField(
        null=True,
        blank=True,
        help_text=(
            "The start of the sweep that the contents are the difference from, the same as it if"
            " they are empty; null: from none."
        ),
    )
    cursor = models.TextField(blank=True, help_text="Where an unfinished sweep continues.")
    page_size = models.IntegerField(
        null=True,
        blank=True,
        help_text="After a page that failed: how many items the next one asks for.",
    )
    by_market = models.BooleanField(
        default=False,
        help_text="The events could not be listed to their end: the markets themselves were.",
    )
    since_last = models.DurationField(
        null=True, blank=True, help_text="For a whole sweep: time since the last whole one began."
    )

    objects = SweepQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at"]
        indexes = [
            models.Index(F("tier"), F("started_at").desc(), name="sweep_tier_started"),
            # Coverage reads the whole sweeps of a day that came late, from an index alone. The
            # second index holds just those that are late at the usual interval.
            models.Index(
                fields=["tier", "started_at"],
                include=["since_last"],
                condition=Q(complete=True, skipped=[]),
                name="sweep_whole",
            ),
            models.Index(
                fields=["tier", "started_at"],
                include=["since_last"],
                condition=Q(complete=True, skipped=[])
                & (Q(since_last=None) | Q(since_last__gt=timedelta(seconds=10))),
                name="sweep_late",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tier} {self.started_at:%Y-%m-%d %H:%M:%S}"

    def add_page(
        self, at: datetime, *, markets: int, skipped: list[str], cursor: str, first: str = ""
    ) -> None:
        """Add one page, received at `at`, to this sweep; `first` is its first ticker."""
        self.pages.append([at.timestamp(), markets, first])
        self.markets += markets
        self.skipped += skipped
        self.cursor = cursor

    @property
    def last_page_at(self) -> datetime:
        """The instant of the newest page; before the first one, that of the sweep's beginning."""
        return datetime.fromtimestamp(self.pages[-1][0], UTC) if self.pages else self.started_at

    def has_page(self, first: str) -> bool:
        return any(page[2] == first for page in self.pages)

    def forget_first_tickers(self) -> None:
        """Let pages of another listing begin as those of this one did."""
        self.pages = [[at, markets, ""] for at, markets, _ in self.pages]

    def pages_since(self, at: datetime) -> range:
        """Return the indexes of the pages that came at an instant or later."""
        count = sum(page[0] >= at.timestamp() for page in self.pages)
        return range(len(self.pages) - count, len(self.pages))

    def ages_against(self, before: "Sweep", *, of: range) -> list[tuple[float, int]]:
        """Return for each of these pages the seconds since the sweep before, and its markets.

        Listings come in the order of their tickers: but for the few that came and went, the n-th
        market of this sweep was the n-th of the one before.
        """
        if not before.pages:
            return []
        ends = list(accumulate(page[1] for page in before.pages))
        seen = sum(page[1] for page in self.pages[: of.start])
        ages = []
        for at, markets, _ in self.pages[of.start : of.stop]:
            place = min(bisect_right(ends, seen + markets / 2), len(ends) - 1)
            ages.append((at - before.pages[place][0], markets))
            seen += markets
        return ages

    def finish(self, at: datetime, *, complete: bool = True) -> None:
        self.finished_at = at
        self.complete = complete
        self.cursor = ""


class HotPeriodQuerySet(models.QuerySet["HotPeriod"]):
    def hot_since(self, markets: Iterable[Market], at: datetime) -> dict[int, datetime]:
        """Return by market id since when those were hot that were on the list at an instant."""
        periods = self.filter(market__in=[market.pk for market in markets], started_at__lte=at)
        lasting = periods.exclude(ended_at__lte=at).order_by("-started_at")
        return dict(lasting.values_list("market_id", "started_at"))

    def lasting(self, markets: Iterable[int], window: Interval) -> Self:
        """Periods of these markets that lie in a window at least in part, by market and time."""
        begun = self.filter(market__in=list(markets), started_at__lt=window.end)
        return begun.exclude(ended_at__lte=window.start).order_by("market_id", "started_at")

    def follow(self, at: datetime) -> None:
        """Open and close periods so that the open ones are the hot list as it is now.

        A watched market that is not recorded is not on it.
        """
        condition, names = in_scope_sql()
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                WITH hot AS (
                    SELECT id FROM markets_market AS market
                    WHERE status <> 'finalized' AND status <> ALL(%(not_open)s)
                        AND {condition} AND (is_hot OR EXISTS (
                        SELECT FROM markets_watch WHERE market_id = market.id)
                )), gone AS (
                    UPDATE markets_hotperiod SET ended_at = greatest(started_at, %(at)s)
                    WHERE ended_at IS NULL AND market_id NOT IN (SELECT id FROM hot)
                )
                INSERT INTO markets_hotperiod (market_id, started_at)
                SELECT id, %(at)s FROM hot WHERE id NOT IN (
                    SELECT market_id FROM markets_hotperiod WHERE ended_at IS NULL)
                ON CONFLICT DO NOTHING
                """,
                {"at": at, "not_open": list(NOT_OPEN_STATUSES), **names},
            )


class HotPeriod(models.Model):
    """A period in which a market was on the hot list; without an end it still is."""

    market = models.ForeignKey(Market, on_delete=models.CASCADE, related_name="hot_periods")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = HotPeriodQuerySet.as_manager()

    class Meta:
        ordering = ["started_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["market"], condition=Q(ended_at=None), name="hot_period_open_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.market_id} from {self.started_at:%Y-%m-%d %H:%M:%S}"
