"""Columns and constraints that several models share."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Self, TypeVar

from django.apps import apps
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import ExpressionWrapper, F, Q
from django.db.models.expressions import CombinedExpression, OrderBy
from django.db.models.functions import Round, Upper

from kalshi_insights.bad_input import UNWRITABLE
from markets import prices
from markets.intervals import EPOCH
from markets.kalshi.fields import EXACT_DIGITS, EXACT_PLACES

PRICE = "numeric(6,4)"
MIDPOINT = "numeric(7,5)"  # half a step finer than a price
COUNT = "numeric(18,2)"
Row = dict[str, Any]
M = TypeVar("M", bound=models.Model)


class Quote(NamedTuple):
    """The columns of a quote, in order."""

    yes_bid: Decimal | None
    yes_ask: Decimal | None
    yes_bid_size: Decimal | None
    yes_ask_size: Decimal | None
    last_price: Decimal | None
    volume: Decimal | None
    open_interest: Decimal | None


# The columns of a quote with their types in the database; whatever lists them is made from these.
QUOTE_TYPES = {
    "yes_bid": PRICE,
    "yes_ask": PRICE,
    "yes_bid_size": COUNT,
    "yes_ask_size": COUNT,
    "last_price": PRICE,
    "volume": COUNT,
    "open_interest": COUNT,
}


def price_field() -> "models.DecimalField[Decimal | None, Decimal | None]":
    return models.DecimalField(max_digits=6, decimal_places=4, null=True, blank=True)


def count_field() -> "models.DecimalField[Decimal | None, Decimal | None]":
    return models.DecimalField(max_digits=18, decimal_places=2, null=True, blank=True)


class ExactDecimalField(models.DecimalField):  # type: ignore[type-arg]
    """A decimal that keeps every digit: PostgreSQL rounds to a scale, and `numeric` has none.

    `max_digits` and `decimal_places` say what the parser of payloads lets through.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "numeric"


def exact_field() -> "models.DecimalField[Decimal | int | None, Decimal | None]":
    """A strike or a fee multiplier, which the exchange writes with as many digits as it likes."""
    return ExactDecimalField(
        max_digits=EXACT_DIGITS + EXACT_PLACES, decimal_places=EXACT_PLACES, null=True, blank=True
    )


def within_unit(*fields: str, model: str) -> list[models.BaseConstraint]:
    """Return a constraint for each field: NULL or between 0 and 1 dollar."""
    return [
        models.CheckConstraint(
            condition=Q(**{f"{field}__gte": 0, f"{field}__lte": 1}),
            name=f"{model}_{field}_within_unit",
        )
        for field in fields
    ]


class Quoted(models.Model):
    """The columns of a quote, which markets (the newest) and snapshots share."""

    yes_bid = price_field()
    yes_ask = price_field()
    yes_bid_size = count_field()
    yes_ask_size = count_field()
    last_price = price_field()
    volume = count_field()
    open_interest = count_field()

    class Meta:
        abstract = True

    @property
    def yes_price(self) -> Decimal | None:
        """The midpoint of a book quoted on both sides, else None; never stored."""
        return prices.mid(self.yes_bid, self.yes_ask)

    @property
    def no_price(self) -> Decimal | None:
        return None if self.yes_price is None else prices.complement(self.yes_price)

    @property
    def spread(self) -> Decimal | None:
        return prices.spread(self.yes_bid, self.yes_ask)


class Described(models.Model):
    """A noun that the exchange describes; a placeholder stands for it until it has.

    Imports make placeholders of what their rows name. No list, search or tier has them.
    """

    is_placeholder = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Made for the rows of an import; the exchange has not described it yet.",
    )

    class Meta:
        abstract = True


class KnownFact(models.Model):
    """A fact with the instant from which a decision could have used it."""

    known_at = models.DateTimeField(
        help_text="When we observed it live; for backfilled facts, the exchange's own time."
    )
    known_at_assumed = models.BooleanField(
        default=False, help_text="The exchange gives no time for the fact, so one was assumed."
    )
    recorded_at = models.DateTimeField(help_text="When this row was written.")

    class Meta:
        abstract = True


class DateBin(models.Func):
    """PostgreSQL's `date_bin`: the start of the bucket that holds an instant."""

    function = "date_bin"
    output_field = models.DateTimeField()

    def __init__(self, width: timedelta, instant: models.F) -> None:
        super().__init__(models.Value(width), instant, models.Value(EPOCH))


def manager_of(model: str) -> Any:
    """Return the manager of a model further up, whose module imports the caller's."""
    return apps.get_model("markets", model)._default_manager


class TickerQuerySet(models.QuerySet[M]):
    """Rows that have a ticker, which people write in any case."""

    def named(self, ticker: str) -> Self:
        """The row that a ticker names; its exact spelling comes before any other."""
        if UNWRITABLE.search(ticker):
            return self.none()
        exactly = models.Case(models.When(ticker=ticker, then=0), default=1)
        return self.filter(ticker__iexact=ticker).order_by(exactly, "ticker")

    def by_ticker(self, ticker: str) -> M | None:
        """Return the row that a ticker names in any case; None if there is none."""
        return self.named(ticker).first()

    def as_written(self, tickers: Iterable[str]) -> dict[str, str]:
        """Return the tickers on record that these name in any case, by what was given."""
        given = [ticker for ticker in tickers if not UNWRITABLE.search(ticker)]
        found = self.alias(upper=Upper("ticker")).filter(
            Q(ticker__in=given) | Q(upper__in=[ticker.upper() for ticker in given])
        )
        exact = set(found.values_list("ticker", flat=True))
        by_upper = {ticker.upper(): ticker for ticker in sorted(exact, reverse=True)}
        written = {
            ticker: ticker if ticker in exact else by_upper.get(ticker.upper()) for ticker in given
        }
        return {ticker: known for ticker, known in written.items() if known is not None}


def any_case(model: str) -> models.Index:
    """An index by which `TickerQuerySet` finds tickers in any case."""
    return models.Index(Upper("ticker"), name=f"{model}_ticker_any_case")


def _midpoint(value: CombinedExpression) -> Round:
    output = models.DecimalField(max_digits=7, decimal_places=5)
    return Round(ExpressionWrapper(value, output_field=output), precision=5)


# `Quoted.yes_price` and `Quoted.no_price` in SQL.
DERIVED_PRICES = {
    "yes_price": _midpoint((F("yes_bid") + F("yes_ask")) / 2),
    "no_price": _midpoint(1 - (F("yes_bid") + F("yes_ask")) / 2),
}


class OrderKey(NamedTuple):
    """A key that lists can be ordered by, and the expression behind it."""

    expression: models.F | CombinedExpression | models.Func
    nullable: bool = True


def order_terms(orders: Mapping[str, OrderKey], keys: Iterable[str]) -> list[OrderBy]:
    """Translate keys into terms of ORDER BY; "-key" is descending, NULLs come last both ways.

    A column that is never NULL gets no NULLS LAST, which would keep PostgreSQL from its index.
    """
    terms = []
    for key in keys:
        expression, nullable = orders[key.removeprefix("-")]
        nulls_last = True if nullable else None
        descending = key.startswith("-")
        terms.append(OrderBy(expression, descending=descending, nulls_last=nulls_last))
    return terms
