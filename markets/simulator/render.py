"""JSON of markets, events and series, split so that constant parts are encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import msgspec
import numpy as np

from markets.simulator.cadence import DAY, iso
from markets.simulator.noise import brownian, phi
from markets.simulator.series import GRIDS, SimulatedSeries
from markets.simulator.shapes import SimulatedOutcome, figure
from markets.simulator.universe import SimulatedEvent

PRICES = [f"{price / 10_000:.4f}" for price in range(10_001)]

UNLISTED, INITIALIZED, ACTIVE, INACTIVE, CLOSED = range(5)
DETERMINED, DISPUTED, AMENDED, FINALIZED, ARCHIVED = range(5, 10)
STATUS = (
    "",
    "initialized",
    "active",
    "inactive",
    "closed",
    "determined",
    "disputed",
    "amended",
    "finalized",
    "finalized",
)

Json = dict[str, object]


class SimulatedQuote(NamedTuple):
    """The changing fields of one market, in the order in which they are written."""

    bid: int
    ask: int
    bid_size: int
    ask_size: int
    last: int
    previous_bid: int
    previous_ask: int
    previous: int
    volume: int
    volume_24h: int
    interest: int


def count_text(hundredths: int) -> str:
    return f"{hundredths / 100:.2f}"


@cache
def price_ranges(structure: str) -> list[Json]:
    edge, edge_step, step = GRIDS[structure]
    bounds = [(0, edge, edge_step), (edge, 10_000 - edge, step), (10_000 - edge, 10_000, edge_step)]
    return [
        {"start": PRICES[start], "end": PRICES[end], "step": PRICES[size]}
        for start, end, size in bounds
        if end > start
    ]


def condition(outcome: SimulatedOutcome) -> str:
    """Describe the strike in words."""
    if outcome.strike_type == "between":
        return f"between {outcome.floor:,} and {outcome.cap:,}"
    if outcome.strike_type == "less":
        return f"less than {outcome.cap:,}"
    if outcome.floor is None:
        return outcome.label
    beyond = "greater than" if outcome.strike_type == "greater" else "at least"
    return f"{beyond} {outcome.floor:,}"


def market_heads(event: SimulatedEvent, provisional: Sequence[bool]) -> list[bytes]:
    """Encode the start of each market's JSON object: its own fields that never change."""
    texts = event.texts()
    rule = event.series.rule
    for name in texts:
        rule = rule.replace("{" + name + "}", texts[name])
    return [
        msgspec.json.encode(
            {
                "ticker": f"{event.ticker}-{outcome.suffix}",
                "yes_sub_title": outcome.label,
                "no_sub_title": outcome.label,
                "rules_primary": rule.replace("{label}", outcome.label).replace(
                    "{condition}", condition(outcome)
                ),
                **strikes(outcome),
                **({"is_provisional": True} if is_provisional else {}),
            }
        )[:-1]
        for outcome, is_provisional in zip(event.outcomes, provisional, strict=True)
    ]


def market_body(event: SimulatedEvent) -> bytes:
    """Encode the middle of the markets' JSON objects, which all markets of an event share."""
    series = event.series
    fields: Json = {
        "event_ticker": event.ticker,
        "market_type": "binary",
        "title": series.question.format(**event.texts()),
        "created_time": iso(event.created),
        "open_time": iso(event.opened),
        "expected_expiration_time": iso(event.anchor + series.duration + series.delay),
        "expiration_time": iso(event.listed_close + 7 * DAY),
        "latest_expiration_time": iso(event.listed_close + 7 * DAY),
        "settlement_timer_seconds": series.timer,
        "notional_value_dollars": "1.0000",
        "can_close_early": bool(series.early),
        "rules_secondary": f"The source is {series.source[0]}. Simulated: no money is at stake.",
        "price_level_structure": series.structure,
        "price_ranges": price_ranges(series.structure),
        "settlement_bounds_type": "default",
        "exchange_index": series.exchange_index,
        **event_fields(event),
    }
    return b"," + msgspec.json.encode(fields)[1:-1] + b","


def strikes(outcome: SimulatedOutcome) -> Json:
    fields: Json = {"strike_type": outcome.strike_type}
    if outcome.strike_type in {"structured", "custom"}:
        fields["custom_strike"] = {"name": outcome.label}
    if outcome.floor is not None:
        fields["floor_strike"] = outcome.floor
    if outcome.cap is not None:
        fields["cap_strike"] = outcome.cap
    return fields


def event_fields(event: SimulatedEvent) -> Json:
    fields: Json = {}
    if event.series.early:
        fields["early_close_condition"] = event.series.early
    if event.series.duration:
        fields["occurrence_datetime"] = iso(event.anchor)
    if event.legs:
        parent = event.legs[0][0].rpartition("-")[0]
        fields["mve_collection_ticker"] = event.series.ticker
        fields["mve_selected_legs"] = [
            {"event_ticker": parent, "market_ticker": ticker, "side": side}
            for ticker, side in event.legs
        ]
    return fields


