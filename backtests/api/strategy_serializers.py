"""Serializers of strategies and their parameters."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from backtests.api import examples
from backtests.strategies import STRATEGIES, YARDSTICKS, Signal
from kalshi_insights.rest.schema import with_example

STRATEGY_KINDS = ("signal", "event-driven")
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
    """A strategy that can be run, with its parameters."""

    name = serializers.CharField()
    version = serializers.CharField(
        help_text="The version, which changes whenever decisions may change."
    )
    kind = serializers.ChoiceField(
        choices=STRATEGY_KINDS,
        help_text="A signal states target positions and runs in both engines; an event-driven"
        " strategy sends its own orders and runs in backtrader.",
    )
    is_yardstick = serializers.BooleanField(
        help_text="Every result is compared with the yardsticks."
    )
    summary = serializers.CharField()
    parameters = ParameterSerializer(many=True)


def describe(name: str) -> dict[str, Any]:
    """A strategy in the form of its serializer."""
    strategy = STRATEGIES[name]
    parameters = [
        {
            "name": each,
            "type": parameter.json_type,
            "default": parameter.default,
            "minimum": parameter.least,
            "maximum": parameter.most,
            "choices": list(parameter.choices),
            "unit": parameter.unit,
            "help": parameter.help,
        }
        for each, parameter in strategy.schema.items()
    ]
    return {
        "name": name,
        "version": strategy.version,
        "kind": STRATEGY_KINDS[not issubclass(strategy, Signal)],
        "is_yardstick": name in YARDSTICKS,
        "summary": strategy.summary,
        "parameters": parameters,
    }
