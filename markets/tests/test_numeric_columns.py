"""Every numeric column keeps to the digit all that the parser lets through."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from markets.kalshi import order_books, payloads
from markets.kalshi.candles import candlestick
from markets.models.trades import public_trade
from markets.tests.fake_exchange import market_json, series_json

# A function from the text of a number in the JSON to what the parser makes of it.
Reader = Callable[[str], Any]
QUOTE_KEYS = {
    "yes_bid": "yes_bid_dollars",
    "yes_ask": "yes_ask_dollars",
    "yes_bid_size": "yes_bid_size_fp",
    "yes_ask_size": "yes_ask_size_fp",
    "last_price": "last_price_dollars",
    "volume": "volume_fp",
    "open_interest": "open_interest_fp",
}
SIDES = ("yes_bid", "yes_ask", "price")
OHLC = ("open", "high", "low", "close")
EVENT = {
    "event_ticker": "KXA-1",
    "series_ticker": "KXA",
    "title": "",
    "sub_title": "",
    "collateral_return_type": "",
    "mutually_exclusive": True,
}
FEE_CHANGE = {"id": "1", "fee_type": "flat", "scheduled_ts": "2026-11-01T12:00:00Z"}
TRADE = {
    "trade_id": "7f1c",
    "ticker": "KXA-1-X",
    "count_fp": "2.50",
    "yes_price_dollars": "0.4200",
    "taker_outcome_side": "yes",
    "taker_book_side": "bid",
    "created_time": "2026-11-01T12:00:00Z",
    "is_block_trade": False,
}


def as_text(fields: dict[str, Any], key: str, text: str) -> bytes:
    return json.dumps(fields | {key: text}).encode()


def as_number(fields: dict[str, Any], key: str, text: str) -> bytes:
    """Write the number itself, which Python's own encoder would round to a float."""
    return json.dumps(fields | {key: "@"}).encode().replace(b'"@"', text.encode())


def of_quote(key: str, name: str) -> Reader:
    return lambda text: getattr(payloads.quote(as_text(market_json("KXA-1-X"), key, text)), name)


def of_market(key: str, name: str, *, write: Any = as_text) -> Reader:
    return lambda text: getattr(payloads.market(write(market_json("KXA-1-X"), key, text)), name)


def of_candle(key: str) -> Reader:
    return lambda text: getattr(candlestick(candle_json(**{key: text})), key.removesuffix("_fp"))


def of_side(side: str, name: str) -> Reader:
    def read(text: str) -> Any:
        changed = {f"{each}_dollars": "0.5000" for each in OHLC} | {f"{name}_dollars": text}
        return getattr(getattr(candlestick(candle_json(**{side: changed})), side), name)

    return read


def candle_json(**changes: Any) -> bytes:
    whole = {f"{name}_dollars": "0.5000" for name in OHLC}
    fields = {"end_period_ts": 1_795_000_000, "volume_fp": "1.00", "open_interest_fp": "1.00"}
    return json.dumps(fields | dict.fromkeys(SIDES, whole) | changes).encode()


def of_level(side: str, part: int) -> Reader:
    def read(text: str) -> Any:
        level = ["0.5000", "1.00"]
        level[part] = text
        body = json.dumps({"orderbook_fp": {f"{side}_dollars": [level]}}).encode()
        levels = getattr(order_books.order_book(body), side)
        if not levels:
            return None
        # The book is recorded on the YES scale, where an ask is a dollar less somebody's NO bid.
        value = levels[0][part]
        return 1 - value if (side, part) == ("no", 0) else value

    return read


def of_series(name: str) -> Reader:
    return lambda text: getattr(payloads.series(as_number(series_json("KXA"), name, text)), name)


def of_event(name: str) -> Reader:
    return lambda text: getattr(payloads.event(as_number(EVENT, name, text)), name)


def of_fee_change(text: str) -> Any:
    fields = FEE_CHANGE | {"series_ticker": "KXA"}
    return payloads.fee_change(as_number(fields, "fee_multiplier", text)).fee_multiplier


