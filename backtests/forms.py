"""The form for a new backtest, built from the schema of the strategy."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.models import User

from backtests import catalogue
from backtests.api.serializers import (
    MAX_NAMES,
    MAX_TICKER_LENGTH,
    ExecutionModelSerializer,
)
from backtests.models import BacktestResult, Engine, Search, SnapshotSources
from backtests.report import EXECUTION_LABELS
from backtests.requests import (
    CHOICES,
    LIMITS,
    LIST_FIELDS,
    MAX_CASH,
    BacktestRequest,
    MarketSelection,
    TooManyUnfinished,
    check_execution_names,
    submit,
)
from backtests.rules.execution import ExecutionModel
from backtests.searches.requests import TooManySearches
from backtests.strategies import YARDSTICKS
from backtests.strategies.descriptions import StrategyDescription
from backtests.strategies.parameters import Parameter
from kalshi_insights.bad_input import BadInput

DEFAULT_WINDOW = timedelta(days=1)
MAX_LIST_LENGTH = 20_000
EXECUTION_HELP = {
    name: field.help_text for name, field in ExecutionModelSerializer().fields.items()
}


class NamesField(forms.CharField):
    """A list of names, separated by commas or blanks."""

    def __init__(self, label: str, help_text: str) -> None:
        super().__init__(
            label=label, help_text=help_text, required=False, max_length=MAX_LIST_LENGTH,
            widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        )  # fmt: skip

    def clean(self, value: Any) -> Any:
        names = list(dict.fromkeys(filter(None, re.split(r"[\s,]+", super().clean(value)))))
        if len(names) > MAX_NAMES or any(len(name) > MAX_TICKER_LENGTH for name in names):
            raise forms.ValidationError(
                f"At most {MAX_NAMES:,} names of at most {MAX_TICKER_LENGTH} characters."
            )
        return names


class ImportsField(NamesField):
    """A list of the numbers of imports."""

    def clean(self, value: Any) -> Any:
        names = super().clean(value)
        if not all(name.isascii() and name.isdigit() and len(name) < 10 for name in names):
            raise forms.ValidationError("Must be numbers of imports, such as 12.")
        return [int(name) for name in names]


def _instant(label: str, help_text: str, *, required: bool = True) -> forms.DateTimeField:
    widget = forms.DateTimeInput(
        {"type": "datetime-local", "step": "any"}, format="%Y-%m-%dT%H:%M:%S"
    )
    return forms.DateTimeField(label=label, help_text=help_text, widget=widget, required=required)


class BacktestForm(forms.Form):
    """A backtest request, with the parameters of one strategy."""

    series = NamesField("Series", "All markets of these series, such as KXHIGHNY.")
    events = NamesField("Events", "All markets of these events.")
    tickers = NamesField("Markets", "Single markets, by their tickers.")
    start = _instant("From", "In UTC.")
    end = _instant(
        "Until",
        "In UTC; the run ends before this instant. Without it, just after the newest quote.",
        required=False,
    )
    cash = forms.DecimalField(
        label="Starting cash, dollars", min_value=0, max_value=MAX_CASH, max_digits=16,
        decimal_places=6,
    )  # fmt: skip
    sources = forms.ChoiceField(
        label="Quotes", choices=SnapshotSources.choices, required=False,
        help_text="The quotes to use of markets that were both recorded live and backfilled.",
    )  # fmt: skip
    imports = ImportsField(
        "Imports", "The numbers of imports to read beside the record; without them, none."
    )
    engine = forms.ChoiceField(
        choices=[("", "Chosen by strategy"), *Engine.choices], required=False,
        help_text="Both give the same result to the cent. The kernel is faster, but only runs"
        " signals.",
    )  # fmt: skip

    check_lookahead = forms.BooleanField(
        label="Check for look-ahead bias", required=False,
        help_text="Run the strategy again with other futures; its decisions must stay the same.",
    )  # fmt: skip

    def __init__(
        self, data: Mapping[str, Any] | None, *, query: Mapping[str, str], now: datetime
    ) -> None:
        """`query` fills in the form from an address."""
        self.now = now
        until = now.replace(second=0, microsecond=0, tzinfo=None)
        defaults = {"start": until - DEFAULT_WINDOW, "end": until, "cash": "10000"}
        super().__init__(data, initial=defaults | dict(query.items()))
        name = (data or query).get("strategy", "")
        listed = _by_name(catalogue.listing())
        choices = [(each.name, _label(each)) for each in listed.values()]
        self.fields["strategy"] = forms.ChoiceField(choices=choices)
        self.described = listed.get(name) or next(iter(listed.values()))
        self.initial["strategy"] = self.described.name
        self.fields |= {
            f"params.{each}": _parameter_field(each, parameter)
            for each, parameter in self.described.schema.items()
        }
        self.fields |= {
            field.name: _execution_field(field.name) for field in fields(ExecutionModel)
        }
        # A checkbox would take the text "False" for a tick.
        for field_name, field in self.fields.items():
            if field_name in query and isinstance(field, forms.BooleanField):
                self.initial[field_name] = field.to_python(query[field_name])

    def clean(self) -> dict[str, Any]:
        # A form that was open before an update may have fields that are gone. Those of another
        # strategy come from browsers without JavaScript.
        unknown = set(self.data) - set(self.fields) - {"csrfmiddlewaretoken"}
        try:
            check_execution_names(sorted(n for n in unknown if not n.startswith("params.")))
        except BadInput as fault:
            self.add_error(None, str(fault))
        return self.cleaned_data

    @property
    def is_yardstick(self) -> bool:
        return self.described.name in YARDSTICKS

    def params(self) -> list[forms.BoundField]:
        return [self[f"params.{name}"] for name in self.described.schema]

    def execution(self) -> list[forms.BoundField]:
        return [self[field.name] for field in fields(ExecutionModel)]

    @property
    def execution_is_open(self) -> bool:
        """Return whether to show the execution model unfolded: it is filled in, or has errors."""
        return any(each.errors or each.name in self.initial for each in self.execution())

    @property
    def backtest_request(self) -> BacktestRequest:
        data = self.cleaned_data
        names = ("series", "events", "tickers", "imports", "start")
        selection = {name: data[name] for name in names}
        selection["sources"] = data["sources"] or SnapshotSources.BEST
        params = {name: data[f"params.{name}"] for name in self.described.schema}
        execution = {field.name: data[field.name] for field in fields(ExecutionModel)}
        return BacktestRequest(
            strategy=data["strategy"],
            selection=MarketSelection.until(data["end"], now=self.now, **selection),
            params={name: value for name, value in params.items() if value != ""},
            cash=data["cash"],
            engine=data["engine"],
            check_lookahead=data.get("check_lookahead", False),
            execution=ExecutionModel(
                **{name: each for name, each in execution.items() if each not in (None, "")}
            ),
        )

    def queue(self, user: User, *, now: datetime) -> BacktestResult | Search | None:
        """Queue what is requested; None where it was refused, and the form has the errors."""
        try:
            return self.submit(user, now=now)
        except BadInput as fault:
            self.add_bad_input(fault)
        except (TooManyUnfinished, TooManySearches) as fault:
            self.add_error(None, str(fault))
        return None

    def submit(self, user: User, *, now: datetime) -> BacktestResult | Search:
        return submit(self.backtest_request, user=user, now=now)

    def add_bad_input(self, fault: BadInput) -> None:
        field = LIST_FIELDS.get(fault.field, fault.field)
        self.add_error(field if field in self.fields else None, fault.message)


def _by_name(listed: Iterable[StrategyDescription]) -> dict[str, StrategyDescription]:
    """The strategies by name; of several, the one that `catalogue.find` finds."""
    first: dict[str, StrategyDescription] = {}
    for each in sorted(listed, key=lambda each: bool(each.error)):
        first.setdefault(each.name, each)
    return first


def _label(strategy: StrategyDescription) -> str:
    if strategy.error:
        return f"{strategy.name} (cannot be run)"
    return f"{strategy.name} ({strategy.file})" if strategy.file else strategy.name


def _parameter_field(name: str, parameter: Parameter) -> forms.Field:
    label, unit = parameter.label or name.replace("_", " ").capitalize(), parameter.unit
    if unit and unit not in label.lower():
        label = f"{label}, {unit}"
    texts: dict[str, Any] = {
        "label": label, "help_text": parameter.help, "initial": parameter.default,
    }  # fmt: skip
    if parameter.json_type == "boolean":
        return forms.BooleanField(required=False, **texts)
    if parameter.choices:
        choices = [(choice, choice) for choice in parameter.choices]
        return forms.ChoiceField(required=False, choices=choices, **texts)
    step = 1 if parameter.json_type == "integer" else "any"
    bounds = {"min": parameter.least, "max": parameter.most, "step": step}
    # The strategy's schema validates the value.
    return forms.CharField(required=False, widget=forms.NumberInput(bounds), **texts)


def _execution_field(name: str) -> forms.Field:
    default = getattr(ExecutionModel(), name)
    texts: dict[str, Any] = {"label": EXECUTION_LABELS[name], "help_text": EXECUTION_HELP[name]}
    if name in CHOICES:
        choices = [(each, each.capitalize()) for each in CHOICES[name]]
        return forms.ChoiceField(required=False, choices=choices, initial=default, **texts)
    if name not in LIMITS:
        return forms.BooleanField(required=False, **texts)
    field_class = forms.FloatField if isinstance(default, float) else forms.IntegerField
    texts |= dict(zip(("min_value", "max_value"), LIMITS[name], strict=True))
    return field_class(required=False, initial=default, **texts)
