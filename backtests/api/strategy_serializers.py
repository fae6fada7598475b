"""Serializers of strategies and their parameters."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from backtests.api import examples
from backtests.strategies import YARDSTICKS
from backtests.strategies.descriptions import StrategyDescription, StrategyKind, StrategyOrigin
from kalshi_insights.rest.schema import with_example

STRATEGY_KINDS = tuple(str(kind) for kind in StrategyKind)
PARAMETER_TYPES = ("number", "integer", "boolean", "string")
VALUE = {"oneOf": [{"type": "number"}, {"type": "boolean"}, {"type": "string"}]}


@extend_schema_field(VALUE)
class ValueField(serializers.Field[Any, Any, Any, Any]):
    def to_representation(self, value: Any) -> Any:
        return value


class ParameterSerializer(serializers.Serializer[Any]):
    """A parameter; `minimum` and `maximum` are inclusive, null where there is none."""

    name = serializers.CharField()
    type = serializers.ChoiceField(choices=PARAMETER_TYPES)
    default = ValueField(help_text="The value where none is given.")
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(
        child=serializers.CharField(), help_text="The values that a string can have."
    )
    unit = serializers.CharField(
        help_text="The unit, such as dollars, contracts or hours; may be empty."
    )
    help = serializers.CharField()


@with_example(examples.STRATEGY)
class StrategySerializer(serializers.Serializer[Any]):
    """A strategy with its parameters; one with an `error` cannot be run."""

    name = serializers.CharField()
    version = serializers.CharField(
        help_text="The version, which changes whenever decisions may change."
    )
    kind = serializers.ChoiceField(
        choices=STRATEGY_KINDS,
        allow_null=True,
        help_text="A signal states target positions and runs in both engines; an event-driven"
        " strategy sends its own orders and runs in backtrader. Null where an error hides it.",
    )
    origin = serializers.ChoiceField(
        choices=[str(origin) for origin in StrategyOrigin],
        help_text="Shipped with the program, or one of your own in the folder STRATEGIES_PATH.",
    )
    file = serializers.CharField(
        allow_blank=True, help_text="The file of one of your own, within the folder."
    )
    error = serializers.CharField(
        allow_blank=True, help_text="Why it cannot be run; empty where it can."
    )
    warning = serializers.CharField(
        allow_blank=True,
        help_text="A danger that does not keep it from being run, such as others"
        " who may write to its file.",
    )
    is_yardstick = serializers.BooleanField(
        help_text="Every result is compared with the yardsticks."
    )
    summary = serializers.CharField()
    parameters = ParameterSerializer(many=True)


def row(strategy: StrategyDescription) -> dict[str, Any]:
    """A strategy in the form of its serializer."""
    parameters = [
        {
            "name": name,
            "type": parameter.json_type,
            "default": parameter.default,
            "minimum": parameter.least,
            "maximum": parameter.most,
            "choices": list(parameter.choices),
            "unit": parameter.unit,
            "help": parameter.help,
        }
        for name, parameter in strategy.schema.items()
    ]
    texts = ("name", "version", "kind", "origin", "file", "error", "warning", "summary")
    return {
        **{name: getattr(strategy, name) for name in texts},
        "is_yardstick": strategy.name in YARDSTICKS,
        "parameters": parameters,
    }
