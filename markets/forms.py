"""Forms of pages that the API reads, too."""

import re
from datetime import date, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from kalshi_insights.bad_input import BadInput
from kalshi_insights.rest.filters import (
    MAX_TEXT_LENGTH,
    InstantField,
    PlainNumberField,
    WordField,
)
from markets.calibration.anchors import ANCHORS, ANNOUNCED, MOMENTS
from markets.calibration.breakdown import UNDATED
from markets.calibration.reliability import BINS, MINIMUM
from markets.calibration.request import (
    BIN_NUMBERS,
    BREAKDOWNS,
    IMPORTED,
    MAX_AGE,
    MAX_SPREAD,
    MID,
    MONTH,
    PRICES,
    RECORDED,
    SOURCES,
    CalibrationRequest,
)
from markets.filters import PRICE
from markets.models import Series

MOST_IMPORTS = 50
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DEFAULTS = {
    "moment": "24h",
    "price": MID,
    "source": RECORDED,
    "anchor": ANNOUNCED,
    "max_spread": str(MAX_SPREAD),
    "max_age": str(MAX_AGE),
    "bins": str(BINS),
    "minimum": str(MINIMUM),
}


def _series(ticker: str) -> str | None:
    return Series.objects.as_written([ticker]).get(ticker)


def _category(word: str) -> str | None:
    return Series.objects.spelling_of("category", word)


class WholeNumberField(forms.Field):
    """A whole number in plain digits."""

    def __init__(self, *, minimum: int, maximum: int, **options: Any) -> None:
        super().__init__(required=False, **options)
        self.minimum, self.maximum = minimum, maximum

    def to_python(self, value: str | None) -> int | None:
        if not value:
            return None
        is_plain = value.isascii() and value.isdigit() and len(value) <= 12
        if not is_plain or not self.minimum <= int(value) <= self.maximum:
            raise ValidationError(f"Must be a whole number from {self.minimum} to {self.maximum}.")
        return int(value)


class NumbersField(forms.Field):
    """Whole numbers with commas between them."""

    def to_python(self, value: str | None) -> list[int]:
        parts = value.split(",") if value else []
        if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            raise ValidationError("Must be numbers of imports with commas between them.")
        if len(parts) > MOST_IMPORTS:
            raise ValidationError(f"At most {MOST_IMPORTS} imports can be named.")
        return sorted({int(part) for part in parts})


class CalibrationForm(forms.Form):
    """The fields of a `CalibrationRequest`; one that is left empty has its default."""

    moment = forms.ChoiceField(choices=list(MOMENTS.items()), required=False, label="At")
    price = forms.ChoiceField(choices=list(PRICES.items()), required=False, label="Price")
    source = forms.ChoiceField(choices=list(SOURCES.items()), required=False, label="Quotes")
    imports = NumbersField(required=False, label="Imports")
    category = WordField(
        noun="category", find=_category, required=False, max_length=MAX_TEXT_LENGTH
    )
    series = WordField(noun="series", find=_series, required=False, max_length=MAX_TEXT_LENGTH)
    start = InstantField(required=False, label="Settled from")
    end = InstantField(required=False, label="Settled before")
    anchor = forms.ChoiceField(choices=list(ANCHORS.items()), required=False, label="Anchor")
    max_spread = PlainNumberField(
        regex=PRICE, required=False, label="Spread at most", strip=True,
        error_messages={"invalid": f"Must be a plain number in the form {PRICE}."},
    )  # fmt: skip
    max_age = WholeNumberField(minimum=1, maximum=10_080, label="Quote at most minutes old")
    bins = forms.ChoiceField(
        choices=[(str(number), str(number)) for number in BIN_NUMBERS], required=False, label="Bins"
    )
    minimum = WholeNumberField(minimum=2, maximum=10_000, label="Events a bin needs")

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        if cleaned.get("imports") and not cleaned.get("source"):
            cleaned["source"] = IMPORTED
        if not self.errors:
            try:
                self.calibration_request().check()
            except BadInput as fault:
                self.add_error(fault.field, f"{fault.message[0].upper()}{fault.message[1:]}.")
        return cleaned

    def calibration_request(self) -> CalibrationRequest:
        """Return the request of a valid form."""
        said = {name: value for name, value in self.cleaned_data.items() if value not in ("", None)}
        said.pop("bin", None)
        if "bins" in said:
            said["bins"] = int(said["bins"])
        return CalibrationRequest(**said)


