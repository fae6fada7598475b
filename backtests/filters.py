"""Filters of the lists of runs and of their executions."""

import django_filters

from backtests import catalogue
from backtests.models import BacktestResult, BacktestStatus, ExecutionKind, Search
from backtests.models.searches import POINT_ORDERS
from backtests.record import record
from backtests.strategies import STRATEGIES
from kalshi_insights.rest.filters import (
    BoundsForm,
    end_filter,
    ordering_filter,
    start_filter,
    word_filter,
)


def market_ticker(ticker: str) -> str | None:
    """Return a market's ticker as it is written on record, whatever the case it is given in."""
    return record.markets.as_written([ticker]).get(ticker)


def strategy_name(name: str) -> str | None:
    """Return the name where there is such a strategy, or a run of one that is gone."""
    was_run = any(
        model.objects.filter(strategy=name).exists() for model in (BacktestResult, Search)
    )
    return name if name in STRATEGIES or was_run or catalogue.listed(name) else None


class BacktestFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(
        choices=BacktestStatus.choices, label="The status of the run."
    )
    strategy = word_filter("strategy", "The name of the strategy.", strategy_name)


class ParameterSearchFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(
        choices=BacktestStatus.choices, label="The status of the search."
    )
    strategy = word_filter("strategy", "The name of the strategy.", strategy_name)


class SearchPointFilter(django_filters.FilterSet):
    ordering = ordering_filter(POINT_ORDERS, "number")


class ChartedSeriesFilter(django_filters.FilterSet):
    ticker = word_filter("market", "The ticker of the market.", market_ticker)


class ExecutionFilter(django_filters.FilterSet):
    start = start_filter("at")
    end = end_filter("at")
    kind = django_filters.ChoiceFilter(
        choices=ExecutionKind.choices, label="The kind of journal entry."
    )
    ticker = word_filter("market", "The ticker of the market.", market_ticker)

    class Meta:
        form = BoundsForm
