"""Print the calibration of settled markets."""

from argparse import ArgumentParser
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import parse_instant
from markets.calibration.anchors import ANCHORS, ANNOUNCED, FIRST, MOMENTS
from markets.calibration.breakdown import Breakdown
from markets.calibration.reliability import BINS, MINIMUM, ReliabilityBin
from markets.calibration.report import Calibration, calibrate
from markets.calibration.request import (
    BIN_NUMBERS,
    BREAKDOWNS,
    IMPORTED,
    MAX_AGE,
    MAX_SPREAD,
    MID,
    PRICES,
    RECORDED,
    SOURCES,
    CalibrationRequest,
)
from markets.calibration.returns import ReturnBin
from markets.calibration.scores import Scores
from markets.calibration.words import ANCHOR_WORDS, EXCLUSION_WORDS, caution, price_words, verdict
from markets.models import Series

MISUSED = 2
NONE = "–"
FLAGS = {"imports": "--import"}


class Command(BaseCommand):
    help = (
        "Print whether the prices of settled markets were right: how often markets of each price"
        " came true, with intervals by a bootstrap over events, scores, and what buying at the ask"
        " returned after fees. One observation a market, at an instant that no outcome can choose."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--moment", default="24h", choices=MOMENTS,
            help="the instant: a lead time before the close as it was scheduled then, the first"
            f" quote ({FIRST}), or a random instant (24h)")  # fmt: skip
        add("--price", default=MID, choices=PRICES, help="the price (mid)")
        add("--source", default="", choices=SOURCES, help="whose quotes count (recorded)")
        add("--import", action="append", default=[], type=int, dest="imports", metavar="NUMBER",
            help="an import whose quotes count; may be given again")  # fmt: skip
        add("--category", default="", help="only series of a category")
        add("--series", default="", help="only a series, by its ticker")
        add("--start", default="", help="settled from a day (UTC) or an instant on")
        add("--end", default="", help="settled before a day (UTC) or an instant")
        add("--anchor", default=ANNOUNCED, choices=ANCHORS,
            help="what stands for a close that was not on record as it was scheduled")  # fmt: skip
        add("--max-spread", default=str(MAX_SPREAD), metavar="DOLLARS",
            help=f"the widest spread of which a midpoint counts ({MAX_SPREAD})")  # fmt: skip
        add("--max-age", default=MAX_AGE, type=int, metavar="MINUTES",
            help=f"how long a quote counts ({MAX_AGE})")  # fmt: skip
        add("--bins", default=BINS, type=int, choices=BIN_NUMBERS, help=f"bins ({BINS})")
        add("--minimum", default=MINIMUM, type=int, metavar="EVENTS",
            help=f"the events that a bin needs for its figures to be told ({MINIMUM})")  # fmt: skip
        add("--by", default="", choices=BREAKDOWNS, help="the scores of parts, too, each by itself")

    def handle(self, **options: Any) -> None:
        try:
            # Whoever has just backfilled or imported wants to see it, and not what was kept before.
            found = calibrate(read_options(options), anew=True)
        except BadInput as fault:
            flag = FLAGS.get(fault.field, f"--{fault.field.replace('_', '-')}")
            raise CommandError(f"{flag}: {fault.message}", returncode=MISUSED) from None
        self.stdout.write("\n".join(lines_of(found)))


def read_options(options: dict[str, Any]) -> CalibrationRequest:
    """Return the request that the flags make; raises BadInput."""
    instants = {
        name: parse_instant(name, options[name]) if options[name] else None
        for name in ("start", "end")
    }
    return CalibrationRequest(
        moment=options["moment"],
        anchor=options["anchor"],
        source=options["source"] or (IMPORTED if options["imports"] else RECORDED),
        imports=options["imports"],
        category=as_written("category", options["category"]),
        series=as_written("series", options["series"]),
        price=options["price"],
        max_spread=parse_dollars(options["max_spread"]),
        max_age=options["max_age"],
        bins=options["bins"],
        minimum=options["minimum"],
        by=options["by"],
        **instants,
    )


def as_written(field: str, word: str) -> str:
    """Return a category or a series as it is spelt on record; raises BadInput."""
    if not word:
        return ""
    known = (
        Series.objects.as_written([word]).get(word)
        if field == "series"
        else Series.objects.spelling_of(field, word)
    )
    if known is None:
        raise BadInput(field, f"there is no {field} {word!r} on record")
    return known


