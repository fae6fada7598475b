"""What lists of runs and of their executions can be narrowed by."""

import django_filters

from backtests.models import Kind, Status
from backtests.strategies import STRATEGIES
from markets.api.timeseries_filters import first_instant, instant_after
from markets.filters import RangeForm, text


class BacktestFilter(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=Status.choices, label="How far the run is.")
    strategy = django_filters.ChoiceFilter(
        choices=[(name, name) for name in STRATEGIES], label="The strategy's name."
    )


class ExecutionFilter(django_filters.FilterSet):
    start = first_instant("at")
    end = instant_after("at")
    kind = django_filters.ChoiceFilter(choices=Kind.choices, label="What the line tells.")
    ticker = text("The market's ticker.")

    class Meta:
        form = RangeForm
