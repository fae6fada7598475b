"""Kalshi's JSON payloads, parsed strictly into frozen structs.

Unknown keys and unknown words are accepted. Numbers must be written as the contract writes them,
and a missing required key fails: a payload of an older contract must never look like an empty
book. Every function raises a subclass of `msgspec.MsgspecError` that names the key, and no other
error.

Prices are dollars on the YES scale, counts are contracts, instants are timezone-aware.
"""

from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct, field

from markets.kalshi import splitting
from markets.kalshi.fields import (
    COUNTS,
    PRICES,
    Count,
    Instant,
    Integer,
    Label,
    Price,
    SettlementValue,
    Ticker,
    Word,
    check_instants,
    check_no_nul,
    check_range,
    decoder,
    replace_nulls_with_blanks,
)
from markets.prices import ONE, PriceRange

Sources = tuple[dict[str, Any], ...]


# --- quotes -------------------------------------------------------------------------------------


class _QuoteTexts(Struct, frozen=True, gc=False):
    """The fields of a market that a quote is made of, their values still texts."""

    ticker: Ticker
    event_ticker: Ticker
    status: str
    result: str
    updated_time: str
    close_time: str
    yes_bid_dollars: str
    yes_ask_dollars: str
    yes_bid_size_fp: str
    yes_ask_size_fp: str
    last_price_dollars: str
    volume_fp: str
    volume_24h_fp: str
    open_interest_fp: str
    previous_price_dollars: str
    settlement_ts: str | None = None
    settlement_value_dollars: str | None = None
    is_provisional: bool = False


class QuotePayload(Struct, frozen=True, gc=False):
    """The fast-changing part of a market, parsed at every observation.

    Price and size of a side are None unless somebody quotes it: its price must lie strictly
    between 0 and 1 and its size above 0. `last_price` and `previous_price` (a day ago) are None
    where nothing had traded.

    The marks are hashes of the texts as written, signed 64-bit integers. Two payloads with the
    same `quote_mark` show the same quote. Two with the same `definition_mark` have the same
    status, result, times and settlement and, as far as `updated_time` shows, the same rest of the
    definition.
    """

    ticker: str
    event_ticker: str
    status: str
    yes_bid: Decimal | None
    yes_ask: Decimal | None
    yes_bid_size: Decimal | None
    yes_ask_size: Decimal | None
    last_price: Decimal | None
    volume: Decimal
    volume_24h: Decimal
    open_interest: Decimal
    previous_price: Decimal | None
    quote_mark: int
    definition_mark: int


_read_quote = decoder(_QuoteTexts)


def quote(raw: bytes | Raw) -> QuotePayload:
    texts = _read_quote(raw)
    if "\0" in texts.ticker or "\0" in texts.event_ticker:
        raise msgspec.ValidationError("text contains a NUL character")
    try:
        return _parse_quote(texts)
    except ValueError as fault:
        raise msgspec.ValidationError(f"{fault} - at `$.{_unreadable_key(texts)}`") from None


def _parse_quote(texts: _QuoteTexts) -> QuotePayload:
    bid: Decimal | None = PRICES[texts.yes_bid_dollars]
    ask: Decimal | None = PRICES[texts.yes_ask_dollars]
    bid_size: Decimal | None = COUNTS[texts.yes_bid_size_fp]
    ask_size: Decimal | None = COUNTS[texts.yes_ask_size_fp]
    if not bid or not bid_size or bid == ONE:
        bid = bid_size = None
    if not ask or not ask_size or ask == ONE:
        ask = ask_size = None
    return QuotePayload(
        texts.ticker,
        texts.event_ticker,
        texts.status,
        bid,
        ask,
        bid_size,
        ask_size,
        PRICES[texts.last_price_dollars] or None,
        COUNTS[texts.volume_fp],
        COUNTS[texts.volume_24h_fp],
        COUNTS[texts.open_interest_fp],
        PRICES[texts.previous_price_dollars] or None,
        _mark(_quote_identity(texts)),
        _mark(_definition_identity(texts)),
    )


def _quote_identity(texts: _QuoteTexts) -> str:
    """Join the texts that make a quote a new one.

    `volume_24h` and the price of a day ago are left out, since they change as time passes.
    """
    return (
        f"{texts.yes_bid_dollars} {texts.yes_ask_dollars} {texts.yes_bid_size_fp}"
        f" {texts.yes_ask_size_fp} {texts.last_price_dollars} {texts.volume_fp}"
        f" {texts.open_interest_fp}"
    )


def _definition_identity(texts: _QuoteTexts) -> str:
    return (
        f"{texts.event_ticker}\0{texts.status}\0{texts.result}\0{texts.updated_time}"
        f"\0{texts.close_time}\0{texts.settlement_ts}\0{texts.settlement_value_dollars}"
        f"\0{texts.is_provisional}"
    )


def _mark(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), signed=True)