QUOTE = {name: of_quote(key, name) for name, key in QUOTE_KEYS.items()}
STRIKES = {name: of_market(name, name, write=as_number) for name in ("floor_strike", "cap_strike")}
SETTLEMENT = {"settlement_value": of_market("settlement_value_dollars", "settlement_value")}
INTEGERS = {
    name: of_market(name, name, write=as_number)
    for name in ("settlement_timer_seconds", "exchange_index")
}
READERS: dict[str, dict[str, Reader]] = {
    "Market": QUOTE
    | STRIKES
    | SETTLEMENT
    | INTEGERS
    | {
        "volume_24h": of_quote("volume_24h_fp", "volume_24h"),
        "previous_price": of_quote("previous_price_dollars", "previous_price"),
    },
    "MarketRevision": SETTLEMENT,
    "MarketSnapshot": QUOTE,
    "Series": {name: of_series(name) for name in ("fee_multiplier", "exchange_index")},
    "Event": {name: of_event(name) for name in ("fee_multiplier_override", "exchange_index")},
    "EventRevision": {
        name: of_event(name) for name in ("fee_multiplier_override", "exchange_index")
    },
    "FeeChange": {"fee_multiplier": of_fee_change},
    "Candlestick": {f"{side}_{name}": of_side(side, name) for side in SIDES for name in OHLC}
    | {f"price_{name}": of_side("price", name) for name in ("mean", "previous")}
    | {name: of_candle(f"{name}_fp") for name in ("volume", "open_interest")},
    "OrderBookSnapshot": {
        "bid_prices": of_level("yes", 0),
        "bid_sizes": of_level("yes", 1),
        "ask_prices": of_level("no", 0),
        "ask_sizes": of_level("no", 1),
    },
}
# Columns that count parts of a contract or of a dollar, with their key, their name and the parts.
PARTS = {
    "contracts": ("count_fp", "count", 100),
    "price": ("yes_price_dollars", "yes_price", 10_000),
}
# Numbers that we compute ourselves, and ids.
OURS = {
    "Market": {"quote_mark", "definition_mark", "book_mark"},
    "MarketSnapshot": {"quality", "sequence"},
    "Candlestick": {"period_interval"},
    "Trade": {"taker_side", "source_code", "sequence"},
    "OrderBookSnapshot": {"sequence"},
}
COLUMNS = [(model, name) for model, readers in READERS.items() for name in readers]
TEXTS = st.one_of(
    st.decimals(0, 1, places=4).map(str),
    st.decimals(0, 1, allow_nan=False).map(lambda number: f"{number:f}"),
    st.decimals(-(10**20), 10**20, allow_nan=False, places=2).map(lambda number: f"{number:f}"),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**40), 2**40).map(str),
    st.sampled_from(["0.000000499", "0.123456789012345678901", "999999999999999999", "1e-20"]),
)


def base(field: Any) -> Any:
    return field.base_field if isinstance(field, ArrayField) else field


def numeric_columns() -> Iterator[tuple[str, str]]:
    for model in apps.get_app_config("markets").get_models():
        name = model.__name__
        # Whole numbers of the other models are counts of our own.
        whole = (models.IntegerField,) if name in READERS or name == "Trade" else ()
        kinds = (models.DecimalField, *whole)
        for field in model._meta.concrete_fields:
            is_number = isinstance(base(field), kinds) and not field.primary_key
            if is_number and field.name not in OURS.get(name, ()):
                yield name, field.name


def kept(field: Any, number: Any) -> Any:
    """Return what the column's type makes of a number, by PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT (%s::text)::numeric::{base(field).db_type(connection)}", [f"{number}"]
        )
        return cursor.fetchone()[0]


def test_every_numeric_column_that_payloads_fill_is_tried():
    assert sorted(numeric_columns()) == sorted([*COLUMNS, *(("Trade", name) for name in PARTS)])


@pytest.mark.django_db
@pytest.mark.parametrize(("model", "name"), COLUMNS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_a_number_is_refused_or_kept_to_the_digit(model, name, text):
    try:
        number = READERS[model][name](text)
    except msgspec.MsgspecError:
        return
    field = apps.get_model("markets", model)._meta.get_field(name)
    assert number is None or kept(field, number) == number


@pytest.mark.django_db
@pytest.mark.parametrize(("model", "name"), COLUMNS)
def test_the_finest_and_the_largest_number_of_a_column_are_read(model, name):
    field = base(apps.get_model("markets", model)._meta.get_field(name))
    if isinstance(field, models.IntegerField):
        assert READERS[model][name](str(2**31 - 1)) == 2**31 - 1
        return
    finest = Decimal(1).scaleb(-field.decimal_places)
    expected = 1 - finest if name == "ask_prices" else finest
    assert READERS[model][name](f"{finest:f}") == expected
    is_a_part_of_a_dollar = field.max_digits - field.decimal_places < 3
    if not is_a_part_of_a_dollar:
        largest = 10 ** (field.max_digits - field.decimal_places) - 1
        assert READERS[model][name](str(largest)) == largest
        with pytest.raises(msgspec.MsgspecError):
            READERS[model][name](str(largest + 1))
    with pytest.raises(msgspec.MsgspecError):
        READERS[model][name](f"{finest / 10:f}")


@pytest.mark.django_db
@pytest.mark.parametrize("name", PARTS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
@example(text="0.01")
@example(text="0.0001")
@example(text="9999999999999999.99")
@example(text="0.00001")
def test_a_trade_is_refused_or_kept_in_whole_parts(name, text):
    key, number, parts = PARTS[name]
    try:
        payload = payloads.trade(as_text(TRADE, key, text))
    except msgspec.MsgspecError:
        return
    counted = getattr(public_trade(payload, market_id=1), name)
    assert counted == getattr(payload, number) * parts
    assert kept(apps.get_model("markets", "Trade")._meta.get_field(name), counted) == counted
