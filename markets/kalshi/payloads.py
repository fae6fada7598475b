"""Kalshi's JSON, read once and strictly, into frozen structs.

Unknown keys and unknown words pass; numbers do not, unless they are written as the contract
writes them. A missing required key fails: an older shape must never look like an empty book.
Every function raises a subclass of `msgspec.MsgspecError` that names the key, and nothing else.

Prices are dollars on the YES scale, counts are contracts, instants are aware.
"""

from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct, field

from markets.kalshi import candles
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
    blank_for_null,
    decoder,
    refuse_nul,
    refuse_odd_instants,
    refuse_outside,
)
from markets.prices import ONE, PriceRange

Sources = tuple[dict[str, Any], ...]


# --- quotes -------------------------------------------------------------------------------------


class _Quote(Struct, frozen=True, gc=False):
    """The slim part of a market as it is written, with every value still a text."""

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
    """What moves in a market. Read for every market observed, every time.

    A side is None, price and size both, unless somebody offers something on it: a price
    strictly between 0 and 1 and a size above 0. `last_price` and `previous_price` (a day ago)
    are None where nothing had traded.

    The marks are hashes of the texts as written, 64 bits signed. A market with the same
    `quote_mark` shows the same quote. With the same `definition_mark` it has the same status,
    result, times, settlement and, as far as `updated_time` tells, everything else that defines it.
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


_read_quote = decoder(_Quote)


def quote(raw: bytes | Raw) -> QuotePayload:
    written = _read_quote(raw)
    if "\0" in written.ticker or "\0" in written.event_ticker:
        raise msgspec.ValidationError("text contains a NUL character")
    try:
        return _quote(written)
    except ValueError as fault:
        raise msgspec.ValidationError(f"{fault} - at `$.{_misread(written)}`") from None


def _quote(written: _Quote) -> QuotePayload:
    bid: Decimal | None = PRICES[written.yes_bid_dollars]
    ask: Decimal | None = PRICES[written.yes_ask_dollars]
    bid_size: Decimal | None = COUNTS[written.yes_bid_size_fp]
    ask_size: Decimal | None = COUNTS[written.yes_ask_size_fp]
    if not bid or not bid_size or bid == ONE:
        bid = bid_size = None
    if not ask or not ask_size or ask == ONE:
        ask = ask_size = None
    return QuotePayload(
        written.ticker,
        written.event_ticker,
        written.status,
        bid,
        ask,
        bid_size,
        ask_size,
        PRICES[written.last_price_dollars] or None,
        COUNTS[written.volume_fp],
        COUNTS[written.volume_24h_fp],
        COUNTS[written.open_interest_fp],
        PRICES[written.previous_price_dollars] or None,
        _mark(_quote_text(written)),
        _mark(_definition_text(written)),
    )


def _quote_text(written: _Quote) -> str:
    """What a quote is recognised by; `volume_24h` and the day-old price move with the clock."""
    return (
        f"{written.yes_bid_dollars} {written.yes_ask_dollars} {written.yes_bid_size_fp}"
        f" {written.yes_ask_size_fp} {written.last_price_dollars} {written.volume_fp}"
        f" {written.open_interest_fp}"
    )


def _definition_text(written: _Quote) -> str:
    return (
        f"{written.event_ticker}\0{written.status}\0{written.result}\0{written.updated_time}"
        f"\0{written.close_time}\0{written.settlement_ts}\0{written.settlement_value_dollars}"
        f"\0{written.is_provisional}"
    )


def _mark(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), signed=True)


def _misread(written: _Quote) -> str:
    """The first key whose number cannot be read."""
    for name in written.__struct_fields__:
        numbers = PRICES if name.endswith("_dollars") else COUNTS
        if name.endswith(("_dollars", "_fp")):
            try:
                numbers[getattr(written, name)]
            except ValueError:
                return name
    return ""


# --- definitions --------------------------------------------------------------------------------


class MarketPayload(Struct, frozen=True, kw_only=True):
    """What defines a market. Read only where a market is new or its definition changed."""

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
    # Both are in today's contract; recordings of March and August 2026 lack one or both.
    settlement_bounds_type: Word = "default"
    exchange_index: Integer | None = None
    notional_value: Decimal = field(name="notional_value_dollars")
    is_provisional: bool = False
    mve_collection_ticker: str | None = ""

    def __post_init__(self) -> None:
        blank_for_null(
            self,
            "early_close_condition",
            "strike_type",
            "functional_strike",
            "mve_collection_ticker",
        )
        refuse_odd_instants(self)
        if self.created_time is not None and self.created_time.year == 1:
            # Seen on the exchange: the zero time of its language, for "not known".
            msgspec.structs.force_setattr(self, "created_time", None)
        refuse_outside("floor_strike", self.floor_strike, digits=15, least=-(10**15))
        refuse_outside("cap_strike", self.cap_strike, digits=15, least=-(10**15))
        refuse_outside("notional_value_dollars", self.notional_value, digits=15, least=0)


_read_market = decoder(MarketPayload)
_read_anything = decoder(dict)


def market(raw: bytes | Raw) -> MarketPayload:
    """Read a definition, and make sure that the whole payload can be kept as JSON."""
    refuse_nul(bytes(raw))
    _read_anything(raw)
    return _read_market(raw)


class EventPayload(Struct, frozen=True, kw_only=True):
    """An event. Its markets are left unread, so that a bad one costs no other."""

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
        blank_for_null(self, "strike_period", "fee_type_override")
        refuse_odd_instants(self)
        refuse_outside("fee_multiplier_override", self.fee_multiplier_override, digits=5, least=0)


_read_event = decoder(EventPayload)


def event(raw: bytes | Raw) -> EventPayload:
    found = _read_event(raw)
    refuse_nul(msgspec.json.encode(msgspec.structs.replace(found, markets=[])))
    return found


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
        blank_for_null(self, "contract_url")
        refuse_outside("fee_multiplier", self.fee_multiplier, digits=5, least=0)


_read_series = decoder(SeriesPayload)


def series(raw: bytes | Raw) -> SeriesPayload:
    found = _read_series(raw)
    refuse_nul(msgspec.json.encode(found))
    return found


class FeeChangePayload(Struct, frozen=True, kw_only=True):
    """A change of a series' fees, past or announced."""

    id: str
    series_ticker: Ticker
    fee_type: Label
    fee_multiplier: Decimal
    scheduled_ts: Instant

    def __post_init__(self) -> None:
        refuse_outside("fee_multiplier", self.fee_multiplier, digits=5, least=0)