def _unreadable_key(texts: _QuoteTexts) -> str:
    """Return the first key whose number cannot be parsed."""
    for name in texts.__struct_fields__:
        numbers = PRICES if name.endswith("_dollars") else COUNTS
        if name.endswith(("_dollars", "_fp")):
            try:
                numbers[getattr(texts, name)]
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
    open_time: Instant
    close_time: Instant
    expected_expiration_time: Instant | None = None
    latest_expiration_time: Instant
    created_time: Instant | None
    updated_time: Instant
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
    price_ranges: tuple[PriceRange, ...]
    # Both are in the contract of October 2026; recordings of March and August 2026 lack them.
    settlement_bounds_type: Word = "default"
    exchange_index: Integer | None = None
    notional_value: Decimal = field(name="notional_value_dollars")
    is_provisional: bool = False
    mve_collection_ticker: str | None = ""

    def __post_init__(self) -> None:
        replace_nulls_with_blanks(
            self,
            "early_close_condition",
            "strike_type",
            "functional_strike",
            "mve_collection_ticker",
        )
        check_instants(self)
        if self.created_time is not None and self.created_time.year == 1:
            # The exchange sends the year 1 for a time that it does not know.
            msgspec.structs.force_setattr(self, "created_time", None)
        check_range("floor_strike", self.floor_strike, integer_digits=15, minimum=-(10**15))
        check_range("cap_strike", self.cap_strike, integer_digits=15, minimum=-(10**15))
        check_range("notional_value_dollars", self.notional_value, integer_digits=15, minimum=0)


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
    settlement_sources: Sources | None = None
    fee_type_override: Label | None = ""
    fee_multiplier_override: Decimal | None = None
    exchange_index: Integer | None = None
    markets: list[Raw] = []

    def __post_init__(self) -> None:
        replace_nulls_with_blanks(self, "strike_period", "fee_type_override")
        check_instants(self)
        check_range(
            "fee_multiplier_override", self.fee_multiplier_override, integer_digits=5, minimum=0
        )


_read_event = decoder(EventPayload)


def event(raw: bytes | Raw) -> EventPayload:
    payload = _read_event(raw)
    check_no_nul(msgspec.json.encode(msgspec.structs.replace(payload, markets=[])))
    return payload


class SeriesPayload(Struct, frozen=True, kw_only=True):
    ticker: Ticker
    title: str
    category: Annotated[str, Meta(max_length=200)]
    tags: tuple[str, ...] | None = None
    frequency: Label
    fee_type: Label
    fee_multiplier: Decimal
    settlement_sources: Sources | None = None
    contract_url: str | None = ""
    exchange_index: Integer | None = None

    def __post_init__(self) -> None:
        replace_nulls_with_blanks(self, "contract_url")
        check_range("fee_multiplier", self.fee_multiplier, integer_digits=5, minimum=0)


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
        check_range("fee_multiplier", self.fee_multiplier, integer_digits=5, minimum=0)


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
        check_instants(self)
        check_range("fee_multiplier_override", self.fee_multiplier, integer_digits=5, minimum=0)


_read_event_fee_change = decoder(EventFeeChangePayload)


def event_fee_change(raw: bytes | Raw) -> EventFeeChangePayload:
    check_no_nul(bytes(raw))
    return _read_event_fee_change(raw)


# --- order books and trades ---------------------------------------------------------------------


class Level(NamedTuple):
    price: Price
    size: Count


class OrderBook(Struct, frozen=True):
    """Bids of both sides, each on its own side's scale, in ascending order: the best is last."""

    yes: tuple[Level, ...] = field(name="yes_dollars")
    no: tuple[Level, ...] = field(name="no_dollars")

    def __post_init__(self) -> None:
        # Text and example of the contract contradict each other about the order of the levels.
        msgspec.structs.force_setattr(self, "yes", tuple(sorted(self.yes)))
        msgspec.structs.force_setattr(self, "no", tuple(sorted(self.no)))


class _OrderBookReply(Struct):
    orderbook_fp: OrderBook


_read_order_book = decoder(_OrderBookReply)


def order_book(body: bytes) -> OrderBook:
    return _read_order_book(body).orderbook_fp


class _MarketOrderBook(_OrderBookReply):
    ticker: Ticker


class _OrderBooksReply(Struct):
    orderbooks: list[Raw]


_read_order_books = decoder(_OrderBooksReply)
_read_market_order_book = decoder(_MarketOrderBook)


def order_books(body: bytes) -> dict[str, OrderBook]:
    """Parse order books by ticker.

    A book that cannot be parsed is left out; if none can, the last error is raised.
    """
    books, error = {}, None
    for raw in _read_order_books(body).orderbooks:
        try:
            parsed = _read_market_order_book(raw)
        except msgspec.MsgspecError as reason:
            error = reason
            continue
        books[parsed.ticker] = parsed.orderbook_fp
    if error and not books:
        raise error
    return books


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
        check_instants(self)


_read_trade = decoder(TradePayload)


def trade(raw: bytes | Raw) -> TradePayload:
    check_no_nul(bytes(raw))
    return _read_trade(raw)


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
