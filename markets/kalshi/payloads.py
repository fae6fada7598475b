"""Kalshi's JSON payloads, parsed strictly into frozen structs.

Unknown keys and unknown words are accepted. Numbers must be written as the contract writes them,
and a missing required key fails: a payload of an older contract must never look like an empty
book. A list that is null or missing is empty. A blank number that may be unknown is unknown, and so
is every instant from before the exchange existed. Every function raises a subclass of
`msgspec.MsgspecError` that names the key, and no other error.

Prices are dollars on the YES scale, counts are contracts, instants are timezone-aware.
"""

import re
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct, field

from markets.kalshi import splitting
from markets.kalshi.drift import KNOWN_FIELDS
from markets.kalshi.fields import (
    COUNTS,
    EARLIEST,
    PRICES,
    TICKER,
    Count,
    Instant,
    Integer,
    Label,
    NullableList,
    Price,
    SettlementValue,
    Ticker,
    TickerText,
    Word,
    check_no_nul,
    check_range,
    decoder,
    is_ticker,
    settle_unknowns,
)
from markets.prices import ONE, PriceRange

Sources = tuple[dict[str, Any], ...]


# --- quotes -------------------------------------------------------------------------------------


class _QuoteTexts(Struct, frozen=True, gc=False):
    """The fields of a market that a quote is made of, their values still texts."""

    ticker: TickerText
    event_ticker: TickerText
    status: str
    result: str
    updated_time: str | None
    close_time: str | None
    yes_bid_dollars: str
    yes_ask_dollars: str
    # A blank or a null costs only the number that it stands for.
    yes_bid_size_fp: str | None
    yes_ask_size_fp: str | None
    last_price_dollars: str | None
    volume_fp: str | None
    volume_24h_fp: str | None
    open_interest_fp: str | None
    previous_price_dollars: str | None
    settlement_ts: str | None = None
    settlement_value_dollars: str | None = None
    is_provisional: bool = False


class QuotePayload(Struct, frozen=True, gc=False):
    """The fast-changing part of a market, parsed at every observation.

    Price and size of a side are None unless somebody quotes it: its price must lie strictly
    between 0 and 1 and its size above 0 or unknown. `last_price` and `previous_price` (a day ago)
    are None where nothing had traded. Sizes, volumes and open interest are None where the payload
    leaves them blank.

    The marks are hashes of the texts as written, signed 64-bit integers. Two payloads with the
    same `quote_mark` show the same quote. Two with the same `definition_mark` have the same
    status, result, times and settlement and, as far as `updated_time` shows, the same rest of the
    definition. Where `updated_time` is unknown, the mark covers every field of the definition.
    """

    ticker: str
    event_ticker: str
    status: str
    yes_bid: Decimal | None
    yes_ask: Decimal | None
    yes_bid_size: Decimal | None
    yes_ask_size: Decimal | None
    last_price: Decimal | None
    volume: Decimal | None
    volume_24h: Decimal | None
    open_interest: Decimal | None
    previous_price: Decimal | None
    quote_mark: int
    definition_mark: int


_read_quote = decoder(_QuoteTexts)
_read_fields = decoder(dict[str, Raw])
_are_tickers = re.compile(f"{TICKER},{TICKER}").fullmatch
# The fields of a market that no quote changes.
DEFINITION_FIELDS = frozenset(
    key
    for key in KNOWN_FIELDS["market"]
    if not key.endswith(("_bid_dollars", "_ask_dollars", "_price_dollars", "_fp"))
    and key != "liquidity_dollars"
)
# Instants are texts in a format that sorts as the instants do.
_EARLIEST_TEXT = str(EARLIEST.year)
_PRICES_OF_A_QUOTE = ("yes_bid_dollars", "yes_ask_dollars")


def quote(raw: bytes | Raw) -> QuotePayload:
    texts = _read_quote(raw)
    # No ticker has a comma, so that both are checked at once, in a third of the time.
    if not _are_tickers(f"{texts.ticker},{texts.event_ticker}"):
        key = "event_ticker" if is_ticker(texts.ticker) else "ticker"
        raise msgspec.ValidationError(
            f"{getattr(texts, key)[:40]!r} is not a ticker - at `$.{key}`"
        )
    try:
        return _parse_quote(texts, raw)
    except ValueError as fault:
        raise msgspec.ValidationError(f"{fault} - at `$.{_unreadable_key(texts)}`") from None


