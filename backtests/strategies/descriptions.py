"""Descriptions of strategies: what forms, the API and the commands say of one without running it.

Those of one's own strategies come from another process, as JSON; see `backtests.own`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeGuard

from backtests.strategies.base import Signal, Strategy
from backtests.strategies.parameters import BadParameter, Parameter, Schema
from kalshi_insights.bad_input import UNWRITABLE

StrategyClass = type[Signal] | type[Strategy]

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
NAME_IN_WORDS = "lower-case letters, digits and hyphens, at most 100 of them"
LARGEST = 2**53  # whole numbers beyond it are not exact everywhere
MAX_VERSION, MAX_SUMMARY, MAX_TEXT = 50, 1_000, 1_000


class StrategyKind(StrEnum):
    SIGNAL = "signal"
    EVENT_DRIVEN = "event-driven"


class StrategyOrigin(StrEnum):
    SHIPPED = "shipped"
    OWN = "own"


class BadStrategy(ValueError):
    """A class that is no strategy yet, for a reason in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyDescription:
    """A strategy in words. `file` is that of one's own, within the folder of them.

    One with an `error` cannot be run; it may have no more than a name. A `warning` does not keep
    it from being run.
    """

    name: str
    kind: StrategyKind | None = None
    version: str = ""
    summary: str = ""
    schema: Mapping[str, Parameter] = field(default_factory=dict)
    origin: StrategyOrigin = StrategyOrigin.OWN
    file: str = ""
    error: str = ""
    warning: str = ""

    @property
    def is_signal(self) -> bool:
        return self.kind == StrategyKind.SIGNAL


def describe(
    strategy: StrategyClass, *, origin: StrategyOrigin = StrategyOrigin.SHIPPED
) -> StrategyDescription:
    """Describe a strategy by its class."""
    return StrategyDescription(
        name=strategy.name,
        kind=StrategyKind.SIGNAL if issubclass(strategy, Signal) else StrategyKind.EVENT_DRIVEN,
        version=strategy.version,
        summary=strategy.summary,
        schema=strategy.schema,
        origin=origin,
    )


# --- what a class of one's own has to have --------------------------------------------------------


def check(strategy: StrategyClass) -> None:
    """Raise `BadStrategy` for the first thing that a class lacks to be a strategy."""
    name = _text(strategy, "name", most=MAX_TEXT)
    if not NAME.fullmatch(name):
        raise BadStrategy(f"{strategy.__name__}.name must be {NAME_IN_WORDS}, not {name!r}.")
    _text(strategy, "version", most=MAX_VERSION)
    _text(strategy, "summary", most=MAX_SUMMARY)
    if issubclass(strategy, Signal) and strategy.targets is Signal.targets:
        raise BadStrategy(f"{strategy.__name__} has no method targets.")
    _check_schema(strategy, strategy.schema)


def _text(strategy: StrategyClass, attribute: str, *, most: int) -> str:
    text = getattr(strategy, attribute, None)
    if not _is_text(text, most=most) or not text.strip():
        raise BadStrategy(
            f"{strategy.__name__}.{attribute} must be a text of 1 to {most:,} characters."
        )
    return text


def _is_text(given: Any, *, most: int) -> TypeGuard[str]:
    return isinstance(given, str) and len(given) <= most and not UNWRITABLE.search(given)


def _check_schema(strategy: StrategyClass, schema: Schema) -> None:
    if not isinstance(schema, Mapping):
        raise BadStrategy(f"{strategy.__name__}.schema must be a mapping of names to parameters.")
    for name, parameter in schema.items():
        where = f"{strategy.__name__}.schema, {name!r}"
        if not isinstance(name, str) or not name.isidentifier() or len(name) > MAX_VERSION:
            raise BadStrategy(f"{where}: a name must be a short identifier.")
        if not isinstance(parameter, Parameter):
            raise BadStrategy(f"{where}: must be a Parameter.")
        _check_parameter(where, parameter)


def _check_parameter(where: str, parameter: Parameter) -> None:
    if not isinstance(parameter.default, bool | int | float | str):
        raise BadStrategy(f"{where}: the default must be a number, true or false, or a text.")
    numbers: list[Any] = [each for each in (parameter.least, parameter.most) if each is not None]
    numbers += [] if isinstance(parameter.default, str) else [parameter.default]
    if not all(isinstance(each, int | float) and abs(each) <= LARGEST for each in numbers):
        raise BadStrategy(
            f"{where}: default, least and most must be numbers of at most {LARGEST:,}."
        )
    texts: list[Any] = [parameter.help, parameter.label, parameter.unit, *parameter.choices]
    if isinstance(parameter.default, str):
        texts.append(parameter.default)
    if not all(_is_text(text, most=MAX_TEXT) for text in texts):
        raise BadStrategy(f"{where}: help, label, unit and choices must be texts.")
    try:
        parameter.read("default", parameter.default)
    except BadParameter as fault:
        raise BadStrategy(f"{where}: the default breaks its own rule: {fault.message}") from None