class BreakdownField(forms.ChoiceField):
    """The parts of which scores are told, each by itself; nothing for none."""

    def __init__(self) -> None:
        choices = [("", "nothing"), *BREAKDOWNS.items()]
        super().__init__(choices=choices, required=False, label="Compare by")


class CalibrationFiguresForm(CalibrationForm):
    """The same, and the parts of which scores are told."""

    by = BreakdownField()


class CalibrationBinForm(CalibrationForm):
    """The same, and the number of one of the bins."""

    bin = WholeNumberField(minimum=0, maximum=max(BIN_NUMBERS) - 1, label="Bin")


class DayField(InstantField):
    """A day, which means its midnight in UTC, or an instant with its offset."""

    widget = forms.DateInput(attrs={"type": "date"})

    def to_python(self, value: Any) -> datetime | None:
        text = str(value or "").strip()
        return super().to_python(f"{text}T00:00:00Z" if DAY.fullmatch(text) else value)


class CalibrationPageForm(CalibrationBinForm):
    """The form as the page shows it; its choices are submitted when they change."""

    by = BreakdownField()
    MAIN = ("moment", "price", "source", "category", "by")
    MORE = (
        "series", "start", "end", "anchor", "max_spread", "max_age", "bins", "minimum", "imports",
    )  # fmt: skip
    start = DayField(required=False, label="Settled from")
    end = DayField(required=False, label="Settled before")

    def __init__(self, query: QueryDict) -> None:
        # Choices show what counts where nothing is chosen.
        shown = QueryDict(mutable=True)
        given = {name: str(query[name]) for name in query if query[name]}
        shown.update(DEFAULTS | given)
        if query.get("imports") and not query.get("source"):
            shown["source"] = IMPORTED
        super().__init__(shown)
        self.fields["category"].widget = forms.Select(choices=_category_choices())
        for name in (*self.MAIN, *self.MORE):
            widget = self.fields[name].widget
            if isinstance(widget, forms.Select) and name in self.MAIN:
                widget.attrs["data-submit"] = True

    @property
    def main_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.MAIN]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.MORE]

    @property
    def more_are_used(self) -> bool:
        return any(self.data.get(name, "") != DEFAULTS.get(name, "") for name in self.MORE)

    def short_query(self) -> QueryDict:
        """Return the parameters that differ from the defaults, as they were given."""
        short = QueryDict(mutable=True)
        known = (*self.MAIN, *self.MORE, "bin")
        given = {name: self.data[name] for name in known if self.data.get(name)}
        short.update({k: v for k, v in given.items() if v != DEFAULTS.get(k)})
        return short

    def narrowed_query(self, by: str, group: str) -> QueryDict | None:
        """Return the parameters that show a group alone, None where none can."""
        query = self.short_query()
        for name in ("bin", "by"):
            query.pop(name, None)
        if by != MONTH:
            query[by] = group
            return query if group else None
        if group == UNDATED or "start" in query or "end" in query:
            return None
        first = date.fromisoformat(f"{group}-01")
        query["start"] = first.isoformat()
        query["end"] = (first + timedelta(days=32)).replace(day=1).isoformat()
        return query

    def api_query(self, *without: str) -> QueryDict:
        """Return the same for the API, where a day is an instant and a bin no figure."""
        query = self.short_query()
        for name in ("bin", *without):
            query.pop(name, None)
        for name in ("start", "end"):
            if query.get(name):
                query[name] = self.cleaned_data[name].strftime("%Y-%m-%dT%H:%M:%SZ")
        return query


def _category_choices() -> list[tuple[str, str]]:
    names = Series.objects.described().exclude(category="").order_by("category")
    return [
        ("", "All"),
        *((name, name) for name in names.values_list("category", flat=True).distinct()),
    ]
