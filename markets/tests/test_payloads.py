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
from markets.kalshi.candles import candlestick
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
NO_NUMBERS = ("NaN", "sNaN", "Infinity", "", ".", ".5", "0.", " 0.1", "+0.1", "0_1", "1E-2")
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
    seen = quote(
        yes_bid_dollars=bid,
        yes_ask_dollars=ask,
        yes_bid_size_fp=bid_size,
        yes_ask_size_fp=ask_size,
        volume_fp=volume,
    )
    numbers = (seen.yes_bid, seen.yes_ask, seen.yes_bid_size, seen.yes_ask_size, seen.volume)
    assert [str(number) for number in numbers] == [bid, ask, bid_size, ask_size, volume]


@pytest.mark.parametrize("key", [*PRICE_KEYS, *COUNT_KEYS])
@given(text=ANYTHING)
def test_an_unreadable_number_is_refused_by_its_key(key, text):
    assume(not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text))
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
@pytest.mark.parametrize("value", [42, 0.42, None, True, [], {}])
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
    seen = quote(yes_bid_dollars=price, yes_bid_size_fp=size)
    assert (seen.yes_bid, seen.yes_bid_size) == (None, None)
    assert (seen.yes_ask, seen.yes_ask_size) == (Decimal("0.45"), Decimal("12.50"))
    seen = quote(yes_ask_dollars=price, yes_ask_size_fp=size)
    assert (seen.yes_ask, seen.yes_ask_size) == (None, None)
    assert (seen.yes_bid, seen.yes_bid_size) == (Decimal("0.42"), Decimal("100"))


def test_the_no_side_of_a_payload_is_ignored():
    seen = quote(yes_bid_dollars="0.0000", yes_bid_size_fp="0.00", no_ask_dollars="0.5000")
    assert seen.yes_bid is None


def test_a_market_without_trades_has_no_last_price():
    seen = quote(last_price_dollars="0.0000", previous_price_dollars="0.0000", volume_fp="0.00")
    assert (seen.last_price, seen.previous_price, seen.volume) == (None, None, 0)


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
    seen = payloads.market(encoded(floor_strike="@").replace(b'"@"', b"77.10000000000001"))
    assert seen.floor_strike == Decimal("77.10000000000001")
    assert seen.price_ranges == (PriceRange(Decimal(0), Decimal(1), Decimal("0.01")),)
    assert (seen.cap_strike, seen.strike_type, seen.notional_value) == (None, "", 1)


def test_a_settlement_value_may_be_zero_and_may_be_absent():
    assert market(settlement_value_dollars="0.0000").settlement_value == 0
    assert market(settlement_value_dollars="0.333333").settlement_value == Decimal("0.333333")
    assert market(settlement_value_dollars=None).settlement_value is None
    assert market().settlement_value is None


@pytest.mark.parametrize("text", [*NO_NUMBERS, "1.000001", "0.1234567", "-0.5"])
def test_a_settlement_value_is_written_one_way(text):
    with pytest.raises(msgspec.ValidationError, match=r"\$\.settlement_value_dollars"):
        market(settlement_value_dollars=text)


def test_instants_are_aware():
    assert market().close_time == datetime(2030, 1, 1, 15, tzinfo=UTC)
    with pytest.raises(msgspec.ValidationError, match="close_time"):
        market(close_time="2030-01-01T15:00:00")


def test_nulls_for_text_become_blanks():
    seen = market(early_close_condition=None, strike_type=None, functional_strike=None)
    assert (seen.early_close_condition, seen.strike_type, seen.functional_strike) == ("", "", "")


def test_keys_that_older_payloads_lack_have_a_default():
    fields = market_json("KXA-1-X")
    del fields["settlement_bounds_type"], fields["exchange_index"]
    seen = payloads.market(json.dumps(fields).encode())
    assert (seen.settlement_bounds_type, seen.exchange_index) == ("default", None)


def test_the_zero_time_is_read_as_unknown():
    assert market(created_time="0001-01-01T00:00:00Z").created_time is None


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
        ("close_time", "9999-12-31T23:59:59-14:00"),
        ("open_time", "0001-01-01T00:00:00+14:00"),
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
    with pytest.raises(msgspec.ValidationError, match="NUL"):
        payloads.quote(raw)
    assert payloads.ticker_of(raw) == "KXA"


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"ticker": 5}', b"\xff"])
def test_a_payload_without_a_ticker_has_a_blank_one(raw):
    assert payloads.ticker_of(raw) == ""


def test_an_unreadable_event_is_named_by_its_event_ticker():
    assert payloads.ticker_of(b'{"event_ticker": "KXA-1", "markets": 5}') == "KXA-1"


def test_the_markets_of_an_event_stay_unparsed():
    seen = payloads.event(event_json(markets=[market_json("KXA-1-X"), {"title": "a\0b"}, 5]))
    assert (seen.ticker, seen.series_ticker, seen.strike_period) == ("KXA-1", "KXA", "")
    assert payloads.quote(seen.markets[0]).ticker == "KXA-1-X"
    assert len(seen.markets) == 3


