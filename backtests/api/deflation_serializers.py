"""The API's answer to how many trials led to a result."""

from typing import Any

from rest_framework import serializers

from backtests.api import examples
from kalshi_insights.rest.schema import with_example


@with_example(examples.DEFLATION)
class DeflationSerializer(serializers.Serializer[Any]):
    """A result beside the trials of its strategy so far; null is withheld."""

    trials = serializers.IntegerField(
        help_text="Runs of a strategy of this name and points of searches, whatever their version,"
        " parameters and markets."
    )
    periods = serializers.IntegerField(allow_null=True, help_text="The number of daily returns.")
    probabilistic_sharpe = serializers.FloatField(
        allow_null=True, help_text="The probability that the true Sharpe ratio is above zero."
    )
    expected_maximum_sharpe = serializers.FloatField(
        allow_null=True,
        help_text="The annual Sharpe ratio to expect of the best of so many trials without skill.",
    )
    deflated_sharpe = serializers.FloatField(
        allow_null=True, help_text="The probability that the true Sharpe ratio is above that."
    )
    least_track_record = serializers.FloatField(
        allow_null=True, help_text="Days of such returns after which that would be 95 %."
    )
    withheld = serializers.CharField(help_text="The reason for what is withheld, or empty.")
    words = serializers.CharField(help_text="The same in words.")
