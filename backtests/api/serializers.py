"""Serializers of backtest requests, and of runs and their results."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from backtests.api import examples
from backtests.api.strategy_serializers import VALUE
from backtests.models import (
    BacktestResult,
    Engine,
    SnapshotSources,
)
from backtests.requests import (
    CHOICES,
    LIMITS,
    LIST_FIELDS,
    MAX_CASH,
    REMOVED,
    BacktestRequest,
    MarketSelection,
)
from backtests.rules.execution import ExecutionModel
from kalshi_insights.rest.parsers import MAX_NAME_LENGTH
from kalshi_insights.rest.schema import with_example
from kalshi_insights.rest.strict_fields import (
    AwareDateTimeField,
    StrictBooleanField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
    StrictTextField,
)

MAX_NAMES = 1_000
MAX_IMPORT = 2**31 - 1
MAX_TICKER_LENGTH = 200
MAX_STRATEGY_LENGTH = 100


# --- requests ----------------------------------------------------------------------------------


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,6})?$"},
            {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": int(MAX_CASH)},
        ],
        "default": "10000",
    }
)
class CashField(serializers.DecimalField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": VALUE})
class ParamsField(serializers.Field[Any, Any, Any, Any]):
    """Parameters by name; the schema of the strategy validates them."""

    default_error_messages = {"invalid": "Must be an object of values by parameter name."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            self.fail("invalid")
        return {name[:MAX_NAME_LENGTH]: value for name, value in data.items()}

    def to_representation(self, value: Any) -> Any:
        return value


def names(help_text: str) -> serializers.ListField:
    child = StrictTextField(max_length=MAX_TICKER_LENGTH)
    return serializers.ListField(
        child=child, required=False, max_length=MAX_NAMES, help_text=help_text
    )


def _bounded(
    field_class: type[StrictIntegerField | StrictFloatField], name: str, help_text: str
) -> Any:
    bounds: dict[str, Any] = dict(zip(("min_value", "max_value"), LIMITS[name], strict=True))
    default = getattr(ExecutionModel(), name)
    return field_class(default=default, allow_null=default is None, help_text=help_text, **bounds)


class ExecutionModelSerializer(StrictSerializer):
    """The execution model: how orders meet what was observed."""

    removed = REMOVED
    latency_seconds = _bounded(
        StrictFloatField,
        "latency_seconds",
        "Seconds until an order arrives; it meets the first observation of its market after that.",
    )
    patience_seconds = _bounded(
        StrictFloatField,
        "patience_seconds",
        "Seconds after which an order that has arrived and met no observation expires.",
    )
    across_gaps = serializers.ChoiceField(
        choices=CHOICES["across_gaps"],
        default=ExecutionModel().across_gaps,
        help_text="What becomes of an order on its way when its market is no longer observed: it"
        " expires, or it waits for the next observation as long as its patience lasts.",
    )
    assumed_size = _bounded(
        StrictIntegerField,
        "assumed_size",
        "Contracts that takers assume where a book shows no size; without it, such a book fills"
        " nothing. No resting order is filled by them.",
    )
    assumed_queue = _bounded(
        StrictIntegerField,
        "assumed_queue",
        "Contracts to assume before a resting order where nobody knows its queue; without it, only"
        " a trade beyond the order's price fills it.",
    )
    clock_tolerance = _bounded(
        StrictFloatField,
        "clock_tolerance",
        "Seconds by which the exchange's clock may differ: trades so close to an order's arrival"
        " count for most fills only.",
    )
    position_limit = _bounded(
        StrictIntegerField,
        "position_limit",
        "Maximum contracts held in a market; without it, no limit.",
    )
    make = StrictBooleanField(
        default=False,
        help_text="Orders join the best price on their own side and wait (signals only).",
    )
    through_broker = StrictBooleanField(
        default=False, help_text="Fees as charged to a client of a broker, in whole cents."
    )


class RunRequestSerializer(StrictSerializer):
    """A strategy, its markets and its time, and the rules for its orders."""

    strategy = StrictTextField(
        max_length=MAX_STRATEGY_LENGTH, help_text="The name of a strategy, shipped or your own."
    )
    params = ParamsField(
        required=False, help_text="The parameters that differ from their defaults."
    )
    series = names("All markets of these series.")
    events = names("All markets of these events.")
    tickers = names("Single markets.")
    sources = serializers.ChoiceField(
        choices=SnapshotSources.choices, required=False, help_text="The snapshots to use."
    )
    imports = serializers.ListField(
        child=StrictIntegerField(min_value=1, max_value=MAX_IMPORT),
        required=False,
        max_length=MAX_NAMES,
        help_text="The imports to read beside the record; without it, none.",
    )
    start = AwareDateTimeField(help_text="The first instant of the run, with an offset.")
    end = AwareDateTimeField(
        required=False,
        help_text="The run ends before this instant, with an offset; without it, just after the"
        " newest quote.",
    )
    cash = CashField(
        max_digits=16,
        decimal_places=6,
        required=False,
        help_text=f"Starting cash in dollars: above 0, at most {MAX_CASH:,}.",
    )
    engine = serializers.ChoiceField(
        choices=Engine.choices,
        required=False,
        help_text="Without it, the kernel for signals and backtrader for other strategies.",
    )
    execution = ExecutionModelSerializer(
        required=False, help_text="Without it, orders take the other side's price."
    )

    def run_of(self, data: dict[str, Any]) -> BacktestRequest:
        """The request that these validated fields make."""
        selection = {
            field.name: data.pop(field.name)
            for field in fields(MarketSelection)
            if field.name in data
        }
        end = selection.pop("end", None)
        chosen = MarketSelection.until(end, now=datetime.now(UTC), **selection)
        execution = ExecutionModel(**data.pop("execution", {}))
        return BacktestRequest(selection=chosen, execution=execution, **data)


@extend_schema_serializer(
    examples=[OpenApiExample("A request", value=examples.REQUEST, request_only=True)]
)
class BacktestRequestSerializer(RunRequestSerializer):
    """A backtest request. At least one of series, events and tickers must name something."""

    check_lookahead = StrictBooleanField(
        default=False, help_text="Also check the strategy for look-ahead bias."
    )

    @property
    def backtest_request(self) -> BacktestRequest:
        return self.run_of(dict(self.validated_data))


def flatten_errors(errors: Mapping[str, Any], *, prefix: str = "") -> dict[str, list[Any]]:
    """Errors by the full name of their field, such as `execution.latency_seconds`."""
    flat: dict[str, list[Any]] = {}
    for name, each in errors.items():
        full_name = f"{prefix}{name}"
        if isinstance(each, Mapping):
            flat |= flatten_errors(each, prefix=f"{full_name}.")
        else:
            flat[full_name] = each
    return flat


# The API's names for fields that `BadInput` names otherwise.
API_FIELDS = {
    **LIST_FIELDS,
    **{field.name: f"execution.{field.name}" for field in fields(ExecutionModel)},
}


# --- runs and results ---------------------------------------------------------------------------

BRIEF_COLUMNS = [
    "id",
    "status",
    "progress",
    "doing",
    "strategy",
    "strategy_version",
    "params",
    "series",
    "events",
    "tickers",
    "start",
    "end",
    "cash",
    "engine",
    "created_at",
    "finished_at",
    "error",
    "snapshots",
    "markets",
    "final_cash",
    "pnl",
    "verdict",
]
DETAIL_COLUMNS = [
    *BRIEF_COLUMNS,
    "sources",
    "imports",
    "execution",
    "check_lookahead",
    "cancel_requested",
    "claimed_at",
    "fees",
    "code_fingerprint",
    "data_fingerprint",
    "strategy_files",
    "analyses",
    "conditions",
    "figures",
    "band",
    "yardsticks",
    "curve",
    "assumptions",
    "lookahead",
]

FREE = {"type": "object", "additionalProperties": {}}
FIGURES_HELP = "The figures. Money is in millionths of a dollar; null means withheld."


@extend_schema_field(FREE)
class FreeField(serializers.JSONField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class FilesField(serializers.JSONField):
    pass


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {"analysis": {}, "refused": {"type": "string"}},
        },
    }
)
class AnalysesField(serializers.JSONField):
    pass


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "asked": {"type": "integer"},
                "held": {"type": "integer"},
                "held_with_earlier": {"type": "integer", "nullable": True},
            },
        },
    }
)
class ConditionsField(serializers.JSONField):
    pass


@extend_schema_field(
    {
        "type": "object",
        "properties": {
            "t": {"type": "array", "items": {"type": "integer"}},
            "equity": {"type": "array", "items": {"type": "integer"}},
        },
    }
)
class CurveField(serializers.JSONField):
    pass


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class SentencesField(serializers.JSONField):
    pass


@with_example(examples.BRIEF)
class BacktestBriefSerializer(serializers.ModelSerializer[BacktestResult]):
    """A run without its detailed results."""

    params = FreeField(help_text="The values of all parameters, defaults included.")
    pnl = serializers.DecimalField(
        max_digits=18,
        decimal_places=6,
        allow_null=True,
        help_text="Dollars; open positions count at the price they could be sold for. Null until"
        " done.",
    )

    class Meta:
        model = BacktestResult
        fields = BRIEF_COLUMNS
        read_only_fields = fields
        extra_kwargs = {
            "progress": {"help_text": "The share that is done, from 0 to 1.", "min_value": 0},
            "doing": {"help_text": "The current step, in words."},
            "cash": {"help_text": "Starting cash in dollars."},
            "final_cash": {"help_text": "Cash at the end in dollars, without open positions."},
            "snapshots": {"help_text": "The number of rows of quotes."},
            "markets": {"help_text": "The number of markets."},
            "verdict": {"help_text": "The result in a sentence."},
        }


@with_example(examples.BACKTEST)
class BacktestSerializer(BacktestBriefSerializer):
    """A run with its results; docs/metrics.md explains each figure."""

    execution = ExecutionModelSerializer()
    fees = FreeField(help_text="The kind of account, and the rounding of its fees.")
    code_fingerprint = FreeField(help_text="SHA-256 of the code, and library versions.")
    data_fingerprint = FreeField(help_text="SHA-256 of the input data.")
    strategy_files = FilesField(
        help_text="The text of every file that a strategy of your own was imported from, by name."
    )
    analyses = AnalysesField(
        help_text="What each analyzer of the strategy found, under `analysis`, or why it is not"
        " kept, under `refused`."
    )
    conditions = ConditionsField(
        help_text="Of a run that sent no order: how often each condition of the strategy was asked"
        " and held, and held together with those before it."
    )
    figures = FreeField(help_text=FIGURES_HELP)
    band = FreeField(help_text="The figures by fill scenario: fewest, expected and most fills.")
    yardsticks = FreeField(help_text="The figures of each yardstick on the same markets and times.")
    curve = CurveField(
        help_text="Equity in millionths of a dollar from each instant on, in milliseconds since"
        " 1970."
    )
    assumptions = SentencesField(help_text="The assumptions behind the result.")
    lookahead = FreeField(help_text="The result of the look-ahead check, if requested.")

    class Meta(BacktestBriefSerializer.Meta):
        fields = DETAIL_COLUMNS
        read_only_fields = fields
