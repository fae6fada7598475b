"""What the API says of strategies and runs, and what it is asked to run."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from backtests.api import examples
from backtests.choosing import Selection
from backtests.models import BacktestExecution, BacktestResult, Engine, Kind, Sources
from backtests.requests import LIMITS, MOST_CASH, Asked
from backtests.rules.execution import Execution
from backtests.strategies import STRATEGIES, YARDSTICKS, Signal
from kalshi_insights.export.parquet import ColumnTypes
from kalshi_insights.rest.parameters import MAX_NAME_LENGTH
from kalshi_insights.rest.schema import with_example

MOST_NAMES = 1_000
LONGEST_TICKER = 200
KINDS = ("signal", "event-driven")
TYPES = ("number", "integer", "boolean", "string")
VALUE = {"oneOf": [{"type": "number"}, {"type": "boolean"}, {"type": "string"}]}


# --- strategies ---------------------------------------------------------------------------------


@extend_schema_field(VALUE)
class ValueField(serializers.Field[Any, Any, Any, Any]):
    def to_representation(self, value: Any) -> Any:
        return value


class ParameterSerializer(serializers.Serializer[Any]):
    """One parameter; `minimum` and `maximum` are included, null where there is none."""

    name = serializers.CharField()
    type = serializers.ChoiceField(choices=TYPES)
    default = ValueField(help_text="Its value where it is not given.")
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(child=serializers.CharField(), help_text="Of a string.")
    unit = serializers.CharField(help_text="Such as dollars, contracts, hours; may be empty.")
    help = serializers.CharField()


@with_example(examples.STRATEGY)
class StrategySerializer(serializers.Serializer[Any]):
    """What can be run, and what it can be told."""

    name = serializers.CharField()
    version = serializers.CharField(help_text="Changes whenever its decisions may.")
    kind = serializers.ChoiceField(
        choices=KINDS,
        help_text="A signal says which position it wants and runs in both engines; an event-driven"
        " one sends its own orders and runs in backtrader.",
    )
    is_yardstick = serializers.BooleanField(help_text="Every result is shown beside these.")
    summary = serializers.CharField()
    parameters = ParameterSerializer(many=True)


def told(name: str) -> dict[str, Any]:
    """A strategy as the serializer has it."""
    kind = STRATEGIES[name]
    parameters = [
        {
            "name": each,
            "type": parameter.kind,
            "default": parameter.default,
            "minimum": parameter.least,
            "maximum": parameter.most,
            "choices": list(parameter.choices),
            "unit": parameter.unit,
            "help": parameter.help,
        }
        for each, parameter in kind.schema.items()
    ]
    return {
        "name": name,
        "version": kind.version,
        "kind": KINDS[not issubclass(kind, Signal)],
        "is_yardstick": name in YARDSTICKS,
        "summary": kind.summary,
        "parameters": parameters,
    }


# --- what is asked for --------------------------------------------------------------------------


class Known(serializers.Serializer[Any]):
    """Refuses fields that it does not know."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = set(data) - set(self.fields) if isinstance(data, Mapping) else ()
        if unknown:
            known = ", ".join(self.fields)
            raise serializers.ValidationError(
                {printable(name): [f"Unknown field. Known ones are {known}."] for name in unknown}
            )
        return super().to_internal_value(data)


def printable(name: str) -> str:
    """JSON can hold halves of characters, which nothing can be sent with."""
    return name[:MAX_NAME_LENGTH].encode(errors="replace").decode()