_read_fee_change = decoder(FeeChangePayload)


def fee_change(raw: bytes | Raw) -> FeeChangePayload:
    refuse_nul(bytes(raw))
    return _read_fee_change(raw)


class EventFeeChangePayload(Struct, frozen=True, kw_only=True):
    """A change of an event's fees, past or announced; None: as its series has it."""

    id: str
    event_ticker: Ticker
    series_ticker: Ticker
    fee_type: Label | None = field(name="fee_type_override")
    fee_multiplier: Decimal | None = field(name="fee_multiplier_override")
    scheduled_ts: Instant

    def __post_init__(self) -> None:
        refuse_odd_instants(self)
        refuse_outside("fee_multiplier_override", self.fee_multiplier, digits=5, least=0)


_read_event_fee_change = decoder(EventFeeChangePayload)


def event_fee_change(raw: bytes | Raw) -> EventFeeChangePayload:
    refuse_nul(bytes(raw))
    return _read_event_fee_change(raw)


# --- books, trades, candles ---------------------------------------------------------------------


class Level(NamedTuple):
    price: Price
    size: Count


class OrderBook(Struct, frozen=True):
    """Bids of both sides, each on its own side's scale, ascending: the best is the last."""

    yes: tuple[Level, ...] = field(name="yes_dollars")
    no: tuple[Level, ...] = field(name="no_dollars")

    def __post_init__(self) -> None:
        # The contract's words and its example disagree about the order.
        msgspec.structs.force_setattr(self, "yes", tuple(sorted(self.yes)))
        msgspec.structs.force_setattr(self, "no", tuple(sorted(self.no)))


class _BookEnvelope(Struct):
    orderbook_fp: OrderBook


_read_book = decoder(_BookEnvelope)


def order_book(body: bytes) -> OrderBook:
    return _read_book(body).orderbook_fp


class _NamedBook(_BookEnvelope):
    ticker: Ticker


class _Books(Struct):
    orderbooks: list[Raw]


_read_books = decoder(_Books)
_read_named_book = decoder(_NamedBook)


def order_books(body: bytes) -> dict[str, OrderBook]:
    """Books by ticker. One that cannot be read is left out, unless none can."""
    books, reason = {}, None
    for raw in _read_books(body).orderbooks:
        try:
            read = _read_named_book(raw)
        except msgspec.MsgspecError as fault:
            reason = fault
            continue
        books[read.ticker] = read.orderbook_fp
    if reason and not books:
        raise reason
    return books


class TradePayload(Struct, frozen=True, kw_only=True):
    """One match. Blocks are negotiated elsewhere and never were in the book."""

    trade_id: Annotated[str, Meta(min_length=1, max_length=100)]
    ticker: Ticker
    count: Count = field(name="count_fp")
    yes_price: Price = field(name="yes_price_dollars")
    taker_outcome_side: Word
    taker_book_side: Word
    created_time: Instant
    is_block_trade: bool

    def __post_init__(self) -> None:
        refuse_odd_instants(self)


_read_trade = decoder(TradePayload)


def trade(raw: bytes | Raw) -> TradePayload:
    refuse_nul(bytes(raw))
    return _read_trade(raw)


candlestick = candles.candlestick
batch_candlesticks = candles.batch_candlesticks


# --- what could not be read ---------------------------------------------------------------------


class _Named(Struct):
    ticker: str = ""
    event_ticker: str = ""


_read_named = decoder(_Named)


def ticker_of(raw: bytes | Raw) -> str:
    """The name of a payload that could not be read; "" where it has none."""
    try:
        named = _read_named(raw)
    except msgspec.MsgspecError:
        return ""
    return (named.ticker or named.event_ticker).replace("\0", "")[:200]
