"""Detection of contract drift: keys, words and shapes in payloads that the contract lacks.

Drift is reported and never decides what is recorded: unknown keys and words are accepted.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec
from msgspec import Raw

from markets.kalshi.errors import FilterIgnored
from markets.kalshi.fields import EARLIEST, LATEST, decoder
from markets.kalshi.order_books import OrderBook

SAMPLE_LENGTH = 200
NAME_LENGTH = 100


class DriftNote(NamedTuple):
    """One deviation of a payload from the contract, before it is stored."""

    kind: Literal["field", "word", "shape"]
    where: str  # market.some_key, market.status=resting, market.$.yes_bid_dollars: …
    sample: str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KNOWN_FIELDS = {
    "market": _words("""
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
    "event": _words("""
        available_on_brokers category collateral_return_type event_ticker exchange_index
        fee_multiplier_override fee_type_override last_updated_ts markets mutually_exclusive
        product_metadata series_ticker settlement_sources strike_date strike_period sub_title title
    """),
    "series": _words("""
        additional_prohibitions categories category contract_terms_url contract_url exchange_index
        fee_multiplier fee_type frequency last_updated_ts product_metadata settlement_sources tags
        ticker title volume_fp
    """),
    "trade": _words("""
        count_fp created_time is_block_trade no_price_dollars taker_book_side taker_outcome_side
        taker_side ticker trade_id yes_price_dollars
    """),
}

FEE_TYPES = _words("quadratic quadratic_with_maker_fees quadratic_with_combo_maker_fees flat")
# A blank is never an unknown word: the exchange writes it for "none" and "not yet".
KNOWN_WORDS = {
    "market": {
        "status": _words(
            "initialized inactive active closed determined disputed amended finalized"
        ),
        "market_type": _words("binary scalar"),
        "result": _words("yes no scalar"),
        "strike_type": _words(
            "greater greater_or_equal less less_or_equal between functional custom structured"
        ),
        "settlement_bounds_type": _words("default floor"),
        "price_level_structure": _words("""
            linear_cent deci_cent tapered_deci_cent banded_centi_cent
            center_whole_edge_half_cent center_whole_edge_quint_cent
            center_half_edge_half_cent center_half_edge_quint_cent center_half_edge_deci_cent
            center_quint_edge_quint_cent center_quint_edge_deci_cent
            center_centi_edge_centi_cent center_deci_edge_centi_cent
        """),
    },
    "event": {"collateral_return_type": _words("MECNET DIRECNET"), "fee_type_override": FEE_TYPES},
    "series": {"fee_type": FEE_TYPES},
    "trade": {
        "taker_outcome_side": _words("yes no"),
        "taker_book_side": _words("bid ask"),
    },
}

# Instants of which the contract says that they are always known.
REQUIRED_INSTANTS = {
    "market": _words("close_time created_time latest_expiration_time open_time updated_time"),
    "event": _words(""),
    "series": _words(""),
    "trade": _words("created_time"),
}
# The contract writes every number and instant under such a key, and an unknown one as null.
_NEVER_BLANK = ("_dollars", "_fp", "floor_strike", "cap_strike", "_time", "_ts")

_read = decoder(dict[str, Raw])
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def find_drift(kind: str, raw: bytes | Raw) -> list[DriftNote]:
    """List the keys and words of a market, an event, a series or a trade that the contract lacks.

    So are instants and numbers that stand for an unknown one although the contract says that they
    are known, or written otherwise. What is not a JSON object has none of all this: the reader of
    the payload reports its shape.
    """
    try:
        fields = _read(raw)
    except msgspec.MsgspecError:
        return []
    unknown_fields = [
        DriftNote("field", f"{kind}.{_storable(key)}", _sample(fields[key]))
        for key in fields.keys() - KNOWN_FIELDS[kind]
    ]
    unknown_words = [
        DriftNote("word", f"{kind}.{key}={_storable(word)}", _sample(raw))
        for key, known in KNOWN_WORDS[kind].items()
        if (word := _word(fields.get(key))) and word not in known
    ]
    return [*sorted(unknown_fields), *unknown_words, *_unset(kind, fields)]


def _unset(kind: str, fields: Mapping[str, Raw]) -> Iterator[DriftNote]:
    for key in sorted(fields.keys() & KNOWN_FIELDS[kind]):
        where = f"{kind}.$.{key}"
        if key in REQUIRED_INSTANTS[kind] and _is_unknown_instant(fields[key]):
            why = "not an instant of the exchange's time"
            yield DriftNote("shape", f"{where}: {why}", _sample(fields[key]))
        elif key.endswith(_NEVER_BLANK) and bytes(fields[key]) == b'""':
            yield DriftNote("shape", f"{where}: a blank number or instant", _sample(fields[key]))


def _is_unknown_instant(raw: Raw) -> bool:
    text = bytes(raw).strip(b'"').decode(errors="replace")
    return text == "null" or not str(EARLIEST.year) <= text < str(LATEST.year)


def repeated_price_drift(book: OrderBook) -> DriftNote:
    """Describe an order book that lists a price twice."""
    sample = ", ".join(f"{level.price} × {level.size}" for level in book.repeated)
    return DriftNote("shape", "order book.$: a price is listed twice", sample[:SAMPLE_LENGTH])


def unknown_fields(kind: str, raw: bytes | Raw) -> dict[str, object]:
    """Return the fields of a readable payload that the contract lacks, with their values.

    NUL characters, which PostgreSQL refuses in JSON, are left out of the values; a value that
    cannot be read, such as a number that no JSON holds or broken text, is replaced by a sample of
    it, and so are all fields under a blank key if one of their names is broken.
    """
    try:
        fields = _read(raw)
    except msgspec.MsgspecError:
        return {"": _sample(raw)}
    return {_storable(key): _value(fields[key]) for key in fields.keys() - KNOWN_FIELDS[kind]}


def _value(raw: Raw) -> object:
    try:
        return _without_nul(msgspec.json.decode(raw))
    except (RecursionError, UnicodeDecodeError, msgspec.MsgspecError):
        return _sample(raw)


def _without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(each) for each in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return value


def shape_drift(kind: str, reason: msgspec.MsgspecError, *, raw: bytes | Raw) -> DriftNote:
    """Describe why a payload was refused.

    The offending value is left out of `where`, so that the same fault gives the same note.
    """
    message, _, path = str(reason).rpartition(" - at ")
    description = _QUOTED.sub("…", message or path)
    where = path.strip("`") if message else "$"
    return DriftNote("shape", f"{kind}.{where}: {description}"[:SAMPLE_LENGTH], _sample(raw))


def filter_drift(reason: FilterIgnored) -> DriftNote:
    """Describe a reply that was not what it was asked for; its numbers change each time."""
    where, _, _ = str(reason).partition(":")
    return DriftNote("shape", where[:SAMPLE_LENGTH], str(reason)[:SAMPLE_LENGTH])


def unanswered_drift(kind: str, reason: str) -> DriftNote:
    """Describe an object for which no request is answered."""
    return DriftNote("shape", f"{kind}: no reply with it", reason[:SAMPLE_LENGTH])


def _word(raw: Raw | None) -> str:
    """Return a text value, or "" for anything else, which is a matter of shape."""
    try:
        return msgspec.json.decode(raw, type=str) if raw else ""
    except msgspec.MsgspecError:
        return ""


def _storable(text: str) -> str:
    return text.replace("\0", "")[:NAME_LENGTH]


def _sample(raw: bytes | Raw) -> str:
    return bytes(raw)[:SAMPLE_LENGTH].decode(errors="replace").replace("\0", "")[:SAMPLE_LENGTH]
