import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from django.conf import settings
from hypothesis import assume, given
from hypothesis import strategies as st

from markets.kalshi import payloads
from markets.kalshi.candles import batch_candlesticks, candlestick
from markets.prices import PriceRange
from markets.tests.fake_exchange import market_json, series_json

PRICE_KEYS = ("yes_bid_dollars", "yes_ask_dollars", "last_price_dollars", "previous_price_dollars")
COUNT_KEYS = (
    "yes_bid_size_fp",
    "yes_ask_size_fp",
    "volume_fp",
    "volume_24h_fp",
    "open_interest_fp",
)
PRICES = st.integers(1, 9_999).map(lambda units: f"{Decimal(units) / 10_000:.4f}")
COUNTS = st.integers(1, 10**18 - 1).map(lambda units: f"{Decimal(units).scaleb(-2):f}")
# Whoever leaves these blank leaves the side of the book unknown.
BEST_PRICES = ("yes_bid_dollars", "yes_ask_dollars")
NO_NUMBERS = ("NaN", "sNaN", "Infinity", ".", ".5", "0.", " 0.1", "+0.1", "0_1", "1E-2")
# JSON strings may hold lone surrogates, which bytes cannot.
ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def encoded(**changes):
    return json.dumps(market_json("KXA-1-X") | changes).encode()


def quote(**changes):
    return payloads.quote(encoded(**changes))


def market(**changes):
    return payloads.market(encoded(**changes))


def without(key):
    fields = market_json("KXA-1-X")
    del fields[key]
    return json.dumps(fields).encode()


def event_json(**changes):
    return json.dumps(
        {
            "event_ticker": "KXA-1",
            "series_ticker": "KXA",
            "title": "What of it?",
            "sub_title": "",
            "collateral_return_type": "MECNET",
            "mutually_exclusive": True,
            "settlement_sources": [{"name": "A source", "url": "https://example.org"}],
            **changes,
        }
    ).encode()


# --- quotes -------------------------------------------------------------------------------------


@given(PRICES, PRICES, COUNTS, COUNTS, COUNTS)
def test_every_number_of_a_quote_is_kept_to_the_digit(bid, ask, bid_size, ask_size, volume):
    parsed = quote(
        yes_bid_dollars=bid,
        yes_ask_dollars=ask,
        yes_bid_size_fp=bid_size,
        yes_ask_size_fp=ask_size,
        volume_fp=volume,
    )
    numbers = (
        parsed.yes_bid,
        parsed.yes_ask,
        parsed.yes_bid_size,
        parsed.yes_ask_size,
        parsed.volume,
    )
    assert [str(number) for number in numbers] == [bid, ask, bid_size, ask_size, volume]


@pytest.mark.parametrize("key", [*PRICE_KEYS, *COUNT_KEYS])
@given(text=ANYTHING)
def test_an_unreadable_number_is_refused_by_its_key(key, text):
    assume(not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) and (text or key in BEST_PRICES))
    with pytest.raises(msgspec.ValidationError, match=f"\\$\\.{key}"):
        quote(**{key: text})


@pytest.mark.parametrize("key", PRICE_KEYS)
@pytest.mark.parametrize("text", [*NO_NUMBERS, "-0.1", "0.1\n", "1.0001", "2", "0.12345", "01"])
def test_a_price_is_written_one_way(key, text):
    with pytest.raises(msgspec.ValidationError, match=f"\\$\\.{key}"):
        quote(**{key: text})


@pytest.mark.parametrize("key", COUNT_KEYS)
@pytest.mark.parametrize("text", [*NO_NUMBERS, "-1", "1.001", "1,000", "1 ", "07", "1" + 16 * "0"])
def test_a_count_is_written_one_way(key, text):
    with pytest.raises(msgspec.ValidationError, match=f"\\$\\.{key}"):
        quote(**{key: text})


@pytest.mark.parametrize("key", [*PRICE_KEYS, *COUNT_KEYS])
@pytest.mark.parametrize("value", [42, 0.42, True, [], {}])
def test_a_number_that_is_not_a_string_is_refused(key, value):
    with pytest.raises(msgspec.ValidationError, match=f"\\$\\.{key}"):
        quote(**{key: value})