def parse_dollars(text: str) -> Decimal:
    try:
        dollars = Decimal(text)
    except InvalidOperation:
        dollars = Decimal("NaN")
    if not dollars.is_finite():
        raise BadInput("max_spread", f"{text!r} is not a number of dollars")
    return dollars


# --- The lines ----------------------------------------------------------------------------------


def lines_of(found: Calibration) -> Iterator[str]:
    request, coverage = found.request, found.coverage
    yield f"{price_words(request)[0].upper()}{price_words(request)[1:]}; {SOURCES[request.source]}"
    yield verdict(found.scores, found.curve)
    if words := caution(request):
        yield words
    yield f"Read {found.read_at:%Y-%m-%d %H:%M:%S} UTC"
    yield ""
    share = "" if coverage.share is None else f" ({coverage.share:.1%})"
    yield (
        f"{coverage.used:,} of {coverage.eligible:,} settled markets have a usable price{share},"
        f" in {coverage.events:,} events"
    )
    for anchor, count in coverage.anchors.items():
        yield f"  {count:9,}  counted from {ANCHOR_WORDS[anchor]}"
    for reason, count in coverage.left_out.items():
        yield f"  {count:9,}  left out: {EXCLUSION_WORDS[reason]}"
    if found.scores:
        yield ""
        yield from curve_lines(found.curve)
        yield ""
        yield from score_lines(found.scores)
    for name, bins in (("YES", found.returns_yes), ("NO", found.returns_no)):
        if any(each.count for each in bins):
            yield ""
            yield from return_lines(name, bins)
    if found.breakdown and found.breakdown.groups:
        yield ""
        yield from breakdown_lines(found.breakdown)
    if found.fees_unknown:
        yield f"{found.fees_unknown:,} markets are in no return of a side: their fees are unknown."


def curve_lines(bins: list[ReliabilityBin]) -> Iterator[str]:
    yield "     price  markets   events     mean  came true   95 % interval"
    for each in bins:
        yield (
            f"{span(each.low, each.high)}{each.count:9,}{each.events:9,}"
            f"{percent(each.price):>9}{percent(each.outcome):>11}"
            f"   {percent(each.outcome_low):>6} to {percent(each.outcome_high):>6}"
        )


def score_lines(found: Scores) -> Iterator[str]:
    between = (
        "" if found.brier_low is None else f" ({found.brier_low:.4f} to {found.brier_high:.4f})"
    )
    yield (
        f"Brier score {found.brier:.4f}{between} = reliability {found.reliability:.4f}"
        f" - resolution {found.resolution:.4f} + uncertainty {found.uncertainty:.4f}"
        f" {found.within_bins:+.4f} within bins"
    )
    skill = NONE if found.skill is None else f"{found.skill:.1%}"
    loss = NONE if found.log_loss is None else f"{found.log_loss:.4f}"
    yield f"Skill {skill} against the mean outcome as the price; log loss {loss}"
    yield f"Mean price {found.price:.4f}, mean outcome {found.outcome:.4f}"


def return_lines(side: str, bins: list[ReturnBin]) -> Iterator[str]:
    yield f"{side} bought at its ask, a dollar spent returned after fees"
    yield "      paid  markets   events      fee     return   95 % interval"
    for each in bins:
        if each.count:
            fee = NONE if each.fee is None else f"{100 * each.fee:.2f}¢"
            yield (
                f"{span(each.low, each.high)}{each.count:9,}{each.events:9,}{fee:>9}"
                f"{signed(each.net):>11}   {signed(each.net_low):>6} to {signed(each.net_high):>6}"
            )


def breakdown_lines(found: Breakdown) -> Iterator[str]:
    width = max(len(each.group) for each in found.groups)
    yield f"By {BREAKDOWNS[found.by]}"
    heads = "  markets   events     mean  came true     bias   95 % interval    Brier    skill"
    yield " " * width + heads
    for each in found.groups:
        brier = NONE if each.brier is None else f"{each.brier:.4f}"
        yield (
            f"{each.group or NONE:{width}}{each.count:9,}{each.events:9,}{percent(each.price):>9}"
            f"{percent(each.outcome):>11}{signed(each.bias):>9}   {signed(each.bias_low):>6}"
            f" to {signed(each.bias_high):>6}{brier:>9}{percent(each.skill):>9}"
        )
    if found.left_out:
        yield f"and {found.left_out:,} more with fewer markets or of earlier months"


def span(low: float, high: float) -> str:
    return f"{f'{100 * low:.0f}–{100 * high:.0f}¢':>10}"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.1%}"
