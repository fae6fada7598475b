"""Parameters of strategies: the schema behind the form, the API and the commands."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Value = int | float | bool | str
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class BadParameter(ValueError):
    """A value that a strategy cannot use; `name` is the parameter."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter, of the type of its default, from `least` to `most`, both included.

    `label` replaces the name in forms.
    """

    default: Value
    help: str
    label: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""

    def read(self, name: str, given: Any) -> Value:
        """Read a value from a form, JSON or the command line. Raises BadParameter."""
        value = _typed(type(self.default), name, given)
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            if value not in self.choices:
                raise BadParameter(name, f"Must be one of {', '.join(self.choices)}.")
            return value
        if self.least is not None and value < self.least:
            raise BadParameter(name, f"Must be at least {self.least:g}.")
        if self.most is not None and value > self.most:
            raise BadParameter(name, f"Must be at most {self.most:g}.")
        return value

    @property
    def json_type(self) -> str:
        """The type in JSON Schema's words."""
        types = {bool: "boolean", int: "integer", float: "number", str: "string"}
        return types[type(self.default)]


Schema = Mapping[str, Parameter]


def read(schema: Schema, given: Mapping[str, Any]) -> dict[str, Value]:
    """Read the value of every parameter, with defaults for the rest. Raises BadParameter."""
    for name in given:
        if name not in schema:
            known = ", ".join(schema) or "none"
            raise BadParameter(name, f"Not a parameter of this strategy. Its parameters: {known}.")
    return {
        name: parameter.read(name, given[name]) if name in given else parameter.default
        for name, parameter in schema.items()
    }


def _typed(value_type: type[Value], name: str, given: Any) -> Value:
    text = str(given).strip()
    if value_type is str:
        return text
    if value_type is bool:
        if text.lower() in YES + NO:
            return text.lower() in YES
        raise BadParameter(name, "Must be true or false.")
    whole = value_type is int
    try:
        number = float(text)
    except ValueError:
        raise BadParameter(name, "Must be a number.") from None
    if not math.isfinite(number):
        raise BadParameter(name, "Must be a finite number.")
    if whole and number != int(number):
        raise BadParameter(name, "Must be a whole number.")
    return int(number) if whole else number
