"""The form of a new run, made from the strategy's schema."""

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from django import forms

from backtests.api.serializers import LONGEST_TICKER, MOST_NAMES, ExecutionSerializer, told
from backtests.choosing import BadInput, Selection
from backtests.models import Engine, Sources
from backtests.report import MODEL
from backtests.requests import LIMITS, MOST_CASH, Asked
from backtests.rules.execution import Execution
from backtests.strategies import STRATEGIES
from backtests.strategies.parameters import Parameter

USUAL_SPAN = timedelta(days=1)
LONGEST_LIST = 20_000
EXPLAINED = {name: field.help_text for name, field in ExecutionSerializer().fields.items()}
# What `BadInput` calls fields that have another name here.
FIELDS = {"event": "events", "ticker": "tickers"}


class NamesField(forms.CharField):
    """Names with commas or blanks between them."""

    def __init__(self, label: str, help_text: str) -> None:
        super().__init__(
            label=label, help_text=help_text, required=False, max_length=LONGEST_LIST,
            widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        )  # fmt: skip

    def clean(self, value: Any) -> Any:
        names = list(dict.fromkeys(filter(None, re.split(r"[\s,]+", super().clean(value)))))
        if len(names) > MOST_NAMES or any(len(name) > LONGEST_TICKER for name in names):
            raise forms.ValidationError(
                f"At most {MOST_NAMES:,} names of at most {LONGEST_TICKER} characters."
            )
        return names


def _instant(label: str, help_text: str) -> forms.DateTimeField:
    widget = forms.DateTimeInput(
        {"type": "datetime-local", "step": "any"}, format="%Y-%m-%dT%H:%M:%S"
    )
    return forms.DateTimeField(label=label, help_text=help_text, widget=widget)


class BacktestForm(forms.Form):
    """What is to be run, with the parameters of one strategy."""

    strategy = forms.ChoiceField(choices=[(name, name) for name in STRATEGIES])
    series = NamesField("Series", "Every market of these series, such as KXHIGHNY.")
    events = NamesField("Events", "Every market of these events.")
    tickers = NamesField("Markets", "These markets, by their tickers.")
    start = _instant("From", "UTC.")
    end = _instant("Until", "UTC; not part of the run.")
    cash = forms.DecimalField(
        label="Cash, dollars", min_value=0, max_value=MOST_CASH, max_digits=16, decimal_places=6,
        help_text="What the run begins with.",
    )  # fmt: skip
    sources = forms.ChoiceField(
        label="Quotes", choices=Sources.choices, required=False,
        help_text="Of markets that were recorded live and backfilled too, which count.",
    )  # fmt: skip
    engine = forms.ChoiceField(
        choices=[("", "as fits the strategy"), *Engine.choices], required=False,
        help_text="Both come to the same cent; the kernel is faster and runs signals alone.",
    )  # fmt: skip

    check_lookahead = forms.BooleanField(
        label="Check for looking ahead", required=False,
        help_text="Runs the strategy again on other futures: its decisions must be the same.",
    )  # fmt: skip

    def __init__(
        self, given: Mapping[str, Any] | None, *, asked: Mapping[str, str], now: datetime
    ) -> None:
        """`asked` is what an address asks for; it fills the form in."""
        until = now.replace(second=0, microsecond=0, tzinfo=None)
        usual = {"start": until - USUAL_SPAN, "end": until, "cash": "10000"}
        super().__init__(given, initial=usual | dict(asked.items()))
        name = (given or asked).get("strategy", "")
        self.kind = STRATEGIES.get(name) or next(iter(STRATEGIES.values()))
        self.initial["strategy"] = self.kind.name
        self.fields |= {
            f"params.{each}": _parameter(each, p) for each, p in self.kind.schema.items()
        }
        self.fields |= {field.name: _execution(field.name) for field in fields(Execution)}
        # A box would take the word False for a tick.
        for field_name, field in self.fields.items():
            if field_name in asked and isinstance(field, forms.BooleanField):
                self.initial[field_name] = field.to_python(asked[field_name])

    @property
    def told(self) -> dict[str, Any]:
        """What the page says of the strategy: a template would call its class."""
        return told(self.kind.name)

    def params(self) -> list[forms.BoundField]:
        return [self[f"params.{name}"] for name in self.kind.schema]

    def execution(self) -> list[forms.BoundField]:
        return [self[field.name] for field in fields(Execution)]

    @property
    def execution_is_asked(self) -> bool:
        """Whether to show at once what is usually left as it is."""
        return any(each.errors or each.name in self.initial for each in self.execution())

    @property
    def asked(self) -> Asked:
        said = self.cleaned_data
        names = ("series", "events", "tickers", "start", "end")
        chosen = {name: said[name] for name in names}
        params = {name: said[f"params.{name}"] for name in self.kind.schema}
        execution = {field.name: said[field.name] for field in fields(Execution)}
        return Asked(
            strategy=said["strategy"],
            selection=Selection(**chosen, sources=said["sources"] or Sources.BEST),
            params={name: value for name, value in params.items() if value != ""},
            cash=said["cash"],
            engine=said["engine"],
            check_lookahead=said["check_lookahead"],
            execution=Execution(
                **{name: value for name, value in execution.items() if value is not None}
            ),
        )

    def refuse(self, fault: BadInput) -> None:
        field = FIELDS.get(fault.field, fault.field)
        self.add_error(field if field in self.fields else None, fault.message)


def _parameter(name: str, parameter: Parameter) -> forms.Field:
    label, unit = name.replace("_", " ").capitalize(), parameter.unit
    if unit and unit not in name:
        label = f"{label}, {unit}"
    words: dict[str, Any] = {
        "label": label, "help_text": parameter.help, "initial": parameter.default,
    }  # fmt: skip
    if parameter.kind == "boolean":
        return forms.BooleanField(required=False, **words)
    if parameter.choices:
        choices = [(choice, choice) for choice in parameter.choices]
        return forms.ChoiceField(required=False, choices=choices, **words)
    step = 1 if parameter.kind == "integer" else "any"
    bounds = {"min": parameter.least, "max": parameter.most, "step": step}
    # Its own schema reads it.
    return forms.CharField(required=False, widget=forms.NumberInput(bounds), **words)


def _execution(name: str) -> forms.Field:
    default = getattr(Execution(), name)
    words: dict[str, Any] = {"label": MODEL[name], "help_text": EXPLAINED[name]}
    if name not in LIMITS:
        return forms.BooleanField(required=False, **words)
    kind = forms.FloatField if isinstance(default, float) else forms.IntegerField
    words |= dict(zip(("min_value", "max_value"), LIMITS[name], strict=True))
    return kind(required=False, initial=default, **words)
