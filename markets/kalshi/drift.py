"""Where the exchange's payloads have left the contract: keys, words and shapes not met before.

Nothing here decides what is recorded. Unknown keys and words pass; they are only not overlooked.
"""

import re
from typing import NamedTuple

import msgspec
from msgspec import Raw

from markets.kalshi.fields import decoder

SAMPLE_LENGTH = 200
NAME_LENGTH = 100


class Drift(NamedTuple):
    kind: str  # field, word or shape
    where: str  # market.some_key, market.status=resting, market.$.yes_bid_dollars: …
    sample: str


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


FIELDS = {
    "market": _set("""
        can_close_early cap_strike close_time created_time custom_strike early_close_condition
        event_ticker exchange_index expected_expiration_time expiration_time expiration_value
        fee_waiver_expiration_time floor_strike functional_strike is_provisional
        last_price_dollars latest_expiration_time liquidity_dollars market_type
        mve_collection_ticker mve_selected_legs no_ask_dollars no_bid_dollars no_sub_title
        notional_value_dollars occurrence_datetime open_interest_fp open_time
        previous_price_dollars previous_yes_ask_dollars previous_yes_bid_dollars
        price_level_structure price_ranges primary_participant_key result rules_primary
        rules_secondary settlement_bounds_type settlement_floor_dollars settlement_timer_seconds
        settlement_ts settlement_value_dollars status strike_type subtitle ticker title
        updated_time volume_24h_fp volume_fp yes_ask_dollars yes_ask_size_fp yes_bid_dollars
        yes_bid_size_fp yes_sub_title
    """),
    "event": _set("""
        available_on_brokers category collateral_return_type event_ticker exchange_index
        fee_multiplier_override fee_type_override last_updated_ts markets mutually_exclusive
        product_metadata series_ticker settlement_sources strike_date strike_period sub_title title
    """),
    "series": _set("""
        additional_prohibitions categories category contract_terms_url contract_url exchange_index
        fee_multiplier fee_type frequency last_updated_ts product_metadata settlement_sources tags
        ticker title volume_fp
    """),
}

FEE_TYPES = _set("quadratic quadratic_with_maker_fees quadratic_with_combo_maker_fees flat")
# A blank stands for "none" or "not yet" wherever the exchange writes one.
WORDS = {
    "market": {
        "status": _set("initialized inactive active closed determined disputed amended finalized"),
        "market_type": _set("binary scalar"),
        "result": _set("yes no scalar"),
        "strike_type": _set(
            "greater greater_or_equal less less_or_equal between functional custom structured"
        ),
        "settlement_bounds_type": _set("default floor"),
        "price_level_structure": _set("""
            linear_cent deci_cent tapered_deci_cent banded_centi_cent
            center_whole_edge_half_cent center_whole_edge_quint_cent
            center_half_edge_half_cent center_half_edge_quint_cent center_half_edge_deci_cent
            center_quint_edge_quint_cent center_quint_edge_deci_cent
            center_centi_edge_centi_cent center_deci_edge_centi_cent
        """),
    },
    "event": {"collateral_return_type": _set("MECNET DIRECNET"), "fee_type_override": FEE_TYPES},
    "series": {"fee_type": FEE_TYPES},
}

_read = decoder(dict[str, Raw])
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def drift(kind: str, raw: bytes | Raw) -> list[Drift]:
    """What of a market, an event or a series is not in the contract; [] for what is no object."""
    try:
        fields = _read(raw)
    except msgspec.MsgspecError:
        return []
    unknown = [
        Drift("field", f"{kind}.{_name(key)}", _sample(fields[key]))
        for key in fields.keys() - FIELDS[kind]
    ]
    words = [
        Drift("word", f"{kind}.{key}={_name(word)}", _sample(raw))
        for key, known in WORDS[kind].items()
        if (word := _word(fields.get(key))) and word not in known
    ]
    return sorted(unknown) + words


def shape_drift(kind: str, reason: msgspec.MsgspecError, *, raw: bytes | Raw) -> Drift:
    """Why a payload was refused, told without the value: the same shape is the same drift."""
    words, _, path = str(reason).rpartition(" - at ")
    told = _QUOTED.sub("…", words or path)
    where = path.strip("`") if words else "$"
    return Drift("shape", f"{kind}.{where}: {told}"[:SAMPLE_LENGTH], _sample(raw))


def _word(raw: Raw | None) -> str:
    """Blank where it is no text: that is for the shape to tell."""
    try:
        return msgspec.json.decode(raw, type=str) if raw else ""
    except msgspec.MsgspecError:
        return ""


def _name(text: str) -> str:
    return text.replace("\0", "")[:NAME_LENGTH]


def _sample(raw: bytes | Raw) -> str:
    return bytes(raw)[:SAMPLE_LENGTH].decode(errors="replace").replace("\0", "")[:SAMPLE_LENGTH]