def market_tail(quote: SimulatedQuote, life: str) -> bytes:
    """Encode the changing fields, up to the end of the object."""
    bid, ask = quote.bid, quote.ask
    return (
        f'"yes_bid_dollars":"{PRICES[bid]}","yes_bid_size_fp":"{count_text(quote.bid_size)}",'
        f'"yes_ask_dollars":"{PRICES[ask]}","yes_ask_size_fp":"{count_text(quote.ask_size)}",'
        f'"no_bid_dollars":"{PRICES[10_000 - ask]}","no_ask_dollars":"{PRICES[10_000 - bid]}",'
        f'"last_price_dollars":"{PRICES[quote.last]}",'
        f'"previous_yes_bid_dollars":"{PRICES[quote.previous_bid]}",'
        f'"previous_yes_ask_dollars":"{PRICES[quote.previous_ask]}",'
        f'"previous_price_dollars":"{PRICES[quote.previous]}",'
        f'"volume_fp":"{count_text(quote.volume)}","volume_24h_fp":"{count_text(quote.volume_24h)}",'
        f'"open_interest_fp":"{count_text(quote.interest)}",{life}'
    ).encode()


def lifecycle_fields(event: SimulatedEvent, phase: int, at: int) -> list[str]:
    """Encode each market's fields that depend on the phase of its event."""
    closed = event.ended if phase >= CLOSED else event.close_at(at)
    common = (
        f'"status":"{STATUS[phase]}","close_time":"{iso(closed)}",'
        f'"updated_time":"{iso(updated_at(event, phase, at))}",'
    )
    if phase < DETERMINED:
        return [common + '"result":"","expiration_value":""}'] * len(event.outcomes)
    paid = f',"settlement_ts":"{iso(event.settled)}"' if phase >= FINALIZED else ""
    at_first = phase < AMENDED
    figure_text = expiration_value(event, at_first=at_first)
    return [
        f'{common}"result":"{result}","expiration_value":"{figure_text}",'
        f'"settlement_value_dollars":"{value}"{paid}}}'
        for result, value in settlements(event, at_first=at_first)
    ]


def updated_at(event: SimulatedEvent, phase: int, at: int) -> int:
    if phase < CLOSED:
        return event.relisted if at >= event.relisted else event.created
    dispute = event.series.dispute
    return {
        CLOSED: event.ended,
        DETERMINED: event.determined,
        DISPUTED: event.determined + dispute,
        AMENDED: event.determined + 3 * dispute,
    }.get(phase, event.settled)


def settlements(event: SimulatedEvent, *, at_first: bool) -> list[tuple[str, str]]:
    """Results and YES values. A game that is not played pays 0.50, and a pair of its legs 0.25."""
    if event.void:
        return [("scalar", "0.2500" if event.legs else "0.5000")] * len(event.outcomes)
    if event.scalar:
        return [("scalar", PRICES[cents * 100]) for cents in fair_cents(event)]
    won = (event.wins(outcome, at_first=at_first) for outcome in event.outcomes)
    return [("yes", "1.0000") if each else ("no", "0.0000") for each in won]


def fair_cents(event: SimulatedEvent) -> list[int]:
    """The fair value of each outcome in cents when trading ended."""
    known = event.reveal
    path = brownian(np.array([event.key], dtype=np.uint64), np.array([known]))[0]
    bounds = np.array([(outcome.low, outcome.high) for outcome in event.outcomes])
    chances = np.diff(phi((bounds - path) / np.sqrt(1.0 - known)))[:, 0]
    return [int(cents) for cents in np.clip(np.rint(chances * 100), 1, 99)]


def expiration_value(event: SimulatedEvent, *, at_first: bool) -> str:
    if event.void:
        return "Not played"
    if event.scalar:
        return "Not published"
    draw = event.draw
    if draw.spread and not event.legs:
        point = event.first_point if at_first else event.end_point
        return str(figure(draw.center + draw.spread * point, draw.decimals))
    won = (o.label for o in event.outcomes if event.wins(o, at_first=at_first))
    return next(won, "None of the listed")


def event_head(event: SimulatedEvent) -> bytes:
    """Encode an event without its closing brace, so that fees and markets can follow."""
    series, texts = event.series, event.texts()
    exclusive = series.exclusive and not event.legs
    fields: Json = {
        "event_ticker": event.ticker,
        "series_ticker": series.ticker,
        "title": series.question.format(**texts),
        "sub_title": texts["when"],
        "collateral_return_type": "MECNET" if exclusive else "",
        "mutually_exclusive": exclusive,
        "category": series.category,
        "strike_date": iso(event.anchor),
        "settlement_sources": sources(series),
        "product_metadata": {"cadence": series.frequency},
        "last_updated_ts": iso(event.created),
        "exchange_index": series.exchange_index,
    }
    return msgspec.json.encode(fields)[:-1]


def sources(series: SimulatedSeries) -> list[Json]:
    return [{"name": series.source[0], "url": series.source[1]}]


def series_fields(series: SimulatedSeries, multiplier: float) -> Json:
    page = f"https://www.example.org/contracts/{series.ticker.lower()}"
    return {
        "ticker": series.ticker,
        "frequency": series.frequency,
        "title": series.title,
        "category": series.category,
        "categories": [series.category],
        "tags": list(series.tags),
        "settlement_sources": sources(series),
        "contract_url": f"{page}.pdf",
        "contract_terms_url": f"{page}-terms.pdf",
        "product_metadata": {"cadence": series.frequency},
        "fee_type": series.fee_type,
        "fee_multiplier": multiplier,
        "additional_prohibitions": [],
        "exchange_index": series.exchange_index,
    }
