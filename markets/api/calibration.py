"""Calibration: the reliability of prices, and the markets that it is computed from."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from kalshi_insights.bad_input import BadInput
from kalshi_insights.rest.filters import MAX_TEXT_LENGTH, WITHOUT_NUL
from kalshi_insights.rest.pagination import OffsetPages
from kalshi_insights.rest.parameters import KnownParameters, read_query
from kalshi_insights.rest.renderers import CsvRenderer, JsonRenderer, file_response
from kalshi_insights.rest.schema import instant_parameter, with_example
from kalshi_insights.rest.viewsets import TimeSeriesViewSet
from markets.api import examples
from markets.calibration.anchors import ANCHORS, ANNOUNCED, MOMENTS, Anchor, Exclusion
from markets.calibration.breakdown import MOST_GROUPS
from markets.calibration.markets import ObservedPrice, observed_markets
from markets.calibration.reading import used_markets
from markets.calibration.reliability import BINS, MINIMUM
from markets.calibration.report import Calibration, calibrate, within_bin
from markets.calibration.request import (
    BIN_NUMBERS,
    BREAKDOWNS,
    MAX_AGE,
    MAX_SPREAD,
    MID,
    PRICES,
    RECORDED,
    SOURCES,
)
from markets.filters import PRICE
from markets.forms import CalibrationBinForm, CalibrationFiguresForm
from markets.models import Market

NUMBERS = r"^([0-9]{1,9}(,[0-9]{1,9}){0,49})?$"
ROWS_AT_ONCE = 5_000


def choice(name: str, choices: Sequence[str], default: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, enum=choices, default=default, description=description)


def text(name: str, description: str, pattern: str = WITHOUT_NUL) -> OpenApiParameter:
    schema = {"type": "string", "pattern": pattern, "maxLength": MAX_TEXT_LENGTH}
    return OpenApiParameter(name, schema, description=description)


def whole(name: str, minimum: int, maximum: int, description: str) -> OpenApiParameter:
    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return OpenApiParameter(name, schema, description=description)


PARAMETERS = [
    choice("moment", list(MOMENTS), "24h", "The instant at which each market is observed."),
    choice("price", list(PRICES), MID, "The price: the midpoint, or the ask of a side."),
    choice("source", list(SOURCES), RECORDED, "Whose quotes count."),
    text("imports", "The imports whose quotes count, with commas between them.", NUMBERS),
    text("category", "The category of the series."),
    text("series", "The ticker of the series."),
    instant_parameter("start", "Settled at or after this instant, with its offset."),
    instant_parameter("end", "Settled before this instant, with its offset."),
    choice("anchor", list(ANCHORS), ANNOUNCED, "What stands for a close that was not on record."),
    text(
        "max_spread",
        f"The widest spread of which a midpoint counts, in dollars; {MAX_SPREAD} by default.",
        PRICE,
    ),
    whole(
        "max_age", 1, 10_080, f"The minutes for which a quote counts; {MAX_AGE} by default."
    ),
    OpenApiParameter(
        "bins", enum=[str(number) for number in BIN_NUMBERS], default=str(BINS),
        description="The number of bins of equal width.",
    ),
    whole(
        "minimum", 2, 10_000,
        f"The events that a bin needs for its figures to be told; {MINIMUM} by default.",
    ),
]  # fmt: skip
ANCHOR_NAMES = [(each.name.lower(), each.name.lower()) for each in Anchor if each]
BY = OpenApiParameter(
    "by",
    enum=list(BREAKDOWNS),
    description="The scores of parts of the markets, too; those by moment take five readings.",
)
BIN = whole("bin", 0, max(BIN_NUMBERS) - 1, "Only the markets of this bin, counted from 0.")


class CurveBinSerializer(serializers.Serializer[Any]):
    """Markets with a price from `low` on and before `high`; figures are null for few events."""

    low = serializers.FloatField()
    high = serializers.FloatField()
    count = serializers.IntegerField(help_text="Markets.")
    events = serializers.IntegerField(help_text="Events that these markets belong to.")
    price = serializers.FloatField(allow_null=True, help_text="The mean price.")
    outcome = serializers.FloatField(
        allow_null=True, help_text="The mean worth in the end: the share that came true."
    )
    outcome_low = serializers.FloatField(
        allow_null=True, help_text="95 % interval by a bootstrap over events."
    )
    outcome_high = serializers.FloatField(allow_null=True)


class ReturnBinSerializer(serializers.Serializer[Any]):
    """Purchases at an ask from `low` on and before `high`; figures are null for few events."""

    low = serializers.FloatField()
    high = serializers.FloatField()
    count = serializers.IntegerField()
    events = serializers.IntegerField()
    price = serializers.FloatField(allow_null=True, help_text="The mean price paid.")
    fee = serializers.FloatField(allow_null=True, help_text="The mean fee, dollars a contract.")
    net = serializers.FloatField(
        allow_null=True, help_text="The gain on each dollar spent, fees included."
    )
    net_low = serializers.FloatField(allow_null=True)
    net_high = serializers.FloatField(allow_null=True)


class ScoresSerializer(serializers.Serializer[Any]):
    """Scores of the prices: `brier` is reliability - resolution + uncertainty + within_bins."""

    count = serializers.IntegerField()
    events = serializers.IntegerField()
    price = serializers.FloatField(help_text="The mean price.")
    outcome = serializers.FloatField(help_text="The mean outcome.")
    bias = serializers.FloatField(help_text="The mean outcome less the mean price.")
    bias_low = serializers.FloatField(allow_null=True)
    bias_high = serializers.FloatField(allow_null=True)
    brier = serializers.FloatField()
    brier_low = serializers.FloatField(allow_null=True)
    brier_high = serializers.FloatField(allow_null=True)
    reliability = serializers.FloatField()
    resolution = serializers.FloatField()
    uncertainty = serializers.FloatField()
    within_bins = serializers.FloatField()
    skill = serializers.FloatField(
        allow_null=True, help_text="1 - brier / uncertainty: 0 for the mean outcome as the price."
    )
    log_loss = serializers.FloatField(allow_null=True)


class GroupScoresSerializer(serializers.Serializer[Any]):
    """The scores of a part of the markets; figures are null for few events."""

    group = serializers.CharField(
        help_text="A category, a series, a month (2026-11, or undated), or a lead time."
    )
    count = serializers.IntegerField()
    events = serializers.IntegerField()
    price = serializers.FloatField(allow_null=True, help_text="The mean price.")
    outcome = serializers.FloatField(allow_null=True, help_text="The mean outcome.")
    bias = serializers.FloatField(allow_null=True)
    bias_low = serializers.FloatField(allow_null=True)
    bias_high = serializers.FloatField(allow_null=True)
    brier = serializers.FloatField(allow_null=True)
    brier_low = serializers.FloatField(allow_null=True)
    brier_high = serializers.FloatField(allow_null=True)
    skill = serializers.FloatField(allow_null=True)


class BreakdownSerializer(serializers.Serializer[Any]):
    """The scores of the parts that `by` asks for, those with the most markets first; months come
    newest first, and lead times longest first.
    """

    by = serializers.ChoiceField(choices=[(each, each) for each in BREAKDOWNS])
    groups = GroupScoresSerializer(many=True)
    left_out = serializers.IntegerField(help_text=f"Groups beyond the first {MOST_GROUPS}.")


class ScoreTrailSerializer(serializers.Serializer[Any]):
    """The square of price less outcome of each market, by settlement; of many every n-th."""

    window = serializers.IntegerField(help_text="The markets that a mean is of.")
    at = serializers.ListField(
        child=serializers.IntegerField(), help_text="Settlements, milliseconds since 1970."
    )
    score = serializers.ListField(child=serializers.FloatField())
    average = serializers.ListField(
        child=serializers.FloatField(allow_null=True),
        help_text="The mean of the last `window` markets; null until there are as many.",
    )
    classes = serializers.ListField(
        child=serializers.IntegerField(),
        help_text="The number of all markets by score, in equal classes from 0 to 1.",
    )


class LeftOutSerializer(serializers.Serializer[Any]):
    """Settled markets without a usable price, and why."""

    reason = serializers.ChoiceField(
        choices=[(each.name.lower(), each.name.lower()) for each in Exclusion if each]
    )
    count = serializers.IntegerField()


class AnchorCountSerializer(serializers.Serializer[Any]):
    """Usable markets by the date that their instant was counted from."""

    anchor = serializers.ChoiceField(choices=ANCHOR_NAMES)
    count = serializers.IntegerField()


class CalibrationCoverageSerializer(serializers.Serializer[Any]):
    """The settled markets, those with a usable price, and what became of the others."""

    eligible = serializers.IntegerField()
    used = serializers.IntegerField()
    events = serializers.IntegerField()
    share = serializers.FloatField(allow_null=True)
    left_out = LeftOutSerializer(many=True)
    anchors = AnchorCountSerializer(many=True)


@with_example(examples.CALIBRATION)
class CalibrationSerializer(serializers.Serializer[Any]):
    """The calibration of settled markets, one observation of each."""

    read_at = serializers.DateTimeField(help_text="When the observations were read.")
    coverage = CalibrationCoverageSerializer()
    scores = ScoresSerializer(allow_null=True)
    curve = CurveBinSerializer(many=True)
    returns_yes = ReturnBinSerializer(many=True)
    returns_no = ReturnBinSerializer(many=True)
    fees_unknown = serializers.IntegerField(
        help_text="Markets whose side was offered, and is in no return: its fees are unknown."
    )
    trail = ScoreTrailSerializer()
    breakdown = BreakdownSerializer(allow_null=True, help_text="Null unless `by` asks for it.")


@with_example(examples.CALIBRATION_MARKET)
class CalibrationMarketSerializer(serializers.Serializer[Any]):
    """A settled market and its one observation."""

    ticker = serializers.CharField()
    event_ticker = serializers.CharField()
    series_ticker = serializers.CharField()
    category = serializers.CharField()
    observed_at = serializers.DateTimeField(help_text="The instant that was looked at.")
    quoted_at = serializers.DateTimeField(help_text="The instant of the quote in force then.")
    anchor = serializers.ChoiceField(
        choices=ANCHOR_NAMES, help_text="The date that the instant was counted from."
    )
    yes_bid = serializers.CharField(allow_null=True)
    yes_ask = serializers.CharField(allow_null=True)
    price = serializers.FloatField(help_text="Of the side that was asked for, from 0 to 1.")
    outcome = serializers.FloatField(help_text="What that side was worth in the end.")
    settled_at = serializers.DateTimeField(allow_null=True)


class CalibrationView(KnownParameters):
    """The calibration of prices: how often markets of each price came true."""

    query_form = CalibrationFiguresForm

    @extend_schema(parameters=[*PARAMETERS, BY], responses=CalibrationSerializer)
    def get(self, request: Request) -> Response:
        """The calibration of settled markets: curve, scores and returns, with what was left out.

        One observation a market, at an instant that no outcome can choose. Combos are left out.
        Intervals come from a bootstrap over events. Returns are of all markets whose side was
        offered, whatever price the other figures are of.
        """
        form = read_query(CalibrationFiguresForm, request)
        try:
            return Response(as_json(calibrate(form.calibration_request())))
        except BadInput as fault:
            raise ValidationError({fault.field: [fault.message]}) from None


class CalibrationMarketViewSet(KnownParameters, TimeSeriesViewSet):
    """The markets behind a calibration."""

    queryset = Market.objects.none()
    serializer_class = CalibrationMarketSerializer
    filter_backends = ()
    pagination_class = OffsetPages
    renderer_classes = [JsonRenderer, BrowsableAPIRenderer, CsvRenderer]
    query_form = CalibrationBinForm

    @extend_schema(
        parameters=[*PARAMETERS, BIN],
        responses={
            (200, "application/json"): CalibrationMarketSerializer(many=True),
            (200, CsvRenderer.media_type): OpenApiTypes.STR,
        },
    )
    def list(self, request: Request) -> HttpResponseBase:
        """The markets of a calibration with their observations, the newest settlement first."""
        form = read_query(CalibrationBinForm, request)
        try:
            asked = form.calibration_request()
            used = within_bin(asked, used_markets(asked), form.cleaned_data["bin"])
        except BadInput as fault:
            raise ValidationError({fault.field: [fault.message]}) from None
        if self.format == CsvRenderer.format:
            batches = (slice(n, n + ROWS_AT_ONCE) for n in range(0, len(used.prices), ROWS_AT_ONCE))
            rows = (row for batch in batches for row in observed_markets(used.sliced(batch)))
            return file_response(
                csv_of(rows), request.accepted_renderer, name="calibration-markets"
            )
        paginator = OffsetPages()
        page = paginator.paginate_queryset(used, request, cut=lambda all, cut: all.sliced(cut),
                                           fetch=observed_markets)  # fmt: skip
        paginator.count = len(used.prices)
        return paginator.get_paginated_response([row._asdict() for row in page])


def as_json(found: Calibration) -> dict[str, Any]:
    """Write the figures as the API's answer has them."""
    coverage = found.coverage
    return {
        "read_at": found.read_at,
        "coverage": {
            "eligible": coverage.eligible,
            "used": coverage.used,
            "events": coverage.events,
            "share": coverage.share,
            "left_out": [
                {"reason": reason.name.lower(), "count": count}
                for reason, count in coverage.left_out.items()
            ],
            "anchors": [
                {"anchor": anchor.name.lower(), "count": count}
                for anchor, count in coverage.anchors.items()
            ],
        },
        "scores": found.scores and asdict(found.scores),
        "curve": [asdict(each) for each in found.curve],
        "returns_yes": [asdict(each) for each in found.returns_yes],
        "returns_no": [asdict(each) for each in found.returns_no],
        "fees_unknown": found.fees_unknown,
        "trail": asdict(found.trail),
        "breakdown": found.breakdown and asdict(found.breakdown),
    }


def csv_of(rows: Iterator[ObservedPrice]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(ObservedPrice._fields)
    for number, row in enumerate(rows):
        writer.writerow(each.isoformat() if isinstance(each, datetime) else each for each in row)
        if number % ROWS_AT_ONCE == 0:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()
