"""Serializers of requests for searches, and of searches and their points."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from backtests.analysis.folds import MOST_FOLDS
from backtests.api import examples
from backtests.api.serializers import (
    ExecutionModelSerializer,
    FilesField,
    FreeField,
    RunRequestSerializer,
)
from backtests.api.strategy_serializers import VALUE
from backtests.data.universe import MONEY
from backtests.models import Search, SearchPoint
from backtests.searches.requests import MAX_EMBARGO_HOURS, MAX_POINTS, MAX_SEED, SearchRequest
from kalshi_insights.rest.parsers import MAX_NAME_LENGTH
from kalshi_insights.rest.schema import with_example
from kalshi_insights.rest.strict_fields import StrictFloatField, StrictIntegerField

OWN_FIELDS = ("runs", "seed", "folds", "embargo_hours")
MAX_VALUES = 10_000


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {
            "oneOf": [
                {"type": "array", "items": VALUE, "minItems": 1},
                {"type": "string", "example": "0.05:0.25:0.05"},
            ]
        },
        "minProperties": 1,
    }
)
class VaryField(serializers.Field[Any, Any, Any, Any]):
    """Values by the names of parameters; the schema of the strategy validates them."""

    default_error_messages = {"invalid": "Must be an object of lists or texts by parameter name."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping) or not data:
            self.fail("invalid")
        if not all(isinstance(each, list | str) for each in data.values()):
            self.fail("invalid")
        if any(len(each) > MAX_VALUES for each in data.values()):
            raise serializers.ValidationError(f"At most {MAX_VALUES:,} values of a parameter.")
        return {name[:MAX_NAME_LENGTH]: values for name, values in data.items()}

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_serializer(
    examples=[OpenApiExample("A request", value=examples.SEARCH_REQUEST, request_only=True)]
)
class SearchRequestSerializer(RunRequestSerializer):
    """A request to search parameters, on markets and times as a backtest's."""

    vary = VaryField(
        help_text="The values to try of each parameter: a list, or a text such as 0.1,0.2 or"
        " 0.05:0.25:0.05 (from the first to the last by a step)."
    )
    runs = StrictIntegerField(
        required=False,
        min_value=1,
        max_value=MAX_POINTS,
        help_text=f"Try so many combinations, chosen at random; without it all, at most"
        f" {MAX_POINTS:,}.",
    )
    seed = StrictIntegerField(
        default=0, min_value=0, max_value=MAX_SEED, help_text="The seed of the random choice."
    )
    folds = StrictIntegerField(
        default=0,
        min_value=0,
        max_value=MOST_FOLDS,
        help_text="The folds of a walk-forward; 0 for none.",
    )
    embargo_hours = StrictFloatField(
        default=0.0,
        min_value=0.0,
        max_value=MAX_EMBARGO_HOURS,
        help_text="Markets that were over so many hours before a fold, or fewer, do not count for"
        " its choice.",
    )

    @property
    def search_request(self) -> SearchRequest:
        data = dict(self.validated_data)
        own = {name: data.pop(name) for name in OWN_FIELDS if name in data}
        return SearchRequest(varied=data.pop("vary"), run=self.run_of(data), **own)


# --- searches and points -------------------------------------------------------------------------


BRIEF_COLUMNS = [
    "id", "status", "progress", "points", "strategy", "strategy_version", "params", "varied",
    "runs", "seed", "folds", "embargo_hours", "series", "events", "tickers", "sources", "imports",
    "start", "end", "cash", "engine", "execution", "created_at", "finished_at", "error",
    "snapshots", "markets",
]  # fmt: skip
DETAIL_COLUMNS = [
    *BRIEF_COLUMNS, "plan", "figures", "code_fingerprint", "data_fingerprint", "strategy_files",
]  # fmt: skip
POINT_COLUMNS = [
    "number", "params", "error", "pnl", "test_pnl", "fees", "fills", "events", "won", "days",
    "sharpe", "folds",
]  # fmt: skip


@extend_schema_field({"type": "string", "format": "decimal", "nullable": True})
class DollarsField(serializers.Field[Any, Any, Any, Any]):
    """Dollars, from millionths of a dollar."""

    def to_representation(self, value: int) -> str:
        return f"{Decimal(value) / MONEY:.6f}"


@extend_schema_field({"type": "object", "additionalProperties": {"type": "array", "items": VALUE}})
class VariedField(serializers.JSONField):
    pass


@with_example({name: examples.SEARCH[name] for name in BRIEF_COLUMNS})
class SearchBriefSerializer(serializers.ModelSerializer[Search]):
    """A search without its detailed results."""

    progress = serializers.SerializerMethodField(help_text="The share that is done, from 0 to 1.")
    points = serializers.IntegerField(source="points_count", help_text="The number of points.")
    params = FreeField(help_text="The values of the parameters that stay the same.")
    varied = VariedField(help_text="The values of the parameters that vary.")
    execution = ExecutionModelSerializer()

    class Meta:
        model = Search
        fields = BRIEF_COLUMNS
        read_only_fields = fields
        extra_kwargs = {
            "cash": {"help_text": "Starting cash in dollars."},
            "snapshots": {"help_text": "The number of rows of quotes."},
            "markets": {"help_text": "The number of markets."},
        }

    def get_progress(self, search: Search) -> float:
        work: float = search.work  # type: ignore[attr-defined]  # `with_progress` has it
        return work / search.points_count


@with_example(examples.SEARCH)
class SearchSerializer(SearchBriefSerializer):
    """A search; docs/research.md explains its figures."""

    code_fingerprint = FreeField(help_text="SHA-256 of the code, and library versions.")
    data_fingerprint = FreeField(help_text="SHA-256 of the input data.")
    strategy_files = FilesField(
        help_text="The text of every file of a strategy of your own, by name: what was run."
    )
    plan = FreeField(
        help_text="The ends of the periods in which equity is compared, and the folds: their times"
        " in milliseconds since 1970 and their numbers of markets."
    )
    figures = FreeField(
        help_text="The best point, and the walk-forward. Money is in millionths of a dollar."
    )

    class Meta(SearchBriefSerializer.Meta):
        fields = DETAIL_COLUMNS
        read_only_fields = fields


class FoldPointSerializer(serializers.Serializer[Any]):
    train = serializers.IntegerField(help_text="P&L on the markets to choose on.")
    test = serializers.IntegerField(help_text="P&L on the markets to test on.")


@with_example(examples.SEARCH_POINT)
class SearchPointSerializer(serializers.ModelSerializer[SearchPoint]):
    """One point of a search. Without a result, its figures are null."""

    params = FreeField(help_text="The values of the varied parameters.")
    pnl = DollarsField(help_text="P&L in dollars on all markets.")
    test_pnl = DollarsField(help_text="The sum over the tests of all folds, in dollars.")
    fees = DollarsField(help_text="Fees in dollars.")
    sharpe = serializers.FloatField(
        source="annual_sharpe",
        allow_null=True,
        help_text="The Sharpe ratio of daily returns for a year; null where there is too little to"
        " tell, as in results.",
    )
    folds = FoldPointSerializer(many=True, help_text="The folds, in millionths of a dollar.")

    class Meta:
        model = SearchPoint
        fields = POINT_COLUMNS
        read_only_fields = fields