def _parse_quote(texts: _QuoteTexts, raw: bytes | Raw) -> QuotePayload:
    bid: Decimal | None = PRICES[texts.yes_bid_dollars]
    ask: Decimal | None = PRICES[texts.yes_ask_dollars]
    bid_size = COUNTS[texts.yes_bid_size_fp] if texts.yes_bid_size_fp else None
    ask_size = COUNTS[texts.yes_ask_size_fp] if texts.yes_ask_size_fp else None
    if not bid or not bid_size or bid == ONE:
        bid = _price_without_size(bid, bid_size)
        bid_size = None
    if not ask or not ask_size or ask == ONE:
        ask = _price_without_size(ask, ask_size)
        ask_size = None
    return QuotePayload(
        texts.ticker,
        texts.event_ticker,
        texts.status,
        bid,
        ask,
        bid_size,
        ask_size,
        (PRICES[texts.last_price_dollars] or None) if texts.last_price_dollars else None,
        COUNTS[texts.volume_fp] if texts.volume_fp else None,
        COUNTS[texts.volume_24h_fp] if texts.volume_24h_fp else None,
        COUNTS[texts.open_interest_fp] if texts.open_interest_fp else None,
        (PRICES[texts.previous_price_dollars] or None) if texts.previous_price_dollars else None,
        _mark(_quote_identity(texts)),
        _mark(_definition_identity(texts, raw)),
    )


def _price_without_size(price: Decimal | None, size: Decimal | None) -> Decimal | None:
    """Return a price whose size is unknown, and None where nobody quotes the side."""
    return price if price and price != ONE and size is None else None


def _quote_identity(texts: _QuoteTexts) -> str:
    """Join the texts that make a quote a new one.

    `volume_24h` and the price of a day ago are left out, since they change as time passes.
    """
    return (
        f"{texts.yes_bid_dollars} {texts.yes_ask_dollars} {texts.yes_bid_size_fp}"
        f" {texts.yes_ask_size_fp} {texts.last_price_dollars} {texts.volume_fp}"
        f" {texts.open_interest_fp}"
    )


def _definition_identity(texts: _QuoteTexts, raw: bytes | Raw) -> str:
    identity = (
        f"{texts.event_ticker}\0{texts.status}\0{texts.result}\0{texts.updated_time}"
        f"\0{texts.close_time}\0{texts.settlement_ts}\0{texts.settlement_value_dollars}"
        f"\0{texts.is_provisional}"
    )
    if not texts.updated_time or texts.updated_time < _EARLIEST_TEXT:
        return f"{identity}\0{_definition_content(raw)}"
    return identity


def _definition_content(raw: bytes | Raw) -> str:
    """Join the fields of the contract's definition, as written, in the order of their keys.

    Fields that the contract lacks may change with every quote and are left out.
    """
    fields = _read_fields(raw)
    known = sorted(fields.keys() & DEFINITION_FIELDS)
    return "\0".join(
        f"{key}\0{bytes(fields[key]).decode(errors='backslashreplace')}" for key in known
    )


def _mark(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), signed=True)


def _unreadable_key(texts: _QuoteTexts) -> str:
    """Return the first key whose number cannot be parsed."""
    for name in texts.__struct_fields__:
        numbers = PRICES if name.endswith("_dollars") else COUNTS
        text = getattr(texts, name)
        if name.endswith(("_dollars", "_fp")) and (text or name in _PRICES_OF_A_QUOTE):
            try:
                numbers[text]
            except ValueError:
                return name
    return ""


# --- definitions --------------------------------------------------------------------------------


class MarketPayload(Struct, frozen=True, kw_only=True):
    """The definition of a market, parsed only when the market is new or its definition changed."""

    ticker: Ticker
    event_ticker: Ticker
    market_type: Word
    title: str = ""
    yes_sub_title: str
    no_sub_title: str
    rules_primary: str
    rules_secondary: str
    status: Word
    result: Word
    open_time: Instant | None
    close_time: Instant | None
    expected_expiration_time: Instant | None = None
    latest_expiration_time: Instant | None
    created_time: Instant | None
    updated_time: Instant | None
    occurrence_datetime: Instant | None = None
    fee_waiver_expiration_time: Instant | None = None
    settlement_timer_seconds: Integer
    settlement_ts: Instant | None = None
    settlement_value: SettlementValue | None = field(default=None, name="settlement_value_dollars")
    expiration_value: str
    can_close_early: bool
    early_close_condition: str | None = ""
    strike_type: Word | None = ""
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    functional_strike: str | None = ""
    custom_strike: dict[str, Any] | None = None
    price_level_structure: Label
    price_ranges: NullableList[tuple[PriceRange, ...]] = ()
    # Both are in the contract of October 2026; recordings of March and August 2026 lack them.
    settlement_bounds_type: Word = "default"
    exchange_index: Integer | None = None
    notional_value: Decimal = field(name="notional_value_dollars")
    is_provisional: bool = False
    mve_collection_ticker: str | None = ""

    def __post_init__(self) -> None:
        settle_unknowns(self)
        check_range("floor_strike", self.floor_strike)
        check_range("cap_strike", self.cap_strike)
        check_range("notional_value_dollars", self.notional_value, minimum=0)


_read_market = decoder(MarketPayload)
_read_json = decoder(dict)


def market(raw: bytes | Raw) -> MarketPayload:
    """Parse a definition, and check that the whole payload can be stored as JSON."""
    check_no_nul(bytes(raw))
    _read_json(raw)
    return _read_market(raw)


