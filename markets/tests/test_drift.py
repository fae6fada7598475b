import json

import msgspec
import pytest

from markets.kalshi import payloads
from markets.kalshi.drift import DriftNote, find_drift, shape_drift, unknown_fields
from markets.tests.fake_exchange import market_json, series_json

EVENT = {"event_ticker": "KXA-1", "fee_type_override": None, "collateral_return_type": ""}


def drift_of(kind, payload):
    return [(each.kind, each.where) for each in find_drift(kind, json.dumps(payload).encode())]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [("market", market_json("KXA-1-X")), ("event", EVENT), ("series", series_json("KXA"))],
)
def test_a_payload_of_the_contract_has_no_drift(kind, payload):
    assert drift_of(kind, payload) == []


def test_an_unknown_key_is_named_with_a_sample():
    payload = market_json("KXA-1-X", moon={"phase": "full"})
    assert find_drift("market", json.dumps(payload).encode()) == [
        DriftNote("field", "market.moon", '{"phase": "full"}')
    ]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("market", "status"),
        ("market", "market_type"),
        ("market", "result"),
        ("market", "strike_type"),
        ("market", "settlement_bounds_type"),
        ("market", "price_level_structure"),
        ("event", "collateral_return_type"),
        ("event", "fee_type_override"),
        ("series", "fee_type"),
    ],
)
def test_an_unknown_word_is_named(kind, key):
    assert drift_of(kind, {key: "new"}) == [("word", f"{kind}.{key}=new")]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", None, ""])
@pytest.mark.parametrize(
    "key", ["open_time", "close_time", "latest_expiration_time", "created_time", "updated_time"]
)
def test_an_instant_that_the_contract_requires_is_noted_where_it_is_unknown(key, text):
    where = f"market.$.{key}: not an instant of the exchange's time"
    assert drift_of("market", market_json("KXA-1-X", **{key: text})) == [("shape", where)]


def test_an_instant_that_may_be_unknown_is_not_noted():
    zero = "0001-01-01T00:00:00Z"
    payload = market_json("KXA-1-X", settlement_ts=zero, expected_expiration_time=zero)
    assert drift_of("market", payload) == []


@pytest.mark.parametrize("key", ["yes_bid_size_fp", "last_price_dollars", "floor_strike"])
def test_a_blank_number_is_noted(key):
    where = f"market.$.{key}: a blank number or instant"
    assert drift_of("market", market_json("KXA-1-X", **{key: ""})) == [("shape", where)]


@pytest.mark.parametrize("word", ["", None, 5])
def test_a_blank_or_a_non_text_is_not_an_unknown_word(word):
    assert drift_of("market", {"result": word}) == []


def test_notes_are_short_and_can_be_stored():
    payload = {"a\0" + 500 * "b": 500 * "c", "status": "\0" + 500 * "d"}
    for each in find_drift("market", json.dumps(payload).encode()):
        assert len(each.sample) <= 200
        assert len(each.where) <= 200
        assert "\0" not in each.where + each.sample


@pytest.mark.parametrize("raw", [b"", b"[]", b"5", b"\xff", b"{"])
def test_a_payload_that_is_not_an_object_has_no_drift(raw):
    assert find_drift("market", raw) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"yes_bid_dollars": 42}, "market.$.yes_bid_dollars: Expected `str`, got `int`"),
        ({"yes_bid_dollars": "NaN"}, "market.$.yes_bid_dollars: … is not a Price"),
    ],
)
def test_a_shape_is_described_without_its_value(change, where):
    raw = json.dumps(market_json("KXA-1-X", **change)).encode()
    with pytest.raises(msgspec.MsgspecError) as caught:
        payloads.quote(raw)
    note = shape_drift("market", caught.value, raw=raw)
    assert (note.kind, note.where) == ("shape", where)
    assert note.sample.startswith('{"ticker": "KXA-1-X"')


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('"a\\u0000b"', "ab"),
        ('"\\\\u0000"', "\\u0000"),
        ('{"a\\u0000": [null]}', {"a": [None]}),
        ("12345678901234567890.5", 12345678901234567890.5),
        ("[" * 2_000 + "]" * 2_000, "[" * 200),
        ("1e999", "1e999"),
        ("-" + "9" * 5_000, "-" + "9" * 199),
        ("[0, 1e999]", "[0, 1e999]"),
    ],
)
def test_an_unknown_field_is_kept_in_a_form_that_the_database_takes(written, kept):
    raw = f'{{"ticker": "KXA", "novelty": {written}}}'.encode()
    assert unknown_fields("market", raw) == {"novelty": kept}


@pytest.mark.parametrize(
    ("field", "kept"),
    [
        (b'"novelty": "\xff"', {"novelty": '"\ufffd"'}),
        (b'"\xff": 1', {"": '{"ticker": "KXA", "\ufffd": 1}'}),
    ],
)
def test_broken_text_of_an_unknown_field_is_kept_as_a_sample(field, kept):
    assert unknown_fields("market", b'{"ticker": "KXA", ' + field + b"}") == kept
