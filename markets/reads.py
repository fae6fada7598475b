"""What the faces read of series, events, markets, snapshots and polls, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import msgspec
from django.apps import apps
from django.db import connection, models
from django.db.models import Exists, ExpressionWrapper, F, OuterRef, Q, Subquery

from markets.kalshi import payloads
from markets.querysets import (
    EPOCH,
    MARKET_FIELDS,
    EventQuerySet,
    MarketQuerySet,
    MarketSnapshotQuerySet,
    Quote,
    SeriesQuerySet,
)
from markets.runs import PollQuerySet

if TYPE_CHECKING:
    from markets.models import Market, MarketSnapshot

Row = dict[str, Any]

EVENT_JOINED = {"series_ticker": F("series__ticker"), "category": F("series__category")}
POLL_JUDGED = {
    "failed": ExpressionWrapper(~Q(error=""), output_field=models.BooleanField()),
    "warned": ExpressionWrapper(~Q(warning=""), output_field=models.BooleanField()),
}
SERIES_ORDERS = {"ticker": F("ticker").asc(), "-ticker": F("ticker").desc()}
EVENT_ORDERS = {
    **SERIES_ORDERS,
    "updated": F("recorded_at").desc(),
    "-updated": F("recorded_at").asc(),
}
POLL_ORDERS = {"newest": F("started_at").desc(), "-newest": F("started_at").asc()}

# What a revision says of a market, what it says of its event, and a quote.
REVISED = (
    "known_at",
    "known_at_assumed",
    "recorded_at",
    "status",
    "result",
    "settlement_value",
    "settlement_ts",
    "open_time",
    "close_time",
    "expected_expiration_time",
)
REVISED_EVENT = ("title", "sub_title", "mutually_exclusive", "strike_date")
EVENT_KNOWN = (
    "known_at",
    "known_at_assumed",
    "recorded_at",
    *REVISED_EVENT,
    "collateral_return_type",
    "strike_period",
    "settlement_sources",
    "fee_type_override",
    "fee_multiplier_override",
    "exchange_index",
)
# Of these nothing is kept but the newest.
NOT_KEPT = dict.fromkeys(("volume_24h", "previous_price", "is_hot"))
AS_KNOWN = f"""
    SELECT market.id, known.price_ranges::text, known.raw_data::text AS payload,
        {", ".join(f"known.{name}" for name in REVISED)},
        coalesce(event.title, '') AS event_title, coalesce(event.sub_title, '') AS event_sub_title,
        event.mutually_exclusive AS event_mutually_exclusive,
        event.strike_date AS event_strike_date,
        quote.timestamp AS quoted_at, {", ".join(f"quote.{name}" for name in Quote._fields)}
    FROM markets_market AS market
    JOIN LATERAL (
        SELECT * FROM markets_marketrevision
        WHERE market_id = market.id AND known_at <= %(at)s ORDER BY known_at DESC LIMIT 1
    ) AS known ON true
    LEFT JOIN LATERAL (
        SELECT * FROM markets_eventrevision
        WHERE event_id = market.event_id AND known_at <= %(at)s ORDER BY known_at DESC LIMIT 1
    ) AS event ON true
    LEFT JOIN LATERAL (
        SELECT * FROM markets_marketsnapshot
        WHERE market_id = market.id AND timestamp <= %(at)s
        ORDER BY timestamp DESC, id DESC LIMIT 1
    ) AS quote ON true
    WHERE market.id = ANY(%(ids)s)