class EventPayload(Struct, frozen=True, kw_only=True):
    """An event, with its markets still raw, so that one bad market does not spoil the others."""

    ticker: Ticker = field(name="event_ticker")
    series_ticker: Ticker
    title: str
    sub_title: str
    mutually_exclusive: bool
    collateral_return_type: Word
    strike_date: Instant | None = None
    strike_period: Annotated[str, Meta(max_length=200)] | None = ""
    settlement_sources: NullableList[Sources] = ()
    fee_type_override: Label | None = ""
    fee_multiplier_override: Decimal | None = None
    exchange_index: Integer | None = None
    markets: NullableList[tuple[Raw, ...]] = ()

    def __post_init__(self) -> None:
        settle_unknowns(self)
        check_range("fee_multiplier_override", self.fee_multiplier_override, minimum=0)


_read_event = decoder(EventPayload)


def event(raw: bytes | Raw) -> EventPayload:
    payload = _read_event(raw)
    check_no_nul(msgspec.json.encode(msgspec.structs.replace(payload, markets=())))
    return payload


class SeriesPayload(Struct, frozen=True, kw_only=True):
    ticker: Ticker
    title: str
    category: Annotated[str, Meta(max_length=200)]
    tags: NullableList[tuple[str, ...]] = ()
    frequency: Label
    fee_type: Label
    fee_multiplier: Decimal
    settlement_sources: NullableList[Sources] = ()
    contract_url: str | None = ""
    exchange_index: Integer | None = None

    def __post_init__(self) -> None:
        settle_unknowns(self)
        check_range("fee_multiplier", self.fee_multiplier, minimum=0)


_read_series = decoder(SeriesPayload)


def series(raw: bytes | Raw) -> SeriesPayload:
    payload = _read_series(raw)
    check_no_nul(msgspec.json.encode(payload))
    return payload


class FeeChangePayload(Struct, frozen=True, kw_only=True):
    """A past or announced change of the fees of a series."""

    id: str
    series_ticker: Ticker
    fee_type: Label
    fee_multiplier: Decimal
    scheduled_ts: Instant

    def __post_init__(self) -> None:
        settle_unknowns(self)
        check_range("fee_multiplier", self.fee_multiplier, minimum=0)


_read_fee_change = decoder(FeeChangePayload)


def fee_change(raw: bytes | Raw) -> FeeChangePayload:
    check_no_nul(bytes(raw))
    return _read_fee_change(raw)


class EventFeeChangePayload(Struct, frozen=True, kw_only=True):
    """A past or announced change of the fees of an event; None means the value of its series."""

    id: str
    event_ticker: Ticker
    series_ticker: Ticker
    fee_type: Label | None = field(name="fee_type_override")
    fee_multiplier: Decimal | None = field(name="fee_multiplier_override")
    scheduled_ts: Instant

    def __post_init__(self) -> None:
        settle_unknowns(self)
        check_range("fee_multiplier_override", self.fee_multiplier, minimum=0)


_read_event_fee_change = decoder(EventFeeChangePayload)


def event_fee_change(raw: bytes | Raw) -> EventFeeChangePayload:
    check_no_nul(bytes(raw))
    return _read_event_fee_change(raw)


# --- trades ---------------------------------------------------------------------------------------


class TradePayload(Struct, frozen=True, kw_only=True):
    """A public trade. Block trades are negotiated off the book and never rested in it."""

    trade_id: Annotated[str, Meta(min_length=1, max_length=100)]
    ticker: Ticker
    count: Count = field(name="count_fp")
    yes_price: Price = field(name="yes_price_dollars")
    taker_outcome_side: Word
    taker_book_side: Word
    created_time: Instant
    is_block_trade: bool

    def __post_init__(self) -> None:
        settle_unknowns(self)


_read_trade = decoder(TradePayload)


def trade(raw: bytes | Raw) -> TradePayload:
    check_no_nul(bytes(raw))
    return _read_trade(raw)


class _CreatedTime(Struct):
    created_time: Instant


_read_created_time = decoder(_CreatedTime)


def created_time_of(raw: bytes | Raw) -> Instant | None:
    """Return the time of a trade that cannot be parsed; None if that cannot be read either."""
    try:
        return _read_created_time(raw).created_time
    except msgspec.MsgspecError:
        return None


# --- unreadable payloads ------------------------------------------------------------------------


class _PayloadTickers(Struct):
    ticker: str = ""
    event_ticker: str = ""


_read_tickers = decoder(_PayloadTickers)


def ticker_of(raw: bytes | Raw) -> str:
    """Return the ticker of a payload that could not be parsed, or "" if it has none."""
    try:
        tickers = _read_tickers(raw)
        ticker = tickers.ticker or tickers.event_ticker
    except msgspec.MsgspecError:
        ticker = _ticker_beside_a_fault(raw)
    return ticker.replace("\0", "")[:200]


def _ticker_beside_a_fault(raw: bytes | Raw) -> str:
    try:
        names = (splitting.text_member(raw, key) for key in ("ticker", "event_ticker"))
        return next(filter(None, names), "")
    except msgspec.DecodeError:
        return ""