class WholeField(serializers.IntegerField):
    """A number of JSON's, not a text that looks like one."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class NumberField(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        if not isinstance(data, int | float) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class TruthField(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class NameField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class AwareDateTimeField(serializers.DateTimeField):
    """An instant. One without an offset would mean different times to different people."""

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise serializers.ValidationError("Needs an offset, such as Z or +00:00.")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise serializers.ValidationError("Lies outside the years 1 to 9999.") from None


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,6})?$"},
            {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": int(MOST_CASH)},
        ],
        "default": "10000",
    }
)
class CashField(serializers.DecimalField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": VALUE})
class ParamsField(serializers.Field[Any, Any, Any, Any]):
    """The strategy's own schema reads what is in it."""

    default_error_messages = {"invalid": "Must be an object: values by the parameters' names."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            self.fail("invalid")
        return {printable(name): value for name, value in data.items()}

    def to_representation(self, value: Any) -> Any:
        return value


def names(help_text: str) -> serializers.ListField:
    child = NameField(max_length=LONGEST_TICKER)
    return serializers.ListField(
        child=child, required=False, max_length=MOST_NAMES, help_text=help_text
    )


def _bounded(kind: type[WholeField | NumberField], name: str, help_text: str) -> Any:
    bounds: dict[str, Any] = dict(zip(("min_value", "max_value"), LIMITS[name], strict=True))
    default = getattr(Execution(), name)
    return kind(default=default, allow_null=default is None, help_text=help_text, **bounds)


class ExecutionSerializer(Known):
    """How orders meet the books."""

    latency_snapshots = _bounded(
        WholeField,
        "latency_snapshots",
        "So many books of its market pass before an order meets one.",
    )
    latency_seconds = _bounded(
        NumberField, "latency_seconds", "Seconds that pass before an order meets a book."
    )
    patience_seconds = _bounded(
        NumberField, "patience_seconds", "Seconds after which an order without a book expires."
    )
    assumed_size = _bounded(
        WholeField,
        "assumed_size",
        "Contracts, where a book does not tell its size; without it, such a book fills nothing.",
    )
    position_limit = _bounded(
        WholeField, "position_limit", "Contracts held in a market at most; without it, no limit."
    )
    make = TruthField(
        default=False, help_text="Joins the best price on its own side and waits (signals alone)."
    )
    through_broker = TruthField(default=False, help_text="Fees as a broker's client pays them.")


@extend_schema_serializer(
    examples=[OpenApiExample("A request", value=examples.REQUEST, request_only=True)]
)
class AskedSerializer(Known):
    """What is to be run. Of series, events and tickers at least one has a name in it."""

    strategy = serializers.ChoiceField(choices=list(STRATEGIES))
    params = ParamsField(
        required=False, help_text="Of the strategy's parameters those that are not to be as usual."
    )
    series = names("Every market of these series.")
    events = names("Every market of these events.")
    tickers = names("These markets.")
    sources = serializers.ChoiceField(
        choices=Sources.choices, required=False, help_text="Which snapshots count."
    )
    start = AwareDateTimeField(help_text="The first instant of the run, with its offset.")
    end = AwareDateTimeField(help_text="The instant that the run ends before, with its offset.")
    cash = CashField(
        max_digits=16,
        decimal_places=6,
        required=False,
        help_text=f"Dollars to begin with: above 0, at most {MOST_CASH:,}.",
    )
    engine = serializers.ChoiceField(
        choices=Engine.choices,
        required=False,
        help_text="Without it, the kernel for signals and backtrader for others.",
    )
    execution = ExecutionSerializer(required=False, help_text="Without it, as a cautious taker.")
    check_lookahead = TruthField(
        default=False, help_text="Also check whether the strategy's decisions rest on the future."
    )

    @property
    def asked(self) -> Asked:
        said = dict(self.validated_data)
        chosen = {
            field.name: said.pop(field.name) for field in fields(Selection) if field.name in said
        }
        execution = Execution(**said.pop("execution", {}))
        return Asked(selection=Selection(**chosen), execution=execution, **said)


def flat(errors: Mapping[str, Any], *, under: str = "") -> dict[str, list[Any]]:
    """Errors by the whole name of their field, such as `execution.latency_seconds`."""
    found: dict[str, list[Any]] = {}
    for name, each in errors.items():
        place = f"{under}{name}"
        if isinstance(each, Mapping):
            found |= flat(each, under=f"{place}.")
        else:
            found[place] = each
    return found


# What `BadInput` calls them, where the API has another name.
FIELDS = {
    "event": "events",
    "ticker": "tickers",
    **{field.name: f"execution.{field.name}" for field in fields(Execution)},
}


# --- what came of it ----------------------------------------------------------------------------

BRIEF = [
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
WHOLE = [
    *BRIEF,
    "sources",
    "execution",
    "check_lookahead",
    "cancel_requested",
    "claimed_at",
    "fees",
    "code_fingerprint",
    "data_fingerprint",
    "figures",
    "band",
    "yardsticks",
    "curve",
    "assumptions",
    "lookahead",
]

FREE = {"type": "object", "additionalProperties": {}}
MONEY = "Money in it is in millionths of a dollar; null is what cannot be said."


@extend_schema_field(FREE)
class FreeField(serializers.JSONField):
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
    """A run, without what came of it in detail."""

    params = FreeField(help_text="Every parameter's value, those not given included.")
    pnl = serializers.DecimalField(
        max_digits=18,
        decimal_places=6,
        allow_null=True,
        help_text="Dollars gained; open positions at what they could be sold for. Null until done.",
    )

    class Meta:
        model = BacktestResult
        fields = BRIEF
        read_only_fields = fields
        extra_kwargs = {
            "progress": {"help_text": "The share that is done, 0 to 1.", "min_value": 0},
            "doing": {"help_text": "What it is at now, in words."},
            "cash": {"help_text": "Dollars to begin with."},
            "final_cash": {"help_text": "Dollars at the end, open positions apart."},
            "snapshots": {"help_text": "Rows of quotes it was run on."},
            "markets": {"help_text": "Markets it was run on."},
            "verdict": {"help_text": "The result in a sentence."},
        }


@with_example(examples.BACKTEST)
class BacktestSerializer(BacktestBriefSerializer):
    """A run with all that came of it; docs/metrics.md explains each figure."""

    execution = ExecutionSerializer()
    fees = FreeField(help_text="The kind of account, and how its fees were rounded.")
    code_fingerprint = FreeField(help_text="SHA-256 of what computed it; versions of libraries.")
    data_fingerprint = FreeField(help_text="SHA-256 of what it was computed from.")
    figures = FreeField(help_text=MONEY)
    band = FreeField(
        help_text="The figures where orders that rest fill pessimistically, as expected, and"
        " optimistically."
    )
    yardsticks = FreeField(help_text="The figures of each yardstick on the same markets and times.")
    curve = CurveField(
        help_text="Equity in millionths of a dollar from each instant on, in milliseconds since"
        " 1970."
    )
    assumptions = SentencesField(help_text="What it rests on that no record tells.")
    lookahead = FreeField(help_text="The verdict on looking ahead, if it was asked for.")

    class Meta(BacktestBriefSerializer.Meta):
        fields = WHOLE
        read_only_fields = fields


PRICE, COUNT, DOLLARS = "numeric(6,4)", "numeric(18,2)", "numeric(18,6)"
EXECUTIONS: ColumnTypes = {
    "number": "bigint",
    "at": "timestamptz",
    "kind": "text",
    "ticker": "text",
    "order": "bigint",
    "outcome_side": "text",
    "book_side": "text",
    "count": COUNT,
    "price": "numeric(18,4)",
    "settlement_value": "numeric(7,6)",
    "fee": DOLLARS,
    "liquidity": "text",
    "reason": "text",
    "cash_change": DOLLARS,
    "cash": DOLLARS,
    "position": COUNT,
    "quote_at": "timestamptz",
    "yes_bid": PRICE,
    "yes_ask": PRICE,
    "yes_bid_size": COUNT,
    "yes_ask_size": COUNT,
}


@with_example(examples.EXECUTION_LINE)
class ExecutionLineSerializer(serializers.ModelSerializer[BacktestExecution]):
    """One line of a run's journal, with the quote that it was made on.

    Prices in dollars on the YES scale: who buys NO sells YES.
    """

    kind = serializers.ChoiceField(choices=Kind.choices)
    outcome_side = serializers.ChoiceField(choices=["yes", "no"])
    book_side = serializers.ChoiceField(
        choices=["bid", "ask"], help_text="bid where YES is bought, else ask."
    )

    class Meta:
        model = BacktestExecution
        fields = list(EXECUTIONS)
        read_only_fields = fields
        extra_kwargs = {
            "number": {"help_text": "From 1 on, in the order in which it happened."},
            "count": {"help_text": "Contracts."},
            "fee": {"help_text": "Dollars."},
            "cash": {"help_text": "Dollars after it."},
            "position": {"help_text": "Contracts after it: YES above zero, NO below."},
        }


def _numbers(help_text: str) -> serializers.ListField:
    return serializers.ListField(child=serializers.FloatField(), help_text=help_text)


class EquityColumnsSerializer(serializers.Serializer[Any]):
    t = serializers.ListField(
        child=serializers.IntegerField(), help_text="Milliseconds since 1970, UTC."
    )
    equity = _numbers("Dollars from then on; positions at what they could be sold for.")
    drawdown = _numbers("How far below its highest so far, as a share of that.")


@with_example(examples.EQUITY)
class EquitySerializer(serializers.Serializer[Any]):
    """The equity of a run, as a list for each column."""

    columns = EquityColumnsSerializer()
    next = serializers.URLField(allow_null=True)
