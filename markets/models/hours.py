"""Midpoints by market and hour, from which pages draw sparklines and tell what has moved.

Snapshots are far too many to be read for each market of a list. Maintenance rolls them up
(`MarketHour`), and keeps for each market the midpoints of about an hour and a day ago
(`PastPrice`). `manage.py rolluphours` makes both anew.
"""

from datetime import datetime, timedelta

from django.db import connection, models, transaction

from markets.models.listed_markets import DOLLAR, ListedMarket
from markets.models.markets import Market
from markets.models.snapshots import Source

HOUR = timedelta(hours=1)
KEPT = timedelta(hours=30)  # a day, and as long before it as a past price may be old
SPARKLINE_HOURS = 24
# A market that nothing changes is written once an hour, which may miss an hour by a little.
LOOK_BACK = 3 * HOUR
NOT_ROLLED_UP = (Source.IMPORT,)
ROLL_UP = f"""
    INSERT INTO markets_markethour (hour, market_id, first, last, low, high)
    SELECT hour, market_id, (array_agg(mid ORDER BY timestamp, id))[1],
        (array_agg(mid ORDER BY timestamp DESC, id DESC))[1], min(mid), max(mid)
    FROM (
        SELECT date_trunc('hour', timestamp, 'UTC') AS hour, market_id, timestamp, id,
            ((yes_bid + yes_ask) * {DOLLAR // 2})::integer AS mid
        FROM markets_marketsnapshot
        WHERE timestamp >= %s AND timestamp < %s AND source <> ALL(%s)
            AND yes_bid IS NOT NULL AND yes_ask IS NOT NULL
    ) AS quote
    GROUP BY hour, market_id
    ON CONFLICT (hour, market_id) DO UPDATE
    SET first = excluded.first, last = excluded.last, low = excluded.low, high = excluded.high
    WHERE (markets_markethour.first, markets_markethour.last, markets_markethour.low,
        markets_markethour.high)
        IS DISTINCT FROM (excluded.first, excluded.last, excluded.low, excluded.high)
"""
REMEMBER = """
    INSERT INTO markets_pastprice (market_id, hour_ago, day_ago)
    SELECT market_id,
        (array_agg(last ORDER BY hour DESC) FILTER (WHERE hour >= %(hour_since)s))[1],
        (array_agg(last ORDER BY hour DESC) FILTER (WHERE hour < %(day)s))[1]
    FROM markets_markethour
    WHERE hour >= %(hour_since)s AND hour < %(hour)s OR hour >= %(day_since)s AND hour < %(day)s
    GROUP BY market_id
"""


class MarketHourManager(models.Manager["MarketHour"]):
    def roll_up(self, *, now: datetime) -> None:
        """Bring the rollup up to date, forget what is too old, and renew the past prices.

        The last two hours are read again, and whatever lies between them and the newest hour
        on record, such as after an outage of maintenance.
        """
        oldest = hour_of(now - KEPT)
        newest = self.aggregate(at=models.Max("hour"))["at"] or oldest
        self.roll_up_between(max(oldest, min(newest, hour_of(now) - HOUR)), now)
        self.filter(hour__lt=oldest).delete()
        PastPrice.objects.renew(now=now)

    def rebuild(self, *, now: datetime) -> int:
        """Make the whole rollup anew; return how many hours of markets it has."""
        with transaction.atomic():
            self.all().delete()
            self.roll_up_between(hour_of(now - KEPT), now)
            PastPrice.objects.renew(now=now)
        return self.count()

    def roll_up_between(self, start: datetime, end: datetime) -> None:
        with connection.cursor() as cursor:
            cursor.execute(ROLL_UP, [start, end, list(NOT_ROLLED_UP)])


class MarketHour(models.Model):
    """The midpoints of a market within an hour (UTC), in 1/100,000 dollar.

    Of two-sided quotes alone: an hour without one has no row. Imported quotes do not count.
    """

    pk = models.CompositePrimaryKey("hour", "market_id")
    hour = models.DateTimeField()
    # The rows of a market that is gone are forgotten within a day, and nobody looks one up by it.
    market = models.ForeignKey(
        Market, models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    first = models.IntegerField()
    last = models.IntegerField()
    low = models.IntegerField()
    high = models.IntegerField()

    objects = MarketHourManager()

    def __str__(self) -> str:
        return f"{self.market_id} at {self.hour:%Y-%m-%d %H}h"


class PastPriceManager(models.Manager["PastPrice"]):
    def renew(self, *, now: datetime) -> None:
        """Keep for each market the midpoints at the full hours nearest to an hour and a day ago."""
        hour_ago, day_ago = reference_hours(now)
        with transaction.atomic(), connection.cursor() as cursor:
            # Another run of maintenance waits, since it would insert the same markets.
            cursor.execute("LOCK TABLE markets_pastprice IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute("DELETE FROM markets_pastprice")
            cursor.execute(
                REMEMBER,
                {
                    "hour": hour_ago,
                    "hour_since": hour_ago - LOOK_BACK,
                    "day": day_ago,
                    "day_since": day_ago - LOOK_BACK,
                },
            )


class PastPrice(models.Model):
    """A market's midpoints of about an hour and a day ago, in 1/100,000 dollar.

    See `reference_hours`. None where no two-sided quote of the hours before is on record.
    """

    market = models.OneToOneField(
        ListedMarket,
        models.DO_NOTHING,
        primary_key=True,
        db_constraint=False,
        related_name="past",
    )
    hour_ago = models.IntegerField(null=True)
    day_ago = models.IntegerField(null=True)

    objects = PastPriceManager()

    def __str__(self) -> str:
        return f"{self.market_id}: {self.hour_ago}, {self.day_ago}"


def hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def sparkline_hours(now: datetime) -> list[datetime]:
    """Return the hours that a sparkline has room for, oldest first; the last one is running."""
    newest = hour_of(now)
    return [newest - number * HOUR for number in reversed(range(SPARKLINE_HOURS))]


def reference_hours(now: datetime) -> tuple[datetime, datetime]:
    """Return the full hours nearest to an hour ago and to a day ago."""
    nearest = hour_of(now + HOUR / 2)
    return nearest - HOUR, nearest - 24 * HOUR