@pytest.mark.parametrize("key", [*PRICE_KEYS, *COUNT_KEYS, "ticker", "status", "close_time"])
def test_a_missing_key_fails_instead_of_looking_like_an_empty_book(key):
    with pytest.raises(msgspec.ValidationError, match=key):
        payloads.quote(without(key))


@pytest.mark.parametrize(
    ("price", "size"),
    [("0.0000", "0.00"), ("0.0000", "5.00"), ("0.4200", "0.00"), ("1.0000", "5.00")],
)
def test_an_empty_side_has_neither_price_nor_size(price, size):
    parsed = quote(yes_bid_dollars=price, yes_bid_size_fp=size)
    assert (parsed.yes_bid, parsed.yes_bid_size) == (None, None)
    assert (parsed.yes_ask, parsed.yes_ask_size) == (Decimal("0.45"), Decimal("12.50"))
    parsed = quote(yes_ask_dollars=price, yes_ask_size_fp=size)
    assert (parsed.yes_ask, parsed.yes_ask_size) == (None, None)
    assert (parsed.yes_bid, parsed.yes_bid_size) == (Decimal("0.42"), Decimal("100"))


@pytest.mark.parametrize("key", BEST_PRICES)
@pytest.mark.parametrize("blank", ["", None])
def test_a_best_price_is_never_blank(key, blank):
    with pytest.raises(msgspec.ValidationError, match=f"\\$\\.{key}"):
        quote(**{key: blank})


@pytest.mark.parametrize("key", sorted({*PRICE_KEYS, *COUNT_KEYS} - set(BEST_PRICES)))
@pytest.mark.parametrize("blank", ["", None])
def test_a_blank_number_is_unknown_and_costs_no_other(key, blank):
    parsed, usual = quote(**{key: blank}), quote()
    column = key.removesuffix("_dollars").removesuffix("_fp")
    assert getattr(parsed, column) is None
    others = {*PRICE_KEYS, *COUNT_KEYS} - {key}
    for other in (each.removesuffix("_dollars").removesuffix("_fp") for each in others):
        assert getattr(parsed, other) == getattr(usual, other)


def test_the_no_side_of_a_payload_is_ignored():
    parsed = quote(yes_bid_dollars="0.0000", yes_bid_size_fp="0.00", no_ask_dollars="0.5000")
    assert parsed.yes_bid is None


def test_a_market_without_trades_has_no_last_price():
    parsed = quote(last_price_dollars="0.0000", previous_price_dollars="0.0000", volume_fp="0.00")
    assert (parsed.last_price, parsed.previous_price, parsed.volume) == (None, None, 0)


def test_unknown_words_and_keys_are_accepted():
    words = {"status": "resting", "result": "void", "a_new_key": {"of": ["any", "shape"]}}
    assert quote(**words).status == "resting"
    assert (market(**words).status, market(**words).result) == ("resting", "void")


@pytest.mark.parametrize(
    "change",
    [
        {"yes_bid_dollars": "0.4300"},
        {"yes_ask_size_fp": "12.51"},
        {"last_price_dollars": "0.4500"},
        {"volume_fp": "1000.01"},
        {"open_interest_fp": "701.00"},
    ],
)
def test_a_change_of_the_quote_changes_its_mark_alone(change):
    before, after = quote(), quote(**change)
    assert before.quote_mark != after.quote_mark
    assert before.definition_mark == after.definition_mark


@pytest.mark.parametrize(
    "change",
    [
        {"status": "closed"},
        {"result": "yes"},
        {"updated_time": "2026-11-02T12:00:00Z"},
        {"close_time": "2026-11-02T12:00:00Z"},
        {"settlement_ts": "2026-11-02T12:00:00Z"},
        {"settlement_value_dollars": "0.0000"},
        {"is_provisional": True},
    ],
)
def test_a_change_of_the_definition_changes_its_mark_alone(change):
    before, after = quote(), quote(**change)
    assert before.definition_mark != after.definition_mark
    assert before.quote_mark == after.quote_mark