"""


def holding(words: str, *columns: str) -> Q:
    """Every one of the words in one or the other of the columns."""
    found = Q()
    for word in words.split():
        found &= reduce(or_, (Q(**{f"{column}__icontains": word}) for column in columns))
    return found


class SeriesReads(SeriesQuerySet):
    def rows(self, fields: Sequence[str]) -> models.QuerySet[Any, Row]:
        return self.values(*fields)

    def search(self, words: str) -> Self:
        return self.filter(holding(words, "ticker", "title"))

    def tagged(self, tag: str) -> Self:
        return self.filter(tags__contains=[tag])

    def ranked(self, order: str) -> Self:
        return self.order_by(SERIES_ORDERS[order])


class EventReads(EventQuerySet):
    def rows(self, fields: Sequence[str]) -> models.QuerySet[Any, Row]:
        """These fields as dictionaries, and `id`."""
        return self.values("id", *(name for name in fields if name not in EVENT_JOINED)).annotate(
            **EVENT_JOINED
        )

    def search(self, words: str) -> Self:
        return self.filter(holding(words, "ticker", "title", "sub_title"))

    def with_market_in(self, statuses: Iterable[str]) -> Self:
        """Events of which a market is in one of these stages of life."""
        markets = _manager("Market").filter(event_id=OuterRef("pk"), status__in=list(statuses))
        return self.filter(Exists(markets))

    def updated_since(self, at: datetime) -> Self:
        return self.filter(recorded_at__gte=at)

    def ranked(self, order: str) -> Self:
        return self.order_by(EVENT_ORDERS[order], "ticker")

    def known_at(self, at: datetime) -> Self:
        revisions = _manager("EventRevision").filter(event_id=OuterRef("pk"), known_at__lte=at)
        return self.filter(Exists(revisions))

    def with_market_then_in(self, statuses: Iterable[str], at: datetime) -> Self:
        markets = _manager("Market").known_at(at).then_in(statuses)
        return self.filter(Exists(markets.filter(event_id=OuterRef("pk"))))

    def as_known(self, rows: Sequence[Row], at: datetime) -> list[Row]:
        """What was known of the events of these rows, with `known_at`; unknown ones are left out.

        A row needs its `id` and keeps what it has beside: what the record has no past of.
        """
        revisions = _manager("EventRevision").filter(
            event_id__in=[row["id"] for row in rows], known_at__lte=at
        )
        newest = revisions.order_by("event_id", "-known_at").distinct("event_id")
        then = {row.pop("event_id"): row for row in newest.values("event_id", *EVENT_KNOWN)}
        return [row | then[row["id"]] for row in rows if row["id"] in then]


class MarketReads(MarketQuerySet):
    def of_events(self, ids: Iterable[int]) -> Self:
        """The markets of these events, up the ladders of strikes."""
        return self.filter(event_id__in=list(ids)).along_strikes()

    def in_stage(self, statuses: Iterable[str]) -> Self:
        return self.filter(status__in=list(statuses))

    def midpoint_from(self, least: Decimal) -> Self:
        """Two-sided markets whose midpoint is at least this."""
        return self.alias(both=F("yes_bid") + F("yes_ask")).filter(both__gte=2 * least)

    def midpoint_to(self, most: Decimal) -> Self:
        return self.alias(both=F("yes_bid") + F("yes_ask")).filter(both__lte=2 * most)

    def spread_to(self, most: Decimal) -> Self:
        return self.alias(width=F("yes_ask") - F("yes_bid")).filter(width__lte=most)

    def two_sided(self, wanted: bool) -> Self:
        both = Q(yes_bid__isnull=False, yes_ask__isnull=False)
        return self.filter(both if wanted else ~both)

    def updated_since(self, at: datetime) -> Self:
        """Markets whose quote or definition is from then or later."""
        return self.filter(Q(quoted_at__gte=at) | Q(recorded_at__gte=at))

    def known_at(self, at: datetime) -> Self:
        """Markets of which something was known at an instant."""
        then = _manager("MarketRevision").filter(market_id=OuterRef("pk"), known_at__lte=at)
        status = Subquery(then.order_by("-known_at").values("status")[:1])
        # Only where something asks for it is the status looked up.
        return self.filter(Exists(then)).alias(known_status=status)

    def then_in(self, statuses: Iterable[str]) -> Self:
        """Of the markets known at an instant those that were in one of these stages of life."""
        return self.filter(known_status__in=list(statuses))

    def as_known(self, markets: Sequence[Market], at: datetime) -> list[Market]:
        """These markets made what they were known to be, with `known_at`; not to be saved.

        Whatever was not known then is left out. A quote is the newest snapshot of then, and what
        no snapshot holds is None. Titles, rules and strikes are those of the payload of then;
        where a revision has no payload they stay what they are today.
        """
        with connection.cursor() as cursor:
            cursor.execute(AS_KNOWN, {"at": at, "ids": [market.pk for market in markets]})
            names = [column.name for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        then = {row.pop("id"): row for row in rows}
        found = [market for market in markets if market.pk in then]
        for market in found:
            _put_back(market, then[market.pk])
        return found


def _put_back(market: Market, then: Row) -> None:
    """Make a market what it was; `then` is a row of `AS_KNOWN`."""
    for name in REVISED_EVENT:
        setattr(market.event, name, then.pop(f"event_{name}"))
    then["price_ranges"] = msgspec.json.decode(then["price_ranges"])
    for name, value in (NOT_KEPT | _defined(then.pop("payload")) | then).items():
        setattr(market, name, value)


# Dates that move, and would tell of what came later.
UNKNOWN_THEN = ("updated_time", "expected_expiration_time", "latest_expiration_time")


def _defined(payload: str | None) -> Row:
    """What a payload says of a market; without one, that its later dates are unknown."""
    try:
        definition = payloads.market((payload or "{}").encode())
    except msgspec.ValidationError:
        return dict.fromkeys(UNKNOWN_THEN)
    return {name: getattr(definition, name) for name in MARKET_FIELDS}


class SnapshotReads(MarketSnapshotQuerySet):
    def by_id(self, id: UUID) -> MarketSnapshot | None:
        """The snapshot with its market. Its id tells its millisecond, and so the day to look in.

        An id of another kind is looked for in every day.
        """
        found = self.select_related("market").filter(pk=id)
        if id.version == 7:
            millisecond = timedelta(milliseconds=1)
            try:
                at = EPOCH + (id.int >> 80) * millisecond
                found = found.filter(timestamp__gte=at, timestamp__lt=at + millisecond)
            except OverflowError:  # after the year 9999
                return None
        return found.first()


class PollReads(PollQuerySet):
    def rows(self, fields: Sequence[str]) -> models.QuerySet[Any, Row]:
        """These fields as dictionaries, and whether the run `failed` or `warned`."""
        return self.values(*(name for name in fields if name not in POLL_JUDGED)).annotate(
            **POLL_JUDGED
        )

    def that_failed(self, wanted: bool) -> Self:
        return self.exclude(error="") if wanted else self.filter(error="")

    def ranked(self, order: str) -> Self:
        return self.order_by(POLL_ORDERS[order])


def _manager(model: str) -> Any:
    # The models are made of these querysets: they cannot be imported here.
    return apps.get_model("markets", model)._default_manager
