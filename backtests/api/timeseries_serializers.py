"""Serializers of the series of a run: its journal, its equity, and what its charts draw."""

from typing import Any

from rest_framework import serializers

from backtests.api import examples
from backtests.charted_series import ChartedSeries
from backtests.data.universe import SECOND
from backtests.models import BacktestExecution, ExecutionKind
from kalshi_insights.export.copy import ColumnTypes
from kalshi_insights.rest.schema import with_example

MILLISECOND = SECOND // 1_000
PRICE_TYPE, COUNT_TYPE, MONEY_TYPE = "numeric(6,4)", "numeric(18,2)", "numeric(18,6)"
EXECUTIONS: ColumnTypes = {
    "number": "bigint",
    "at": "timestamptz",
    "kind": "text",
    "ticker": "text",
    "order": "bigint",
    "outcome_side": "text",
    "book_side": "text",
    "count": COUNT_TYPE,
    "price": "numeric(18,4)",
    "settlement_value": "numeric(7,6)",
    "fee": MONEY_TYPE,
    "liquidity": "text",
    "reason": "text",
    "cash_change": MONEY_TYPE,
    "cash": MONEY_TYPE,
    "position": COUNT_TYPE,
    "quote_at": "timestamptz",
    "yes_bid": PRICE_TYPE,
    "yes_ask": PRICE_TYPE,
    "yes_bid_size": COUNT_TYPE,
    "yes_ask_size": COUNT_TYPE,
    "waited": MONEY_TYPE,
    "across_gap": "boolean",
    "stated_reason": "text",
}


@with_example(examples.EXECUTION_ENTRY)
class ExecutionEntrySerializer(serializers.ModelSerializer[BacktestExecution]):
    """One entry of a run's journal, with the quote behind it.

    Prices are in dollars on the YES scale: buying NO is selling YES.
    """

    kind = serializers.ChoiceField(choices=ExecutionKind.choices)
    outcome_side = serializers.ChoiceField(choices=["yes", "no"])
    book_side = serializers.ChoiceField(
        choices=["bid", "ask"], help_text="bid for buying YES, ask for buying NO."
    )

    class Meta:
        model = BacktestExecution
        fields = list(EXECUTIONS)
        read_only_fields = fields
        extra_kwargs = {
            "number": {"help_text": "The number of the entry, from 1 on."},
            "count": {"help_text": "Contracts."},
            "fee": {"help_text": "Dollars."},
            "waited": {
                "help_text": "Of an order: seconds from its arrival to the observation that it met;"
                " null if it met none."
            },
            "across_gap": {
                "help_text": "Of a fill: whether its order was sent before a gap in the"
                " observations and filled after it."
            },
            "reason": {"help_text": "Why an order was refused or cancelled."},
            "cash": {"help_text": "Cash after the entry, in dollars."},
            "position": {
                "help_text": "Contracts after the entry: positive for YES, negative for NO."
            },
        }


@with_example(examples.CHARTED_SERIES)
class ChartedSeriesSerializer(serializers.ModelSerializer[ChartedSeries]):
    """A series of a run in one market: each value stands from its instant on, null is none."""

    t = serializers.SerializerMethodField(help_text="Milliseconds since 1970, UTC.")

    class Meta:
        model = ChartedSeries
        fields = ["ticker", "name", "t", "values", "is_thinned"]
        read_only_fields = fields

    def get_t(self, series: ChartedSeries) -> list[int]:
        return [at // MILLISECOND for at in series.at]


def _numbers(help_text: str) -> serializers.ListField:
    return serializers.ListField(child=serializers.FloatField(), help_text=help_text)


class EquityColumnsSerializer(serializers.Serializer[Any]):
    t = serializers.ListField(
        child=serializers.IntegerField(), help_text="Milliseconds since 1970, UTC."
    )
    equity = _numbers("Dollars; positions count at the price they could be sold for.")
    drawdown = _numbers("The fall below the highest equity so far, as a share of it.")


@with_example(examples.EQUITY)
class EquitySerializer(serializers.Serializer[Any]):
    """The equity of a run, one list for each column."""

    columns = EquityColumnsSerializer()
    next = serializers.URLField(allow_null=True)
