"""The causes of gaps in the record, which `MarketGaps` names by their places here."""

# The words of `markets.coverage.Cause`, without those for times when nobody could trade.
CAUSES = (
    "not recording yet",
    "our outage",
    "not listed",
    "throttled",
    "exchange failing",
    "not covered",
)