UNKNOWN_TIMES = ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2017-12-31T23:59:59Z", "", None)
CHANGES_OF_A_DEFINITION = (
    {"title": "Will it really?"},
    {"yes_sub_title": "It may"},
    {"rules_primary": "Or not."},
    {"close_time": "2030-01-02T15:00:00Z"},
    {"floor_strike": 1},
    {"custom_strike": {"Word": "rain"}},
    {"price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]},
    {"settlement_timer_seconds": 60},
    {"mve_selected_legs": [{"market_ticker": "KXB-1"}]},
)


@pytest.mark.parametrize("change", CHANGES_OF_A_DEFINITION)
@pytest.mark.parametrize("unknown", UNKNOWN_TIMES)
def test_a_definition_without_an_updated_time_is_known_by_its_content(unknown, change):
    before = quote(updated_time=unknown)
    assert before.definition_mark == quote(updated_time=unknown).definition_mark
    after = quote(updated_time=unknown, **change)
    assert before.definition_mark != after.definition_mark
    assert before.quote_mark == after.quote_mark


@pytest.mark.parametrize(
    "key",
    [*PRICE_KEYS, *COUNT_KEYS, "no_bid_dollars", "no_ask_dollars", "previous_yes_bid_dollars"],
)
def test_the_content_of_a_definition_has_no_quote_in_it(key):
    value = "0.0100" if key.endswith("_dollars") else "7.00"
    marks = {
        quote(updated_time="0001-01-01T00:00:00Z", **change).definition_mark
        for change in ({}, {key: value}, {"a_key_of_tomorrow": value})
    }
    assert len(marks) == 1


def test_marks_fit_into_a_bigint_and_are_the_same_in_every_process():
    marks = {quote(volume_fp=f"{number}.00").quote_mark for number in range(100)}
    assert len(marks) == 100
    assert all(-(2**63) <= mark < 2**63 for mark in marks)
    code = (
        "import sys; from markets.kalshi import payloads as p; print(p.quote(sys.argv[1].encode()))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, encoded().decode()],
            env={"PYTHONHASHSEED": seed},
            cwd=settings.BASE_DIR,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_fields_that_change_with_time_alone_change_no_mark():
    before, after = quote(), quote(volume_24h_fp="1.00", previous_price_dollars="0.5000")
    assert (before.quote_mark, before.definition_mark) == (after.quote_mark, after.definition_mark)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b"[]", b'{"ticker": "\xff"}', b"[" * 100_000, b'"\\ud800"']
)
@pytest.mark.parametrize(
    "read", [payloads.quote, payloads.market, payloads.event, payloads.series, payloads.trade]
)
def test_every_malformed_payload_raises_a_msgspec_error(read, raw):
    with pytest.raises(msgspec.MsgspecError):
        read(raw)


# --- definitions --------------------------------------------------------------------------------


def test_strikes_and_price_ranges_are_exact():
    parsed = payloads.market(encoded(floor_strike="@").replace(b'"@"', b"77.10000000000001"))
    assert parsed.floor_strike == Decimal("77.10000000000001")
    assert parsed.price_ranges == (PriceRange(Decimal(0), Decimal(1), Decimal("0.01")),)
    assert (parsed.cap_strike, parsed.strike_type, parsed.notional_value) == (None, "", 1)


def test_a_settlement_value_may_be_zero_and_may_be_absent():
    assert market(settlement_value_dollars="0.0000").settlement_value == 0
    assert market(settlement_value_dollars="0.333333").settlement_value == Decimal("0.333333")
    assert market(settlement_value_dollars=None).settlement_value is None
    assert market().settlement_value is None


def test_a_blank_settlement_value_or_strike_is_unknown():
    blank = market(settlement_value_dollars="", floor_strike="", settlement_ts="")
    assert (blank.settlement_value, blank.floor_strike, blank.settlement_ts) == (None, None, None)
    assert blank.title == market().title


@pytest.mark.parametrize("text", [*NO_NUMBERS, "1.000001", "0.1234567", "-0.5"])
def test_a_settlement_value_is_written_one_way(text):
    with pytest.raises(msgspec.ValidationError, match=r"\$\.settlement_value_dollars"):
        market(settlement_value_dollars=text)


def test_instants_are_aware():
    assert market().close_time == datetime(2030, 1, 1, 15, tzinfo=UTC)
    with pytest.raises(msgspec.ValidationError, match="close_time"):
        market(close_time="2030-01-01T15:00:00")


def test_nulls_for_text_become_blanks():
    parsed = market(early_close_condition=None, strike_type=None, functional_strike=None)
    assert (parsed.early_close_condition, parsed.strike_type, parsed.functional_strike) == (
        "",
        "",
        "",
    )


