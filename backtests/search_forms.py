"""The form for a new search: that of a backtest, where parameters take several values."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.contrib.auth.models import User

from backtests.analysis.folds import MOST_FOLDS
from backtests.analysis.search import parse_values
from backtests.forms import BacktestForm
from backtests.models import Search
from backtests.searches.requests import (
    MAX_EMBARGO_HOURS,
    MAX_POINTS,
    MAX_SEED,
    SearchRequest,
    submit,
)
from backtests.strategies.parameters import BadParameter, Parameter
from kalshi_insights.bad_input import BadInput

LONGEST_VALUES = 2_000
OWN_FIELDS = ("runs", "seed", "folds", "embargo_hours")


class SearchForm(BacktestForm):
    """A request for a search, with the parameters of one strategy."""

    runs = forms.IntegerField(
        label="Random combinations", required=False, min_value=1, max_value=MAX_POINTS,
        help_text=f"Try so many, chosen at random. Empty: all of them, at most {MAX_POINTS:,}.",
    )  # fmt: skip
    seed = forms.IntegerField(
        label="Seed", required=False, min_value=0, max_value=MAX_SEED, initial=0,
        help_text="The same seed makes the same choice.",
    )  # fmt: skip
    folds = forms.IntegerField(
        label="Walk-forward folds", required=False, min_value=0, max_value=MOST_FOLDS, initial=4,
        help_text="Choose on earlier markets, test on later ones, so many times. 0: do not.",
    )  # fmt: skip
    embargo_hours = forms.FloatField(
        label="Embargo, hours", required=False, min_value=0, max_value=MAX_EMBARGO_HOURS,
        initial=0, help_text="Leave out of each choice what was over so shortly before its test.",
    )  # fmt: skip

    def __init__(
        self, data: Mapping[str, Any] | None, *, query: Mapping[str, str], now: datetime
    ) -> None:
        super().__init__(data, query=query, now=now)
        del self.fields["check_lookahead"]
        self.fields |= {
            f"params.{name}": _values_field(self.fields[f"params.{name}"], parameter)
            for name, parameter in self.described.schema.items()
        }
        # A switch is text here, too, so the address may have its words.
        for name in self.described.schema:
            if f"params.{name}" in query:
                self.initial[f"params.{name}"] = query[f"params.{name}"]

    def own(self) -> list[forms.BoundField]:
        return [self[name] for name in OWN_FIELDS]

    @property
    def search_request(self) -> SearchRequest:
        """Raises BadInput for values that cannot be read."""
        fixed, varied = self._values()
        self.cleaned_data |= {f"params.{name}": "" for name in self.described.schema}
        self.cleaned_data |= {f"params.{name}": value for name, value in fixed.items()}
        numbers = {name: self.cleaned_data[name] for name in OWN_FIELDS}
        return SearchRequest(
            run=self.backtest_request,
            varied=varied,
            **{name: each for name, each in numbers.items() if each is not None},
        )

    def submit(self, user: User, *, now: datetime) -> Search:
        return submit(self.search_request, user=user, now=now)

    def _values(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        """The parameters with one value, and those with several."""
        fixed, varied = {}, {}
        for name in self.described.schema:
            text = self.cleaned_data[f"params.{name}"]
            try:
                values = parse_values(name, text) if text else []
            except BadParameter as fault:
                raise BadInput(f"params.{name}", fault.message) from None
            if len(values) > 1:
                varied[name] = values
            elif values:
                fixed[name] = values[0]
        return fixed, varied

    def add_bad_input(self, fault: BadInput) -> None:
        if fault.field == "vary":
            self.add_error(None, "Give at least one parameter several values.")
            return
        name = fault.field.removeprefix("vary.")
        is_varied = name != fault.field
        super().add_bad_input(
            BadInput(f"params.{name}" if is_varied else fault.field, fault.message)
        )


def _values_field(field: forms.Field, parameter: Parameter) -> forms.CharField:
    """A field for the values to try of a parameter."""
    default = parameter.default
    words = str(default).lower() if isinstance(default, bool) else str(default)
    choices = f" One or several of {', '.join(parameter.choices)}." if parameter.choices else ""
    return forms.CharField(
        label=field.label,
        help_text=f"{parameter.help}{choices}",
        required=False,
        initial=words,
        max_length=LONGEST_VALUES,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
    )
