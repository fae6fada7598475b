"""The parser on recordings of the live exchange, which a user's clone does not have."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml
from django.conf import settings

from markets.kalshi import order_books, payloads
from markets.kalshi.candles import candlestick
from markets.kalshi.replies import exchange_status

RECORDED = settings.BASE_DIR.parent / "shared" / "kalshi" / "recorded"
pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(
        not RECORDED.is_dir(), reason="the recordings (../shared/kalshi/recorded) are not here"
    ),
]
COCKPIT = "rest_ws_raw_cockpit"
GOLDEN = "rest_raw_golden_jan2026"


def load(path: str) -> Any:
    return json.loads((RECORDED / path).read_text())


def raw(payload: object) -> bytes:
    return json.dumps(payload).encode()


def objects_with(node: object, *keys: str) -> Iterator[dict[str, Any]]:
    """Yield every nested object that has all these keys."""
    if isinstance(node, dict):
        if all(key in node for key in keys):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from objects_with(child, *keys)


def markets(node: object) -> list[dict[str, Any]]:
    return list(objects_with(node, "ticker", "event_ticker", "market_type", "rules_primary"))


def assert_nothing_lost(market: dict[str, Any]) -> None:
    """Check that the parsed values equal the texts of the payload, missing ones included."""
    quote = payloads.quote(raw(market))
    definition = payloads.market(raw(market))
    assert (definition.ticker, definition.status) == (quote.ticker, quote.status)
    for side in ("yes_bid", "yes_ask"):
        shown = str(getattr(quote, side)), str(getattr(quote, f"{side}_size"))
        written = market[f"{side}_dollars"], market[f"{side}_size_fp"]
        assert shown == (written if float(written[1]) else ("None", "None"))
    traded = float(market["last_price_dollars"]) > 0
    assert str(quote.last_price) == (market["last_price_dollars"] if traded else "None")
    assert str(quote.volume) == market["volume_fp"]
    assert str(definition.settlement_value) == str(market.get("settlement_value_dollars"))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("2026-08-20-spread-sweep-raw-2026-08-20T212616Z.json", 203),
        ("candlesticks_pregame_mlb.json", 1),
        ("combo_priced_markets.json", 41),
        ("events_mlb_props_nested.json", 259),
        ("events_nfl_preseason.json", 64),
        ("events_sports_nested.json", 245),
        ("market_single.json", 2),
        ("markets_settled.json", 44),
    ],
)
def test_every_market_of_august_2026_is_read(name, count):
    recorded = markets(load(f"{COCKPIT}/{name}"))
    assert len(recorded) == count
    for market in recorded:
        assert_nothing_lost(market)


def test_every_market_of_march_2026_is_read():
    recorded = markets(load("misc_raw/transitional_markets_mar2026_landonct.json"))
    assert len(recorded) == 46
    for market in recorded:
        assert_nothing_lost(market)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("2026-08-20-spread-sweep-raw-2026-08-20T212616Z.json", 24),
        ("events_mlb_props_nested.json", 8),
        ("events_nfl_preseason.json", 32),
        ("events_sports_nested.json", 32),
    ],
)
def test_every_event_of_august_2026_is_read_with_its_markets(name, count):
    recorded = list(
        objects_with(load(f"{COCKPIT}/{name}"), "series_ticker", "event_ticker", "markets")
    )
    assert len(recorded) == count
    for event in recorded:
        read = payloads.event(raw(event))
        assert (read.ticker, len(read.markets)) == (event["event_ticker"], len(event["markets"]))


@pytest.mark.parametrize(
    ("name", "count"), [("combo_orderbooks.json", 20), ("market_single.json", 1)]
)
def test_every_order_book_is_read(name, count):
    recorded = list(objects_with(load(f"{COCKPIT}/{name}"), "orderbook_fp"))
    assert len(recorded) == count
    for book in recorded:
        read = order_books.order_book(raw(book))
        written = book["orderbook_fp"]
        for side, levels in (("yes", read.yes), ("no", read.no)):
            assert [[str(part) for part in level] for level in levels] == written[f"{side}_dollars"]


@pytest.mark.parametrize(
    ("name", "count"), [("candlesticks_mlb.json", 48), ("candlesticks_pregame_mlb.json", 50)]
)
def test_every_candlestick_of_august_2026_is_read(name, count):
    recorded = list(objects_with(load(f"{COCKPIT}/{name}"), "end_period_ts"))
    assert len(recorded) == count
    for candle in recorded:
        read = candlestick(raw(candle))
        assert str(read.yes_bid.close) == candle["yes_bid"]["close_dollars"]
        assert str(read.price.mean) == str(candle["price"].get("mean_dollars"))


def test_every_series_is_read():
    recorded = list(
        objects_with(load(f"{COCKPIT}/series_fee_fields.json"), "fee_multiplier", "ticker")
    )
    recorded += list(objects_with(load(f"{GOLDEN}/series_list_response.json"), "fee_multiplier"))
    recorded += list(objects_with(load(f"{GOLDEN}/series_single_response.json"), "fee_multiplier"))
    assert len(recorded) > 100
    for series in recorded:
        assert payloads.series(raw(series)).ticker == series["ticker"]


def test_every_event_of_january_2026_is_read():
    recorded = [
        event
        for name in ("events_list", "event_single", "events_multivariate_list")
        for event in objects_with(
            load(f"{GOLDEN}/{name}_response.json"), "series_ticker", "sub_title"
        )
    ]
    assert len(recorded) > 5
    for event in recorded:
        assert payloads.event(raw(event)).ticker == event["event_ticker"]


def test_the_exchange_s_status_of_january_2026_is_read():
    assert exchange_status(raw(load(f"{GOLDEN}/exchange_status_response.json")["response"]))


# --- older shapes are refused by the missing key -------------------------------------------------


UPDATED = {"updated_time": "2026-01-12T22:08:10Z"}


def missing_key_error(read, payload: object) -> str:
    with pytest.raises(msgspec.ValidationError, match=r"missing required field|Expected") as caught:
        read(raw(payload))
    return str(caught.value)


@pytest.mark.parametrize("name", ["markets_list", "market_single", "event_single"])
def test_no_market_of_january_2026_is_accepted_as_a_quote(name):
    recorded = markets(load(f"{GOLDEN}/{name}_response.json"))
    assert recorded
    for market in recorded:
        assert "updated_time" in missing_key_error(payloads.quote, market)
        # The numbers alone would be refused too.
        assert "_fp" in missing_key_error(payloads.quote, UPDATED | market)


def test_no_market_of_november_2025_is_accepted_as_a_quote():
    tape = yaml.safe_load(
        (RECORDED / "misc_raw/vcr_demo_get_markets_nov2025_precog.yaml").read_text()
    )
    bodies = [json.loads(turn["response"]["body"]["string"]) for turn in tape["interactions"]]
    recorded = markets(bodies)
    assert len(recorded) >= 5
    for market in recorded:
        assert "updated_time" in missing_key_error(payloads.quote, market)
        # The numbers alone would be refused too.
        assert "_fp" in missing_key_error(payloads.quote, UPDATED | market)


def test_nothing_of_2024_is_accepted():
    folder = "misc_raw/oldera_2024_lognorman"
    recorded = list(objects_with(load(f"{folder}/market_data.json"), "_yes_bid", "_event_ticker"))
    assert len(recorded) > 10
    for market in recorded:
        plain = {key.removeprefix("_"): value for key, value in market.items()}
        for shape in (market, plain):
            missing_key_error(payloads.quote, shape)
    for book in list(objects_with(load(f"{folder}/orderbook_data.json"), "_yes", "_no")):
        missing_key_error(order_books.order_book, {"orderbook": book})


def test_no_candlestick_trade_or_order_book_of_january_2026_is_accepted():
    for name, key, read in (
        ("series_candlesticks", "end_period_ts", candlestick),
        ("event_candlesticks", "end_period_ts", candlestick),
        ("trades_list", "trade_id", payloads.trade),
        ("orderbook", "orderbook", order_books.order_book),
    ):
        recorded = list(objects_with(load(f"{GOLDEN}/{name}_response.json"), key))
        assert recorded
        for payload in recorded:
            missing_key_error(read, payload)