def test_keys_that_older_payloads_lack_have_a_default():
    fields = market_json("KXA-1-X")
    del fields["settlement_bounds_type"], fields["exchange_index"]
    parsed = payloads.market(json.dumps(fields).encode())
    assert (parsed.settlement_bounds_type, parsed.exchange_index) == ("default", None)


MARKET_TIMES = [
    info.name
    for info in msgspec.structs.fields(payloads.MarketPayload)
    if info.name.endswith(("_time", "_ts", "_datetime"))
]


@pytest.mark.parametrize("name", MARKET_TIMES)
@pytest.mark.parametrize(
    "text", [*UNKNOWN_TIMES, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
def test_an_instant_outside_the_exchange_s_time_is_unknown(name, text):
    assert len(MARKET_TIMES) == 9
    assert getattr(market(**{name: text}), name) is None
    known = "2018-01-01T00:00:00Z"
    assert getattr(market(**{name: known}), name) == datetime(2018, 1, 1, tzinfo=UTC)


def test_the_zero_time_is_unknown_in_an_event_and_refused_where_nothing_is_told_without_it():
    zero = "0001-01-01T00:00:00Z"
    assert payloads.event(event_json(strike_date=zero)).strike_date is None
    for read, raw, key in (
        (payloads.trade, TRADE, "created_time"),
        (payloads.event_fee_change, FEE_CHANGE, "scheduled_ts"),
        (
            payloads.fee_change,
            FEE_CHANGE | {"fee_type": "flat", "fee_multiplier": 1},
            "scheduled_ts",
        ),
    ):
        assert read(json.dumps(raw).encode())
        with pytest.raises(msgspec.ValidationError, match=key):
            read(json.dumps(raw | {key: zero}).encode())
    with pytest.raises(msgspec.ValidationError, match="end_period_ts"):
        candle(end_period_ts=0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ticker", "T" * 201),
        ("ticker", ""),
        ("title", "a\0b"),
        ("custom_strike", {"Word": "\0"}),
        ("a_new_key", ["\0"]),
        ("floor_strike", 1e300),
        ("cap_strike", 1e-300),
        ("floor_strike", "NaN"),
        ("settlement_timer_seconds", 2**31),
        ("settlement_timer_seconds", -1),
        ("floor_strike", 1e18),
        ("floor_strike", "0.123456789012345678901"),
        ("notional_value_dollars", "-1.0000"),
        ("price_ranges", [{"start": "0", "end": "NaN", "step": "0.01"}]),
        ("price_ranges", [{"start": "0", "end": "1"}]),
        ("settlement_value_dollars", "1.5"),
    ],
)
def test_a_value_that_the_database_cannot_store_is_refused(key, value):
    with pytest.raises(msgspec.MsgspecError):
        market(**{key: value})


def test_a_number_too_large_for_json_is_refused_in_any_key():
    with pytest.raises(msgspec.MsgspecError):
        payloads.market(encoded(a_new_key="@").replace(b'"@"', b"1e999"))


def test_an_escaped_backslash_before_u0000_is_not_a_nul():
    assert market(title="a\\u0000b").title == "a\\u0000b"


def test_a_ticker_with_a_nul_is_refused_and_reported_without_it():
    raw = encoded(ticker="KX\0A")
    with pytest.raises(msgspec.ValidationError, match=r"not a ticker - at `\$\.ticker`"):
        payloads.quote(raw)
    assert payloads.ticker_of(raw) == "KXA"


NO_TICKERS = (
    *("", ".", "..", "KX/A", "KX\\A", "KX A", "KX\n", "KX\tA", "KX\x7fA", "KX?A", "KX#A", "KX%A"),
    *(
        "KX%2FA",
        "KX,A",
        "KX\u00e9",
        "KX\u202eA",
        "\u00a0KX",
        '"KX"',
        "<KX>",
        "=KX",
        "-KX",
        "K" * 201,
    ),
)
READERS = {
    "ticker": (payloads.quote, payloads.market),
    "event_ticker": (payloads.quote, payloads.market, payloads.event, payloads.event_fee_change),
    "series_ticker": (payloads.event, payloads.fee_change, payloads.event_fee_change),
}


def everything(**changes):
    fee_terms = {"fee_type": "flat", "fee_multiplier": 1}
    event = json.loads(event_json())
    return json.dumps(market_json("KXA-1-X") | event | FEE_CHANGE | fee_terms | changes).encode()


@pytest.mark.parametrize("key", READERS)
@pytest.mark.parametrize(
    "ticker",
    NO_TICKERS,
)
def test_a_ticker_that_no_address_can_carry_is_refused(key, ticker):
    for read in READERS[key]:
        with pytest.raises(msgspec.ValidationError, match=key):
            read(everything(**{key: ticker}))


@pytest.mark.parametrize("key", READERS)
@pytest.mark.parametrize(
    "ticker", ["KXSHIBAD-26NOV3017-T0.000000499", "KXMVE-S2026-1A2b", "A", "KX_A~1:2", "K" * 200]
)
def test_a_ticker_that_the_exchange_can_mean_is_read(key, ticker):
    for read in READERS[key]:
        assert read(everything(**{key: ticker}))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"ticker": 5}', b"\xff"])