def test_an_event_without_markets_has_none():
    assert payloads.event(event_json(settlement_sources=None)).markets == []


@pytest.mark.parametrize("key", ["title", "settlement_sources"])
def test_an_event_with_a_nul_is_refused(key):
    value = [{"name": "\0"}] if key == "settlement_sources" else "\0"
    with pytest.raises(msgspec.ValidationError, match="NUL"):
        payloads.event(event_json(**{key: value}))


@pytest.mark.parametrize("text", ["0.5", "1", "0.035", "0.1"])
def test_a_fee_multiplier_keeps_its_digits(text):
    raw = json.dumps(series_json("KXA") | {"fee_multiplier": "@"}).encode()
    assert str(payloads.series(raw.replace(b'"@"', text.encode())).fee_multiplier) == text


@pytest.mark.parametrize("text", [b"-1", b"1e9", b'"NaN"', b"null", b"true", b"1e-300"])
def test_an_invalid_fee_multiplier_is_refused(text):
    raw = json.dumps(series_json("KXA") | {"fee_multiplier": "@"}).encode()
    with pytest.raises(msgspec.ValidationError):
        payloads.series(raw.replace(b'"@"', text))


# --- order books, trades, candlesticks ----------------------------------------------------------


def book(yes, no):
    sides = {"yes_dollars": yes, "no_dollars": no}
    return payloads.order_book(json.dumps({"orderbook_fp": sides}).encode())


def test_levels_are_sorted_so_that_the_best_is_last():
    seen = book([["0.4200", "3.00"], ["0.0100", "10.00"], ["0.4100", "0.50"]], [])
    assert seen.yes[-1] == (Decimal("0.42"), Decimal(3))
    assert [level.price for level in seen.yes] == sorted(level.price for level in seen.yes)
    assert seen.no == ()


@pytest.mark.parametrize("level", [["0.42"], [42, 1], ["0.42", "1", "2"], ["NaN", "1"], "0.42"])
def test_a_malformed_level_is_refused(level):
    with pytest.raises(msgspec.ValidationError):
        book([level], [])


def test_an_order_book_under_its_old_key_is_refused():
    with pytest.raises(msgspec.ValidationError, match="orderbook_fp"):
        payloads.order_book(b'{"orderbook": {"yes": null, "no": null}}')


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
    seen = payloads.trade(json.dumps(TRADE).encode())
    assert (seen.yes_price, seen.count) == (Decimal("0.42"), Decimal("2.5"))
    assert seen.created_time.microsecond == 1


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
    seen = candle()
    assert (seen.yes_bid.close, seen.yes_ask.close) == (Decimal("0.43"), Decimal("0.45"))
    assert (seen.price.open, seen.price.close, seen.price.previous) == (None, None, Decimal("0.41"))


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


def test_an_unknown_key_of_a_candlestick_is_ignored():
    assert candle(close="early") == candle()


def test_order_books_of_a_batch_come_by_ticker():
    book = {"yes_dollars": [["0.4200", "3.00"]], "no_dollars": []}
    body = json.dumps({"orderbooks": [{"ticker": "KXA-1-X", "orderbook_fp": book}]})
    assert list(payloads.order_books(body.encode())) == ["KXA-1-X"]


def test_an_unreadable_order_book_does_not_affect_the_others():
    good = {"ticker": "KXA-1-X", "orderbook_fp": {"yes_dollars": [], "no_dollars": []}}
    bad = {"ticker": "KXA-1-Y", "orderbook_fp": {"yes_dollars": [["2.0000", "1.00"]]}}
    body = msgspec.json.encode({"orderbooks": [bad, good]})
    assert list(payloads.order_books(body)) == ["KXA-1-X"]
    with pytest.raises(msgspec.ValidationError):
        payloads.order_books(msgspec.json.encode({"orderbooks": [bad]}))


def fee_change(**changes):
    fields = {
        "id": "7f1c",
        "event_ticker": "KXA-1",
        "series_ticker": "KXA",
        "fee_type_override": "flat",
        "fee_multiplier_override": 0.5,
        "scheduled_ts": "2026-11-01T12:00:00Z",
    }
    return payloads.event_fee_change(json.dumps(fields | changes).encode())


def test_an_event_may_return_to_the_fees_of_its_series():
    back = fee_change(fee_type_override=None, fee_multiplier_override=None)
    assert (back.fee_type, back.fee_multiplier) == (None, None)
    assert (fee_change().fee_type, fee_change().fee_multiplier) == ("flat", Decimal("0.5"))


@pytest.mark.parametrize("change", [{"fee_multiplier_override": -1}, {"scheduled_ts": None}])
def test_an_invalid_fee_change_is_refused(change):
    with pytest.raises(msgspec.ValidationError):
        fee_change(**change)