def test_a_payload_without_a_ticker_has_a_blank_one(raw):
    assert payloads.ticker_of(raw) == ""


def test_an_unreadable_event_is_named_by_its_event_ticker():
    assert payloads.ticker_of(b'{"event_ticker": "KXA-1", "markets": 5}') == "KXA-1"


def test_the_markets_of_an_event_stay_unparsed():
    parsed = payloads.event(event_json(markets=[market_json("KXA-1-X"), {"title": "a\0b"}, 5]))
    assert (parsed.ticker, parsed.series_ticker, parsed.strike_period) == ("KXA-1", "KXA", "")
    assert payloads.quote(parsed.markets[0]).ticker == "KXA-1-X"
    assert len(parsed.markets) == 3


def test_a_list_that_is_null_or_missing_is_empty():
    for absent in ({}, {"markets": None, "settlement_sources": None}):
        fields = json.loads(event_json())
        del fields["settlement_sources"]
        event = payloads.event(json.dumps(fields | absent).encode())
        assert (event.markets, event.settlement_sources) == ((), ())
    assert payloads.market(without("price_ranges")).price_ranges == ()
    assert market(price_ranges=None).price_ranges == ()
    for tags in ({}, {"tags": None}):
        fields = {key: value for key, value in series_json("KXA").items() if key != "tags"}
        assert payloads.series(json.dumps(fields | tags).encode()).tags == ()


@pytest.mark.parametrize("key", ["title", "settlement_sources"])
def test_an_event_with_a_nul_is_refused(key):
    value = [{"name": "\0"}] if key == "settlement_sources" else "\0"
    with pytest.raises(msgspec.ValidationError, match="NUL"):
        payloads.event(event_json(**{key: value}))


@pytest.mark.parametrize("text", ["0.5", "1", "0.035", "0.1"])
def test_a_fee_multiplier_keeps_its_digits(text):
    raw = json.dumps(series_json("KXA") | {"fee_multiplier": "@"}).encode()
    assert str(payloads.series(raw.replace(b'"@"', text.encode())).fee_multiplier) == text


@pytest.mark.parametrize("text", [b"-1", b"1e18", b'"NaN"', b"null", b"true", b"1e-300"])
def test_an_invalid_fee_multiplier_is_refused(text):
    raw = json.dumps(series_json("KXA") | {"fee_multiplier": "@"}).encode()
    with pytest.raises(msgspec.ValidationError):
        payloads.series(raw.replace(b'"@"', text))


# --- trades and candlesticks ---------------------------------------------------------------------


TRADE = {
    "trade_id": "7f1c",
    "ticker": "KXA-1-X",
    "count_fp": "2.50",
    "yes_price_dollars": "0.4200",
    "no_price_dollars": "0.5800",
    "taker_outcome_side": "yes",
    "taker_book_side": "bid",
    "created_time": "2026-11-01T12:00:00.000001Z",
    "is_block_trade": False,
}


def test_a_trade_is_read_on_the_yes_scale():
    parsed = payloads.trade(json.dumps(TRADE).encode())
    assert (parsed.yes_price, parsed.count) == (Decimal("0.42"), Decimal("2.5"))
    assert parsed.created_time.microsecond == 1


def candle(**changes):
    side = dict.fromkeys(("open_dollars", "low_dollars", "high_dollars"), "0.4200")
    fields = {
        "end_period_ts": 1_795_000_000,
        "yes_bid": side | {"close_dollars": "0.4300"},
        "yes_ask": side | {"close_dollars": "0.4500"},
        "price": {"open_dollars": None, "previous_dollars": "0.4100"},
        "volume_fp": "0.00",
        "open_interest_fp": "7.00",
    }
    return candlestick(json.dumps(fields | changes).encode())


def test_a_candlestick_without_trades_has_its_quotes():
    parsed = candle()
    assert (parsed.yes_bid.close, parsed.yes_ask.close) == (Decimal("0.43"), Decimal("0.45"))
    assert (parsed.price.open, parsed.price.close, parsed.price.previous) == (
        None,
        None,
        Decimal("0.41"),
    )


def test_a_candlestick_in_cents_is_refused():
    with pytest.raises(msgspec.ValidationError, match=r"yes_bid"):
        candle(yes_bid={"open": 42, "low": 42, "high": 42, "close": 43})


def historical(**changes):
    side = {"open": "0.4200", "low": "0.4200", "high": "0.4200", "close": "0.4300"}
    trades = dict.fromkeys(("open", "low", "high", "close", "mean"))
    fields = {
        "end_period_ts": 1_795_000_000,
        "yes_bid": side,
        "yes_ask": side | {"close": "0.4500"},
        "price": trades | {"previous": "0.4100"},
        "volume": "0.00",
        "open_interest": "7.00",
    }
    return candlestick(json.dumps(fields | changes).encode())


def test_both_tiers_give_the_same_candlestick():
    assert historical() == candle()


@pytest.mark.parametrize(
    ("read", "changes", "named"),
    [
        (candle, {"volume": "1.00"}, r"\$\.volume"),
        (candle, {"price": {"open": "0.4200"}}, r"\$\.price\.open"),
        (historical, {"volume_fp": "1.00"}, "volume_fp"),
        (historical, {"price": {"open_dollars": "0.4200"}}, r"price\.open_dollars"),
        (historical, {"yes_bid": {}}, "open"),
        (candle, {"yes_ask": {}}, "open_dollars"),
    ],
)
def test_a_candlestick_with_mixed_or_missing_keys_is_refused_by_the_key(read, changes, named):
    with pytest.raises(msgspec.ValidationError, match=named):
        read(**changes)


@pytest.mark.parametrize("blank", ["", None])
def test_a_blank_number_of_a_candlestick_costs_no_other(blank):
    trades = {"open": blank, "previous": "0.4100"}
    for parsed in (
        candle(volume_fp=blank, price={f"{key}_dollars": each for key, each in trades.items()}),
        historical(volume=blank, price=trades),
    ):
        assert (parsed.volume, parsed.open_interest) == (None, 7)
        assert (parsed.price.open, parsed.price.previous) == (None, Decimal("0.41"))


@pytest.mark.parametrize("batch", [{}, {"markets": None}, {"markets": []}])
def test_a_batch_of_candlesticks_may_be_empty(batch):
    assert batch_candlesticks(json.dumps(batch).encode()) == {}
    for absent in ({}, {"candlesticks": None}):
        body = {"markets": [{"market_ticker": "KXA-1-X", **absent}]}
        assert batch_candlesticks(json.dumps(body).encode()) == {"KXA-1-X": ()}


def test_an_unknown_key_of_a_candlestick_is_ignored():
    assert candle(close="early") == candle()


FEE_CHANGE = {
    "id": "7f1c",
    "event_ticker": "KXA-1",
    "series_ticker": "KXA",
    "fee_type_override": "flat",
    "fee_multiplier_override": 0.5,
    "scheduled_ts": "2026-11-01T12:00:00Z",
}


def fee_change(**changes):
    return payloads.event_fee_change(json.dumps(FEE_CHANGE | changes).encode())


def test_an_event_may_return_to_the_fees_of_its_series():
    back = fee_change(fee_type_override=None, fee_multiplier_override=None)
    assert (back.fee_type, back.fee_multiplier) == (None, None)
    assert (fee_change().fee_type, fee_change().fee_multiplier) == ("flat", Decimal("0.5"))


@pytest.mark.parametrize("change", [{"fee_multiplier_override": -1}, {"scheduled_ts": None}])
def test_an_invalid_fee_change_is_refused(change):
    with pytest.raises(msgspec.ValidationError):
        fee_change(**change)
